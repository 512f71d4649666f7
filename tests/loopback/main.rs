//! The three programs on this host's loopback, as users run them; without root.
#![cfg(unix)]

#[path = "../harness/mod.rs"]
mod harness;

mod command;
#[cfg(target_os = "linux")]
mod confined;
#[cfg(unix)]
mod control_socket;
mod ending;
mod forwards;
mod given_up;
mod meeting;
mod offer;
mod peers;
mod place;
mod proxy;
#[cfg(target_os = "linux")]
mod same_user;
#[cfg(unix)]
mod ssh;
mod streams;
