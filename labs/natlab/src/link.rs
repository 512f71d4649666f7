//! The link between a node and a network: an interface on the node, a port on the network's
//! router, and a cable between them.

use std::{
    fmt::Display,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    Counters, Error, Impairments, Node,
    address::{Pair, Side},
    network::{Network, Style},
    shaper::Shaper,
};

/// The link-local address of every router.
pub(crate) const ROUTER_V6: &str = "fe80::1";

/// What a link is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cable {
    /// A veth pair: fast, and without a thread of its own, but always perfect.
    Veth,
    /// Two TAP devices and a program between them, with these impairments to begin with.
    Shaped(Impairments),
}

/// A link between a node and a network.
///
/// *Up* is from the node to the network, *down* is towards the node.
#[derive(Clone, Debug)]
pub struct Link {
    state: Arc<LinkState>,
}

#[derive(Debug)]
struct LinkState {
    node: Node,
    interface: String,
    network: Network,
    port: String,
    /// Preference of the default route over this link; smaller wins.
    metric: u32,
    addresses: Mutex<Pair>,
    /// The MAC address of the interface.
    mac: String,
    /// The MAC address that the node knows the router by.
    router_mac: String,
    shaper: Option<Arc<Shaper>>,
}

impl Link {
    /// Lays a cable of the network's kind, gives the node the next free addresses and a default
    /// route.
    pub(crate) fn new(
        node: &Node,
        interface: &str,
        metric: u32,
        network: &Network,
    ) -> Result<Self, Error> {
        let router = network.router();
        let port = network.next_port();
        let shaper = match network.cable() {
            Cable::Veth => {
                node.ip(&format!(
                    "link add {interface} type veth peer name {port} netns {}",
                    router.namespace()
                ))?;
                None
            }
            Cable::Shaped(impairments) => {
                let shaper = Shaper::start((node, interface), (router, &port), impairments)?;
                let shaper = Arc::new(shaper);
                node.lab().keep(&shaper);
                Some(shaper)
            }
        };
        let addresses = network.plan().next()?;
        let (mac, port_mac) = (addresses.mac(Side::Node), addresses.mac(Side::Router));
        node.ip(&format!("link set {interface} address {mac}"))?;
        router.ip(&format!("link set {port} address {port_mac}"))?;
        let router_mac = match network.style() {
            Style::Routed => port_mac,
            Style::Bridged => network.plan().gateway().mac(Side::Router),
        };
        let link = Self {
            state: Arc::new(LinkState {
                node: node.clone(),
                interface: interface.to_owned(),
                network: network.clone(),
                port,
                metric,
                addresses: Mutex::new(addresses),
                mac,
                router_mac,
                shaper,
            }),
        };
        link.set_up_router()?;
        link.up()?;
        Ok(link)
    }

    /// The interface on the node, for instance `eth0`.
    pub fn interface(&self) -> &str {
        &self.state.interface
    }

    /// The node's IPv4 address on this link.
    pub fn ip(&self) -> Ipv4Addr {
        self.addresses().v4
    }

    /// The node's IPv6 address on this link, where the internet is dual-stack.
    pub fn ip6(&self) -> Option<Ipv6Addr> {
        self.addresses().v6
    }

    /// The impairments of the two directions, up and down.
    pub fn impairments(&self) -> Result<(Impairments, Impairments), Error> {
        let shaper = self.shaper()?;
        Ok((shaper.up.impairments(), shaper.down.impairments()))
    }

    /// Impairs both directions from now on. What is already on its way keeps its due time.
    pub fn impair(&self, impairments: Impairments) -> Result<(), Error> {
        self.impair_up(impairments)?;
        self.impair_down(impairments)
    }

    /// Impairs packets from the node to the network.
    pub fn impair_up(&self, impairments: Impairments) -> Result<(), Error> {
        self.shaper()?.up.impair(impairments);
        Ok(())
    }

    /// Impairs packets from the network to the node.
    pub fn impair_down(&self, impairments: Impairments) -> Result<(), Error> {
        self.shaper()?.down.impair(impairments);
        Ok(())
    }

    /// What the two directions have done so far, up and down.
    pub fn counters(&self) -> Result<(Counters, Counters), Error> {
        let shaper = self.shaper()?;
        Ok((shaper.up.counters(), shaper.down.counters()))
    }

    /// Loses every packet, also those on their way, without the node noticing: an outage
    /// somewhere beyond the modem.
    pub fn cut(&self) -> Result<(), Error> {
        self.set_cut(true)
    }

    /// Ends a [`Link::cut`]: packets pass again.
    pub fn mend(&self) -> Result<(), Error> {
        self.set_cut(false)
    }

    /// Takes the node's interface down: programs are told, and the routes over it are gone.
    pub fn down(&self) -> Result<(), Error> {
        let LinkState {
            node, interface, ..
        } = &*self.state;
        node.ip(&format!("link set {interface} down"))
    }

    /// Ends a [`Link::down`]: the interface is up again, with its addresses and routes.
    pub fn up(&self) -> Result<(), Error> {
        let LinkState {
            node, interface, ..
        } = &*self.state;
        node.ip(&format!("link set {interface} up"))?;
        self.set_up_node()?;
        self.await_carrier()
    }

    /// Gives the node the network's next free addresses instead of those that it has.
    pub fn renumber(&self) -> Result<(), Error> {
        let new = self.network().plan().next()?;
        let old = std::mem::replace(
            &mut *self
                .state
                .addresses
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            new,
        );
        let LinkState {
            node, interface, ..
        } = &*self.state;
        node.ip(&format!("addr flush dev {interface} scope global"))?;
        if self.network().style() == Style::Routed {
            let mut script = format!("route del {}/32\n", old.v4);
            if let Some(v6) = old.v6 {
                script.push_str(&format!("route del {v6}/128\n"));
            }
            self.network().router().ip(&script)?;
        }
        self.set_up_router()?;
        self.set_up_node()
    }

    /// Gives the node one more IPv4 address, until the next [`Link::renumber`].
    pub fn add_address(&self) -> Result<Ipv4Addr, Error> {
        let network = self.network();
        let address = network.plan().next()?.v4;
        let interface = &self.state.interface;
        self.state
            .node
            .ip(&format!("addr add {address}/32 dev {interface}"))?;
        if network.style() == Style::Routed {
            let LinkState { port, mac, .. } = &*self.state;
            let script = format!("route replace {address}/32 dev {port}\n");
            let neighbour = neighbour(address, mac, port);
            network.router().ip(&(script + &neighbour))?;
        }
        Ok(address)
    }

    pub(crate) fn network(&self) -> &Network {
        &self.state.network
    }

    /// The device on the router behind which the node is.
    pub(crate) fn router_device(&self) -> &str {
        match self.network().style() {
            Style::Routed => &self.state.port,
            Style::Bridged => Network::BRIDGE,
        }
    }

    /// Removes the interface and what belongs to it.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        match &self.state.shaper {
            Some(shaper) => {
                self.state.node.lab().release(shaper);
                Ok(())
            }
            None => self
                .state
                .node
                .ip(&format!("link del {}", self.state.interface)),
        }
    }

    /// Joins the port to the network, and leads the node's addresses to it.
    ///
    /// Neighbours are known from the beginning, on both sides: a real path's are, and packets that
    /// wait for an answer would be overtaken by the first that need not.
    fn set_up_router(&self) -> Result<(), Error> {
        let network = self.network();
        let (port, mac) = (&self.state.port, &self.state.mac);
        let Pair { v4, v6 } = self.addresses();
        let device = self.router_device();
        let mut script = match network.style() {
            Style::Bridged => format!("link set {port} master {device} up\n"),
            Style::Routed => {
                let gateway = network.plan().gateway().v4;
                format!(
                    "link set {port} up\n\
                     addr replace {gateway}/32 dev {port}\n\
                     route replace {v4}/32 dev {port} src {gateway}\n"
                )
            }
        };
        script.push_str(&neighbour(v4, mac, device));
        if let Some(v6) = v6 {
            if network.style() == Style::Routed {
                script.push_str(&format!(
                    "addr replace {ROUTER_V6}/64 dev {port} nodad\n\
                     route replace {v6}/128 dev {port}\n"
                ));
            }
            script.push_str(&neighbour(v6, mac, device));
        }
        network.router().ip(&script)
    }

    /// Gives the node its addresses and its default routes over this link.
    fn set_up_node(&self) -> Result<(), Error> {
        let LinkState {
            node,
            interface,
            metric,
            network,
            router_mac,
            ..
        } = &*self.state;
        let Pair { v4, v6 } = self.addresses();
        let gateway = network.plan().gateway().v4;
        let (bits4, bits6) = match network.style() {
            Style::Routed => (32, 128),
            Style::Bridged => (24, 64),
        };
        let mut script = format!(
            "addr replace {v4}/{bits4} dev {interface}\n\
             route replace default via {gateway} dev {interface} metric {metric} onlink\n"
        );
        script.push_str(&neighbour(gateway, router_mac, interface));
        if let Some(v6) = v6 {
            script.push_str(&format!(
                "addr replace {v6}/{bits6} dev {interface} nodad\n\
                 route replace ::/0 via {ROUTER_V6} dev {interface} metric {metric}\n"
            ));
            script.push_str(&neighbour(ROUTER_V6, router_mac, interface));
        }
        node.ip(&script)
    }

    /// Moves the node's default route to this link. The addresses on the other links stay, as when a VPN comes up or a
    /// laptop is docked.
    pub fn prefer(&self) -> Result<(), Error> {
        let LinkState {
            node,
            interface,
            network,
            ..
        } = &*self.state;
        let gateway = network.plan().gateway().v4;
        node.ip(&format!(
            "route replace default via {gateway} dev {interface} metric 10 onlink\n"
        ))
    }

    /// Makes sure that packets pass from now on. The kernel starts an interface's queue some time
    /// after the other end has come up, and drops what is sent before; to be asked about the
    /// interface makes it do so at once.
    fn await_carrier(&self) -> Result<(), Error> {
        let LinkState {
            node,
            interface,
            network,
            port,
            ..
        } = &*self.state;
        node.ip(&format!("link show dev {interface}"))?;
        let device = self.router_device();
        network
            .router()
            .ip(&format!("link show dev {port}\nlink show dev {device}"))
    }

    fn set_cut(&self, cut: bool) -> Result<(), Error> {
        let shaper = self.shaper()?;
        shaper.up.cut(cut);
        shaper.down.cut(cut);
        Ok(())
    }

    fn addresses(&self) -> Pair {
        *self
            .state
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn shaper(&self) -> Result<&Shaper, Error> {
        self.state
            .shaper
            .as_deref()
            .ok_or_else(|| Error::NotShaped {
                link: format!("{} of {}", self.state.interface, self.state.node.name()),
            })
    }
}

/// The line that makes a neighbour known.
fn neighbour(ip: impl Display, mac: &str, device: &str) -> String {
    format!("neigh replace {ip} lladdr {mac} dev {device} nud permanent\n")
}
