//! The places from which STUN is answered, and how they lie to each other: the square of RFC 5780 section 3.
//!
//! A rendezvous answers at two ports of each of its addresses. With a second address (`--alt-ip`) these are four
//! places, so that a client can tell what its NAT makes depend on the address from what it makes depend on the port,
//! and can ask to be answered from a place that it has not sent to (CHANGE-REQUEST). Without one there are two, which
//! tells less. Sockets are known here by their number alone.
//!
//! On a socket of every address the second address needs no socket of its own: the datagram says where it came to, and
//! an answer may leave from any address of the host.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// A second address of the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecondAddress {
    /// As the host has it.
    pub(crate) bound: IpAddr,
    /// As others reach it, if a NAT with fixed addresses stands before the host.
    pub(crate) told: IpAddr,
}

/// Two ports of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    /// The address, as the host has it; of a socket of every address, the one that others most likely use.
    pub(crate) bound: IpAddr,
    /// The same, as others reach it.
    pub(crate) told: IpAddr,
    /// The main port's socket and the alternative's.
    pub(crate) sockets: [Option<usize>; 2],
    /// The ports, as others reach them.
    pub(crate) ports: [u16; 2],
}

/// One or two sides, of one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Square {
    pub(crate) first: Side,
    /// The second, if there is one.
    pub(crate) second: Option<Side>,
    /// Whether its sockets are those of every address.
    pub(crate) wildcard: bool,
    /// Whether its sockets write IPv4 addresses as IPv6 ones.
    pub(crate) dual_stack: bool,
}

/// A place to answer from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerAddress {
    pub(crate) socket: usize,
    /// The address of ours to send from, in the socket's notation; none leaves it to the system.
    pub(crate) from: Option<IpAddr>,
    /// What others see, if it is known.
    pub(crate) told: Option<SocketAddr>,
}

/// A request's place and those it can ask to be answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vantage {
    /// Here, the other port, the other address, both.
    places: [Option<AnswerAddress>; 4],
}

impl Vantage {
    /// The place that differs from this one as a CHANGE-REQUEST says.
    pub(crate) fn place(&self, other_address: bool, other_port: bool) -> Option<AnswerAddress> {
        self.places[usize::from(other_address) * 2 + usize::from(other_port)]
    }

    /// Where the answer comes from, for RESPONSE-ORIGIN. Only told where there is a second address: clients take it
    /// for a sign of one.
    pub(crate) fn origin(&self, place: AnswerAddress) -> Option<SocketAddr> {
        self.other().and(place.told)
    }

    /// What OTHER-ADDRESS says: the other address and the other port.
    pub(crate) fn other(&self) -> Option<SocketAddr> {
        self.places[3].and_then(|place| place.told)
    }

    /// A place that has no other.
    pub(crate) fn alone(place: AnswerAddress) -> Self {
        Self {
            places: [Some(place), None, None, None],
        }
    }
}

/// Where STUN is answered, as the peers that come in at one port are told.
#[derive(Clone, Debug)]
pub(crate) struct StunPlaces {
    /// The number of the port's UDP socket.
    pub(crate) socket: usize,
    /// The ports on which STUN is answered at the same address, the main one first.
    pub(crate) ports: Vec<u16>,
    /// Where else it is answered.
    pub(crate) vantages: Arc<Vantages>,
}

impl StunPlaces {
    /// For a peer that came from `observed` to `local`: first the address by which it reached us, which stands as the
    /// unspecified one, on each port; then the other address.
    pub(crate) fn as_seen(&self, observed: SocketAddr, local: Option<IpAddr>) -> Vec<SocketAddr> {
        let same: IpAddr = match observed {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let here = self.ports.iter().map(|port| SocketAddr::new(same, *port));
        here.chain(self.vantages.further(self.socket, local, observed))
            .collect()
    }
}

/// All squares of a rendezvous.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vantages(pub(crate) Vec<Square>);

impl Vantages {
    /// What can be said and done for a request of `source` that came to `socket`, at `destination` if the system
    /// says so.
    pub(crate) fn at(
        &self,
        socket: usize,
        destination: Option<IpAddr>,
        source: SocketAddr,
    ) -> Vantage {
        let place = AnswerAddress {
            socket,
            from: destination,
            told: None,
        };
        let Some(square) = self.square(socket, source) else {
            return Vantage::alone(place);
        };
        let destination = destination.map(|ip| ip.to_canonical());
        let (here, there) = square.seen_from(socket, destination);
        let own = |side: &Side| side.sockets.iter().position(|s| *s == Some(socket));
        let Some(port) = own(here) else {
            return Vantage::alone(place);
        };
        let place = |side: Option<&Side>, port: usize, arrived: Option<IpAddr>| {
            let side = side?;
            // A host may have more addresses than the two: whichever was asked answers.
            let ip = arrived.unwrap_or(side.bound);
            let told = if ip == side.bound { side.told } else { ip };
            Some(AnswerAddress {
                socket: side.sockets[port]?,
                from: Some(square.in_notation(ip)),
                told: Some(SocketAddr::new(told, side.ports[port])),
            })
        };
        let arrived = destination.filter(|_| square.wildcard);
        Vantage {
            places: [
                place(Some(here), port, arrived),
                place(Some(here), 1 - port, arrived),
                place(there, port, None),
                place(there, 1 - port, None),
            ],
        }
    }

    /// Where else STUN is answered, for a peer that has reached us at `socket`, at `destination`: the ports of the
    /// other address.
    pub(crate) fn further(
        &self,
        socket: usize,
        destination: Option<IpAddr>,
        source: SocketAddr,
    ) -> Vec<SocketAddr> {
        let Some(square) = self.square(socket, source) else {
            return Vec::new();
        };
        let destination = destination.map(|ip| ip.to_canonical());
        let (_, there) = square.seen_from(socket, destination);
        let there = there.into_iter();
        there
            .flat_map(|side| side.ports.map(|port| SocketAddr::new(side.told, port)))
            .collect()
    }

    fn square(&self, socket: usize, source: SocketAddr) -> Option<&Square> {
        let holds = |side: &Side| side.sockets.contains(&Some(socket));
        self.0.iter().find(|square| {
            square.first.bound.is_ipv4() == source.is_ipv4()
                && (holds(&square.first) || square.second.as_ref().is_some_and(holds))
        })
    }
}

impl Square {
    /// The side of a request, and the other one.
    fn seen_from(&self, socket: usize, destination: Option<IpAddr>) -> (&Side, Option<&Side>) {
        match &self.second {
            Some(second) if self.is_at(second, socket, destination) => (second, Some(&self.first)),
            second => (&self.first, second.as_ref()),
        }
    }

    fn is_at(&self, side: &Side, socket: usize, destination: Option<IpAddr>) -> bool {
        if self.wildcard {
            return destination == Some(side.bound);
        }
        side.sockets.contains(&Some(socket))
    }

    fn in_notation(&self, ip: IpAddr) -> IpAddr {
        match ip {
            IpAddr::V4(v4) if self.dual_stack => v4.to_ipv6_mapped().into(),
            _ => ip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "203.0.113.9:4000";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn side(bound: &str, told: &str, sockets: [usize; 2]) -> Side {
        Side {
            bound: ip(bound),
            told: ip(told),
            sockets: sockets.map(Some),
            ports: [3478, 3479],
        }
    }

    fn with_own_sockets() -> Vantages {
        Vantages(vec![Square {
            first: side("10.0.0.1", "192.0.2.1", [0, 1]),
            second: Some(side("10.0.0.2", "192.0.2.2", [2, 3])),
            wildcard: false,
            dual_stack: false,
        }])
    }

    fn of_every_address() -> Vantages {
        Vantages(vec![Square {
            first: side("10.0.0.1", "192.0.2.1", [0, 1]),
            second: Some(side("10.0.0.2", "192.0.2.2", [0, 1])),
            wildcard: true,
            dual_stack: true,
        }])
    }

    fn told(vantage: &Vantage, address: bool, port: bool) -> (usize, String) {
        let place = vantage.place(address, port).unwrap();
        (place.socket, place.told.unwrap().to_string())
    }

    #[test]
    fn each_corner_of_the_square_knows_the_other_three() {
        let peer = PEER.parse().unwrap();
        let vantages = with_own_sockets();
        let main = vantages.at(0, Some(ip("10.0.0.1")), peer);
        assert_eq!(told(&main, false, false), (0, "192.0.2.1:3478".into()));
        assert_eq!(told(&main, false, true), (1, "192.0.2.1:3479".into()));
        assert_eq!(told(&main, true, false), (2, "192.0.2.2:3478".into()));
        assert_eq!(told(&main, true, true), (3, "192.0.2.2:3479".into()));
        assert_eq!(main.other(), Some("192.0.2.2:3479".parse().unwrap()));
        let opposite = vantages.at(3, Some(ip("10.0.0.2")), peer);
        assert_eq!(told(&opposite, true, true), (0, "192.0.2.1:3478".into()));
        assert_eq!(opposite.other(), Some("192.0.2.1:3478".parse().unwrap()));
    }

    #[test]
    fn sockets_of_every_address_go_by_where_the_request_came_to() {
        let peer = PEER.parse().unwrap();
        let vantages = of_every_address();
        let first = vantages.at(0, Some(ip("::ffff:10.0.0.1")), peer);
        assert_eq!(told(&first, true, true), (1, "192.0.2.2:3479".into()));
        let place = first.place(true, true).unwrap();
        assert_eq!(place.from, Some(ip("::ffff:10.0.0.2")));
        let second = vantages.at(1, Some(ip("::ffff:10.0.0.2")), peer);
        assert_eq!(told(&second, true, true), (0, "192.0.2.1:3478".into()));
        // A third address of the host answers for itself.
        let third = vantages.at(0, Some(ip("::ffff:10.0.0.3")), peer);
        assert_eq!(told(&third, false, true), (1, "10.0.0.3:3479".into()));
        assert_eq!(told(&third, true, false), (0, "192.0.2.2:3478".into()));
    }

    #[test]
    fn without_a_second_address_there_is_only_the_other_port_and_nothing_to_tell() {
        let mut vantages = with_own_sockets();
        vantages.0[0].second = None;
        let vantage = vantages.at(0, Some(ip("10.0.0.1")), PEER.parse().unwrap());
        assert!(vantage.place(true, false).is_none() && vantage.place(true, true).is_none());
        assert_eq!(vantage.place(false, true).unwrap().socket, 1);
        let here = vantage.place(false, false).unwrap();
        assert_eq!((vantage.other(), vantage.origin(here)), (None, None));
        let six: SocketAddr = "[2001:db8::9]:4000".parse().unwrap();
        assert!(vantages.at(0, None, six).place(false, true).is_none());
    }

    #[test]
    fn peers_are_told_of_the_address_that_they_have_not_reached() {
        let peer = PEER.parse().unwrap();
        let vantages = of_every_address();
        let texts = |socket, at: &str| -> Vec<String> {
            let further = vantages.further(socket, Some(ip(at)), peer);
            further.iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts(0, "10.0.0.1"), ["192.0.2.2:3478", "192.0.2.2:3479"]);
        assert_eq!(texts(0, "10.0.0.2"), ["192.0.2.1:3478", "192.0.2.1:3479"]);
    }
}
