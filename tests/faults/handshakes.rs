//! Networks that let checks and binds pass and drop QUIC's handshakes, so that browsers go back to what a proxy can
//! open: a path is found, and no tunnel comes about on it unless something is done.

use p2pdbg_events::{Event, PathKind, PathReport, Via};
use p2pdbg_natlab::{Flow, TwoNats};

use crate::session::{Session, both_at_once, first_byte, setting, two_nats};

/// A session that begins where NATs drop this, once both peers have told of such a path.
#[track_caller]
fn begins(
    name: &'static str,
    drops: impl Fn(&TwoNats, Flow),
    flow: Flow,
    what: &str,
    is_it: impl Fn(&PathReport) -> bool,
) {
    let Some(lab) = two_nats(name) else {
        return;
    };
    drops(&lab, flow);
    let setting = setting(&lab);
    let begun = first_byte(name, &setting);
    for peer in &begun.peers {
        peer.event(what, |event| match event {
            Event::Path(path) => is_it(path).then_some(()),
            _ => None,
        });
    }
    if std::env::var_os("P2PDBG_FAULT_TRANSCRIPT").is_some() {
        println!("{}", setting.transcript.text());
    }
}

fn at_a(lab: &TwoNats, flow: Flow) {
    lab.nat_a.block(flow).unwrap();
}

fn at_b(lab: &TwoNats, flow: Flow) {
    lab.nat_b.block(flow).unwrap();
}

fn at_both(lab: &TwoNats, flow: Flow) {
    at_a(lab, flow);
    at_b(lab, flow);
}

#[test]
fn session_goes_direct_where_both_nats_drop_the_handshakes_of_quic() {
    let flow = Flow::quic_handshakes();
    let is_direct = |path: &PathReport| path.kind == PathKind::Direct;
    begins("dpi", at_both, flow, "direct path", is_direct);
}

#[test]
fn session_begins_over_tcp_where_udp_carries_no_handshake_at_all_and_says_so() {
    let over_tcp = |name, drops: fn(&TwoNats, Flow)| {
        // Where a host is busy, the relay may be tried over TCP before UDP is known to carry nothing.
        let says_so = |path: &PathReport| {
            let over_tcp = (path.kind, path.via) == (PathKind::Relay, Via::Tcp);
            over_tcp && path.why.contains("carries no tunnel")
        };
        let what = "relay over TCP, with the reason";
        begins(name, drops, Flow::high_udp(), what, says_so);
    };
    both_at_once(|| over_tcp("high-a", at_a), || over_tcp("high-b", at_b));
}

#[test]
fn direct_session_goes_on_where_a_nat_begins_to_drop_handshakes_and_forgets_its_mappings() {
    both_at_once(
        || goes_on(Session::direct("dpi-da"), Flow::quic_handshakes()),
        || goes_on(Session::direct("high-da"), Flow::high_udp()),
    );
}

#[track_caller]
fn goes_on(session: Option<Session>, flow: Flow) {
    let Some(session) = session else {
        return;
    };
    let what = "a NAT begins to drop handshakes and forgets its mappings";
    session.blow(what, "longest silence ≤ 5 s", || {
        session.lab.nat_a.block(flow).unwrap();
        session.lab.nat_a.flush().unwrap();
    });
    session.finish();
}
