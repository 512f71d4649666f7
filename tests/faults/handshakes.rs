//! Networks that let checks and binds pass and drop QUIC's handshakes, so that browsers go back to what a proxy can
//! open: a path is found, and no tunnel comes about on it unless something is done.

use p2pdbg_events::{PathKind, PathReport, Via};
use p2pdbg_natlab::{Flow, TwoNats};

use crate::session::{Session, both_at_once, first_byte, setting, two_nats};

/// A session that begins where NATs drop this; the paths of both peers, once they are of this kind.
#[track_caller]
fn begins(
    name: &'static str,
    drops: impl Fn(&TwoNats, Flow),
    flow: Flow,
    kind: PathKind,
) -> Option<[PathReport; 2]> {
    let lab = two_nats(name)?;
    drops(&lab, flow);
    let setting = setting(&lab);
    let begun = first_byte(name, &setting);
    let reports = begun.peers.each_ref().map(|peer| peer.path(kind));
    if std::env::var_os("P2PDBG_FAULT_TRANSCRIPT").is_some() {
        println!("{}", setting.transcript.text());
    }
    Some(reports)
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
    begins("dpi", at_both, flow, PathKind::Direct);
}

#[test]
fn session_begins_over_tcp_where_udp_carries_no_handshake_at_all_and_says_so() {
    let over_tcp = |name, drops: fn(&TwoNats, Flow)| {
        let reports = begins(name, drops, Flow::high_udp(), PathKind::Relay);
        for report in reports.into_iter().flatten() {
            assert_eq!(report.via, Via::Tcp, "{report:?}");
            assert!(report.why.contains("carries no tunnel"), "{report:?}");
        }
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
