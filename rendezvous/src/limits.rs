//! What the rendezvous gives away before it says no: every bound on what a peer, or a stranger, can make it
//! remember, send or compute, with its default.
//!
//! The tools that enforce rates are here too. They take the time as an argument and hold a bounded amount of
//! state, whoever knocks.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    net::IpAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::address::network;

use crate::address_prefixes::{Network, networks};

/// How often something may happen: `per_minute` in the long run, `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many at once, after a rest.
    pub burst: u32,
    /// How many a minute in the long run.
    pub per_minute: u32,
}

impl Rate {
    const fn new(burst: u32, per_minute: u32) -> Self {
        Self { burst, per_minute }
    }

    /// How long one of them takes to come back.
    fn interval(self) -> Duration {
        Duration::from_secs(60) / self.per_minute.max(1)
    }

    /// So many times as many.
    fn times(self, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            burst: self.burst.saturating_mul(count),
            per_minute: self.per_minute.saturating_mul(count),
        }
    }
}

/// Every limit of the rendezvous. `Default` serves a public host of a small team or company.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Control connections in all, over QUIC and TCP.
    pub connections: usize,
    /// Of those, and of legs over TCP, as many as there are file descriptors for. QUIC needs none.
    pub tcp_connections: usize,
    /// Control connections from one address (one /64 of IPv6; twice as many from a /56, four times from a /48). An
    /// office or a carrier's NAT is one address.
    pub connections_per_address: usize,
    /// Handshakes in flight over QUIC, and as many over TCP, up to the hello; further ones are refused, or take the
    /// place of one that is silent.
    pub handshakes: usize,
    /// Of those, from one address that is proved (one /64 of IPv6; twice as many from a /56, four times from a /48).
    pub handshakes_per_address: usize,
    /// Handshakes in flight above which a newcomer must first prove its address (QUIC Retry), which costs it
    /// a round trip and the rendezvous nothing.
    pub handshakes_unproven: usize,
    /// How long a connection over TCP may take to say its first byte.
    pub first_byte_within: Duration,
    /// How long a handshake may take, and after it the greeting.
    pub greeting_within: Duration,
    /// How long a peer without a key or voucher may have no session and ask for none, before it makes room for another
    /// if there is none left.
    pub keyless_rest: Duration,
    /// How long a connection lasts in silence, of the rendezvous protocol or a leg over TCP. Peers keep theirs alive
    /// every 15 s or so; a shorter limit finds lost peers sooner, a longer one spares them a new registration after an
    /// outage.
    pub idle: Duration,
    /// Messages from one connection; one that sends faster is closed.
    pub messages: Rate,
    /// Signals from one connection, besides the limit on messages.
    pub signals: Rate,
    /// Bytes that one member of a session may say to the other before both have confirmed.
    pub unconfirmed_bytes: usize,
    /// Bytes waiting to be sent on one control connection; a peer that reads more slowly is dropped.
    pub outgoing_bytes: usize,
    /// Bytes waiting to be sent of what peers say on the account of one key, besides 4 KiB for each member of a
    /// session; a session in which more is said ends.
    pub outgoing_bytes_per_key: usize,
    /// Greetings with a wrong access key and joins, per address (one /64 of IPv6; twice as many from a /56, four times
    /// from a /48).
    pub joins: Rate,
    /// How many joins one costs that finds nobody: guessing nameplates burns other people's codes.
    pub join_miss_cost: u32,
    /// Nameplates in all, out of the 900,000 that there are.
    pub nameplates: usize,
    /// Of those, for all who hold one access key; a key may have a lower limit of its own.
    pub nameplates_per_key: usize,
    /// Nameplates that one connection holds at a time.
    pub nameplates_per_connection: usize,
    /// New nameplates for one address (one /64 of IPv6; twice as many from a /56, four times from a /48), and at once
    /// as many as it may have connections. Each pushes another one out of the memory of those that have ended; who
    /// comes back for its own needs no new one.
    pub new_nameplates_per_minute: u32,
    /// How long a nameplate is valid.
    pub nameplate_lifetime: Duration,
    /// How long a nameplate at which somebody joined is kept for that pairing alone, and how long a session lasts whose
    /// members have not confirmed it.
    pub pairing_within: Duration,
    /// Nameplates whose end is remembered, so that a late join is told what became of them.
    pub ended_nameplates: usize,
    /// How long after its start a rendezvous that has served before takes an unknown nameplate for one whose listener
    /// has not come back yet, and how long one whose listener was lost. Listeners send every 20 s, notice after 25 s of
    /// silence at the latest, and then dial.
    pub return_within: Duration,
    /// How many peers are told to come back in a second when the rendezvous stops: about a third of what a core can
    /// shake hands with, and so many that all that there may be are back within `return_within`.
    pub returns_per_second: u32,
    /// Peers waiting at handles, in all.
    pub waiting: usize,
    /// Of those, peers by one access key, or by a voucher under it, who leave a quarter of that to the others.
    pub waiting_per_key: usize,
    /// Handles at which one connection waits.
    pub waiting_per_connection: usize,
    /// How long a voucher lets its holder wait at handles. Each session that both members confirm brings a new one.
    pub voucher_lifetime: Duration,
    /// Sessions at once, in all.
    pub sessions: usize,
    /// Sessions at once of one connection.
    pub sessions_per_connection: usize,
    /// Sessions of all who hold one access key together; a key may have a lower limit of its own.
    pub sessions_per_key: usize,
    /// Sessions of one voucher, or of peers without either from one address (one /64 of IPv6).
    pub sessions_per_voucher: usize,
    /// What all sessions together may send through the relay, in megabits a second. When they want more, each gets a
    /// fair share.
    pub relay_mbit: Option<u64>,
    /// How long a leg of the relay stays bound without a datagram from its member.
    pub leg_idle: Duration,
    /// How long the legs of a session outlive it when a member was lost rather than left: its datagrams may
    /// still pass, and a new session takes them over.
    pub leg_linger: Duration,
    /// Bytes waiting for a member of the relay who is reached over TCP; what comes on top is dropped, as by a router.
    pub leg_queue_bytes: usize,
    /// The same of all legs of one key, besides 16 KiB for each.
    pub leg_queue_bytes_per_key: usize,
    /// Files of an offer that one address (one /64 of IPv6; twice as many from a /56, four times from a /48) may fetch:
    /// a host takes two, and an office is one address.
    pub downloads: Rate,
    /// Files of an offer that are being fetched at once, by all.
    pub downloads_at_once: usize,
    /// Of those, by one address (one /64 of IPv6; twice as many by a /56 or a /48).
    pub downloads_at_once_per_address: usize,
    /// STUN answers that are longer than their request, per address (one /64 of IPv6): a request with next to
    /// no attributes gets one, and then the shortest there is.
    pub stun_bare: Rate,
    /// The same for all addresses together, since a source can be forged.
    pub stun_bare_total: Rate,
    /// STUN answers from another address or port than was asked, or to another port than asked, per address (one
    /// /64 of IPv6). One look at a NAT takes four; measuring how long it keeps a mapping, some sixty.
    pub stun_elsewhere: Rate,
    /// Datagrams of QUIC beyond three times what came, per address that no handshake has proved (one /64 of IPv6). A
    /// peer that goes on from another address or port takes one, and some when it is told much there.
    pub moved: Rate,
    /// The same for all addresses together, since a source can be forged.
    pub moved_total: Rate,
}

impl Limits {
    /// How often an address is given a new nameplate.
    pub(crate) fn new_nameplates(&self) -> Rate {
        let burst = u32::try_from(self.connections_per_address).unwrap_or(u32::MAX);
        Rate::new(burst, self.new_nameplates_per_minute)
    }
}

/// How much of a resource those without the access key may take together: the last quarter is kept for those who have
/// it. Of three or fewer nothing is.
pub(crate) fn unreserved(whole: usize) -> usize {
    whole - whole / 4
}

/// How many of `whole` one key may have, of which a key that is alone may have `most`, and `others` have so many: of
/// what these leave it has the same part. So however many keys take all that they may, there is room for one more.
pub(crate) fn share_of_one(whole: usize, most: usize, others: usize) -> usize {
    let (most, left) = (most.min(whole) as u128, whole.saturating_sub(others));
    let share = (most * left as u128).div_ceil(whole.max(1) as u128);
    usize::try_from(share).unwrap_or(usize::MAX)
}

impl Default for Limits {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            connections: 16_384,
            tcp_connections: usize::MAX,
            connections_per_address: 256,
            handshakes: 512,
            handshakes_per_address: 32,
            handshakes_unproven: 64,
            first_byte_within: Duration::from_secs(2),
            greeting_within: Duration::from_secs(10),
            keyless_rest: Duration::from_secs(60),
            idle: Duration::from_secs(120),
            messages: Rate::new(512, 6_000),
            signals: Rate::new(256, 3_000),
            unconfirmed_bytes: 48 * 1024,
            outgoing_bytes: 128 * 1024,
            outgoing_bytes_per_key: 16 * 1024 * 1024,
            joins: Rate::new(15, 30),
            join_miss_cost: 5,
            nameplates: 50_000,
            nameplates_per_key: 25_000,
            nameplates_per_connection: 8,
            new_nameplates_per_minute: 600,
            nameplate_lifetime: day,
            pairing_within: Duration::from_secs(60),
            ended_nameplates: 65_536,
            return_within: Duration::from_secs(60),
            returns_per_second: 300,
            waiting: 65_536,
            waiting_per_key: 32_768,
            waiting_per_connection: 64,
            voucher_lifetime: day * 30,
            sessions: 16_384,
            sessions_per_connection: 64,
            sessions_per_key: 8_192,
            sessions_per_voucher: 64,
            relay_mbit: None,
            leg_idle: Duration::from_secs(300),
            leg_linger: Duration::from_secs(300),
            leg_queue_bytes: 128 * 1024,
            leg_queue_bytes_per_key: 64 * 1024 * 1024,
            downloads: Rate::new(20, 12),
            downloads_at_once: 32,
            downloads_at_once_per_address: 8,
            stun_bare: Rate::new(8, 60),
            stun_bare_total: Rate::new(400, 6_000),
            stun_elsewhere: Rate::new(40, 300),
            moved: Rate::new(64, 60),
            moved_total: Rate::new(400, 1_200),
        }
    }
}

/// An address as limits count it: an IPv4 address, or the /64 of an IPv6 one, which one host commands whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Prefix(IpAddr);

impl Prefix {
    /// The address, or the first one of its /64.
    pub(crate) fn ip(self) -> IpAddr {
        self.0
    }

    pub(crate) fn of(ip: IpAddr) -> Self {
        Self(network(ip, 64))
    }
}

/// A token bucket, as the instant at which it is full again (the "generic cell rate algorithm").
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes `cost` tokens.
    ///
    /// # Errors
    /// How long until there are enough; nothing is taken then.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant, cost: u32) -> Result<(), Duration> {
        let capacity = rate.interval() * rate.burst.max(1);
        let missing = self.missing(now) + rate.interval() * cost;
        if missing > capacity {
            return Err(missing - capacity);
        }
        self.full_at = Some(now + missing);
        Ok(())
    }

    /// Takes up to `cost` tokens: what is not there is not owed.
    pub(crate) fn charge(&mut self, rate: Rate, now: Instant, cost: u32) {
        let capacity = rate.interval() * rate.burst.max(1);
        self.full_at = Some(now + (self.missing(now) + rate.interval() * cost).min(capacity));
    }

    /// Takes `cost` tokens, and owes what is not there, for `most` at the most.
    fn owe(&mut self, rate: Rate, now: Instant, cost: u32, most: Duration) {
        let capacity = rate.interval() * rate.burst.max(1);
        let missing = self.missing(now) + rate.interval() * cost;
        self.full_at = Some(now + missing.min(capacity + most));
    }

    fn missing(&self, now: Instant) -> Duration {
        self.full_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.missing(now).is_zero()
    }
}

/// Buckets for as many addresses as there is room for: one of each network that an address is in, of which a wider one
/// holds more ([`networks`]), so that who commands a /48 gets no more than four times as much as one address. Networks
/// whose bucket is full again are forgotten; when none is, newcomers wait.
#[derive(Debug)]
pub(crate) struct AddressBuckets {
    buckets: HashMap<Network, Bucket>,
    capacity: usize,
}

impl AddressBuckets {
    /// For so many networks.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            buckets: HashMap::new(),
            capacity,
        }
    }

    /// As [`Bucket::take`], from the buckets of all networks that this address is in, or from none.
    pub(crate) fn take(
        &mut self,
        ip: IpAddr,
        rate: Rate,
        now: Instant,
        cost: u32,
    ) -> Result<(), Duration> {
        for (network, times) in networks(ip) {
            let mut bucket = self.buckets.get(&network).copied().unwrap_or_default();
            bucket.take(rate.times(times), now, cost)?;
        }
        if !self.has_room(ip, now) {
            return Err(rate.interval());
        }
        for (network, times) in networks(ip) {
            let bucket = self.buckets.entry(network).or_default();
            bucket.take(rate.times(times), now, cost)?;
        }
        Ok(())
    }

    /// As [`Bucket::charge`], on the buckets of this address.
    pub(crate) fn charge(&mut self, ip: IpAddr, rate: Rate, now: Instant, cost: u32) {
        for (network, times) in self.known(ip, now) {
            let bucket = self.buckets.entry(network).or_default();
            bucket.charge(rate.times(times), now, cost);
        }
    }

    /// Takes `cost` tokens from the buckets of this address, which owe what is not there, for `most` at the most.
    pub(crate) fn owe(&mut self, ip: IpAddr, rate: Rate, now: Instant, cost: u32, most: Duration) {
        for (network, times) in self.known(ip, now) {
            let bucket = self.buckets.entry(network).or_default();
            bucket.owe(rate.times(times), now, cost, most);
        }
    }

    /// The networks of this address, as far as there are buckets for them or room for more.
    fn known(&mut self, ip: IpAddr, now: Instant) -> Vec<(Network, usize)> {
        let has_room = self.has_room(ip, now);
        let known = |(network, _): &(Network, usize)| self.buckets.contains_key(network);
        networks(ip)
            .filter(|share| has_room || known(share))
            .collect()
    }

    /// Whether there is room for the networks of this address, once those have been forgotten that have rested.
    fn has_room(&mut self, ip: IpAddr, now: Instant) -> bool {
        let fits = |buckets: &HashMap<Network, Bucket>| {
            let new = networks(ip).filter(|(network, _)| !buckets.contains_key(network));
            match new.count() {
                0 => true,
                new => buckets.len() + new <= self.capacity,
            }
        };
        if fits(&self.buckets) {
            return true;
        }
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
        fits(&self.buckets)
    }
}

/// A fixed number of buckets that addresses share by a keyed hash: for sources that can be forged, where a
/// table of addresses would be the attacker's to fill. Addresses that fall together share their tokens.
#[derive(Debug)]
pub(crate) struct HashedBuckets {
    buckets: Box<[Bucket]>,
    hasher: RandomState,
}

impl HashedBuckets {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            buckets: vec![Bucket::default(); count.max(1)].into(),
            hasher: RandomState::new(),
        }
    }

    /// As [`Bucket::take`], from the bucket that this address shares with some others.
    pub(crate) fn take(&mut self, ip: IpAddr, rate: Rate, now: Instant) -> Result<(), Duration> {
        let hash = self.hasher.hash_one(Prefix::of(ip));
        // The remainder is below the length, which is a usize.
        let index = (hash % self.buckets.len() as u64) as usize;
        self.buckets[index].take(rate, now, 1)
    }
}

/// Counts what each account holds, and forgets accounts that hold nothing.
#[derive(Debug)]
pub(crate) struct Tally<K>(HashMap<K, usize>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Tally<K> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn of(&self, account: &K) -> usize {
        self.0.get(account).copied().unwrap_or_default()
    }

    /// What each holds that holds something.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, usize)> {
        self.0.iter().map(|(account, count)| (account, *count))
    }

    pub(crate) fn add(&mut self, account: K) {
        *self.0.entry(account).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, account: &K) {
        if let Some(count) = self.0.get_mut(account) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(3, 60);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let now = Instant::now();
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert_eq!(bucket.take(RATE, now, 1), Ok(()));
        }
        assert_eq!(bucket.take(RATE, now, 1), Err(Duration::from_secs(1)));
        let later = now + Duration::from_secs(1);
        assert_eq!(bucket.take(RATE, later, 1), Ok(()));
        assert_eq!(bucket.take(RATE, later, 1), Err(Duration::from_secs(1)));
    }

    #[test]
    fn a_charge_empties_a_bucket_but_never_below_empty() {
        let now = Instant::now();
        let mut bucket = Bucket::default();
        bucket.charge(RATE, now, 100);
        assert_eq!(bucket.take(RATE, now, 1), Err(Duration::from_secs(1)));
    }

    #[test]
    fn addresses_are_counted_by_the_64_of_ipv6_and_as_themselves_when_mapped() {
        assert_eq!(
            Prefix::of(ip("2001:db8::1")),
            Prefix::of(ip("2001:db8::ffff:2"))
        );
        assert_ne!(
            Prefix::of(ip("2001:db8::1")),
            Prefix::of(ip("2001:db8:0:1::1"))
        );
        assert_eq!(
            Prefix::of(ip("::ffff:192.0.2.1")),
            Prefix::of(ip("192.0.2.1"))
        );
        assert_ne!(Prefix::of(ip("192.0.2.1")), Prefix::of(ip("192.0.2.2")));
    }

    #[test]
    fn neighbours_in_a_wider_network_share_some_times_as_much_as_one() {
        let now = Instant::now();
        let passed = |addresses: &[String]| {
            let mut table = AddressBuckets::new(1_000);
            let each = addresses.iter().cycle().take(100);
            each.filter(|address| table.take(ip(address), RATE, now, 1).is_ok())
                .count()
        };
        let of = |form: fn(u32) -> String| (0..50).map(form).collect::<Vec<_>>();
        assert_eq!(passed(&of(|n| format!("2001:db8:1:200::{n:x}"))), 3);
        assert_eq!(passed(&of(|n| format!("2001:db8:1:2{n:02x}::1"))), 6);
        assert_eq!(passed(&of(|n| format!("2001:db8:1:{n:02x}00::1"))), 12);
        assert_eq!(passed(&of(|n| format!("2001:db8:{n:x}::1"))), 100);
        assert_eq!(passed(&of(|n| format!("192.0.2.{n}"))), 100);
    }

    #[test]
    fn debts_and_charges_hold_for_the_wider_networks_too() {
        let now = Instant::now();
        let mut table = AddressBuckets::new(1_000);
        for n in 0..4 {
            let ip = ip(&format!("2001:db8:1:{n:x}00::1"));
            table.charge(ip, RATE, now, 3);
        }
        let fifth = ip("2001:db8:1:ff00::1");
        assert!(table.take(fifth, RATE, now, 1).is_err());
        let second = Duration::from_secs(1);
        assert!(table.take(fifth, RATE, now + second, 1).is_ok());
        table.owe(fifth, RATE, now + second, 100, second * 2);
        let ninth = ip("2001:db8:1:9900::1");
        assert!(table.take(ninth, RATE, now + second * 2, 1).is_err());
    }

    #[test]
    fn who_commands_a_wide_network_fills_the_table_no_more_than_its_own_part() {
        let now = Instant::now();
        let mut table = AddressBuckets::new(100);
        for n in 0..1_000 {
            let _ = table.take(ip(&format!("2001:db8:1:{n:x}::1")), RATE, now, 1);
        }
        assert!(table.take(ip("192.0.2.1"), RATE, now, 1).is_ok());
    }

    #[test]
    fn a_full_table_of_addresses_forgets_the_rested_and_makes_the_rest_wait() {
        let now = Instant::now();
        let mut table = AddressBuckets::new(2);
        assert!(table.take(ip("192.0.2.1"), RATE, now, 1).is_ok());
        assert!(table.take(ip("192.0.2.2"), RATE, now, 1).is_ok());
        assert!(table.take(ip("192.0.2.3"), RATE, now, 1).is_err());
        let rested = now + Duration::from_secs(1);
        assert!(table.take(ip("192.0.2.3"), RATE, rested, 1).is_ok());
        assert!(table.buckets.len() <= 2);
    }

    #[test]
    fn hashed_buckets_hold_back_an_address_and_keep_their_size() {
        let now = Instant::now();
        let mut buckets = HashedBuckets::new(1);
        for n in 1..=3 {
            assert!(buckets.take(ip(&format!("192.0.2.{n}")), RATE, now).is_ok());
        }
        assert!(buckets.take(ip("192.0.2.4"), RATE, now).is_err());
        assert_eq!(buckets.buckets.len(), 1);
    }

    #[test]
    fn keys_that_take_all_they_may_leave_room_for_one_more() {
        let mut taken = 0;
        for _ in 0..12 {
            let share = share_of_one(50_000, 25_000, taken);
            assert!(share > 0);
            taken += share;
        }
        assert!(taken < 50_000, "{taken}");
        // Who is alone has what the operator says, if it is all.
        assert_eq!(share_of_one(100, 100, 0), 100);
        assert_eq!(share_of_one(100, 1_000, 30), 70);
        assert_eq!(share_of_one(2, 1, 1), 1);
        assert_eq!(share_of_one(2, 1, 3), 0);
        assert_eq!(share_of_one(0, 1, 0), 0);
    }

    #[test]
    fn a_tally_forgets_accounts_that_hold_nothing() {
        let mut tally = Tally::new();
        tally.add("a");
        tally.add("a");
        tally.remove(&"a");
        assert_eq!(tally.of(&"a"), 1);
        tally.remove(&"a");
        tally.remove(&"a");
        assert!(tally.is_empty());
    }
}
