//! Links that carry nothing for a while.

use std::time::Duration;

use p2pdbg::report::Event;

use crate::session::Session;

/// After an outage of which no interface tells.
const UNREPORTED: &str = "first byte ≤ 5 s after mending";

/// After an outage that the interface reports.
const REPORTED: &str = "first byte ≤ 2 s after mending";

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

#[test]
fn a_debuggee_that_is_cut_off_for_ten_seconds_is_still_stopped_at_its_breakpoint() {
    let Some(session) = Session::direct("cut-10") else {
        return;
    };
    let session = session.with_debugger();
    session.cut("debuggee's link cut for 10 s", seconds(10), false, true);
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
    let link = session.lab.ide.link();
    session.outage(
        "IDE's interface down for 10 s",
        seconds(10),
        REPORTED,
        || link.down().unwrap(),
        || link.up().unwrap(),
    );
    session.finish();
}

#[test]
fn a_peer_that_is_out_of_reach_for_45_seconds_is_lost_and_resumed() {
    let Some(session) = Session::direct("cut-45") else {
        return;
    };
    let session = session.with_debugger();
    session.cut("debuggee's link cut for 45 s", seconds(45), false, true);
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
        println!("cut-45: {}: resumed, gap_ms {gap_ms}", peer.name());
        assert!(held >= 2, "{held} streams held");
        assert_eq!(streams, held);
    }
    session.finish();
}
