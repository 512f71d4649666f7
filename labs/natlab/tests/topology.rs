//! Nodes reach each other as the topology says, and nothing is left when a lab is dropped.
#![cfg(target_os = "linux")]

mod common;

use std::{
    fs,
    net::Ipv4Addr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{Udp, eventually};
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

    let server = Udp::new(&rdv)?;
    let seen = Udp::new(&laptop)?.seen_by(&server, rdv.ip());
    assert_eq!(seen.ip(), cgn.external_ip());
    Ok(())
}

#[test]
fn two_homes_may_have_the_same_private_addresses() -> Result<(), Error> {
    let Some(lab) = Lab::new_or_skip("same-lan") else {
        return Ok(());
    };
    let net = lab.internet()?;
    let rdv = net.host("rdv")?;
    let server = Udp::new(&rdv)?;
    let mut seen = Vec::new();
    for name in ["a", "b"] {
        let nat = net.nat_with_lan(name, NatKind::PORT_RESTRICTED, [192, 168, 1])?;
        let host = nat.host(&format!("host-{name}"))?;
        assert_eq!(host.ip(), Ipv4Addr::new(192, 168, 1, 10));
        seen.push(Udp::new(&host)?.seen_by(&server, rdv.ip()).ip());
    }
    assert_ne!(seen[0], seen[1]);
    Ok(())
}

#[test]
fn a_host_behind_a_router_is_reached_at_its_own_address() -> Result<(), Error> {
    let Some(lab) = Lab::new_or_skip("router") else {
        return Ok(());
    };
    let net = lab.internet()?;
    let rdv = net.host("rdv")?;
    let outer = net.nat("outer", NatKind::NONE)?;
    let inner = outer.nat("inner", NatKind::NONE)?;
    let host = inner.host("host")?;
    let (inside, outside) = (Udp::new(&host)?, Udp::new(&rdv)?);
    outside.send(b"unasked", (host.ip(), inside.port()));
    assert_eq!(
        inside.recv(),
        (b"unasked".to_vec(), (rdv.ip(), outside.port()).into())
    );
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
    let (ide, server) = (Udp::new(&lab.ide)?, Udp::new(&lab.rdv)?);
    let start = Instant::now();
    ide.seen_by(&server, lab.rdv.ip());
    let round_trip = start.elapsed();
    assert!(round_trip >= 4 * delay, "{round_trip:?}");
    Ok(())
}

/// Whether a process has arrived in a namespace.
fn is_in(namespace: &str, pid: u32) -> bool {
    let listed = Command::new("ip")
        .args(["netns", "pids", namespace])
        .output();
    let pids = String::from_utf8(listed.unwrap().stdout).unwrap();
    pids.lines().any(|line| line == pid.to_string())
}

#[test]
fn a_dropped_lab_leaves_no_namespace_device_or_process_behind() -> Result<(), Error> {
    let Some(lab) = Lab::new_or_skip("cleanup") else {
        return Ok(());
    };
    let id = lab.id().to_owned();
    let net = lab.internet()?;
    let home = net.nat("home", NatKind::PORT_RESTRICTED)?;
    let laptop = home.host("laptop")?;
    let namespaces = || {
        let listed = fs::read_dir("/run/netns").unwrap();
        let names = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(&id)).count()
    };
    assert_eq!(namespaces(), 3);
    let mut child = laptop.command("sleep").arg("1000").spawn().unwrap();
    eventually(|| is_in(laptop.namespace(), child.id()));
    drop(lab);
    assert_eq!(namespaces(), 0);
    assert!(!child.wait().unwrap().success());
    // A handle that outlives its lab is of no use, and says so.
    assert!(laptop.udp_socket(ANY).is_err());
    Ok(())
}

#[test]
fn a_lab_sweeps_what_a_dead_process_left_behind() -> Result<(), Error> {
    if Lab::new_or_skip("sweep").is_none() {
        return Ok(());
    }
    let ip = |args: &[&str]| Command::new("ip").args(args).status().unwrap().success();
    let dead = "natlab-0-0-dead-host";
    assert!(ip(&["netns", "add", dead]));
    let mut orphan = Command::new("ip");
    let mut orphan = orphan
        .args(["netns", "exec", dead, "sleep", "1000"])
        .spawn()
        .unwrap();
    eventually(|| is_in(dead, orphan.id()));
    // What a lab leaves when its process is killed: the file without the lock.
    fs::write("/run/p2pdbg-natlab/natlab-0-0-dead", "").unwrap();
    let swept = Lab::new("sweep");
    eventually(|| !fs::exists("/run/netns/natlab-0-0-dead-host").unwrap());
    assert!(!orphan.wait().unwrap().success());
    swept.map(drop)
}

#[test]
fn a_programs_process_id_is_its_own() -> Result<(), Error> {
    let Some(lab) = Lab::new_or_skip("command") else {
        return Ok(());
    };
    let host = lab.internet()?.host("host")?;
    let mut command = host.command("sh");
    let child = command
        .args(["-c", "echo $$"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{pid}\n")
    );
    Ok(())
}

#[test]
fn names_that_would_not_do_are_refused() -> Result<(), Error> {
    let Some(lab) = Lab::new_or_skip("names") else {
        return Ok(());
    };
    let net = lab.internet()?;
    for name in ["", "Upper", "a/b", "..", "a name that is much too long"] {
        assert!(matches!(net.host(name), Err(Error::Name(_))), "{name}");
    }
    Ok(())
}
