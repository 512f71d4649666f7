//! `listen` and `connect` in one process, from their command lines on, with a rendezvous of their own: whatever they do
//! that takes no more than sockets of this host. What takes NATs, namespaces or a program of its own is in `tests/`.

mod control_socket;
mod meeting;
mod paths;
mod streams;
pub(super) mod world;
