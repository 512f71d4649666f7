//! A VPN between the two hosts that comes up in the midst of a session, and goes.

use std::time::{Duration, Instant};

use p2pdbg_natlab::{Cable, Impairments, Link, NatKind};

use crate::{
    harness::eventually,
    session::{Session, both_at_once},
};

/// The engine looks at the ways beside a path that is used every half a minute.
const LOOKS: Duration = Duration::from_secs(40);

/// Links of both hosts to one hub, with addresses of 100.64.0.0/10 and no default route.
fn vpn(session: &Session, one_way: Duration, loss: f64) -> [Link; 2] {
    let net = session.lab.net.with_cable(Cable::Veth);
    let hub = net.carrier_nat("hub", NatKind::PORT_RESTRICTED).unwrap();
    let link = Impairments::delayed(one_way).with_loss(loss);
    let lan = hub.lan().with_cable(Cable::Shaped(link));
    [&session.lab.ide, &session.lab.debuggee].map(|host| {
        let link = host.attach(&lan).unwrap();
        let no_default = format!("route del default dev {}\n", link.interface());
        (**host).ip(&no_default).unwrap();
        link
    })
}

fn uses_the_vpn(session: &Session) -> bool {
    session.peers().iter().all(|peer| {
        let remote = peer.paths().last().and_then(|path| path.remote);
        remote.is_some_and(|remote| remote.ip().to_string().starts_with("100.64."))
    })
}

/// A VPN of which a quarter of the round trip is `one_way` comes up.
#[track_caller]
fn begin(name: &'static str, one_way: u64, loss: f64) -> Option<(Session, [Link; 2])> {
    let session = Session::direct(name)?;
    let mut links = None;
    session.blow(
        &format!("VPN of {} ms comes up", 4 * one_way),
        "no gap",
        || {
            links = Some(vpn(&session, Duration::from_millis(one_way), loss));
        },
    );
    links.map(|links| (session, links))
}

#[test]
fn faster_vpn_is_moved_to_and_left_when_it_dies_or_its_interface_goes() {
    let Some((session, links)) = begin("vpn-fast", 3, 0.0) else {
        return;
    };
    eventually("path over the VPN", || uses_the_vpn(&session).then_some(()));
    session.blow("VPN carries nothing", "longest silence ≤ 2 s", || {
        links.iter().for_each(|link| link.cut().unwrap());
    });
    session.blow("interface of the VPN goes", "no gap", || {
        links.iter().for_each(|link| link.down().unwrap());
    });
    session.finish();
}

/// What comes up beside a good path disturbs nothing, for as long as it takes to be looked at.
#[track_caller]
fn disturbs_nothing(name: &'static str, one_way: u64, loss: f64) -> Option<Session> {
    let (session, _links) = begin(name, one_way, loss)?;
    let until = Instant::now() + LOOKS;
    while Instant::now() < until {
        session.flows();
    }
    let last = session.pair.listener.paths().pop();
    println!("{name}: {:?}", last.map(|path| path.why));
    Some(session)
}

#[test]
fn vpn_that_is_slower_or_carries_nothing_disturbs_nothing() {
    both_at_once(
        || {
            if let Some(session) = disturbs_nothing("vpn-dead", 5, 1.0) {
                assert!(!uses_the_vpn(&session));
                session.finish();
            }
        },
        || {
            if let Some(session) = disturbs_nothing("vpn-slow", 30, 0.0) {
                session.finish();
            }
        },
    );
}
