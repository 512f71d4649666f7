//! The rendezvous over real sockets on loopback: as peers use it, as strangers abuse it, as operators run it.

mod adverse;
mod amplification;
mod behavior;
mod command_line;
mod crowds;
mod drain;
mod hostile;
mod http;
mod log;
mod noise;
mod operator;
mod program;
mod protocol;
mod relay;
mod relays;
mod service;
mod shared_keys;
mod shared_relay;
mod store_program;
mod stores;
mod strangers;
mod stun;
mod support;
mod tcp;
#[cfg(target_os = "linux")]
mod upgrade;
mod web;
mod wide_networks;
mod wildcard;
#[cfg(unix)]
#[path = "../../../tests/harness/written_programs.rs"]
mod written_programs;
