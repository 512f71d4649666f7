//! The rendezvous over real sockets on loopback: as peers use it, as strangers abuse it, as operators run it.

mod control;
mod support;
