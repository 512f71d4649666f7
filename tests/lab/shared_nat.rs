//! More than one NAT in a row, and peers behind one and the same: homes of one carrier, two segments of one home.

use p2pdbg_events::{Event, PathKind};
use p2pdbg_natlab::{Flow, Host, Lab, Nat, NatKind};

use crate::{DELAY, addresses::meet, harness::Setting, place};

/// A check may come before the signal that tells of its port, and these networks are short.
const PUNCHED: [&str; 2] = ["hole-punch", "peer-reflexive"];

/// The programs with the rendezvous on the internet and the peers on these hosts.
fn setting_of(rdv: &Host, ide: &Host, debuggee: &Host) -> Setting {
    Setting::of(place(ide), place(debuggee), place(rdv), rdv.ip().into())
}

/// Two homes that are customers of one carrier: with the same router, the same LAN and so the same address inside.
fn two_customers(carrier: &Nat) -> [Host; 2] {
    ["home-a", "home-b"].map(|name| {
        let home = carrier
            .lan()
            .nat_with_lan(name, NatKind::PORT_RESTRICTED, [192, 168, 1])
            .unwrap();
        home.host(&format!("{name}-host")).unwrap()
    })
}

/// As an access point does that lets its clients reach nothing but the router.
#[test]
fn two_hosts_whose_access_point_keeps_them_apart_meet_through_the_hairpin_of_their_nat() {
    let Some(lab) = Lab::new_or_skip("hairpin") else {
        return;
    };
    let net = lab.internet().unwrap().with_delay(DELAY);
    let rdv = net.host("rdv").unwrap();
    let kind = NatKind::PORT_RESTRICTED.with_hairpin();
    let home = net.nat("home", kind).unwrap();
    let [ide, debuggee] = ["ide", "dbg"].map(|name| home.host(name).unwrap());
    let across = Flow::between(ide.ip(), debuggee.ip());
    for host in [&ide, &debuggee] {
        host.block(across).unwrap();
    }
    for (technique, remote) in meet(&setting_of(&rdv, &ide, &debuggee)) {
        assert!(PUNCHED.contains(&technique.unwrap().as_str()));
        assert_eq!(
            remote.map(|remote| remote.ip()),
            Some(home.external_ip().into())
        );
    }
}

/// How a peer behind its home's NAT and this one of its carrier meets one behind a port-restricted NAT.
#[track_caller]
fn from_behind_two_nats(name: &str, carrier: NatKind, techniques: &[&str]) {
    let Some(lab) = Lab::new_or_skip(name) else {
        return;
    };
    let net = lab.internet().unwrap().with_delay(DELAY);
    let rdv = net.host("rdv").unwrap();
    let carrier = net.carrier_nat("cgn", carrier).unwrap();
    let home = carrier.nat("home", NatKind::PORT_RESTRICTED).unwrap();
    let office = net.nat("office", NatKind::PORT_RESTRICTED).unwrap();
    let ide = home.host("ide").unwrap();
    let debuggee = office.host("dbg").unwrap();
    let met = meet(&setting_of(&rdv, &ide, &debuggee));
    let outsides = [office.external_ip(), carrier.external_ip()];
    for ((technique, remote), outside) in met.into_iter().zip(outsides) {
        let technique = technique.unwrap();
        assert!(techniques.contains(&technique.as_str()), "{technique}");
        assert_eq!(remote.map(|remote| remote.ip()), Some(outside.into()));
    }
}

#[test]
fn from_behind_a_home_and_a_carrier_whose_nats_keep_ports_a_hole_is_punched() {
    let keeps = NatKind::PORT_RESTRICTED;
    from_behind_two_nats("cgn-easy", keeps, &PUNCHED);
}

#[test]
fn from_behind_a_home_and_a_carrier_that_changes_every_port_the_port_is_searched_and_found() {
    from_behind_two_nats("cgn-hard", NatKind::SYMMETRIC_RANDOM, &["birthday-search"]);
}

#[test]
fn two_customers_of_one_carrier_meet_through_its_hairpin_though_their_homes_look_the_same() {
    let Some(lab) = Lab::new_or_skip("cgn-pair") else {
        return;
    };
    let net = lab.internet().unwrap().with_delay(DELAY);
    let rdv = net.host("rdv").unwrap();
    let kind = NatKind::PORT_RESTRICTED.with_hairpin();
    let carrier = net.carrier_nat("cgn", kind).unwrap();
    let [ide, debuggee] = two_customers(&carrier);
    assert_eq!(ide.ip(), debuggee.ip());
    for (technique, remote) in meet(&setting_of(&rdv, &ide, &debuggee)) {
        assert!(PUNCHED.contains(&technique.unwrap().as_str()));
        assert_eq!(
            remote.map(|remote| remote.ip()),
            Some(carrier.external_ip().into())
        );
    }
}

#[test]
fn two_customers_of_a_carrier_that_cannot_hairpin_are_connected_by_the_relay_and_told_why() {
    let Some(lab) = Lab::new_or_skip("cgn-flat") else {
        return;
    };
    let net = lab.internet().unwrap().with_delay(DELAY);
    let rdv = net.host("rdv").unwrap();
    let carrier = net.carrier_nat("cgn", NatKind::PORT_RESTRICTED).unwrap();
    let [ide, debuggee] = two_customers(&carrier);
    let setting = setting_of(&rdv, &ide, &debuggee);
    let pair = setting.pair(["-L", "0:localhost:9"]);
    for peer in [&pair.listener, &pair.connector] {
        let why = peer.event("the reason for the relay", |event| match event {
            Event::Path(path) if path.kind == PathKind::Relay => path
                .why
                .contains("what would help")
                .then(|| path.why.clone()),
            _ => None,
        });
        assert!(why.contains("hairpin"), "{why}");
    }
}
