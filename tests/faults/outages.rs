//! Links that carry nothing for a while.

use std::time::Duration;

use p2pdbg_events::{Event, PathKind};
use p2pdbg_natlab::NatKind;

use crate::session::{Session, both_at_once, over_udp, setting, two_nats_of};

/// After an outage of which no interface tells.
const UNREPORTED: &str = "first byte ≤ 5 s after mending";

/// After an outage that the interface reports.
const REPORTED: &str = "first byte ≤ 2 s after mending";

/// The longest outage that is tested here, or what `P2PDBG_FAULT_OUTAGE` says in seconds: see scripts/long-outage.
pub(crate) fn longest_outage() -> Duration {
    let given = std::env::var("P2PDBG_FAULT_OUTAGE").ok();
    seconds(given.map_or(60, |given| {
        given.parse().expect("P2PDBG_FAULT_OUTAGE is a number")
    }))
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Session {
    /// Cuts links on the way to the internet: the IDE's, the debuggee's.
    #[track_caller]
    pub(crate) fn cut(&self, what: &str, lasting: Duration, ide: bool, debuggee: bool) {
        let links = || {
            let ide = ide.then(|| self.lab.nat_a.uplink());
            let debuggee = debuggee.then(|| self.lab.nat_b.uplink());
            ide.into_iter().chain(debuggee)
        };
        let cut = || links().for_each(|link| link.cut().unwrap());
        let mend = || links().for_each(|link| link.mend().unwrap());
        self.outage(what, lasting, UNREPORTED, cut, mend);
    }
}

#[test]
fn links_that_are_cut_for_a_second_are_hardly_noticed() {
    let Some(session) = Session::direct("cut-1") else {
        return;
    };
    session.cut("IDE's link cut for 1 s", seconds(1), true, false);
    session.cut("debuggee's link cut for 1 s", seconds(1), false, true);
    session.cut("both links cut for 1 s", seconds(1), true, true);
    session.finish();
}

/// Outages of either end, each soon after the one before. UDP works in between, so that is where it ends.
#[track_caller]
fn stays_on_udp(name: &'static str, lasting: u64) {
    let Some(lab) = two_nats_of(name, NatKind::PORT_RESTRICTED) else {
        return;
    };
    let setting = setting(&lab).with_path("direct");
    let session = Session::begin(name, lab, setting, PathKind::Direct);
    for ide in [true, false, true, false] {
        let what = format!("link cut for {lasting} s, path direct");
        session.cut(&what, seconds(lasting), ide, !ide);
        session.settles();
        for peer in session.peers() {
            over_udp(peer);
        }
    }
    session.finish();
}

#[test]
fn outages_soon_after_one_another_leave_a_session_without_a_relay_on_udp() {
    both_at_once(|| stays_on_udp("cut-d2", 2), || stays_on_udp("cut-d6", 6));
}

#[test]
fn a_debuggee_that_is_cut_off_for_ten_seconds_is_still_stopped_at_its_breakpoint() {
    let Some(session) = Session::direct("cut-10") else {
        return;
    };
    session.cut("debuggee's link cut for 10 s", seconds(10), false, true);
    session.finish();
}

#[test]
fn an_ide_that_is_cut_off_for_ten_seconds_loses_nothing() {
    let Some(session) = Session::direct("cut-10i") else {
        return;
    };
    session.cut("IDE's link cut for 10 s", seconds(10), true, false);
    session.finish();
}

#[test]
fn an_ide_that_is_cut_off_for_ten_seconds_loses_nothing_on_the_relay() {
    let Some(session) = Session::relayed("cut-10r") else {
        return;
    };
    session.cut("IDE's link cut for 10 s", seconds(10), true, false);
    session.finish();
}

#[test]
fn both_links_cut_for_ten_seconds_lose_nothing() {
    let Some(session) = Session::direct("cut-10b") else {
        return;
    };
    session.cut("both links cut for 10 s", seconds(10), true, true);
    session.finish();
}

#[test]
fn an_interface_that_is_down_for_ten_seconds_loses_nothing() {
    let Some(session) = Session::direct("down-10") else {
        return;
    };
    for host in [&session.lab.ide, &session.lab.debuggee] {
        let link = host.link();
        session.outage(
            &format!("interface of {} down for 10 s", host.name()),
            seconds(10),
            REPORTED,
            || link.down().unwrap(),
            || link.up().unwrap(),
        );
    }
    session.finish();
}

#[test]
fn a_peer_that_is_out_of_reach_for_45_seconds_is_lost_and_resumed_whichever_it_is() {
    both_at_once(
        || lost_and_resumed("cut-45", 45, false, true),
        || lost_and_resumed("cut-45i", 45, true, false),
    );
}

#[test]
fn peers_that_are_both_out_of_reach_for_a_long_time_are_lost_and_resumed() {
    lost_and_resumed("cut-long", longest_outage().as_secs(), true, true);
}

#[track_caller]
fn lost_and_resumed(name: &'static str, lasting: u64, ide: bool, debuggee: bool) {
    let Some(session) = Session::direct(name) else {
        return;
    };
    let which = match (ide, debuggee) {
        (true, true) => "both links",
        (true, false) => "IDE's link",
        _ => "debuggee's link",
    };
    let what = format!("{which} cut for {lasting} s");
    session.cut(&what, seconds(lasting), ide, debuggee);
    for peer in session.peers() {
        let lost = |event: &Event| match event {
            Event::PeerLost { streams } => Some(*streams),
            _ => None,
        };
        let resumed = |event: &Event| match event {
            Event::Resumed { gap_ms, streams } => Some((*gap_ms, *streams)),
            _ => None,
        };
        let held = peer.event("loss of the peer", lost);
        let (gap_ms, streams) = peer.event("return of the peer", resumed);
        println!("{name}: {}: resumed, gap_ms {gap_ms}", peer.name());
        assert!(held >= 2, "{held} streams held");
        assert_eq!(streams, held);
    }
    session.finish();
}

/// The end that is there has an answer from the relay all the time and no tunnel: the peer is away, and no network
/// drops anything.
#[test]
fn outage_at_one_end_of_a_relayed_session_blames_no_network_and_leaves_the_relay_to_udp() {
    both_at_once(
        || blames_nobody("cut-wa", true),
        || blames_nobody("cut-wb", false),
    );
}

#[track_caller]
fn blames_nobody(name: &'static str, ide: bool) {
    let Some(lab) = two_nats_of(name, NatKind::SYMMETRIC_RANDOM) else {
        return;
    };
    let setting = setting(&lab);
    let session = Session::begin(name, lab, setting, PathKind::Relay);
    let [listener, connector] = session.peers();
    let there = if ide { connector } else { listener };
    let told = over_udp(there);
    for _ in 0..2 {
        session.cut("link cut for 12 s", seconds(12), ide, !ide);
    }
    over_udp(there);
    for path in there.paths().split_off(told) {
        assert!(!path.why.contains("carries no tunnel"), "{path:?}");
    }
    session.finish();
}
