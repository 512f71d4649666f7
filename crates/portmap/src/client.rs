//! One protocol at one gateway: whether it is spoken, and the mapping of one port.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use super::{
    Fault, InsidePort, Mapping, Protocol, gateway::Gateway, is_public, natpmp, pcp,
    udp_request::ask, upnp,
};

/// The lifetime that is asked for: long enough that a renewal can fail a few times, short enough that a mapping whose
/// owner was killed does not stay for ever.
const LIFETIME: Duration = Duration::from_secs(3600);

/// What a gateway that speaks the protocol tells without a mapping: its external address, where the protocol has that.
pub(super) async fn greet(
    protocol: Protocol,
    gateway: Gateway,
    nonce: pcp::Nonce,
) -> Result<(Client, Option<Ipv4Addr>), Fault> {
    let server = SocketAddrV4::new(gateway.router, pcp::PORT);
    match protocol {
        Protocol::Pcp => {
            let question = pcp::announce_request(gateway.local);
            ask(gateway.local, server, &question, pcp::read_announce).await?;
            Ok((Client::Pcp { gateway, nonce }, None))
        }
        Protocol::NatPmp => {
            let question = natpmp::address_request();
            let external = ask(gateway.local, server, &question, natpmp::read_address).await?;
            Ok((Client::NatPmp { gateway }, Some(external)))
        }
        Protocol::Upnp => {
            let (service, external) = upnp::discover(gateway).await?;
            Ok((Client::Upnp { service, tried: 0 }, external))
        }
    }
}

/// What knows how to ask for mappings.
#[derive(Debug, Clone)]
pub(super) enum Client {
    Pcp {
        gateway: Gateway,
        nonce: pcp::Nonce,
    },
    NatPmp {
        gateway: Gateway,
    },
    Upnp {
        service: upnp::MappingService,
        /// The external port that may be ours.
        tried: u16,
    },
}

impl Client {
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Pcp { .. } => Protocol::Pcp,
            Self::NatPmp { .. } => Protocol::NatPmp,
            Self::Upnp { .. } => Protocol::Upnp,
        }
    }

    /// The same gateway has been found again, perhaps at another port; what may be ours there still may be.
    pub(super) fn found_again(&mut self, found: Self) {
        match (self, found) {
            (Self::Upnp { service, .. }, Self::Upnp { service: found, .. }) => *service = found,
            (known, found) => *known = found,
        }
    }

    /// Makes a mapping to `port`, or renews it, and sees to it that it is of use.
    pub(super) async fn map(
        &mut self,
        port: InsidePort,
        suggested: Option<SocketAddrV4>,
    ) -> Result<Mapping, Fault> {
        let mapping = match self {
            Self::Pcp { gateway, nonce } => {
                let (nonce, server) = (*nonce, SocketAddrV4::new(gateway.router, pcp::PORT));
                let question = pcp::map_request(gateway.local, nonce, port, suggested, LIFETIME);
                let read = |bytes: &[u8]| pcp::read_map(bytes, nonce, port);
                ask(gateway.local, server, &question, read).await?
            }
            Self::NatPmp { gateway } => {
                let server = SocketAddrV4::new(gateway.router, pcp::PORT);
                let question = natpmp::address_request();
                let ip = ask(gateway.local, server, &question, natpmp::read_address).await?;
                let wanted = suggested.map_or(port.number(), |s| s.port());
                let question = natpmp::map_request(port, wanted, LIFETIME);
                let read = |bytes: &[u8]| natpmp::read_map(bytes, port);
                let (external, lifetime) = ask(gateway.local, server, &question, read).await?;
                Mapping {
                    external: SocketAddrV4::new(ip, external),
                    lifetime,
                }
            }
            Self::Upnp { service, tried } => {
                let wanted = suggested.map_or(port.number(), |s| s.port());
                service.map(port, wanted, LIFETIME, tried).await?
            }
        };
        check(mapping)
    }

    /// Removes the mapping of `port`, which need not be there.
    pub(super) async fn unmap(&self, port: InsidePort) -> Result<(), Fault> {
        match self {
            Self::Pcp { gateway, nonce } => {
                let (nonce, server) = (*nonce, SocketAddrV4::new(gateway.router, pcp::PORT));
                let question = pcp::map_request(gateway.local, nonce, port, None, Duration::ZERO);
                let read = |bytes: &[u8]| pcp::read_map(bytes, nonce, port);
                ask(gateway.local, server, &question, read).await?;
            }
            Self::NatPmp { gateway } => {
                let server = SocketAddrV4::new(gateway.router, pcp::PORT);
                let question = natpmp::map_request(port, 0, Duration::ZERO);
                let read = |bytes: &[u8]| natpmp::read_map(bytes, port);
                ask(gateway.local, server, &question, read).await?;
            }
            Self::Upnp { tried: 0, .. } => {}
            Self::Upnp { service, tried } => service.unmap(*tried, port).await?,
        }
        Ok(())
    }
}

fn check(mapping: Mapping) -> Result<Mapping, Fault> {
    let ip = *mapping.external.ip();
    if !is_public(ip) {
        let why = format!("its external address is {ip}, so another NAT is above it");
        return Err(Fault::Useless(why));
    }
    if mapping.external.port() == 0 || mapping.lifetime.is_zero() {
        return Err(Fault::Useless("a mapping without port or time".to_owned()));
    }
    Ok(mapping)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_that_nobody_can_use_is_none() {
        let checked = |external: &str, seconds| {
            check(Mapping {
                external: external.parse().unwrap(),
                lifetime: Duration::from_secs(seconds),
            })
        };
        assert!(checked("203.0.113.5:40000", 60).is_ok());
        assert!(checked("203.0.113.5:0", 60).is_err());
        assert!(checked("203.0.113.5:40000", 0).is_err());
        assert!(checked("0.0.0.0:40000", 60).is_err());
        assert!(checked("100.64.3.2:40000", 60).is_err());
    }
}
