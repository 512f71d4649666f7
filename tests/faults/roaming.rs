//! Hosts that move.

use std::{net::IpAddr, path::PathBuf};

use p2pdbg_events::PathKind;
use p2pdbg_natlab::{Host, Lab, NatKind, TwoNats};

use crate::{
    harness::{Peer, Place, Setting, eventually},
    session::{DELAY, Session},
};

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

#[test]
fn an_ide_that_moves_from_ipv4_to_ipv6_keeps_its_streams() {
    let Some(lab) = Lab::new_or_skip("roam-6") else {
        return;
    };
    let net = lab.dual_stack_internet().unwrap().with_delay(DELAY);
    let rdv = net.host("rdv").unwrap();
    let nat_a = net.nat("nat-a", NatKind::PORT_RESTRICTED).unwrap();
    let nat_b = net.nat("nat-b", NatKind::PORT_RESTRICTED).unwrap();
    let lab = TwoNats {
        ide: nat_a.host("ide").unwrap(),
        debuggee: nat_b.host("debuggee").unwrap(),
        rdv,
        nat_a,
        nat_b,
        net,
        lab,
    };
    // A network without IPv6, to begin with.
    let home = lab.ide.link();
    without(&lab.ide, "-6", home.interface());
    let names = Names::new(&lab, "rendezvous.test");
    let setting = Setting::with_rendezvous(
        Place::Node((*lab.ide).clone()),
        Place::Node((*lab.debuggee).clone()),
        Place::Node((*lab.rdv).clone()),
        "rendezvous.test",
        ["--bind", "[::]:3478"],
    );
    let session = Session::begin("roam-6", lab, setting, PathKind::Direct);
    let cafe = session.lab.net.nat("cafe", NatKind::NONE).unwrap();
    session.blow("moved from IPv4 to IPv6", TARGET, || {
        let link = session.lab.ide.attach(cafe.lan()).unwrap();
        without(&session.lab.ide, "-4", link.interface());
        session.lab.ide.detach(&home).unwrap();
    });
    let is_v6 = |peer: &Peer| {
        let over = peer.paths().last().and_then(|path| path.remote);
        over.is_some_and(|remote| remote.ip().to_canonical().is_ipv6())
    };
    for peer in session.peers() {
        eventually("path over IPv6", || is_v6(peer).then_some(()));
    }
    session.finish();
    drop(names);
}

/// Takes the addresses of one family from an interface.
fn without(host: &Host, family: &str, interface: &str) {
    let mut flush = host.command("ip");
    flush.args([family, "addr", "flush", "dev", interface, "scope", "global"]);
    assert!(flush.status().unwrap().success(), "{flush:?}");
}

/// A name for the rendezvous, at both of its addresses, as its peers resolve it.
struct Names(Vec<PathBuf>);

impl Names {
    fn new(lab: &TwoNats, name: &str) -> Self {
        let [v4, v6]: [IpAddr; 2] = [lab.rdv.ip().into(), lab.rdv.ip6().unwrap().into()];
        let hosts = format!("127.0.0.1 localhost\n::1 localhost\n{v4} {name}\n{v6} {name}\n");
        // Commands on a node see these in the place of the files in /etc.
        let of = |node: &str| PathBuf::from("/etc/netns").join(node);
        let folders = [&lab.ide, &lab.debuggee].map(|host| of(host.namespace()));
        for folder in &folders {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("hosts"), &hosts).unwrap();
        }
        Self(folders.to_vec())
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        for folder in &self.0 {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
