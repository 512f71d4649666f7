//! Hosts that move.

use p2pdbg_natlab::{Host, NatKind};

use crate::session::Session;

const TARGET: &str = "first byte ≤ 5 s after the move";

#[test]
fn an_ide_that_moves_to_another_lan_keeps_its_streams() {
    moves("roam-a", |session| &session.lab.ide);
}

#[test]
fn a_debuggee_that_moves_to_another_lan_keeps_its_streams() {
    moves("roam-b", |session| &session.lab.debuggee);
}

#[track_caller]
fn moves(name: &'static str, host: impl Fn(&Session) -> &Host) {
    let Some(session) = Session::direct(name) else {
        return;
    };
    let cafe = session
        .lab
        .net
        .nat("cafe", NatKind::PORT_RESTRICTED)
        .unwrap();
    session.blow("moved to another LAN", TARGET, || {
        host(&session).roam(cafe.lan()).unwrap();
    });
    session.finish();
}
