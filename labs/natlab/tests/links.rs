//! Shaped links do to packets what they are told to.
#![cfg(target_os = "linux")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use common::{Udp, eventually};
use p2pdbg_natlab::{Cable, Corruption, Error, Host, Impairments, Lab, Link};

const BATCH: u32 = 50;

/// A host on a shaped link that sends, and one on a veth that receives.
struct Bench {
    link: Link,
    sender: Udp,
    receiver: Udp,
    to: SocketAddr,
    host: Host,
    peer: Host,
    _lab: Lab,
}

impl Bench {
    fn new() -> Result<Option<Self>, Error> {
        let Some(lab) = Lab::new_or_skip("links") else {
            return Ok(None);
        };
        let net = lab.internet()?;
        let host = net.host("host")?;
        let peer = net.with_cable(Cable::Veth).host("peer")?;
        let (sender, receiver) = (Udp::new(&host)?, Udp::new(&peer)?);
        Ok(Some(Self {
            link: host.link(),
            to: (peer.ip(), receiver.port()).into(),
            sender,
            receiver,
            host,
            peer,
            _lab: lab,
        }))
    }

    /// Sends numbered datagrams over the impaired link; gives all that arrived, in their order.
    fn send(&self, count: u32, how: Impairments) -> Result<Vec<Vec<u8>>, Error> {
        let mut arrived = Vec::new();
        for start in (0..count).step_by(BATCH as usize) {
            // Not more at once than a socket buffer holds.
            self.link.impair_up(how)?;
            let before = self.link.counters()?.0.received;
            for number in start..start + BATCH {
                let payload = [&number.to_be_bytes(), &[0; 96][..]].concat();
                self.sender.send(&payload, self.to);
            }
            eventually(|| {
                let up = self.link.counters().unwrap().0;
                let gone = up.forwarded - up.duplicated + up.lost + up.overflowed + up.too_big;
                up.received >= before + u64::from(BATCH) && gone == up.received
            });
            self.link.impair_up(Impairments::NONE)?;
            self.sender.send(b"last", self.to);
            arrived.extend(self.receiver.recv_until(b"last"));
        }
        Ok(arrived)
    }
}

fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

#[test]
fn a_perfect_link_carries_everything_in_order() -> Result<(), Error> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    let arrived = bench.send(1000, Impairments::NONE)?;
    let numbers: Vec<u32> = arrived.iter().map(|payload| number(payload)).collect();
    assert_eq!(numbers, (0..1000).collect::<Vec<u32>>());
    Ok(())
}

#[test]
fn a_delay_is_never_shorter_than_asked_in_either_direction() -> Result<(), Error> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    let (up, down) = (Duration::from_millis(10), Duration::from_millis(25));
    bench.link.impair_up(Impairments::delayed(up))?;
    bench.link.impair_down(Impairments::delayed(down))?;
    for _ in 0..5 {
        let start = Instant::now();
        bench.sender.send(b"ping", bench.to);
        let (_, from) = bench.receiver.recv();
        let there = start.elapsed();
        bench.receiver.send(b"pong", from);
        bench.sender.recv();
        let and_back = start.elapsed();
        assert!(there >= up, "{there:?}");
        assert!(and_back >= there + down, "{there:?} {and_back:?}");
        println!("{there:?} there, {and_back:?} and back");
    }
    Ok(())
}

#[test]
fn a_lossy_link_loses_its_share_and_counts_it() -> Result<(), Error> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    let arrived = bench.send(2000, Impairments::NONE.with_loss(0.2))?;
    let lost = bench.link.counters()?.0.lost;
    assert_eq!(arrived.len() as u64, 2000 - lost);
    assert!((300..500).contains(&lost), "{lost} of 2000 at 0.2");
    Ok(())
}

#[test]
fn a_duplicating_link_sends_its_share_twice() -> Result<(), Error> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    let arrived = bench.send(2000, Impairments::NONE.with_duplication(0.1))?;
    let mut copies = BTreeMap::<u32, u64>::new();
    for payload in &arrived {
        *copies.entry(number(payload)).or_default() += 1;
    }
    let twice = copies.values().filter(|&&copies| copies == 2).count() as u64;
    assert_eq!(copies.len(), 2000);
    assert_eq!(arrived.len() as u64, 2000 + twice);
    assert_eq!(twice, bench.link.counters()?.0.duplicated);
    assert!((130..270).contains(&twice), "{twice} of 2000 at 0.1");
    Ok(())
}

#[test]
fn a_reordering_link_changes_the_order_and_nothing_else() -> Result<(), Error> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    let how = Impairments::NONE.with_reordering(0.1, Duration::from_millis(2));
    let arrived = bench.send(1000, how)?;
    let numbers: Vec<u32> = arrived.iter().map(|payload| number(payload)).collect();
    assert!(!numbers.is_sorted());
    assert_eq!(numbers.len(), 1000);
    assert_eq!(numbers.into_iter().collect::<BTreeSet<u32>>().len(), 1000);
    Ok(())
}

#[test]
fn undetectable_corruption_reaches_the_program_and_detectable_is_a_loss() -> Result<(), Error> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    let wrong = |payload: &&Vec<u8>| payload.len() != 100 || payload[4..].iter().any(|&b| b != 0);

    let how = Impairments::NONE.with_corruption(0.3, Corruption::Undetectable);
    let arrived = bench.send(500, how)?;
    assert_eq!(arrived.len(), 500);
    // Of 100 bytes, the number is 4 and not looked at.
    let corrupt = arrived.iter().filter(wrong).count();
    assert!((80..220).contains(&corrupt), "{corrupt} of 500 at 0.3");

    let how = Impairments::NONE.with_corruption(0.3, Corruption::Detectable);
    let arrived = bench.send(500, how)?;
    assert_eq!(arrived.iter().filter(wrong).count(), 0);
    assert!(
        (280..420).contains(&arrived.len()),
        "{} of 500 at 0.7",
        arrived.len()
    );
    Ok(())
}

#[test]
fn a_slow_link_takes_its_time_and_drops_what_its_queue_cannot_hold() -> Result<(), Error> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    // 142 bytes a frame at 1.136 Mbit/s: one a millisecond.
    let how = Impairments::NONE.with_rate(1_136_000);
    let start = Instant::now();
    assert_eq!(bench.send(100, how)?.len(), 100);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(100), "{took:?}");

    // Ten times slower, and with room for ten frames.
    let how = Impairments::NONE.with_rate(113_600).with_queue(1420);
    let arrived = bench.send(BATCH, how)?;
    let overflowed = bench.link.counters()?.0.overflowed;
    assert!(overflowed > 0);
    assert_eq!(arrived.len() as u64, u64::from(BATCH) - overflowed);
    Ok(())
}

#[test]
fn a_black_hole_swallows_big_packets_and_a_signalled_mtu_tells_the_sender() -> Result<(), Error> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    bench
        .link
        .impair(Impairments::NONE.with_black_hole_above(1280))?;
    bench.sender.send(&[1; 1253], bench.to);
    bench.sender.send(&[2; 1252], bench.to);
    assert_eq!(bench.receiver.recv().0, [2; 1252]);
    assert_eq!(bench.link.counters()?.0.too_big, 1);

    // The kernel learns the path's MTU from the ICMP message, and fragments from then on: whoever
    // forbids that gets the error.
    bench.link.impair(Impairments::NONE.with_mtu(1280))?;
    bench.sender.send(&[3; 1253], bench.to);
    eventually(|| bench.host.path_mtu(bench.peer.ip()) == 1280);
    bench.sender.send(&[4; 1253], bench.to);
    assert_eq!(bench.receiver.recv().0, [4; 1253]);
    Ok(())
}

/// What a host's kernel knows of a path.
trait PathMtu {
    fn path_mtu(&self, to: std::net::Ipv4Addr) -> u32;
}

impl PathMtu for Host {
    fn path_mtu(&self, to: std::net::Ipv4Addr) -> u32 {
        let args = ["route", "get", &to.to_string()];
        let output = self.command("ip").args(args).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut words = text.split_whitespace().skip_while(|&word| word != "mtu");
        words.nth(1).map_or(1500, |mtu| mtu.parse().unwrap())
    }
}

#[test]
fn a_cut_link_loses_everything_until_it_is_mended() -> Result<(), Error> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    assert_eq!(bench.send(BATCH, Impairments::NONE)?.len(), BATCH as usize);
    bench
        .link
        .impair_up(Impairments::delayed(Duration::from_secs(4)))?;
    bench.sender.send(b"on its way", bench.to);
    eventually(|| bench.link.counters().unwrap().0.received > u64::from(BATCH));
    bench.link.cut()?;
    bench.sender.send(b"too late", bench.to);
    eventually(|| bench.link.counters().unwrap().0.cut == 2);
    bench.link.mend()?;
    bench.sender.send(b"mended", bench.to);
    assert_eq!(bench.receiver.recv_until(b"mended"), Vec::<Vec<u8>>::new());
    Ok(())
}

#[test]
fn a_link_that_was_down_works_again() -> Result<(), Error> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    assert_eq!(bench.send(BATCH, Impairments::NONE)?.len(), BATCH as usize);
    bench.link.down()?;
    bench.sender.send(b"lost", bench.to);
    bench.link.up()?;
    bench.sender.send(b"up", bench.to);
    assert_eq!(bench.receiver.recv_until(b"up"), Vec::<Vec<u8>>::new());
    let veth = bench.peer.link();
    veth.down()?;
    veth.up()?;
    bench.sender.send(b"up", bench.to);
    assert_eq!(bench.receiver.recv().0, b"up");
    Ok(())
}

#[test]
fn a_veth_cannot_be_impaired() -> Result<(), Error> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    let error = bench.peer.link().impair(Impairments::NONE).unwrap_err();
    assert!(matches!(error, Error::NotShaped { .. }), "{error}");
    Ok(())
}
