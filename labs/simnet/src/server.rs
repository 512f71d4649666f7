//! A STUN server host: a main and an alternative port, on one address or two.

use std::net::{IpAddr, SocketAddr};

use p2pdbg_stun::{Attribute, Class, Encoder, Message};

use crate::{
    ALTERNATIVE_PORT, MAIN_PORT,
    segment::{Segment, Transport},
    world::{Delivery, HostId, Link, NetworkId, World},
};

/// The STUN server, which may have a second address and port.
#[derive(Clone, Debug)]
pub struct StunServer {
    hosts: Vec<HostId>,
    addresses: Vec<SocketAddr>,
    /// What a port says instead of the truth.
    lie: Option<(u16, SocketAddr)>,
    /// Ports that are closed in the server's own firewall.
    closed: Vec<u16>,
    /// What rewrites all sources before the server sees them: a proxy or a load balancer in front of it.
    rewritten: Option<IpAddr>,
}

impl StunServer {
    /// A server with so many addresses, each with both ports, reached over `link`.
    #[must_use]
    pub fn new(world: &mut World, addresses: usize, link: Link) -> Self {
        let hosts: Vec<HostId> = (0..addresses)
            .map(|_| world.add_host(NetworkId::INTERNET, link))
            .collect();
        let mut all = Vec::new();
        for &host in &hosts {
            let v6 = world.add_ipv6(host);
            for ip in [world.ip(host), v6] {
                all.push(SocketAddr::new(ip, MAIN_PORT));
                all.push(SocketAddr::new(ip, ALTERNATIVE_PORT));
            }
        }
        Self {
            hosts,
            addresses: all,
            lie: None,
            closed: Vec::new(),
            rewritten: None,
        }
    }

    /// Where it answers, the main address first.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Has one port tell everybody that he was seen as `mapped`.
    pub fn lie(&mut self, port: u16, mapped: SocketAddr) {
        self.lie = Some((port, mapped));
    }

    /// Closes a port of the server's in its own firewall.
    pub fn close(&mut self, port: u16) {
        self.closed.push(port);
    }

    /// Puts something in front of the server that gives every flow a source of its own at this address, as container
    /// proxies and load balancers do. Answers find their way back.
    pub fn rewrite_sources(&mut self, ip: IpAddr) {
        self.rewritten = Some(ip);
    }

    /// Answers what came to one of its hosts. True if the delivery was for it.
    pub fn handle(&self, world: &mut World, delivery: &Delivery) -> bool {
        if !self.hosts.contains(&delivery.host) {
            return false;
        }
        match delivery.transport {
            Transport::Udp => {
                if let Some(answer) = self.answer(delivery) {
                    world.send(delivery.host, delivery.port, delivery.from, None, answer);
                }
            }
            Transport::Tcp(segment) => self.handle_segment(world, delivery, segment),
        }
        true
    }

    /// A server's TCP keeps nothing: a question that is repeated is answered again.
    fn handle_segment(&self, world: &mut World, delivery: &Delivery, segment: Segment) {
        let acknowledged = Segment {
            ack: true,
            received: segment.number,
            ..Segment::default()
        };
        let (segment, payload) = if segment.is_first() && !self.closed.contains(&delivery.port) {
            let syn = true;
            (
                Segment {
                    syn,
                    ..acknowledged
                },
                Vec::new(),
            )
        } else if segment.number > 0
            && let Some(answer) = self.answer(delivery)
        {
            let number = segment.number;
            (
                Segment {
                    number,
                    ..acknowledged
                },
                answer,
            )
        } else {
            return;
        };
        world.send_segment(
            delivery.host,
            delivery.port,
            delivery.from,
            segment,
            payload,
        );
    }

    fn answer(&self, delivery: &Delivery) -> Option<Vec<u8>> {
        let request = Message::decode(&delivery.payload).ok()?;
        if request.class() != Class::Request
            || ![MAIN_PORT, ALTERNATIVE_PORT].contains(&delivery.port)
            || self.closed.contains(&delivery.port)
        {
            return None;
        }
        let mapped = match self.lie {
            Some((port, mapped)) if port == delivery.port => mapped,
            _ => self.sees(delivery),
        };
        let mut buffer = [0; 64];
        let mut message = Encoder::new(&mut buffer, Class::Success, request.transaction()).ok()?;
        message.push(Attribute::XorMappedAddress(mapped)).ok()?;
        let answer = message.finish_with_fingerprint().ok()?;
        Some(answer.to_vec())
    }

    /// The source of a packet as the server sees it. A proxy's port differs for each flow and tells nothing.
    fn sees(&self, delivery: &Delivery) -> SocketAddr {
        let Some(ip) = self.rewritten else {
            return delivery.from;
        };
        let mixed = u32::from(delivery.from.port()).wrapping_mul(40_503) ^ u32::from(delivery.port);
        SocketAddr::new(ip, 32_768 + (mixed % 28_000) as u16)
    }
}
