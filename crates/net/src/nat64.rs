//! How IPv4 is reached from a network that has none: by the addresses that its NAT64 (RFC 6146) translates.
//!
//! Such a network's DNS64 answers for a name that has IPv4 alone with an IPv6 address that holds the IPv4 one (RFC
//! 6052). Addresses that come without a name (a peer's, a STUN server's, a literal in a URL) have to be put together
//! here. The prefix that this takes is read from what the resolver says of `ipv4only.arpa` (RFC 7050): looked up only
//! by a host that has no route to IPv4, when it first needs one and whenever its network has changed.
//!
//! Left out: the prefix in router advertisements (RFC 8781), which only the system sees; and several prefixes at once,
//! of which the first is taken. A host with IPv4 routes, but none by default, counts as one without IPv4.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use p2pdbg_proto::address::Reach;
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, timeout},
};

use super::route;

/// The name that has IPv4 addresses alone (RFC 7050 section 2.2).
const NAME: &str = "ipv4only.arpa";

/// The addresses of that name: what a NAT64 makes of them shows its prefix.
const WELL_KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];

/// The prefix that is nobody's own; it does not stand for addresses that are not global (RFC 6052 section 3.1).
const COMMON: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// The lengths of prefixes, in bytes (RFC 6052 section 2.2).
const LENGTHS: [usize; 6] = [12, 8, 7, 6, 5, 4];

/// The byte that is zero and no part of the IPv4 address.
const RESERVED: usize = 8;

/// How long the resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was looked up a moment ago is not looked up again by the next connection.
const FRESH: Duration = Duration::from_secs(1);

/// The prefix of a NAT64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    octets: [u8; 16],
    /// Its length, in bytes: 4 to 12 (RFC 6052 section 2.2).
    length: usize,
}

impl Prefix {
    /// Reads it from an address of `ipv4only.arpa`; none if that holds no IPv4 address of the name.
    fn of(address: Ipv6Addr) -> Option<Self> {
        if address.to_ipv4_mapped().is_some() {
            return None;
        }
        let whole = address.octets();
        LENGTHS.into_iter().find_map(|length| {
            let mut octets = [0; 16];
            octets[..length].copy_from_slice(&whole[..length]);
            let prefix = Self { octets, length };
            let found = WELL_KNOWN.iter().any(|v4| prefix.embed(*v4) == address);
            found.then_some(prefix)
        })
    }

    /// Where the IPv4 address stands.
    fn places(self) -> impl Iterator<Item = usize> {
        (self.length..16).filter(|at| *at != RESERVED).take(4)
    }

    /// The address by which an IPv4 address is reached.
    fn embed(self, address: Ipv4Addr) -> Ipv6Addr {
        let mut octets = self.octets;
        for (at, octet) in self.places().zip(address.octets()) {
            octets[at] = octet;
        }
        octets.into()
    }

    /// The IPv4 address that is reached by this one, if it is of this prefix.
    fn extract(self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let whole = address.octets();
        let mut octets = [0; 4];
        for (octet, at) in octets.iter_mut().zip(self.places()) {
            *octet = whole[at];
        }
        let found = octets.into();
        (self.embed(found) == address).then_some(found)
    }

    /// Whether the NAT64 may be asked for this address.
    fn covers(self, address: Ipv4Addr) -> bool {
        match Reach::of(address.into()) {
            Reach::Nobody | Reach::ThisHost | Reach::Link => false,
            // RFC 6052 section 3.1.
            Reach::Site | Reach::Carrier => self.octets != COMMON.octets(),
            Reach::Benchmark | Reach::Internet => true,
        }
    }
}

/// What this host knows of the NAT64 in front of it. Clones know the same.
#[derive(Debug, Clone, Default)]
pub struct Nat64(Arc<Known>);

#[derive(Debug)]
struct Known {
    /// None while this host has IPv4, or knows no prefix.
    prefix: watch::Sender<Option<Prefix>>,
    /// When the resolver answered; held while it is asked.
    answered: Mutex<Option<Instant>>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            prefix: watch::Sender::new(None),
            answered: Mutex::new(None),
        }
    }
}

impl Nat64 {
    /// The address to which a connection is made that is for `to`: another one only if the system has no route to it.
    pub async fn target(&self, to: SocketAddr) -> SocketAddr {
        let SocketAddr::V4(v4) = to else {
            return to;
        };
        if route::leads_to(to) {
            return to;
        }
        self.look_within(FRESH).await;
        let translated = self.translate(v4);
        translated.unwrap_or(to)
    }

    /// On a network with a NAT64 at the common prefix.
    #[cfg(test)]
    pub(crate) fn of_common_prefix() -> Self {
        let (octets, length) = (COMMON.octets(), 12);
        let nat64 = Self::default();
        nat64.learn(Some(Prefix { octets, length }));
        nat64
    }

    /// The address by which an IPv4 address is reached; none while this host has IPv4, or knows no prefix.
    pub fn translate(&self, to: SocketAddrV4) -> Option<SocketAddr> {
        let prefix = (*self.0.prefix.borrow()).filter(|prefix| prefix.covers(*to.ip()))?;
        Some((prefix.embed(*to.ip()), to.port()).into())
    }

    /// Who it is that sends from this address.
    pub fn translate_back(&self, from: SocketAddr) -> Option<SocketAddr> {
        let prefix = (*self.0.prefix.borrow())?;
        match from.ip() {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some((prefix.extract(v6)?, from.port()).into()),
        }
    }

    /// Whether IPv4 is reached by translation now.
    pub fn is_used(&self) -> bool {
        self.0.prefix.borrow().is_some()
    }

    /// Looks at the network again, as it may be another one.
    pub async fn look_again(&self) {
        self.look_within(Duration::ZERO).await;
    }

    /// Tells when something else is known than before.
    pub fn subscribe(&self) -> watch::Receiver<Option<Prefix>> {
        self.0.prefix.subscribe()
    }

    async fn look_within(&self, fresh: Duration) {
        let mut answered = self.0.answered.lock().await;
        if route::leads_to((WELL_KNOWN[0], 9).into()) {
            self.learn(None);
            *answered = None;
            return;
        }
        if answered.is_some_and(|at| at.elapsed() < fresh) {
            return;
        }
        // What is known stays as long as nobody says otherwise.
        match timeout(PATIENCE, tokio::net::lookup_host((NAME, 0))).await {
            Ok(Ok(found)) => {
                let prefix = found
                    .filter_map(|address| match address.ip() {
                        IpAddr::V4(_) => None,
                        IpAddr::V6(v6) => Prefix::of(v6),
                    })
                    .next();
                *answered = Some(Instant::now());
                self.learn(prefix);
            }
            Ok(Err(error)) => tracing::debug!(%error, "no answer about a NAT64"),
            Err(_) => tracing::debug!("no answer about a NAT64 in time"),
        }
    }

    fn learn(&self, prefix: Option<Prefix>) {
        let changed = self.0.prefix.send_if_modified(|known| {
            let changed = *known != prefix;
            *known = prefix;
            changed
        });
        match prefix {
            Some(prefix) if changed => {
                let (address, bits) = (Ipv6Addr::from(prefix.octets), prefix.length * 8);
                tracing::info!("no IPv4 here: it is reached through the NAT64 at {address}/{bits}");
            }
            None if changed => tracing::info!("IPv4 is reached through a NAT64 no more"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6052 section 2.4, and the common prefix.
    const EXAMPLES: [(&str, usize, &str); 7] = [
        ("2001:db8::", 4, "2001:db8:c000:221::"),
        ("2001:db8:100::", 5, "2001:db8:1c0:2:21::"),
        ("2001:db8:122::", 6, "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::", 7, "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::", 8, "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::", 12, "2001:db8:122:344::192.0.2.33"),
        ("64:ff9b::", 12, "64:ff9b::192.0.2.33"),
    ];

    fn prefix((octets, length, _): (&str, usize, &str)) -> Prefix {
        let octets = octets.parse::<Ipv6Addr>().unwrap().octets();
        Prefix { octets, length }
    }

    #[test]
    fn addresses_are_put_together_and_taken_apart_as_the_standard_has_it() {
        let v4 = Ipv4Addr::new(192, 0, 2, 33);
        for example in EXAMPLES {
            let v6: Ipv6Addr = example.2.parse().unwrap();
            let prefix = prefix(example);
            assert_eq!(prefix.embed(v4), v6);
            assert_eq!(prefix.extract(v6), Some(v4));
            assert_eq!(prefix.extract("2001:db9::1".parse().unwrap()), None);
        }
    }

    #[test]
    fn a_prefix_is_read_from_either_address_of_the_name() {
        for example in EXAMPLES {
            for v4 in WELL_KNOWN {
                let prefix = prefix(example);
                assert_eq!(Prefix::of(prefix.embed(v4)), Some(prefix));
            }
        }
        for other in ["2001:db8::1", "::ffff:192.0.0.170", "64:ff9b::192.0.0.172"] {
            assert_eq!(Prefix::of(other.parse().unwrap()), None, "{other}");
        }
    }

    #[test]
    fn what_is_local_is_not_translated() {
        let nat64 = Nat64::default();
        let translated = |address: &str| {
            let to = SocketAddrV4::new(address.parse().unwrap(), 7);
            nat64.translate(to).is_some()
        };
        assert!(!translated("192.0.2.33"));
        nat64.learn(Some(prefix(EXAMPLES[6])));
        assert!(translated("192.0.2.33"));
        for local in ["127.0.0.1", "169.254.1.1", "192.168.1.1", "100.64.0.1"] {
            assert!(!translated(local), "{local}");
        }
        nat64.learn(Some(prefix(EXAMPLES[5])));
        assert!(translated("192.168.1.1") && !translated("127.0.0.1"));
    }

    #[tokio::test]
    async fn an_address_with_a_route_is_left_as_it_is() {
        let nat64 = Nat64::default();
        nat64.learn(Some(prefix(EXAMPLES[5])));
        for address in ["127.0.0.1:7", "[::1]:7", "[2001:db8::1]:7"] {
            let to = address.parse().unwrap();
            assert_eq!(nat64.target(to).await, to);
        }
    }
}
