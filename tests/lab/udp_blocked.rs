//! Networks that let no UDP through, at one end or at both: everything works over TCP.

use p2pdbg_events::{PathKind, Via};
use p2pdbg_natlab::{Flow, Lab, NatKind, TwoNats};

use super::{
    DELAY, MEGABYTE,
    harness::{
        Pair, Setting,
        traffic::{accept, receive, say, send},
    },
    setting,
};

fn lab(name: &str) -> Option<TwoNats> {
    let lab = Lab::new_or_skip(name)?;
    let nat = NatKind::PORT_RESTRICTED;
    Some(TwoNats::new(lab, nat, nat, DELAY).unwrap())
}

/// Lets no TCP pass from one network to the other, so that the relay is what is left.
fn apart_over_tcp(lab: &TwoNats) {
    let between = Flow::between(lab.nat_a.external_ip(), lab.nat_b.external_ip());
    lab.net.router().block(between.over_tcp()).unwrap();
}

/// Pairs, and sends some both ways.
fn talk(setting: &Setting) -> Pair {
    let (port, target) = (setting.port(), setting.port());
    let debuggee = setting.debuggee.listen(target);
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["-L", &forward], port);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    for round in 0..20 {
        say(&ide, &debuggee, &format!("there, round {round}"));
        say(&debuggee, &ide, &format!("and back, round {round}"));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| send(&ide, 1, 4 * MEGABYTE));
        scope.spawn(|| send(&debuggee, 2, 4 * MEGABYTE));
        scope.spawn(|| receive(&debuggee, 1, 4 * MEGABYTE));
        receive(&ide, 2, 4 * MEGABYTE);
    });
    pair
}

#[track_caller]
fn relayed(pair: &Pair, ide_via: Via, debuggee_via: Via) {
    for (peer, via) in [(&pair.listener, ide_via), (&pair.connector, debuggee_via)] {
        let path = peer.path(PathKind::Relay);
        println!("{}: relayed after {} ms", peer.name(), path.after_ms);
        for path in peer.paths() {
            assert_eq!((path.kind, path.via), (PathKind::Relay, via), "{path:?}");
            assert!(path.why.contains("UDP"), "{}", path.why);
        }
    }
}

#[test]
fn without_udp_at_the_debuggee_everything_works_over_tcp_there() {
    let Some(lab) = lab("u-dbg") else {
        return;
    };
    lab.nat_b.block(Flow::udp()).unwrap();
    apart_over_tcp(&lab);
    let pair = talk(&setting(&lab));
    let path = pair.connector.path(PathKind::Relay);
    assert_eq!(path.via, Via::Tcp);
    pair.listener.relayed_via(Via::Udp);
}

#[test]
fn without_udp_beside_the_ide_everything_works_over_tcp_there() {
    let Some(lab) = lab("u-ide") else {
        return;
    };
    lab.nat_a.block(Flow::udp()).unwrap();
    apart_over_tcp(&lab);
    let pair = talk(&setting(&lab));
    let path = pair.listener.path(PathKind::Relay);
    assert_eq!(path.via, Via::Tcp);
    pair.connector.relayed_via(Via::Udp);
}

#[test]
fn without_udp_at_either_end_everything_works_over_tcp() {
    let Some(lab) = lab("u-both") else {
        return;
    };
    lab.nat_a.block(Flow::udp()).unwrap();
    lab.nat_b.block(Flow::udp()).unwrap();
    apart_over_tcp(&lab);
    let pair = talk(&setting(&lab));
    relayed(&pair, Via::Tcp, Via::Tcp);
}

#[test]
fn pinned_to_tcp_a_session_sends_no_udp_at_all() {
    let Some(lab) = lab("u-pin") else {
        return;
    };
    let router = lab.net.router();
    // A failure says who has sent what.
    router
        .nft(
            "table ip spy { \
             set senders { type ipv4_addr . inet_service . ipv4_addr . inet_service; \
             flags dynamic; size 1024; }; \
             chain watch { type filter hook forward priority 0; meta l4proto udp counter \
             update @senders { ip saddr . udp sport . ip daddr . udp dport counter }; }; }",
        )
        .unwrap();
    let pair = talk(&setting(&lab).with_path("relay-tcp"));
    for peer in [&pair.listener, &pair.connector] {
        let path = peer.path(PathKind::Relay);
        println!("{}: relayed after {} ms", peer.name(), path.after_ms);
        assert_eq!(
            (path.via, &path.why[..]),
            (Via::Tcp, "--path relay-tcp was given")
        );
    }
    let table = router
        .command("nft")
        .args(["list", "table", "ip", "spy"])
        .output();
    let table = String::from_utf8(table.unwrap().stdout).unwrap();
    let none = "meta l4proto udp counter packets 0 bytes 0 ";
    assert!(table.contains(none), "{table}");
}

/// A network that carries small datagrams alone, such as STUN's, to the debuggee or in both directions.
#[track_caller]
fn small_datagrams_alone(name: &str, one_way: bool) {
    let Some(lab) = lab(name) else {
        return;
    };
    let which = match one_way {
        true => format!("ip daddr {}", lab.debuggee.ip()),
        false => String::new(),
    };
    lab.nat_b
        .nft(&format!(
            "table ip narrow {{ chain forward {{ type filter hook forward priority 0; \
             {which} meta l4proto udp meta length > 1200 counter drop; }}; }}"
        ))
        .unwrap();
    let pair = talk(&setting(&lab));
    assert_eq!(pair.connector.path(PathKind::Relay).via, Via::Tcp);
    // Directly too, once that is found.
    for path in pair.connector.paths() {
        assert_eq!(path.via, Via::Tcp, "{path:?}");
    }
}

#[test]
fn where_only_small_datagrams_pass_everything_works_over_tcp() {
    small_datagrams_alone("u-small", false);
}

#[test]
fn where_only_small_datagrams_come_in_everything_works_over_tcp() {
    small_datagrams_alone("u-small1", true);
}

#[test]
fn where_udp_is_blocked_and_long_packets_are_lost_without_a_word_everything_works_over_tcp() {
    let Some(lab) = lab("u-hole") else {
        return;
    };
    apart_over_tcp(&lab);
    lab.nat_b.block(Flow::udp()).unwrap();
    let there = lab.nat_b.external_ip();
    for direction in ["saddr", "daddr"] {
        lab.net
            .router()
            .nft(&format!(
                "table ip hole {{ chain forward {{ type filter hook forward priority 0; \
                 ip {direction} {there} meta length > 1280 counter drop; }}; }}"
            ))
            .unwrap();
    }
    let pair = talk(&setting(&lab));
    assert_eq!(pair.connector.path(PathKind::Relay).via, Via::Tcp);
}
