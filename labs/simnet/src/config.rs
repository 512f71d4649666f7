//! What a simulated box is like besides its kind.

use std::time::Duration;

use p2pdbg_nat::NatKind;

/// The main port of a STUN server.
pub const MAIN_PORT: u16 = 3478;

/// The second port at which the STUN server answers.
pub const ALTERNATIVE_PORT: u16 = 3479;

/// A NAT's kind and its surroundings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NatConfig {
    /// How the NAT behaves.
    pub kind: NatKind,
    /// Mappings a second that other hosts behind the same box make.
    pub foreign_per_second: f64,
    /// What a packet does that nobody asked for.
    pub unsolicited: Unsolicited,
    /// External addresses of the box; a new mapping gets any of them.
    pub external_addresses: usize,
    /// What the box takes for a flood, if it looks for one.
    pub guard: Option<FloodGuard>,
    /// How many flows its table holds, if that can run out.
    pub table: Option<Table>,
    /// How long a mapping lives whatever passes, if not for ever.
    pub lifetime: Option<Duration>,
    /// What it does to TCP besides what its kind says, which goes for TCP, too.
    pub tcp: TcpRules,
}

/// What a box does to TCP besides mapping and filtering it as it does UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpRules {
    /// Whether only connections to the ports of the web leave, 80 and 443.
    pub web_only: bool,
    /// Whether of those only what is the web's gets through: the box looks inside.
    pub inspects: bool,
    /// Whether a NAT that keeps its hosts' ports keeps that of the web, too.
    pub keeps_web_port: bool,
    /// Whether a SYN that is not let in is answered by a reset rather than dropped.
    pub resets: bool,
    /// Whether a SYN gets in that comes from where a SYN was sent to (RFC 5382 REQ-2: simultaneous open).
    pub simultaneous_open: bool,
}

impl Default for TcpRules {
    /// As RFC 5382 has it.
    fn default() -> Self {
        Self {
            web_only: false,
            inspects: false,
            keeps_web_port: true,
            resets: false,
            simultaneous_open: true,
        }
    }
}

/// A guard against floods, as gateways and endpoint protection have them: too many new flows, and no UDP leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodGuard {
    /// New flows in one second that are no flood yet.
    pub flows_per_second: usize,
    /// For how long nothing leaves afterwards.
    pub ban: Duration,
}

/// A table of flows that can run out. A flow is an inside endpoint and a destination, as connection tracking counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Flows that fit, of all hosts behind the box.
    pub flows: usize,
    /// What becomes of one more.
    pub overflow: Overflow,
}

/// What a full table does about a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The flow that was idle for longest has to go.
    Evicts,
    /// The new one does not get through.
    Refuses,
}

/// What a box does about a packet that its filter stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsolicited {
    /// Drops it, as RFC 4787 has it.
    Dropped,
    /// Drops it and everything from the same endpoint to the same port for so long, even once it is asked for.
    Punished(Duration),
}

impl From<NatKind> for NatConfig {
    fn from(kind: NatKind) -> Self {
        Self {
            kind,
            foreign_per_second: 0.0,
            unsolicited: Unsolicited::Dropped,
            external_addresses: 1,
            guard: None,
            table: None,
            lifetime: None,
            tcp: TcpRules::default(),
        }
    }
}

/// How long an idle mapping of TCP lives: the shortest of 34 home gateways kept one for four minutes (Hätönen et al.,
/// IMC 2010).
const TCP_TIMEOUT: Duration = Duration::from_secs(240);

impl TcpRules {
    /// Whether a connection to this port, which is not one of the web, leaves.
    pub(crate) fn lets_out(self, port: u16) -> bool {
        !self.web_only || !self.inspects && [80, 443].contains(&port)
    }
}

impl NatConfig {
    /// What the box is to TCP: guards, tables and policers are for UDP.
    pub(crate) fn of_tcp(self) -> Self {
        let kind = NatKind {
            blocks_udp: false,
            ..self.kind.with_timeout(TCP_TIMEOUT)
        };
        Self {
            kind,
            guard: None,
            table: None,
            ..self
        }
    }

    /// The same box with other hosts behind it that make so many mappings a second.
    #[must_use]
    pub fn with_foreign(self, foreign_per_second: f64) -> Self {
        Self {
            foreign_per_second,
            ..self
        }
    }

    /// The same box with a guard against floods.
    #[must_use]
    pub fn with_guard(self, flows_per_second: usize, ban: Duration) -> Self {
        Self {
            guard: Some(FloodGuard {
                flows_per_second,
                ban,
            }),
            ..self
        }
    }

    /// The same box with a table of so many flows.
    #[must_use]
    pub fn with_table(self, flows: usize, overflow: Overflow) -> Self {
        Self {
            table: Some(Table { flows, overflow }),
            ..self
        }
    }

    /// The same box with mappings that end after so long, in use or not.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self {
            lifetime: Some(lifetime),
            ..self
        }
    }

    /// The same box with other rules for TCP.
    #[must_use]
    pub fn with_tcp(self, tcp: TcpRules) -> Self {
        Self { tcp, ..self }
    }

    /// The same box with another view of unsolicited packets.
    #[must_use]
    pub fn with_unsolicited(self, unsolicited: Unsolicited) -> Self {
        Self {
            unsolicited,
            ..self
        }
    }

    /// The same box with a pool of external addresses.
    #[must_use]
    pub fn with_external_addresses(self, external_addresses: usize) -> Self {
        Self {
            external_addresses,
            ..self
        }
    }
}
