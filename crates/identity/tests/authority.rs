//! An authority's certificates, as peers that pin the authority judge them: whole handshakes, in memory.

use std::{io::Cursor, sync::Arc, time::Duration};

use p2pdbg_identity::{AUTHORITY_FILE, Authority, Identity, StateDir, tls};
use p2pdbg_proto::fingerprint::Fingerprint;
use rustls::{CertificateError, ClientConnection, Connection, Error, ServerConnection};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn authority() -> Authority {
    Authority::load_or_make(&StateDir::in_memory()).unwrap()
}

fn issued(authority: &Authority, hosts: &[&str]) -> Identity {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    Identity::from_pem(&authority.issue(&hosts, DAY).unwrap()).unwrap()
}

/// What a peer says that pins this fingerprint and dials that host, where this node answers.
fn judge(node: &Identity, pinned: Fingerprint, host: &'static str) -> Result<(), Error> {
    let config = tls::control_client(Some(pinned)).unwrap();
    let client = ClientConnection::new(Arc::new(config), host.try_into().unwrap()).unwrap();
    let server = ServerConnection::new(Arc::new(tls::control_server(node).unwrap())).unwrap();
    let (mut client, mut server) = (Connection::from(client), Connection::from(server));
    let mut flight = Vec::new();
    client.write_tls(&mut flight).unwrap();
    server.read_tls(&mut Cursor::new(&flight)).unwrap();
    server.process_new_packets().unwrap();
    flight.clear();
    while server.wants_write() {
        server.write_tls(&mut flight).unwrap();
    }
    let mut flight = Cursor::new(flight);
    while flight.position() < flight.get_ref().len() as u64 {
        client.read_tls(&mut flight).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking());
    Ok(())
}

#[test]
fn node_of_an_authority_is_taken_for_the_hosts_that_it_was_certified_for_and_no_other() {
    let authority = authority();
    let node = issued(&authority, &["rdv1.example", "192.0.2.7"]);
    let pinned = authority.fingerprint();
    assert_eq!(judge(&node, pinned, "rdv1.example"), Ok(()));
    assert_eq!(judge(&node, pinned, "192.0.2.7"), Ok(()));
    let other = judge(&node, pinned, "rdv2.example").unwrap_err();
    let expected = |why: &CertificateError| {
        matches!(
            why,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    };
    assert!(
        matches!(&other, Error::InvalidCertificate(why) if expected(why)),
        "{other:?}"
    );
    assert_eq!(tls::is_certified(&node, pinned, "rdv1.example"), Ok(()));
    assert!(tls::is_certified(&node, pinned, "rdv2.example").is_err());
}

#[test]
fn certificate_is_good_for_as_long_as_it_was_issued_and_no_more() {
    let authority = authority();
    let node = issued(&authority, &["rdv1.example"]);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = since.unwrap().as_secs();
    let until = tls::certified_until(&node, authority.fingerprint(), "rdv1.example").unwrap();
    let day = DAY.as_secs();
    assert!((now + day - 60..=now + day).contains(&until), "{until}");
    let elsewhere = tls::certified_until(&node, authority.fingerprint(), "rdv2.example");
    assert_eq!(elsewhere, None);
}

#[test]
fn node_of_another_authority_is_refused_even_if_it_shows_the_right_one_behind_its_own() {
    let (ours, theirs) = (authority(), authority());
    let node = issued(&theirs, &["rdv1.example"]);
    let why: Error = CertificateError::ApplicationVerificationFailure.into();
    assert_eq!(judge(&node, ours.fingerprint(), "rdv1.example"), Err(why));

    // Both certificates are public: the right one behind, and a key that belongs to the wrong one.
    let pem = |authority: &Authority| {
        let pem = authority.issue(&["rdv1.example".into()], DAY).unwrap();
        String::from_utf8(pem.to_vec()).unwrap()
    };
    let end = "-----END CERTIFICATE-----\n";
    let (own, genuine) = (pem(&theirs), pem(&ours));
    let own: Vec<&str> = own.split_inclusive(end).collect();
    let genuine: Vec<&str> = genuine.split_inclusive(end).collect();
    let forged = Identity::from_pem([own[0], genuine[1], own[2]].concat().as_bytes()).unwrap();
    assert_eq!(forged.chain().len(), 2);
    let refused = judge(&forged, ours.fingerprint(), "rdv1.example");
    assert!(
        matches!(refused, Err(Error::InvalidCertificate(_))),
        "{refused:?}"
    );
}

#[test]
fn authority_is_made_once_and_keeps_its_key_to_itself() {
    let dir = StateDir::in_memory();
    assert!(Authority::load(&dir).unwrap().is_none());
    let made = Authority::load_or_make(&dir).unwrap();
    let read = Authority::load(&dir).unwrap().unwrap();
    assert_eq!(made.fingerprint(), read.fingerprint());
    let own = String::from_utf8(dir.read(AUTHORITY_FILE).unwrap().unwrap()).unwrap();
    let key = own.split("-----BEGIN PRIVATE KEY-----").nth(1).unwrap();
    let pem = read.issue(&["rdv1.example".into()], DAY).unwrap();
    let pem = String::from_utf8(pem.to_vec()).unwrap();
    assert!(!pem.contains(key.trim()));
    assert_eq!(pem.matches("BEGIN PRIVATE KEY").count(), 1);
}

#[test]
fn certificate_that_is_pinned_itself_is_taken_whatever_it_says() {
    let lone = Identity::ephemeral().unwrap();
    assert_eq!(judge(&lone, lone.fingerprint(), "anything.example"), Ok(()));
    let node = issued(&authority(), &["rdv1.example"]);
    assert_eq!(judge(&node, node.fingerprint(), "anything.example"), Ok(()));
}
