//! What strangers can send while a session runs: it does not notice.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use p2pdbg_base::ErrorCode;
use p2pdbg_events::{Event, PathKind};
use p2pdbg_natlab::NatKind;
use p2pdbg_proto::code::{Code, Words};

use crate::{
    harness::Place,
    session::{Session, setting, two_nats, two_nats_of},
};

#[test]
fn a_stranger_with_the_nameplate_of_a_used_code_gets_nowhere() {
    let Some(lab) = two_nats("stranger") else {
        return;
    };
    let stranger = lab.net.host("stranger").unwrap();
    let setting = setting(&lab);
    let mut session = Session::begin("stranger", lab, setting, PathKind::Direct);
    let ready = |event: &Event| match event {
        Event::Ready { code, .. } => code.clone(),
        _ => None,
    };
    let used: Code = session
        .pair
        .listener
        .events()
        .iter()
        .find_map(ready)
        .unwrap();
    let guessed = Code {
        nameplate: used.nameplate,
        words: Words::random(),
    };
    let before = session.peers().map(|peer| peer.paths());
    session.setting.debuggee = Place::Node((*stranger).clone());
    for code in [&used, &guessed] {
        let began = session.fault("a stranger comes");
        let mut stranger = session
            .setting
            .connector_with(code)
            .called("stranger")
            .start();
        let failure = stranger.event("failure", |event| match event {
            Event::Error(failure) => Some(failure.clone()),
            _ => None,
        });
        assert!(
            matches!(
                failure.code,
                ErrorCode::CodeExpired | ErrorCode::NameplateUnknown
            ),
            "{failure:?}"
        );
        stranger.wait();
        session.resumes("a stranger", began, Instant::now(), "no gap");
    }
    assert_eq!(session.peers().map(|peer| peer.paths()), before);
    assert_eq!(session.lost(), 0);
    session.finish();
}

#[test]
fn garbage_from_strangers_is_not_noticed() {
    let Some(lab) = two_nats_of("garbage", NatKind::FULL_CONE) else {
        return;
    };
    let stranger = lab.net.host("stranger").unwrap();
    let setting = setting(&lab);
    let session = Session::begin("garbage", lab, setting, PathKind::Direct);
    let direct = |peer: &crate::harness::Peer| {
        let paths = peer.paths();
        let mut direct = paths.iter().filter(|path| path.kind == PathKind::Direct);
        direct.next_back().and_then(|path| path.remote).unwrap()
    };
    let mut targets: Vec<SocketAddr> = session.peers().into_iter().map(direct).collect();
    let rendezvous: IpAddr = session.lab.rdv.ip().into();
    targets.push((rendezvous, 3478).into());
    let before = session.peers().map(|peer| peer.paths());
    let socket = Place::Node((*stranger).clone()).udp([0, 0, 0, 0]);
    let began = session.fault("garbage");
    let mut state = 1_u64;
    for number in 0..30_000_usize {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let first = (state >> 56) as u8;
        let mut datagram: Vec<u8> = (0..(number % 1200))
            .map(|at| (state >> (at % 57)) as u8)
            .collect();
        // STUN, relay frames, QUIC's long and short headers.
        datagram.insert(0, first);
        let _ = socket.send_to(&datagram, targets[number % targets.len()]);
        if number % 100 == 0 {
            // No more than a queue holds.
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    session.resumes("garbage", began, Instant::now(), "no gap");
    assert_eq!(session.peers().map(|peer| peer.paths()), before);
    assert_eq!(session.lost(), 0);
    session.finish();
}
