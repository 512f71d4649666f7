//! Streams: the debuggers' TCP connections, carried over whichever tunnel is best.
//!
//! One task drives one stream, both directions of it. It owns the local connection and the two halves of the
//! ledger; what comes from elsewhere (carriers, control frames, the loss of tunnels) reaches it through one inbox,
//! and which tunnel is best through a watch. It dies when both directions have ended and both ends know it.

mod client_left;
mod downlink;
mod driver;
mod io;
mod last_words;
mod local;
mod program;
mod redial;
mod tap;
#[cfg(test)]
mod tests;
mod uplink;

pub(crate) use self::{
    downlink::UNWANTED,
    driver::{Stream, send_frame},
    io::{BestTunnel, INBOX, Local, StreamEvent, StreamInput},
    local::Connection,
    redial::Dialing,
    tap::{Tap, Traffic},
};
