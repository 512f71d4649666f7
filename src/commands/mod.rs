//! What the program does for each command of its command line that takes part in a session.

pub mod attach;
#[cfg(unix)]
mod attach_question;
mod child_program;
pub mod connect;
mod debuggee_stream;
pub mod doctor;
pub mod forward;
mod found_program;
pub mod ide;
mod interrupt;
pub mod listen;
mod offer;
#[cfg(unix)]
mod orphans;
mod other_listeners;
#[cfg(unix)]
mod owner_process;
#[cfg(unix)]
mod passed_on;
pub mod pipe;
mod running_peer;
mod running_session;
pub mod setup;
pub mod sources;
pub mod status;
#[cfg(unix)]
pub mod systemd_unit;
#[cfg(test)]
mod tests;
