//! Networks that stop letting UDP through in the middle of a session, while TCP works.

use std::time::{Duration, Instant};

use p2pdbg_events::{PathKind, Via};
use p2pdbg_natlab::{Flow, Nat, NatKind, Node};

use crate::{
    harness::{BEHIND_IT, Nginx, eventually},
    session::{Session, both_at_once, over_udp},
};

const TARGET: &str = "first byte ≤ 5 s after the fault";

impl Session {
    /// Blocks UDP at these NATs.
    #[track_caller]
    fn block_udp(&self, what: &str, nats: &[&Nat]) {
        self.blow(what, TARGET, || {
            nats.iter().for_each(|nat| nat.block(Flow::udp()).unwrap());
        });
    }

    #[track_caller]
    fn unblock_udp(&self, nats: &[&Nat]) -> Instant {
        let began = self.fault("UDP let through again");
        nats.iter()
            .for_each(|nat| nat.unblock(Flow::udp()).unwrap());
        began
    }
}

#[test]
fn a_direct_session_whose_udp_is_blocked_goes_on_over_tcp_and_back() {
    let Some(session) = Session::direct("udp-d") else {
        return;
    };
    let nats = [&session.lab.nat_a];
    session.block_udp("UDP blocked beside the IDE", &nats);
    session.pair.listener.relayed_via(Via::Tcp);
    session.pair.connector.path(PathKind::Relay);
    let began = session.unblock_udp(&nats);
    session.path(PathKind::Direct);
    println!(
        "udp-d: direct again {:.1} s after",
        began.elapsed().as_secs_f64()
    );
    session.resumes("back to the direct path", began, Instant::now(), "no gap");
    session.finish();
}

#[test]
fn a_direct_session_whose_udp_is_blocked_at_both_ends_goes_on_over_tcp_and_back() {
    let Some(session) = Session::direct("udp-b") else {
        return;
    };
    let nats = [&session.lab.nat_a, &session.lab.nat_b];
    session.block_udp("UDP blocked at both ends", &nats);
    for peer in session.peers() {
        peer.relayed_via(Via::Tcp);
    }
    session.unblock_udp(&nats);
    session.path(PathKind::Direct);
    session.finish();
}

#[test]
fn a_relayed_session_whose_udp_is_blocked_goes_on_over_tcp_and_back() {
    let Some(session) = Session::relayed("udp-r") else {
        return;
    };
    let connector = &session.pair.connector;
    for _ in 0..2 {
        let nats = [&session.lab.nat_b];
        session.block_udp("UDP blocked at the debuggee", &nats);
        connector.relayed_via(Via::Tcp);
        let began = session.unblock_udp(&nats);
        connector.relayed_via(Via::Udp);
        println!(
            "udp-r: over UDP again {:.1} s after",
            began.elapsed().as_secs_f64()
        );
        session.resumes("back to UDP", began, Instant::now(), "no gap");
    }
    session.finish();
}

/// UDP ends in the midst of a session while TCP passes: at one end, at both, or at the rendezvous, which neither end
/// can tell from the first.
#[track_caller]
fn is_no_outage(name: &'static str, blocks: impl Fn(&Session) -> Vec<&Node>) {
    let Some(lab) = crate::session::two_nats_of(name, NatKind::SYMMETRIC_RANDOM) else {
        return;
    };
    let setting = crate::session::setting(&lab);
    let session = Session::begin(name, lab, setting, PathKind::Relay);
    let told = session.peers().map(over_udp);
    session.blow("UDP blocked", TARGET, || {
        let nodes = blocks(&session);
        nodes
            .iter()
            .for_each(|node| node.block(Flow::udp()).unwrap());
    });
    session.settles();
    let mut over_tcp = 0;
    for (peer, told) in session.peers().into_iter().zip(told) {
        let paths = peer.paths().split_off(told);
        for path in &paths {
            println!("{name}: {}: {:?}: {}", peer.name(), path.via, path.why);
            assert!(!path.why.contains("outage"), "{path:?}");
        }
        if let Some(path) = paths.iter().find(|path| path.via == Via::Tcp) {
            assert!(
                path.why.contains("or the rendezvous' UDP port is closed"),
                "{path:?}"
            );
            over_tcp += 1;
        }
    }
    assert!(over_tcp > 0);
    session.finish();
}

#[test]
fn udp_that_ends_in_mid_session_is_no_outage_and_nobody_is_blamed_for_certain() {
    both_at_once(
        || is_no_outage("udp-w1", |session| vec![&*session.lab.nat_b]),
        || is_no_outage("udp-w2", |session| vec![&*session.lab.rdv]),
    );
}

#[test]
fn a_leg_over_tcp_whose_connection_dies_is_joined_again() {
    let Some(session) = over_tcp("udp-t") else {
        return;
    };
    let nat = &session.lab.nat_b;
    session.outage(
        "TCP blocked too for 8 s",
        Duration::from_secs(8),
        "first byte ≤ 5 s after mending",
        || nat.block(Flow::tcp()).unwrap(),
        || nat.unblock(Flow::tcp()).unwrap(),
    );
    session.blow("all mappings forgotten", TARGET, || nat.flush().unwrap());
    session.finish();
}

/// A session without UDP at the debuggee.
#[track_caller]
fn over_tcp(name: &'static str) -> Option<Session> {
    let lab = crate::session::two_nats(name)?;
    lab.nat_b.block(Flow::udp()).unwrap();
    let setting = crate::session::setting(&lab).with_path("relay");
    let session = Session::begin(name, lab, setting, PathKind::Relay);
    let via = session.pair.connector.paths().last().map(|path| path.via);
    assert_eq!(via, Some(Via::Tcp));
    Some(session)
}

#[test]
fn a_debuggee_over_tcp_that_moves_to_another_lan_keeps_its_streams() {
    let Some(session) = over_tcp("udp-m") else {
        return;
    };
    let kind = NatKind::PORT_RESTRICTED;
    let cafe = session.lab.net.nat("cafe", kind).unwrap();
    cafe.block(Flow::udp()).unwrap();
    session.blow("moved to another LAN without UDP", TARGET, || {
        session.lab.debuggee.roam(cafe.lan()).unwrap();
    });
    session.finish();
}

#[test]
fn a_session_over_tcp_resumes_after_its_rendezvous_was_killed() {
    let Some(mut session) = over_tcp("udp-k") else {
        return;
    };
    crate::rendezvous::kill(&mut session, 1, "first byte ≤ 5 s after mending");
    session.finish();
}

#[test]
fn session_by_websocket_through_nginx_survives_an_outage_and_the_end_of_its_connections() {
    let name = "udp-w";
    let Some(lab) = crate::session::two_nats(name).filter(|_| Nginx::is_installed()) else {
        return;
    };
    for nat in [&lab.nat_a, &lab.nat_b] {
        let to = lab.rdv.ip();
        nat.nft(&format!(
            "table ip https {{ chain forward {{ type filter hook forward priority 0; policy drop; \
             ip daddr {to} tcp dport 443 accept; ip saddr {to} tcp sport 443 accept; }}; }}"
        ))
        .unwrap();
    }
    let setting = crate::session::setting_with(&lab, BEHIND_IT);
    let mut nginx = Nginx::start(&setting.public, &setting.transcript);
    let (public, transcript) = (setting.public.clone(), setting.transcript.clone());
    let session = Session::begin(name, lab, setting, PathKind::Relay);
    for peer in session.peers() {
        let via = peer.paths().last().map(|path| path.via);
        assert_eq!(via, Some(Via::WebSocket));
    }
    let nat = &session.lab.nat_b;
    session.outage(
        "nothing passes at the debuggee for 8 s",
        Duration::from_secs(8),
        "first byte ≤ 5 s after mending",
        || nat.block(Flow::tcp()).unwrap(),
        || nat.unblock(Flow::tcp()).unwrap(),
    );
    session.blow("nginx started anew", TARGET, || {
        nginx.stop();
        nginx = Nginx::start(&public, &transcript);
    });
    session.finish();
}

/// UDP ends at these NATs, of a direct session with `--path PATH`, and the ends find a direct path by TCP.
#[track_caller]
fn goes_by_tcp(name: &'static str, path: &str, nats: [bool; 2]) {
    let Some(lab) = crate::session::two_nats(name) else {
        return;
    };
    let setting = match path {
        "any" => crate::session::setting(&lab),
        path => crate::session::setting(&lab).with_path(path),
    };
    let session = Session::begin(name, lab, setting, PathKind::Direct);
    let both = [&session.lab.nat_a, &session.lab.nat_b];
    let blocked: Vec<&Nat> = both
        .into_iter()
        .zip(nats)
        .filter_map(|(nat, blocks)| blocks.then_some(nat))
        .collect();
    let began = Instant::now();
    session.block_udp(&format!("UDP ends, path {path}"), &blocked);
    for peer in session.peers() {
        eventually("direct path by TCP", || {
            let last = peer.paths().pop()?;
            (last.kind == PathKind::Direct && last.via == Via::Tcp).then_some(())
        });
    }
    let took = began.elapsed().as_secs_f64();
    println!("{name}: directly by TCP {took:.1} s after; target: 10 s");
    session.settles();
    session.finish();
}

#[test]
fn direct_session_whose_udp_ends_for_good_goes_directly_by_tcp() {
    both_at_once(
        || goes_by_tcp("udp-ta", "any", [true, false]),
        || goes_by_tcp("udp-tb", "any", [false, true]),
    );
    both_at_once(
        || goes_by_tcp("udp-tc", "any", [true, true]),
        || goes_by_tcp("udp-td", "direct", [false, true]),
    );
}
