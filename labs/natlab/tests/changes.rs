//! What a test changes while the lab runs.
#![cfg(target_os = "linux")]

mod common;

use std::{net::Ipv6Addr, time::Duration};

use common::Udp;
use p2pdbg_natlab::{Error, Flow, Lab, NatKind, TwoNats};

fn two_nats(kind: NatKind) -> Result<Option<TwoNats>, Error> {
    Lab::new_or_skip("changes")
        .map(|lab| TwoNats::new(lab, kind, kind, Duration::ZERO))
        .transpose()
}

#[test]
fn a_flushed_nat_forgets_its_mappings() -> Result<(), Error> {
    for kind in [
        NatKind::FULL_CONE,
        NatKind::PORT_RESTRICTED,
        NatKind::SYMMETRIC_RANDOM,
    ] {
        let Some(lab) = two_nats(kind)? else {
            return Ok(());
        };
        let server = Udp::new(&lab.rdv)?;
        let (old, new) = (Udp::new(&lab.ide)?, Udp::new(&lab.ide)?);
        let old_external = old.seen_by(&server, lab.rdv.ip());
        lab.nat_a.flush()?;
        let new_external = new.seen_by(&server, lab.rdv.ip());
        server.send(b"to the old", old_external);
        server.send(b"to the new", new_external);
        assert_eq!(new.recv().0, b"to the new");
        assert_eq!(old.arrived(), [], "{kind}");
        // And it makes new ones for the same socket.
        old.seen_by(&server, lab.rdv.ip());
    }
    Ok(())
}

#[test]
fn a_renumbered_nat_shows_its_new_address_and_drops_the_old() -> Result<(), Error> {
    let Some(lab) = two_nats(NatKind::PORT_RESTRICTED)? else {
        return Ok(());
    };
    let server = Udp::new(&lab.rdv)?;
    let ide = Udp::new(&lab.ide)?;
    let before = ide.seen_by(&server, lab.rdv.ip());
    let new = lab.nat_a.renumber()?;
    assert_eq!(lab.nat_a.external_ip(), new);
    assert_ne!(before.ip(), new);
    assert_eq!(ide.seen_by(&server, lab.rdv.ip()).ip(), new);
    server.send(b"to the old address", before);
    ide.seen_by(&server, lab.rdv.ip());
    Ok(())
}

#[test]
fn the_direct_path_can_be_blocked_while_the_public_host_is_reachable() -> Result<(), Error> {
    let Some(lab) = two_nats(NatKind::FULL_CONE)? else {
        return Ok(());
    };
    let server = Udp::new(&lab.rdv)?;
    let (ide, debuggee) = (Udp::new(&lab.ide)?, Udp::new(&lab.debuggee)?);
    let external = debuggee.seen_by(&server, lab.rdv.ip());
    let direct = Flow::between(lab.nat_a.external_ip(), lab.nat_b.external_ip());
    lab.net.router().block(direct)?;
    ide.send(b"blocked", external);
    ide.seen_by(&server, lab.rdv.ip());
    debuggee.seen_by(&server, lab.rdv.ip());
    assert_eq!(debuggee.arrived(), []);
    lab.net.router().unblock(direct)?;
    ide.send(b"unblocked", external);
    assert_eq!(debuggee.recv().0, b"unblocked");
    Ok(())
}

#[test]
fn udp_can_be_blocked_at_a_nat_while_tcp_passes() -> Result<(), Error> {
    let Some(lab) = two_nats(NatKind::PORT_RESTRICTED)? else {
        return Ok(());
    };
    let server = Udp::new(&lab.rdv)?;
    let ide = Udp::new(&lab.ide)?;
    ide.seen_by(&server, lab.rdv.ip());
    let listener = lab.rdv.tcp_listener((lab.rdv.ip(), 0))?;
    lab.nat_a.block(Flow::udp())?;
    ide.send(b"blocked", (lab.rdv.ip(), server.port()));
    lab.ide.tcp_connect(listener.local_addr().unwrap())?;
    assert_eq!(server.arrived(), []);
    lab.nat_a.unblock(Flow::udp())?;
    ide.seen_by(&server, lab.rdv.ip());
    Ok(())
}

#[test]
fn a_host_roams_from_one_lan_to_another_and_to_the_open_internet() -> Result<(), Error> {
    let Some(lab) = two_nats(NatKind::PORT_RESTRICTED)? else {
        return Ok(());
    };
    let server = Udp::new(&lab.rdv)?;
    let seen_from = |ip| {
        let socket = Udp::new(&lab.ide)?;
        let seen = socket.seen_by(&server, lab.rdv.ip());
        assert_eq!(seen.ip(), std::net::IpAddr::from(ip));
        Ok::<_, Error>(())
    };
    seen_from(lab.nat_a.external_ip())?;
    let link = lab.ide.roam(lab.nat_b.lan())?;
    assert_eq!(lab.ide.ip(), link.ip());
    seen_from(lab.nat_b.external_ip())?;
    lab.ide.roam(&lab.net)?;
    seen_from(lab.ide.ip())?;
    Ok(())
}

#[test]
fn a_host_falls_back_to_its_second_link_while_the_first_is_down() -> Result<(), Error> {
    let Some(lab) = two_nats(NatKind::PORT_RESTRICTED)? else {
        return Ok(());
    };
    let server = Udp::new(&lab.rdv)?;
    let second = lab.ide.attach(lab.nat_b.lan())?;
    let seen = || Ok::<_, Error>(Udp::new(&lab.ide)?.seen_by(&server, lab.rdv.ip()).ip());
    assert_eq!(seen()?, lab.nat_a.external_ip());
    lab.ide.link().down()?;
    assert_eq!(seen()?, lab.nat_b.external_ip());
    lab.ide.link().up()?;
    assert_eq!(seen()?, lab.nat_a.external_ip());
    lab.ide.detach(&second)?;
    assert_eq!(seen()?, lab.nat_a.external_ip());
    Ok(())
}

#[test]
fn ipv6_is_routed_through_the_boxes_behind_a_firewall() -> Result<(), Error> {
    let Some(lab) = Lab::new_or_skip("ipv6") else {
        return Ok(());
    };
    let net = lab.dual_stack_internet()?;
    let rdv = net.host("rdv")?;
    let outer = net.carrier_nat("cgn", NatKind::PORT_RESTRICTED)?;
    let home = outer.nat("home", NatKind::PORT_RESTRICTED)?;
    let laptop = home.host("laptop")?;
    let (rdv_ip, laptop_ip) = (rdv.ip6().unwrap(), laptop.ip6().unwrap());
    let server = Udp::bind(&rdv, Ipv6Addr::UNSPECIFIED, 0)?;
    let stranger = Udp::bind(&rdv, Ipv6Addr::UNSPECIFIED, 0)?;
    let client = Udp::bind(&laptop, Ipv6Addr::UNSPECIFIED, 0)?;
    stranger.send(b"stranger", (laptop_ip, client.port()));
    let seen = client.seen_by(&server, rdv_ip);
    assert_eq!(seen, (laptop_ip, client.port()).into());
    assert_eq!(client.arrived(), []);

    // After an interface was down, IPv6 works like IPv4.
    for link in [laptop.link(), home.uplink().clone(), outer.uplink().clone()] {
        link.down()?;
        link.up()?;
        client.seen_by(&server, rdv_ip);
    }
    outer.renumber()?;
    client.seen_by(&server, rdv_ip);
    Ok(())
}

#[test]
fn ecn_black_hole_drops_marked_udp_and_nothing_else() -> Result<(), Error> {
    let Some(lab) = two_nats(NatKind::PORT_RESTRICTED)? else {
        return Ok(());
    };
    let (server, ide) = (Udp::new(&lab.rdv)?, Udp::new(&lab.ide)?);
    let to = (lab.rdv.ip(), server.port());
    lab.nat_a.block(Flow::udp().marked())?;
    ide.set_marked(true);
    ide.send(b"marked", to);
    ide.set_marked(false);
    ide.send(b"plain", to);
    assert_eq!(server.recv().0, b"plain");
    assert_eq!(server.arrived(), []);
    lab.nat_a.unblock(Flow::udp().marked())?;
    ide.set_marked(true);
    ide.send(b"marked", to);
    assert_eq!(server.recv().0, b"marked");
    Ok(())
}

#[test]
fn one_way_loss_takes_what_goes_and_leaves_what_comes() -> Result<(), Error> {
    let Some(lab) = two_nats(NatKind::FULL_CONE)? else {
        return Ok(());
    };
    let (server, ide) = (Udp::new(&lab.rdv)?, Udp::new(&lab.ide)?);
    let external = ide.seen_by(&server, lab.rdv.ip());
    lab.nat_a.block(Flow::one_way(lab.ide.ip(), lab.rdv.ip()))?;
    ide.send(b"lost", (lab.rdv.ip(), server.port()));
    server.send(b"heard", external);
    assert_eq!(ide.recv().0, b"heard");
    assert_eq!(server.arrived(), []);
    Ok(())
}

#[test]
fn flood_guard_bans_a_host_that_makes_too_many_flows_and_not_one_that_makes_few()
-> Result<(), Error> {
    let Some(lab) = two_nats(NatKind::PORT_RESTRICTED)? else {
        return Ok(());
    };
    lab.nat_a.guard(20, Duration::from_secs(60))?;
    let (server, ide) = (Udp::new(&lab.rdv)?, Udp::new(&lab.ide)?);
    let to = (lab.rdv.ip(), server.port());
    for port in 1..10 {
        ide.send(b"few", (lab.rdv.ip(), 20_000 + port));
    }
    ide.send(b"passes", to);
    assert_eq!(server.recv().0, b"passes");
    for port in 1..200 {
        ide.send(b"many", (lab.rdv.ip(), 30_000 + port));
    }
    ide.send(b"banned", to);
    // Another host's packet comes later, and alone.
    let other = Udp::new(&lab.debuggee)?;
    other.send(b"of another", to);
    assert_eq!(server.recv().0, b"of another");
    assert_eq!(server.arrived(), []);
    Ok(())
}

#[test]
fn policer_passes_a_little_udp_and_drops_the_rest() -> Result<(), Error> {
    let Some(lab) = two_nats(NatKind::PORT_RESTRICTED)? else {
        return Ok(());
    };
    lab.nat_a.police_udp(12_500)?;
    let (server, ide) = (Udp::new(&lab.rdv)?, Udp::new(&lab.ide)?);
    let to = (lab.rdv.ip(), server.port());
    for _ in 0..100 {
        ide.send(&[0; 1000], to);
    }
    // One has come before the end is sent: two processors do not keep the order of two hosts.
    assert_ne!(server.recv().0, b"end");
    let mut passed = 1;
    // Of another host, whose box polices nothing.
    let other = Udp::new(&lab.debuggee)?;
    other.send(b"end", to);
    while server.recv().0 != b"end" {
        passed += 1;
    }
    assert!((1..50).contains(&passed), "{passed} of 100");
    Ok(())
}
