//! A STUN server host: a main and an alternative port, on one address or two.

use std::net::SocketAddr;

use p2pdbg_stun::{Attribute, Class, Encoder, Message};

use crate::world::{Delivery, HostId, Link, NetworkId, World};

/// The main port.
pub const MAIN_PORT: u16 = 3478;

/// The alternative port.
pub const ALTERNATIVE_PORT: u16 = 3479;

/// A STUN server.
#[derive(Clone, Debug)]
pub struct StunServer {
    hosts: Vec<HostId>,
    addresses: Vec<SocketAddr>,
    /// What a port says instead of the truth.
    lie: Option<(u16, SocketAddr)>,
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

    /// Answers what came to one of its hosts. True if the delivery was for it.
    pub fn handle(&self, world: &mut World, delivery: &Delivery) -> bool {
        if !self.hosts.contains(&delivery.host) {
            return false;
        }
        let Ok(request) = Message::decode(&delivery.payload) else {
            return true;
        };
        if request.class() != Class::Request
            || ![MAIN_PORT, ALTERNATIVE_PORT].contains(&delivery.port)
        {
            return true;
        }
        let mapped = match self.lie {
            Some((port, mapped)) if port == delivery.port => mapped,
            _ => delivery.from,
        };
        let mut buffer = [0; 64];
        let answer = Encoder::new(&mut buffer, Class::Success, request.transaction()).and_then(
            |mut message| {
                message.push(Attribute::XorMappedAddress(mapped))?;
                message.finish_with_fingerprint()
            },
        );
        if let Ok(answer) = answer {
            world.send(
                delivery.host,
                delivery.port,
                delivery.from,
                None,
                answer.to_vec(),
            );
        }
        true
    }
}
