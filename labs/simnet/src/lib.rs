//! The simulator: two traversal engines, the NATs between them and a STUN server, in virtual time.
//!
//! It exists so that thousands of meetings can be tried in a second, each repeatable from its seed, with NATs that the
//! Linux kernel cannot play (sequential and block allocation, boxes that punish, foreign traffic). The engine that
//! runs here is the one that ships; the kinds are those of `p2pdbg-nat`, and a test holds the model against the
//! kernel for the kinds that both can play.
//!
//! ```
//! use p2pdbg_simnet::{NatKind, Scenario};
//! use std::time::Duration;
//!
//! let outcome = Scenario::new(NatKind::PORT_RESTRICTED, NatKind::PORT_RESTRICTED)
//!     .rtt(Duration::from_millis(40))
//!     .seed(1)
//!     .run(Duration::from_secs(10));
//! assert!(outcome.direct.is_some() && outcome.carries);
//! ```
//!
//! TCP is modelled as far as a direct path by it needs: who gets through to whom, and messages in order. Left out: what
//! it carries in a second, the relay's data path, fragmentation and ICMP.

mod config;
mod direct_tcp;
mod flows;
mod nat;
mod peer;
mod random;
mod scenario;
mod segment;
mod server;
mod simulation;
mod topology;
mod world;

pub mod population;
pub mod survey;

pub use p2pdbg_nat::{Allocation, Filtering, Mapping, NatKind};

pub use self::{
    config::{
        ALTERNATIVE_PORT, FloodGuard, MAIN_PORT, NatConfig, Overflow, Table, TcpRules, Unsolicited,
    },
    nat::{Direction, Nat},
    peer::Peer,
    random::Random,
    scenario::{Scenario, Site},
    segment::{Segment, Transport},
    server::StunServer,
    simulation::{Outcome, Simulation},
    world::{Delivery, HostId, Link, NatId, NetworkId, World},
};
