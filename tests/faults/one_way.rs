//! Networks that carry one direction alone.

use p2pdbg_events::{PathKind, Via};
use p2pdbg_natlab::{Flow, Host};

use crate::{
    harness::eventually,
    session::{Session, both_at_once},
};

const TARGET: &str = "longest silence ≤ 4 s";

/// Which end's datagrams are lost, and where.
#[derive(Clone, Copy, Debug)]
enum Lost {
    /// On their way out, beyond the host.
    Outgoing,
    /// On their way in.
    Incoming,
    /// On their way out, and the host's own firewall says so to whoever sends.
    Refused,
}

/// All UDP of a host, in one direction.
#[track_caller]
fn lose(session: &Session, lost: Lost, host: impl Fn(&Session) -> (&Host, &p2pdbg_natlab::Nat)) {
    let (host, nat) = host(session);
    let what = format!("{lost:?} UDP of the host {} lost", host.name());
    session.blow(&what, TARGET, || match lost {
        Lost::Outgoing => nat.block(Flow::udp().from(host.ip())).unwrap(),
        Lost::Incoming => host.block(Flow::udp().to(host.ip())).unwrap(),
        Lost::Refused => host.block(Flow::udp().from(host.ip())).unwrap(),
    });
}

#[track_caller]
fn loses(session: Option<Session>, lost: Lost, at_ide: bool) {
    let Some(session) = session else {
        return;
    };
    lose(&session, lost, |session| match at_ide {
        true => (&session.lab.ide, &session.lab.nat_a),
        false => (&session.lab.debuggee, &session.lab.nat_b),
    });
    for peer in session.peers() {
        let last = eventually("path that does not need what is lost", || {
            let last = peer.paths().pop()?;
            (last.kind == PathKind::Relay || last.via == Via::Tcp).then_some(last)
        });
        println!("{}: {:?}", peer.name(), (last.kind, last.via, last.why));
    }
    session.finish();
}

#[test]
fn direct_session_whose_outgoing_udp_is_lost_at_one_end_goes_on_over_tcp() {
    both_at_once(
        || loses(Session::direct("ow-oa"), Lost::Outgoing, true),
        || loses(Session::direct("ow-ob"), Lost::Outgoing, false),
    );
}

#[test]
fn direct_session_whose_incoming_udp_is_lost_at_one_end_goes_on_over_tcp() {
    both_at_once(
        || loses(Session::direct("ow-ia"), Lost::Incoming, true),
        || loses(Session::direct("ow-ib"), Lost::Incoming, false),
    );
}

#[test]
fn relayed_session_whose_outgoing_udp_is_lost_at_one_end_goes_on_over_tcp() {
    both_at_once(
        || loses(Session::relayed("ow-ra"), Lost::Outgoing, true),
        || loses(Session::relayed("ow-rb"), Lost::Outgoing, false),
    );
}

#[test]
fn relayed_session_whose_incoming_udp_is_lost_at_one_end_goes_on_over_tcp() {
    both_at_once(
        || loses(Session::relayed("ow-ja"), Lost::Incoming, true),
        || loses(Session::relayed("ow-jb"), Lost::Incoming, false),
    );
}

#[test]
fn session_whose_own_firewall_refuses_udp_goes_on_over_tcp() {
    both_at_once(
        || loses(Session::direct("ow-pa"), Lost::Refused, true),
        || loses(Session::direct("ow-pb"), Lost::Refused, false),
    );
}
