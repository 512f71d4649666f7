//! The control stream of a tunnel: the first bidirectional stream of the QUIC connection between two peers,
//! opened by the connector.
//!
//! Each direction carries [`crate::frame`]s of [`TunnelMessage`]. The first from each side is `Hello`: it
//! proves the session key over this very TLS connection, and names the epoch of the tunnel. Nothing else on
//! the connection counts before both proofs verify.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::facts::Facts;

/// The ALPN of a tunnel, version 1.
pub const ALPN: &[u8] = b"p2pdbg/1";

/// The label with which the keying material for the proofs is exported (RFC 8446 section 7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-p2pdbg-tunnel-1";

/// How a tunnel's datagrams travel; part of `Hello`, so that both ends name the path alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathKind {
    /// From peer to peer, by UDP or TCP.
    Direct,
    /// Through the rendezvous, over UDP.
    RelayUdp,
    /// Through the rendezvous, over TCP.
    RelayTcp,
}

/// What is said on a tunnel's control stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TunnelMessage {
    /// The first message of each side.
    Hello {
        /// Counts the tunnels of a session up; the connector draws it, the listener repeats it.
        epoch: u64,
        /// The path this tunnel takes.
        path: PathKind,
        /// HMAC-SHA256 under the session's tunnel key, over role, epoch, path and exported keying material.
        proof: [u8; 32],
    },
    /// A frame of the stream ledger.
    Ledger(Vec<u8>),
    /// The forwards of the session, all of them; the listener says them on every tunnel.
    Forwards(Vec<ForwardOffer>),
    /// What became of a forward at the connector.
    ForwardState {
        /// The forward's number in [`ForwardOffer`].
        forward: u16,
        /// What became of it; it may change while the session runs.
        state: ForwardState,
    },
    /// The dialling side of a forward tells whether something listens at its target.
    TargetListening {
        /// The forward's number in [`ForwardOffer`].
        forward: u16,
        /// Whether something listens there now.
        listening: bool,
        /// Counts up with each change; what has a lower one than was heard of this forward is stale.
        number: u32,
    },
    /// A stream waits, at the dialling side, for its target to listen, or has stopped waiting.
    StreamWaiting {
        /// The id that the stream has in the ledger.
        stream: u64,
        /// `false` once the target is reached, or the stream has ended.
        waiting: bool,
        /// Counts up with each change; what has a lower one than was heard of this stream is stale.
        number: u32,
    },
    /// A sign of life, to be acknowledged by QUIC; and how well the sender hears, which the other end cannot know.
    Ping {
        /// For how many milliseconds the sender has been sending on this tunnel without hearing anything; 0 if it is
        /// answered.
        unanswered_ms: u32,
    },
    /// Where the sender runs; each side says it on every tunnel.
    Facts(Facts),
    /// Source files have changed at the connector; the listener may compare again.
    SourcesChanged,
    /// A debugger listens where no forward leads; from the connector, on every tunnel.
    Elsewhere(Elsewhere),
    /// What the sender has over UDP starves: the peer's leg of the relay should be carried over TCP for so many
    /// seconds, and a direct path by TCP be looked for; 0 takes that back.
    RelayByTcp {
        /// For how long, in seconds from now; 0 takes an earlier wish back.
        seconds: u16,
    },
}

/// A debugger that listens where no forward leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The forward that may be meant for it.
    pub forward: u16,
    /// The name of its preset; one that is not known is passed over.
    pub debugger: String,
    /// Its address at the connector's host, which the target of a forward can be set to.
    pub address: SocketAddr,
    /// Its process id at the connector's host, for people.
    pub pid: u32,
    /// Whether something listens at the target of that forward, so that this is one more.
    pub further: bool,
}

/// What becomes of a connection while nothing listens at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhileAbsent {
    /// It is accepted and held.
    Hold,
    /// It is refused, by a port that is closed while nothing listens at the target.
    Refuse,
    /// It is held until the target was reached once, and refused from then on.
    HoldOnce,
}

/// A forward as the listener offers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardOffer {
    /// Names the forward in this session.
    pub forward: u16,
    /// Which end opens the local port.
    pub direction: Direction,
    /// Where the port is opened: empty for loopback.
    pub bind: String,
    /// The port that is opened; 0 for any.
    pub port: u16,
    /// The host that is dialled at the other end.
    pub target_host: String,
    /// The port that is dialled at the other end.
    pub target_port: u16,
    /// The debugger it is for, or empty.
    pub preset: String,
    /// What becomes of connections while nothing listens at the target.
    pub while_absent: WhileAbsent,
}

/// Which end of a forward opens the local port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The port is opened beside the IDE and dialled at the debuggee: `-L`.
    ToDebuggee,
    /// The port is opened at the debuggee and dialled beside the IDE: `-R`.
    ToIde,
}

/// What became of a forward at the connector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForwardState {
    /// The connector serves it; for `-R`, at this address.
    Up {
        /// The address of the opened port, empty for `-L`.
        listen: String,
    },
    /// Something else has the port there.
    PortInUse,
    /// The connector's user has not allowed the target or the address.
    NotAllowed,
    /// It failed for another reason, in words.
    Failed(String),
}

/// Codes with which a peer closes a tunnel's QUIC connection.
pub mod close {
    /// The session is over: how one side tells the other that it has ended it.
    pub const DONE: u32 = 0;
    /// The other side broke the protocol, or its proof failed.
    pub const PROTOCOL: u32 = 1;
    /// A better tunnel has taken over.
    pub const REPLACED: u32 = 2;
    /// The epoch is not higher than one that was already accepted.
    pub const OLD_EPOCH: u32 = 3;
    /// This process knows nothing of the session.
    pub const UNKNOWN_SESSION: u32 = 4;
}
