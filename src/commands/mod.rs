//! What the program does for each command of its command line that takes part in a session.

pub mod connect;
pub mod listen;
