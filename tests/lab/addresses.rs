//! Addresses of the hosts' own, and what becomes of a search when one vanishes.

use p2pdbg::report::PathKind;
use p2pdbg_natlab::{Lab, NatKind, TwoNats};

use crate::{
    DELAY,
    harness::{
        Setting, eventually,
        traffic::{accept, say},
    },
    place, setting,
};

/// A session that says something and gives the technique of its direct path at both ends.
#[track_caller]
fn technique(setting: &Setting) -> [Option<String>; 2] {
    let (port, target) = (setting.port(), setting.port());
    let listening = setting.debuggee.listen(target);
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["-L", &forward], port);
    let opened = setting.ide.connect(port);
    say(&opened, &accept(&listening), "directly");
    [&pair.listener, &pair.connector].map(|peer| peer.path(PathKind::Direct).technique)
}

#[test]
fn where_both_ends_have_ipv6_it_is_used_past_their_nats_and_through_their_firewalls() {
    let Some(lab) = Lab::new_or_skip("v6") else {
        return;
    };
    let net = lab.dual_stack_internet().unwrap().with_delay(DELAY);
    let rdv = net.host("rdv").unwrap();
    let homes = ["a", "b"].map(|name| net.nat(name, NatKind::SYMMETRIC_RANDOM).unwrap());
    let [ide, debuggee] = homes.map(|home| home.host(&format!("{}-host", home.name())).unwrap());
    let address = rdv.ip().into();
    let setting = Setting::of(place(&ide), place(&debuggee), place(&rdv), address);
    let ipv6 = Some("ipv6".to_owned());
    assert_eq!(technique(&setting), [ipv6.clone(), ipv6]);
}

#[test]
fn two_peers_on_one_host_meet_on_it() {
    let Some(lab) = Lab::new_or_skip("one-host") else {
        return;
    };
    let net = lab.internet().unwrap().with_delay(DELAY);
    let rdv = net.host("rdv").unwrap();
    let home = net.nat("home", NatKind::SYMMETRIC_RANDOM).unwrap();
    let host = home.host("host").unwrap();
    let address = rdv.ip().into();
    let setting = Setting::of(place(&host), place(&host), place(&rdv), address);
    let same = Some("same-host".to_owned());
    assert_eq!(technique(&setting), [same.clone(), same]);
}

#[test]
fn an_interface_that_vanishes_in_the_midst_of_a_search_ends_neither_session_nor_search() {
    let Some(lab) = Lab::new_or_skip("vanish") else {
        return;
    };
    let (hard, easy) = (NatKind::SYMMETRIC_RANDOM, NatKind::PORT_RESTRICTED);
    let lab = TwoNats::new(lab, hard, easy, DELAY).unwrap();
    let setting = setting(&lab);
    let listener = setting.listener().start();
    let connector = setting.connector_with(&listener.code()).start();
    eventually("a search has begun", || {
        setting
            .transcript
            .text()
            .contains("SearchBegan")
            .then_some(())
    });
    let link = lab.ide.link();
    lab.ide.detach(&link).unwrap();
    lab.ide.attach(lab.nat_a.lan()).unwrap();
    listener.path(PathKind::Direct);
    connector.path(PathKind::Direct);
}
