//! Each kind of NAT behaves as its name says.
//!
//! That a packet does *not* arrive is shown by one that was sent after it over the same link and
//! does arrive.
#![cfg(target_os = "linux")]

mod common;

use std::{net::SocketAddr, thread::sleep, time::Duration};

use common::Udp;
use p2pdbg_natlab::{Allocation, Error, Filtering, Host, Lab, Mapping, Nat, NatKind, Network};

/// After how long these NATs forget a mapping: so long that a machine which stalls between two packets loses none.
const TIMEOUT: Duration = Duration::from_secs(8);

/// A public host with two addresses, a box, and a host behind it.
struct Home {
    rdv: Host,
    other_ip: std::net::Ipv4Addr,
    nat: Nat,
    inside: Host,
    net: Network,
    _lab: Lab,
}

impl Home {
    fn new(kind: NatKind) -> Result<Option<Self>, Error> {
        let Some(lab) = Lab::new_or_skip("kinds") else {
            return Ok(None);
        };
        let net = lab.internet()?;
        let rdv = net.host("rdv")?;
        let nat = net.nat("nat", kind)?;
        Ok(Some(Self {
            other_ip: rdv.link().add_address()?,
            inside: nat.host("inside")?,
            rdv,
            nat,
            net,
            _lab: lab,
        }))
    }

    /// How the external endpoint depends on the destination.
    fn mapping(&self) -> Result<(Mapping, SocketAddr, Udp), Error> {
        let client = Udp::new(&self.inside)?;
        let [one, two] = [Udp::new(&self.rdv)?, Udp::new(&self.rdv)?];
        let other = Udp::bind(&self.rdv, self.other_ip, 0)?;
        let first = client.seen_by(&one, self.rdv.ip());
        let same_address = client.seen_by(&two, self.rdv.ip());
        let other_address = client.seen_by(&other, self.other_ip);
        let mapping = if first == (self.inside.ip(), client.port()).into() {
            Mapping::Untranslated
        } else if first != same_address {
            Mapping::AddressAndPortDependent
        } else if first != other_address {
            Mapping::AddressDependent
        } else {
            Mapping::EndpointIndependent
        };
        Ok((mapping, first, client))
    }

    /// Who gets through to an endpoint that has sent to one server alone.
    fn filtering(&self) -> Result<Filtering, Error> {
        let client = Udp::new(&self.inside)?;
        let [known, same_address] =
            [(); 2].map(|()| Udp::bind(&self.rdv, self.rdv.ip(), 0).unwrap());
        let stranger = Udp::bind(&self.rdv, self.other_ip, 0)?;
        let external = client.seen_by(&known, self.rdv.ip());
        stranger.send(b"stranger", external);
        same_address.send(b"same address", external);
        known.send(b"known", external);
        let heard = client.recv_until(b"known");
        let heard: Vec<&[u8]> = heard.iter().map(Vec::as_slice).collect();
        Ok(match heard[..] {
            [] => Filtering::AddressAndPortDependent,
            [b"same address"] => Filtering::AddressDependent,
            [b"stranger", b"same address"] => Filtering::EndpointIndependent,
            _ => panic!("{heard:?}"),
        })
    }
}

fn behaves_as(kind: NatKind) -> Result<(), Error> {
    let Some(home) = Home::new(kind)? else {
        return Ok(());
    };
    // More than one socket: a preserved port might be luck.
    for _ in 0..3 {
        let (mapping, external, client) = home.mapping()?;
        assert_eq!(mapping, kind.mapping);
        if kind.translates() {
            assert_eq!(external.ip(), home.nat.external_ip());
            let preserved = external.port() == client.port();
            assert_eq!(preserved, kind.allocation == Allocation::Preserving);
        }
        assert_eq!(home.filtering()?, kind.filtering);
    }
    Ok(())
}

#[test]
fn a_router_neither_translates_nor_filters() -> Result<(), Error> {
    behaves_as(NatKind::NONE)
}

#[test]
fn a_firewall_filters_without_translating() -> Result<(), Error> {
    behaves_as(NatKind::FIREWALL)
}

#[test]
fn a_full_cone_maps_and_filters_independently_of_the_endpoint() -> Result<(), Error> {
    behaves_as(NatKind::FULL_CONE)
}

#[test]
fn an_address_restricted_nat_lets_known_addresses_in() -> Result<(), Error> {
    behaves_as(NatKind::ADDRESS_RESTRICTED)
}

#[test]
fn a_port_restricted_nat_lets_known_endpoints_in() -> Result<(), Error> {
    behaves_as(NatKind::PORT_RESTRICTED)
}

#[test]
fn a_symmetric_nat_maps_each_destination_to_a_random_port() -> Result<(), Error> {
    behaves_as(NatKind::SYMMETRIC_RANDOM)
}

#[test]
fn a_cone_can_draw_its_ports_at_random() -> Result<(), Error> {
    behaves_as(NatKind::PORT_RESTRICTED.with_allocation(Allocation::Random))
}

#[test]
fn a_symmetric_nat_can_let_anybody_in() -> Result<(), Error> {
    behaves_as(NatKind {
        filtering: Filtering::EndpointIndependent,
        ..NatKind::SYMMETRIC_RANDOM
    })
}

#[test]
fn a_box_that_blocks_udp_passes_tcp() -> Result<(), Error> {
    let Some(home) = Home::new(NatKind::UDP_BLOCKED)? else {
        return Ok(());
    };
    let (inside, server) = (Udp::new(&home.inside)?, Udp::new(&home.rdv)?);
    let listener = home.rdv.tcp_listener((home.rdv.ip(), 0))?;
    inside.send(b"blocked", (home.rdv.ip(), server.port()));
    let _stream = home.inside.tcp_connect(listener.local_addr().unwrap())?;
    let (_, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), home.nat.external_ip());
    assert_eq!(server.arrived(), []);
    Ok(())
}

#[test]
fn hosts_behind_one_cone_keep_their_ports_apart() -> Result<(), Error> {
    let Some(home) = Home::new(NatKind::FULL_CONE)? else {
        return Ok(());
    };
    let second = home.nat.host("second")?;
    let stranger = Udp::bind(&home.rdv, home.other_ip, 0)?;
    let [one, two] = [Udp::new(&home.rdv)?, Udp::new(&home.rdv)?];
    // The same inside port on both, and destinations that differ: the kernel alone would share.
    let a = Udp::new(&home.inside)?;
    let b = Udp::bind(&second, second.ip(), a.port())?;
    let a_external = a.seen_by(&one, home.rdv.ip());
    let b_external = b.seen_by(&two, home.rdv.ip());
    assert_ne!(a_external, b_external);
    assert_eq!(b_external, b.seen_by(&one, home.rdv.ip()));
    stranger.send(b"to a", a_external);
    stranger.send(b"to b", b_external);
    assert_eq!(a.recv().0, b"to a");
    assert_eq!(b.recv().0, b"to b");
    Ok(())
}

#[test]
fn a_hairpinning_nat_shows_inside_hosts_each_others_external_address() -> Result<(), Error> {
    for kind in [NatKind::FULL_CONE, NatKind::PORT_RESTRICTED] {
        let Some(home) = Home::new(kind.with_hairpin())? else {
            return Ok(());
        };
        let second = home.nat.host("second")?;
        let server = Udp::new(&home.rdv)?;
        let (a, b) = (Udp::new(&home.inside)?, Udp::new(&second)?);
        let a_external = a.seen_by(&server, home.rdv.ip());
        let b_external = b.seen_by(&server, home.rdv.ip());
        a.send(b"over the hairpin", b_external);
        assert_eq!(b.recv(), (b"over the hairpin".to_vec(), a_external));
        b.send(b"and back", a_external);
        assert_eq!(a.recv(), (b"and back".to_vec(), b_external));
        // A socket without a mapping gets one by its first packet.
        let fresh = Udp::new(&home.inside)?;
        fresh.send(b"first", b_external);
        let (_, from) = b.recv();
        assert_eq!(from, fresh.seen_by(&server, home.rdv.ip()));
    }
    Ok(())
}

#[test]
fn a_nat_without_hairpin_drops_what_inside_hosts_send_to_it() -> Result<(), Error> {
    let Some(home) = Home::new(NatKind::FULL_CONE)? else {
        return Ok(());
    };
    let second = home.nat.host("second")?;
    let server = Udp::new(&home.rdv)?;
    let (a, b) = (Udp::new(&home.inside)?, Udp::new(&second)?);
    let b_external = b.seen_by(&server, home.rdv.ip());
    a.send(b"over the hairpin", b_external);
    a.send(b"directly", (second.ip(), b.port()));
    assert_eq!(b.recv_until(b"directly"), Vec::<Vec<u8>>::new());
    Ok(())
}

#[test]
fn an_idle_mapping_is_forgotten_and_a_used_one_is_kept() -> Result<(), Error> {
    let kinds = [
        NatKind::FULL_CONE,
        NatKind::PORT_RESTRICTED,
        NatKind::SYMMETRIC_RANDOM,
    ];
    std::thread::scope(|scope| {
        let looks = kinds.map(|kind| scope.spawn(move || forgets_idle_mappings_alone(kind)));
        looks.into_iter().try_for_each(|look| look.join().unwrap())
    })
}

fn forgets_idle_mappings_alone(kind: NatKind) -> Result<(), Error> {
    let Some(home) = Home::new(kind.with_timeout(TIMEOUT))? else {
        return Ok(());
    };
    let server = Udp::new(&home.rdv)?;
    let [idle, used] = [Udp::new(&home.inside)?, Udp::new(&home.inside)?];
    let idle_external = idle.seen_by(&server, home.rdv.ip());
    let used_external = used.seen_by(&server, home.rdv.ip());
    for _ in 0..6 {
        sleep(TIMEOUT / 4);
        used.send(b"alive", (home.rdv.ip(), server.port()));
        assert_eq!(server.recv().1, used_external, "{kind}");
    }
    server.send(b"too late", idle_external);
    server.send(b"still there", used_external);
    assert_eq!(used.recv().0, b"still there");
    assert_eq!(idle.arrived(), [], "{kind}");
    Ok(())
}

#[test]
fn strangers_keep_the_mapping_of_a_full_cone_alive() -> Result<(), Error> {
    let Some(home) = Home::new(NatKind::FULL_CONE.with_timeout(TIMEOUT))? else {
        return Ok(());
    };
    let (server, inside) = (Udp::new(&home.rdv)?, Udp::new(&home.inside)?);
    let external = inside.seen_by(&server, home.rdv.ip());
    for _ in 0..3 {
        sleep(TIMEOUT / 2);
        // A new port each time, so that it is the mapping that lives on and not a connection.
        Udp::bind(&home.rdv, home.other_ip, 0)?.send(b"knock", external);
        assert_eq!(inside.recv().0, b"knock");
    }
    Ok(())
}

#[test]
fn a_kind_that_the_kernel_cannot_be_is_refused_with_the_reason() -> Result<(), Error> {
    let Some(home) = Home::new(NatKind::NONE)? else {
        return Ok(());
    };
    for kind in [NatKind::SYMMETRIC_SEQUENTIAL, NatKind::SYMMETRIC_BLOCK] {
        let error = home.net.nat("impossible", kind).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }));
        println!("{error}");
    }
    Ok(())
}
