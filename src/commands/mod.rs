//! What the program does for each command of its command line that takes part in a session.

pub mod attach;
mod command;
pub mod connect;
#[cfg(unix)]
mod consent;
mod conversation;
pub mod doctor;
pub mod forward;
mod host;
pub mod ide;
mod interrupt;
pub mod listen;
mod offer;
#[cfg(unix)]
mod owner_process;
pub mod pipe;
pub mod setup;
pub mod sources;
pub mod status;
#[cfg(unix)]
pub mod systemd_unit;
#[cfg(test)]
mod tests;
