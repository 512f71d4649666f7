//! The topology that most tests want.

use std::time::Duration;

use crate::{Error, Host, Lab, Nat, NatKind, Network};

/// Two NATs, a host behind each, and a public host.
///
/// ```text
///    ide ── nat_a ──┐            ┌── nat_b ── debuggee
///                   └─ internet ─┘
///                         └──────────── rdv
/// ```
///
/// Each of the three links to the internet is shaped and delays by `delay` in each direction; those
/// to the LANs are veths. So the round trip is 4 × `delay` between the peers and from a peer to
/// `rdv` alike: 40 ms for a delay of 10 ms.
#[derive(Debug)]
pub struct TwoNats {
    /// The host with the IDE, behind `nat_a`.
    pub ide: Host,
    /// The debuggee's host, behind `nat_b`.
    pub debuggee: Host,
    /// The public host, where the rendezvous runs.
    pub rdv: Host,
    /// The NAT in front of `ide`.
    pub nat_a: Nat,
    /// The NAT in front of `debuggee`.
    pub nat_b: Nat,
    /// What joins them, with links that delay.
    pub net: Network,
    /// Owns the whole lab; dropped last.
    pub lab: Lab,
}

impl TwoNats {
    /// Builds it in a lab.
    pub fn new(lab: Lab, a: NatKind, b: NatKind, delay: Duration) -> Result<Self, Error> {
        let net = lab.internet()?.with_delay(delay);
        let rdv = net.host("rdv")?;
        let nat_a = net.nat("nat-a", a)?;
        let nat_b = net.nat("nat-b", b)?;
        Ok(Self {
            ide: nat_a.host("ide")?,
            debuggee: nat_b.host("debuggee")?,
            rdv,
            nat_a,
            nat_b,
            net,
            lab,
        })
    }
}
