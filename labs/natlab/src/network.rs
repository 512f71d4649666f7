//! A network that nodes are linked to: the internet, or the LAN of a NAT box.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::{
    Cable, Error, Host, Impairments, Link, Nat, NatKind, Node,
    address::{Plan, Side},
    lab::LabState,
    link::ROUTER_V6,
};

/// A network that hosts and NAT boxes are linked to, with the node that routes it.
///
/// The internet is a router with a link for each node, so the hops of a path are those of a real
/// one: box, router, box. A LAN is a bridge on its NAT box, where nodes see each other directly.
#[derive(Clone, Debug)]
pub struct Network {
    state: Arc<NetworkState>,
    cable: Cable,
}

#[derive(Debug)]
struct NetworkState {
    router: Node,
    style: Style,
    plan: Plan,
    /// The router's own link to the network above it.
    uplink: Option<Link>,
    ports: AtomicU32,
}

/// How the links meet at the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Each is a network of its own.
    Routed,
    /// All hosts are on one Ethernet and see each other's addresses.
    Bridged,
}

/// Which addresses a LAN gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// A home's: within 192.168.0.0/16.
    Private,
    /// Those between a carrier's NAT and its customers' (RFC 6598): 100.64.0.0/10.
    Carrier,
    /// Addresses that the internet routes: 198.18.0.0/15.
    Public,
    /// This /24, whoever else has it.
    Given([u8; 3]),
}

impl Network {
    /// The bridge of a LAN.
    pub(crate) const BRIDGE: &str = "lan";

    pub(crate) fn internet(
        lab: &Arc<LabState>,
        prefix: [u8; 3],
        ipv6: bool,
    ) -> Result<Self, Error> {
        let router = Node::new(lab, "internet", ipv6)?;
        router.sysctl("ipv4/ip_forward", "1")?;
        if ipv6 {
            router.sysctl("ipv6/conf/all/forwarding", "1")?;
        }
        Ok(Self {
            state: Arc::new(NetworkState {
                router,
                style: Style::Routed,
                plan: Plan::new(prefix, ipv6.then_some(0)),
                uplink: None,
                ports: AtomicU32::new(0),
            }),
            cable: Cable::Shaped(Impairments::NONE),
        })
    }

    /// The LAN of a box that has joined the network above by `uplink`.
    pub(crate) fn lan(router: &Node, uplink: &Link, inside: Inside) -> Result<Self, Error> {
        let number = router.lab().next_lan();
        let octet = u8::try_from(number).map_err(|_| Error::Exhausted {
            network: "the lab".to_owned(),
        })?;
        let v4 = match inside {
            Inside::Private => [192, 168, octet],
            Inside::Carrier => [100, 64, octet],
            Inside::Public => [198, 18, octet],
            Inside::Given(prefix) => prefix,
        };
        let plan = Plan::new(v4, uplink.ip6().map(|_| octet.into()));
        let (bridge, gateway) = (Self::BRIDGE, plan.gateway());
        let mut script = format!(
            "link add {bridge} address {} type bridge\n\
             link set {bridge} up\n\
             addr add {}/24 dev {bridge}\n",
            gateway.mac(Side::Router),
            gateway.v4
        );
        if let Some(v6) = gateway.v6 {
            script.push_str(&format!(
                "addr add {ROUTER_V6}/64 dev {bridge} nodad\n\
                 addr add {v6}/64 dev {bridge} nodad\n"
            ));
        }
        router.ip(&script)?;
        router.sysctl("ipv4/ip_forward", "1")?;
        if gateway.v6.is_some() {
            router.sysctl("ipv6/conf/all/forwarding", "1")?;
        }
        let lan = Self {
            state: Arc::new(NetworkState {
                router: router.clone(),
                style: Style::Bridged,
                plan,
                uplink: Some(uplink.clone()),
                ports: AtomicU32::new(0),
            }),
            cable: Cable::Veth,
        };
        lan.announce(inside == Inside::Public)?;
        Ok(lan)
    }

    /// The same network, with links of another make from now on through this handle.
    ///
    /// Links to the internet are shaped by default, those to a LAN are veths.
    #[must_use]
    pub fn with_cable(&self, cable: Cable) -> Self {
        Self {
            state: self.state.clone(),
            cable,
        }
    }

    /// The same network, with shaped links that delay by `one_way` in each direction from now on
    /// through this handle.
    #[must_use]
    pub fn with_delay(&self, one_way: Duration) -> Self {
        self.with_cable(Cable::Shaped(Impairments::delayed(one_way)))
    }

    /// Adds a host with addresses of this network; its name is used once in the lab.
    pub fn host(&self, name: &str) -> Result<Host, Error> {
        Host::new(name, self)
    }

    /// Adds a box with a LAN behind it: a NAT, or for [`NatKind::NONE`] a router.
    pub fn nat(&self, name: &str, kind: NatKind) -> Result<Nat, Error> {
        let inside = if kind.translates() {
            Inside::Private
        } else {
            Inside::Public
        };
        Nat::new(name, kind, inside, self)
    }

    /// Adds a NAT with this /24 as its LAN: two homes may well have the same.
    pub fn nat_with_lan(&self, name: &str, kind: NatKind, lan: [u8; 3]) -> Result<Nat, Error> {
        Nat::new(name, kind, Inside::Given(lan), self)
    }

    /// Adds a carrier's NAT: its customers, mostly NAT boxes themselves, get addresses from
    /// 100.64.0.0/10.
    pub fn carrier_nat(&self, name: &str, kind: NatKind) -> Result<Nat, Error> {
        Nat::new(name, kind, Inside::Carrier, self)
    }

    /// The node that routes this network: a place for [`Node::block`], or to listen in.
    pub fn router(&self) -> &Node {
        &self.state.router
    }

    /// The network's IPv4 addresses, for instance `192.168.1.0/24`.
    pub fn prefix(&self) -> String {
        self.plan().prefix4()
    }

    pub(crate) fn cable(&self) -> Cable {
        self.cable
    }

    pub(crate) fn style(&self) -> Style {
        self.state.style
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.state.plan
    }

    pub(crate) fn next_port(&self) -> String {
        format!("p{}", self.state.ports.fetch_add(1, Ordering::Relaxed))
    }

    /// Tells every router above where this network is: always for IPv6, which is not translated.
    pub(crate) fn announce(&self, ipv4: bool) -> Result<(), Error> {
        let mut below = self.clone();
        while let Some(uplink) = below.state.uplink.clone() {
            let above = uplink.network();
            let device = uplink.router_device();
            let mut script = String::new();
            if ipv4 {
                let (prefix, via) = (self.plan().prefix4(), uplink.ip());
                script.push_str(&format!(
                    "route replace {prefix} via {via} dev {device} onlink\n"
                ));
            }
            if let (Some(prefix), Some(via)) = (self.plan().prefix6(), uplink.ip6()) {
                script.push_str(&format!(
                    "route replace {prefix} via {via} dev {device} onlink\n"
                ));
            }
            if !script.is_empty() {
                above.router().ip(&script)?;
            }
            below = above.clone();
        }
        Ok(())
    }
}
