//! A box between a LAN and the network above it: a NAT, a firewall or a plain router.

use std::{net::Ipv4Addr, ops::Deref};

use crate::{
    Error, Gateway, Host, Link, NatKind, Network, Node, PortMapping, network::Inside, ruleset,
};

/// A NAT box (or a router, for [`NatKind::NONE`]) and the LAN behind it.
///
/// From outside it answers to nothing: what no inside host has asked for is dropped before the
/// kernel takes note of it. From inside its address is the LAN's first, x.x.x.1.
#[derive(Clone, Debug)]
pub struct Nat {
    node: Node,
    kind: NatKind,
    uplink: Link,
    lan: Network,
}

impl Nat {
    pub(crate) fn new(
        name: &str,
        kind: NatKind,
        inside: Inside,
        network: &Network,
    ) -> Result<Self, Error> {
        ruleset::check(kind)?;
        let ipv6 = network.plan().gateway().v6.is_some();
        let node = Node::new(network.router().lab(), name, ipv6)?;
        let uplink = Link::new(&node, ruleset::WAN, 100, network)?;
        let lan = Network::lan(&node, &uplink, inside)?;
        let nat = Self {
            node,
            kind,
            uplink,
            lan,
        };
        nat.load_rules()?;
        Ok(nat)
    }

    /// Adds a host to the LAN.
    pub fn host(&self, name: &str) -> Result<Host, Error> {
        self.lan.host(name)
    }

    /// Adds a second NAT behind this one.
    pub fn nat(&self, name: &str, kind: NatKind) -> Result<Nat, Error> {
        self.lan.nat(name, kind)
    }

    /// The network behind the box.
    pub fn lan(&self) -> &Network {
        &self.lan
    }

    /// The link to the network above.
    pub fn uplink(&self) -> &Link {
        &self.uplink
    }

    /// How the box was told to behave.
    pub fn kind(&self) -> NatKind {
        self.kind
    }

    /// The address that outsiders see.
    pub fn external_ip(&self) -> Ipv4Addr {
        self.uplink.ip()
    }

    /// Starts a daemon on the box that maps ports for the hosts behind it.
    pub fn map_ports(&self, by: PortMapping) -> Result<Gateway, Error> {
        Gateway::start(self, by)
    }

    /// Forgets every mapping and connection, as a restart does.
    ///
    /// Nothing passes meanwhile: a packet of a connection that is still known would have the new rules learn its old
    /// mapping, and the box would translate to an address that it has no longer.
    pub fn flush(&self) -> Result<(), Error> {
        self.node.nft(
            "table inet restart {
                chain incoming { type filter hook prerouting priority raw; drop; }
                chain outgoing { type filter hook output priority raw; drop; }
            }",
        )?;
        self.load_rules()?;
        self.node.run("conntrack", &["-F"], "")?;
        self.node.nft("delete table inet restart")
    }

    /// Gets another external address, as after a reconnect, and forgets every mapping. Returns
    /// the new address.
    pub fn renumber(&self) -> Result<Ipv4Addr, Error> {
        self.uplink.renumber()?;
        self.lan.announce(!self.kind.translates())?;
        self.flush()?;
        Ok(self.external_ip())
    }

    /// Loads the rules of the box's kind, with empty maps.
    fn load_rules(&self) -> Result<(), Error> {
        let seconds = self.kind.timeout.as_secs_f64().ceil().max(1.0).to_string();
        for key in [
            "nf_conntrack_udp_timeout",
            "nf_conntrack_udp_timeout_stream",
        ] {
            self.node.sysctl(&format!("netfilter/{key}"), &seconds)?;
        }
        self.node.nft(&ruleset::of(self.kind, self.external_ip()))
    }
}

impl Deref for Nat {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}
