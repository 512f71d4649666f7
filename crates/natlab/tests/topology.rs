//! Nodes reach each other as the topology says, and nothing is left when a lab is dropped.
#![cfg(target_os = "linux")]

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use p2pdbg_natlab::{Error, Lab, NatKind, TwoNats};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 0);

#[test]
fn a_host_behind_two_nats_reaches_the_internet() -> Result<(), Error> {
    let Some(lab) = Lab::new_or_skip("double") else {
        return Ok(());
    };
    let net = lab.internet()?;
    let rdv = net.host("rdv")?;
    let cgn = net.carrier_nat("cgn", NatKind::PORT_RESTRICTED)?;
    let home = cgn.nat("home", NatKind::PORT_RESTRICTED)?;
    let laptop = home.host("laptop")?;

    let server = rdv.udp_socket(ANY)?;
    let client = laptop.udp_socket(ANY)?;
    let server_port = server.local_addr().unwrap().port();
    client.send_to(b"hello", (rdv.ip(), server_port)).unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut buffer = [0; 100];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"hello");
    assert_eq!(from.ip(), cgn.external_ip());
    Ok(())
}

#[test]
fn two_nats_have_the_round_trip_that_their_links_add_up_to() -> Result<(), Error> {
    let Some(lab) = Lab::new_or_skip("two-nats") else {
        return Ok(());
    };
    let delay = Duration::from_millis(10);
    let lab = TwoNats::new(
        lab,
        NatKind::PORT_RESTRICTED,
        NatKind::PORT_RESTRICTED,
        delay,
    )?;
    let (ide, rdv) = (lab.ide.udp_socket(ANY)?, lab.rdv.udp_socket(ANY)?);
    let mut buffer = [0; 16];
    let start = Instant::now();
    ide.send_to(b"ping", (lab.rdv.ip(), rdv.local_addr().unwrap().port()))
        .unwrap();
    let (_, from) = rdv.recv_from(&mut buffer).unwrap();
    rdv.send_to(b"pong", from).unwrap();
    ide.recv_from(&mut buffer).unwrap();
    let round_trip = start.elapsed();
    assert!(round_trip >= 4 * delay, "{round_trip:?}");
    println!("{round_trip:?}");
    Ok(())
}
