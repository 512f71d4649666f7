//! The addresses of a network, handed out in order.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU8, Ordering},
};

use crate::Error;

/// The first host's last octet: room below for a gateway and for addresses that a test sets.
const FIRST: u8 = 10;

/// A /24, the /64 that belongs to it, and the next free address.
#[derive(Debug)]
pub(crate) struct Plan {
    v4: [u8; 3],
    /// The fourth group of 2001:db8:0:_::/64.
    v6: Option<u16>,
    next: AtomicU8,
}

/// The addresses of one node on one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Option<Ipv6Addr>,
}

/// The two ends of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Node,
    Router,
}

impl Pair {
    /// A locally administered MAC address for one end of the link that these addresses belong to.
    pub(crate) fn mac(&self, side: Side) -> String {
        let [a, b, c, d] = self.v4.octets();
        let side = match side {
            Side::Node => 0x0a,
            Side::Router => 0x0b,
        };
        format!("02:{side:02x}:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }
}

impl Plan {
    pub(crate) fn new(v4: [u8; 3], v6: Option<u16>) -> Self {
        Self {
            v4,
            v6,
            next: AtomicU8::new(FIRST),
        }
    }

    /// The /24, as `ip` and `nft` write it.
    pub(crate) fn prefix4(&self) -> String {
        format!("{}/24", self.at(0).v4)
    }

    /// The /64 of its IPv6 addresses, if it has any.
    pub(crate) fn prefix6(&self) -> Option<String> {
        self.at(0).v6.map(|v6| format!("{v6}/64"))
    }

    /// The addresses of the router in this network.
    pub(crate) fn gateway(&self) -> Pair {
        self.at(1)
    }

    /// The next addresses that nobody has.
    pub(crate) fn next(&self) -> Result<Pair, Error> {
        let host = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                (next < u8::MAX).then(|| next + 1)
            })
            .map_err(|_| Error::Exhausted {
                network: self.prefix4(),
            })?;
        Ok(self.at(host))
    }

    fn at(&self, host: u8) -> Pair {
        let [a, b, c] = self.v4;
        Pair {
            v4: Ipv4Addr::new(a, b, c, host),
            v6: self
                .v6
                .map(|net| Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, host.into())),
        }
    }
}
