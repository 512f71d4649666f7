//! Sockets: where datagrams enter and leave, told apart by their first byte.

pub mod mux;
