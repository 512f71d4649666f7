//! Networks that let no UDP through, where a direct path by TCP can be had: the kernel's NATs and firewalls between two
//! peers that dial each other.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use p2pdbg_events::{PathKind, PathReport, Via};
use p2pdbg_natlab::{Flow, Host, Lab, Nat, NatKind, Node, TwoNats};

use super::{
    DELAY, MEGABYTE,
    harness::{
        Pair, Setting, eventually,
        traffic::{accept, finish, receive, receive_end, say, send},
    },
    place, setting, through_the_rendezvous,
};

/// Two NATs, the networks of which let no UDP through where it is said.
fn lab(name: &str, kinds: [NatKind; 2], blocked: [bool; 2]) -> Option<TwoNats> {
    let lab = Lab::new_or_skip(name)?;
    let lab = TwoNats::new(lab, kinds[0], kinds[1], DELAY).unwrap();
    for (nat, blocked) in [&lab.nat_a, &lab.nat_b].into_iter().zip(blocked) {
        if blocked {
            nat.block(Flow::udp()).unwrap();
        }
    }
    Some(lab)
}

/// Has a box answer what it lets nobody in with, as many a home router does.
fn reject(nat: &Nat) {
    nat.nft(
        "table inet refuse { chain input { type filter hook input priority -10; \
         iifname wan meta l4proto tcp ct state new reject with tcp reset; \
         iifname wan meta l4proto tcp ct state invalid reject with tcp reset; }; }",
    )
    .unwrap();
}

/// Two paired peers, the port beside the IDE and what it leads to.
#[track_caller]
fn forwarded(setting: &Setting) -> (Pair, u16, TcpListener) {
    let (port, target) = (setting.port(), setting.port());
    let debuggee = setting.debuggee.listen(target);
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["-L", &forward], port);
    (pair, port, debuggee)
}

/// Pairs, sends a megabyte each way and gives the direct path of listener and connector.
#[track_caller]
fn meet(setting: &Setting) -> (Pair, [PathReport; 2]) {
    let (pair, port, debuggee) = forwarded(setting);
    let paths = [&pair.listener, &pair.connector].map(|peer| peer.path(PathKind::Direct));
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    std::thread::scope(|scope| {
        scope.spawn(|| send(&ide, 1, MEGABYTE));
        scope.spawn(|| send(&debuggee, 2, MEGABYTE));
        scope.spawn(|| receive(&debuggee, 1, MEGABYTE));
        receive(&ide, 2, MEGABYTE);
    });
    (pair, paths)
}

#[track_caller]
fn goes_direct_by(setting: &Setting, technique: &str) -> Pair {
    let (pair, paths) = meet(setting);
    for path in paths {
        println!("{} ms, {:?}: {}", path.after_ms, path.rtt_ms, path.why);
        assert_eq!(path.technique.as_deref(), Some(technique), "{path:?}");
        assert_eq!(path.via, Via::Tcp);
    }
    pair
}

/// Two NATs of these kinds, without UDP at these ends, and the technique by which the peers go direct all the same.
#[track_caller]
fn nats_go_direct_by(name: &str, kinds: [NatKind; 2], blocked: [bool; 2], technique: &str) {
    if let Some(lab) = lab(name, kinds, blocked) {
        goes_direct_by(&setting(&lab), technique);
    }
}

const PR: NatKind = NatKind::PORT_RESTRICTED;
const RANDOM: NatKind = NatKind::SYMMETRIC_RANDOM;
const NONE: NatKind = NatKind::NONE;

#[test]
fn two_port_restricted_nats_without_udp_at_one_end_are_punched_by_tcp() {
    nats_go_direct_by("tp-a", [PR, PR], [true, false], "tcp-punch");
}

#[test]
fn two_port_restricted_nats_without_udp_at_the_other_end_are_punched_by_tcp() {
    nats_go_direct_by("tp-b", [PR, PR], [false, true], "tcp-punch");
}

#[test]
fn two_port_restricted_nats_without_udp_at_either_end_are_punched_by_tcp_and_nothing_is_relayed() {
    let Some(lab) = lab("tp-ab", [PR, PR], [true, true]) else {
        return;
    };
    let setting = setting(&lab);
    let (pair, port, debuggee) = forwarded(&setting);
    for peer in [&pair.listener, &pair.connector] {
        assert_eq!(peer.path(PathKind::Direct).via, Via::Tcp);
    }
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    say(&ide, &debuggee, "before");
    let before = through_the_rendezvous(&lab);
    std::thread::scope(|scope| {
        scope.spawn(|| send(&ide, 2, 8 * MEGABYTE));
        receive(&debuggee, 2, 8 * MEGABYTE);
    });
    let carried = through_the_rendezvous(&lab) - before;
    assert!(
        carried < MEGABYTE as u64,
        "the rendezvous carried {carried} bytes"
    );
}

#[test]
fn nats_that_refuse_connections_aloud_are_punched_by_tcp() {
    let Some(lab) = lab("tp-rst", [PR, PR], [true, true]) else {
        return;
    };
    reject(&lab.nat_a);
    reject(&lab.nat_b);
    goes_direct_by(&setting(&lab), "tcp-punch");
}

#[test]
fn peer_without_a_nat_is_connected_to_by_tcp_from_behind_any() {
    for (name, kind) in [("tp-np", PR), ("tp-nr", RANDOM)] {
        nats_go_direct_by(name, [NONE, kind], [false, true], "tcp-public-address");
        nats_go_direct_by(name, [kind, NONE], [true, false], "tcp-public-address");
    }
}

#[test]
fn path_direct_may_be_tcp() {
    let Some(lab) = lab("tp-only", [PR, PR], [true, true]) else {
        return;
    };
    let setting = setting(&lab).with_path("direct");
    goes_direct_by(&setting, "tcp-punch");
}

#[test]
fn two_firewalls_of_ipv6_without_udp_are_opened_by_tcp() {
    let Some(lab) = Lab::new_or_skip("tp-v6") else {
        return;
    };
    let net = lab.dual_stack_internet().unwrap().with_delay(DELAY);
    let rdv = net.host("rdv").unwrap();
    let homes = ["a", "b"].map(|name| net.nat(name, RANDOM).unwrap());
    for home in &homes {
        home.block(Flow::udp()).unwrap();
    }
    let [ide, debuggee] = homes.map(|home| home.host(&format!("{}-host", home.name())).unwrap());
    let address = rdv.ip().into();
    let setting = Setting::of(place(&ide), place(&debuggee), place(&rdv), address);
    goes_direct_by(&setting, "tcp-ipv6");
}

/// Has a box give each new TCP connection that leaves it the next port.
fn count_tcp_ports(nat: &Nat) {
    const PORTS: u16 = 2_000;
    const FIRST: u16 = 30_000;
    // One by one, since the kernel counts in its own order of bytes, and ports have the network's.
    let ports: Vec<String> = (0..PORTS).map(|n| format!("{n} : {}", FIRST + n)).collect();
    nat.nft(&format!(
        "table ip counting {{ chain leave {{ type nat hook postrouting priority srcnat - 1; \
         oifname wan meta l4proto tcp snat to {}:numgen inc mod {PORTS} map {{ {} }}; }}; }}",
        nat.external_ip(),
        ports.join(", ")
    ))
    .unwrap();
}

#[test]
fn tcp_ports_that_a_nat_counts_are_foretold() {
    // At either end; the other's NAT lets in nobody whom it has not called at that very port.
    for (name, hard) in [("tp-count-a", 0), ("tp-count-b", 1)] {
        let Some(lab) = lab(name, [PR, PR], [hard == 0, hard == 1]) else {
            return;
        };
        count_tcp_ports([&lab.nat_a, &lab.nat_b][hard]);
        goes_direct_by(&setting(&lab), "tcp-punch");
    }
}

/// Lets out of a network what goes to the port of HTTPS, and nothing else.
fn https_alone(nat: &Nat) {
    nat.nft(
        "table inet https { chain forward { type filter hook forward priority -10; \
         iifname lan meta l4proto tcp tcp dport 443 accept; iifname lan drop; }; }",
    )
    .unwrap();
}

/// The peers of a lab, and a rendezvous that serves the web's port as well.
fn with_web(lab: &TwoNats) -> Setting {
    let host = lab.rdv.ip().to_string();
    let places = [&lab.ide, &lab.debuggee, &lab.rdv].map(place);
    let [ide, debuggee, rdv] = places;
    Setting::with_rendezvous(ide, debuggee, rdv, &host, ["--bind", "0.0.0.0:443"])
}

#[test]
fn network_that_lets_out_https_alone_is_left_for_a_peer_at_its_port() {
    for (name, kinds, web, technique) in [
        ("tp-web-pub", [NONE, RANDOM], 1, "tcp-public-address"),
        ("tp-web-a", [PR, PR], 0, "tcp-punch"),
        ("tp-web-b", [PR, PR], 1, "tcp-punch"),
    ] {
        let Some(lab) = lab(name, kinds, [false, false]) else {
            return;
        };
        https_alone([&lab.nat_a, &lab.nat_b][web]);
        goes_direct_by(&with_web(&lab), technique);
    }
}

/// Counts the packets between the boxes with SYN and without ACK.
fn count_syns(router: &Node) {
    router
        .nft(
            "table ip syns { chain watch { type filter hook forward priority 0; \
             tcp flags & (syn | ack) == syn tcp dport != { 443, 3478, 3479 } counter; }; }",
        )
        .unwrap();
}

fn syns(router: &Node) -> u64 {
    let mut list = router.command("nft");
    let list = list.args(["list", "table", "ip", "syns"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let (_, rest) = list.split_once("counter packets ").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn where_tcp_does_not_pass_either_the_session_stays_relayed_and_few_connections_are_tried() {
    let Some(lab) = lab("tp-none", [RANDOM, RANDOM], [true, true]) else {
        return;
    };
    let router = lab.net.router();
    count_syns(router);
    let setting = setting(&lab);
    let (pair, port, debuggee) = forwarded(&setting);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    // The first series is over when the NATs need not hold the ports any more.
    eventually("all rounds of a series", || {
        say(&ide, &debuggee, "meanwhile");
        let said = pair.connector.stderr();
        let rounds = said.iter().filter(|line| line.contains("TcpRound")).count();
        (rounds >= 5).then_some(())
    });
    for peer in [&pair.listener, &pair.connector] {
        assert!(peer.paths().iter().all(|path| path.kind == PathKind::Relay));
    }
    // Five rounds of each end, of some addresses, each with a repetition.
    let syns = syns(router);
    assert!((1..=60).contains(&syns), "{syns} SYNs");
}

#[test]
fn bytes_stay_intact_while_streams_move_to_direct_tcp_back_when_it_is_cut_and_there_again() {
    const LENGTH: usize = 64 * MEGABYTE;
    let Some(lab) = lab("tp-move", [PR, PR], [true, true]) else {
        return;
    };
    let between = Flow::between(lab.nat_a.external_ip(), lab.nat_b.external_ip()).over_tcp();
    let router = lab.net.router();
    let setting = setting(&lab);
    let (pair, port, debuggee) = forwarded(&setting);
    let ide = setting.ide.connect(port);
    let (listener, connector) = (&pair.listener, &pair.connector);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            send(&ide, 1, LENGTH);
            finish(&ide);
        });
        let debuggee = accept(&debuggee);
        listener.path(PathKind::Relay);
        assert_eq!(listener.path(PathKind::Direct).via, Via::Tcp);
        // Nothing passes any more, and nobody says so. The relay may have been told of twice before, with two reasons.
        let told = listener.paths().len();
        router.block(between).unwrap();
        eventually("the relay again", || {
            let mut since = listener.paths().into_iter().skip(told);
            since.find(|path| path.kind == PathKind::Relay)
        });
        router.unblock(between).unwrap();
        assert_eq!(listener.path(PathKind::Direct).via, Via::Tcp);
        receive(&debuggee, 1, LENGTH);
        receive_end(&debuggee);
    });
    // It may have gone back with its streams before it noticed that they had to leave.
    let by_tcp = |path: &PathReport| path.kind == PathKind::Direct && path.via == Via::Tcp;
    assert!(connector.paths().iter().any(by_tcp));
}

/// The TCP port on which a program listens at a host beside those of the test's.
fn listening_port(host: &Host, forward: u16) -> u16 {
    eventually("a listening port", || {
        let mut list = host.command("ss");
        let list = list.args(["-ltnH4"]).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        list.lines()
            .filter_map(|line| {
                line.split_whitespace()
                    .nth(3)?
                    .strip_prefix("0.0.0.0:")?
                    .parse()
                    .ok()
            })
            .find(|port| *port != forward)
    })
}

/// Strangers at a listening port: some silent, some with garbage, some with what looks like a beginning.
fn crowd(lab: &TwoNats, to: SocketAddr) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for n in 0..200_u32 {
        let Ok(mut stream) = lab.rdv.tcp_connect(to) else {
            continue;
        };
        let _ = match n % 4 {
            0 => Ok(()),
            1 => stream.write_all(&[n as u8; 300]),
            2 => stream.write_all(&[&[0, 34, 10, 1][..], &[7; 32]].concat()),
            _ => stream.write_all(&[0, 34, 10, 1]),
        };
        held.push(stream);
    }
    held
}

#[test]
fn two_hundred_strangers_at_the_listening_port_cost_the_session_nothing() {
    let Some(lab) = lab("tp-crowd", [NONE, PR], [false, true]) else {
        return;
    };
    let setting = setting(&lab);
    let between = Flow::between(lab.ide.ip(), lab.nat_b.external_ip()).over_tcp();
    let router = lab.net.router();
    let (pair, port, debuggee) = forwarded(&setting);
    assert_eq!(pair.listener.path(PathKind::Direct).via, Via::Tcp);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    let at = SocketAddr::new(IpAddr::V4(lab.ide.ip()), listening_port(&lab.ide, port));
    let held = crowd(&lab, at);
    say(&ide, &debuggee, "in a crowd");
    // While they are there, the peer gets in anew.
    router.block(between).unwrap();
    pair.listener.path(PathKind::Relay);
    let more = crowd(&lab, at);
    router.unblock(between).unwrap();
    assert_eq!(pair.listener.path(PathKind::Direct).via, Via::Tcp);
    say(&ide, &debuggee, "and again");
    // None was kept, whatever it said or left unsaid.
    for mut stream in held.into_iter().chain(more) {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut said = Vec::new();
        // The answer to a beginning is a nonce, 36 bytes.
        match stream.read_to_end(&mut said) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        assert!(said.len() <= 36, "{said:?}");
    }
}
