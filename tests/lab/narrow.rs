//! A direct path that loses large datagrams, on the way from one peer to the other alone: the session stays on the
//! relay and says why, and as soon as QUIC's smallest datagrams fit, it goes direct.

use p2pdbg_events::{PathKind, Via};
use p2pdbg_natlab::{Lab, NatKind, TwoNats};

use super::{
    DELAY, MEGABYTE, carried_by_the_rendezvous,
    harness::{
        eventually,
        traffic::{accept, say},
    },
    setting, through_the_rendezvous,
};

/// Two port-restricted NATs, the networks of which let no TCP through to each other if `tcp` is false, and a router
/// between them that drops what is longer on its way from the IDE to the debuggee than `longest` bytes with its
/// headers. What goes through the rendezvous may be as long as it likes.
fn lab(name: &str, longest: u16, tcp: bool) -> Option<TwoNats> {
    let lab = Lab::new_or_skip(name)?;
    let nat = NatKind::PORT_RESTRICTED;
    let lab = TwoNats::new(lab, nat, nat, DELAY).unwrap();
    let (a, b) = (lab.nat_a.external_ip(), lab.nat_b.external_ip());
    lab.net
        .router()
        .nft(&format!(
            "table ip narrow {{ chain forward {{ type filter hook forward priority 0; \
             ip saddr {a} ip daddr {b} meta length > {longest} counter drop; }}; }}"
        ))
        .unwrap();
    if !tcp {
        lab.net
            .router()
            .nft(&format!(
                "table ip no_tcp {{ chain forward {{ type filter hook forward priority 0; \
                 ip saddr {a} ip daddr {b} meta l4proto tcp drop; }}; }}"
            ))
            .unwrap();
    }
    Some(lab)
}

#[test]
fn a_direct_path_that_loses_large_datagrams_is_not_taken_and_the_session_says_why() {
    let Some(lab) = lab("narrow", 1227, false) else {
        return;
    };
    let setting = setting(&lab);
    let (port, target) = (setting.port(), setting.port());
    let debuggee = setting.debuggee.listen(target);
    let pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    for peer in [&pair.listener, &pair.connector] {
        peer.path(PathKind::Relay);
        eventually("the engine's account of the path", || {
            let said = peer.stderr();
            said.iter()
                .any(|line| line.contains("obstacle: TunnelFails"))
                .then_some(())
        });
    }
    let before = through_the_rendezvous(&lab);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    for round in 0..100 {
        say(&ide, &debuggee, &format!("over the relay, round {round}"));
    }
    assert!(through_the_rendezvous(&lab) > before);
    for peer in [&pair.listener, &pair.connector] {
        let paths = peer.paths();
        assert!(paths.iter().all(|path| path.kind == PathKind::Relay));
        let why = paths.last().map(|path| path.why.as_str());
        assert!(
            why.is_some_and(|why| why.contains("small packets")),
            "{why:?}"
        );
    }
}

#[test]
fn a_way_too_narrow_for_udp_is_gone_by_tcp() {
    let Some(lab) = lab("narrow-tcp", 1227, true) else {
        return;
    };
    let setting = setting(&lab);
    let (port, target) = (setting.port(), setting.port());
    let debuggee = setting.debuggee.listen(target);
    let pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    for peer in [&pair.listener, &pair.connector] {
        assert_eq!(peer.path(PathKind::Direct).via, Via::Tcp);
    }
    say(&ide, &debuggee, &"longer than a packet".repeat(1_000));
}

#[test]
fn a_direct_path_on_which_the_smallest_datagrams_of_quic_just_fit_carries_everything() {
    let Some(lab) = lab("tight", 1228, false) else {
        return;
    };
    let carried = carried_by_the_rendezvous(&lab, &setting(&lab), PathKind::Direct);
    assert!(
        carried < MEGABYTE as u64,
        "the rendezvous carried {carried} bytes"
    );
}
