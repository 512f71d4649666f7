//! What the program writes about its work: where it may, what it leaves out, and in which form.
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::ChildStderr,
    sync::Arc,
};

use p2pdbg_identity::tls;
use p2pdbg_proto::{
    rendezvous::{Credential, FromRendezvous, Refusal, ToRendezvous},
    secret::Secret,
};
use rustix::process::Signal;
use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::Value;

use crate::{
    operator::{ask, peer},
    program::{ANY, Running},
    support::{Peer, dial_with, endpoint, state_dir},
};

/// What is said once for each session.
const SESSION: &str = "a session has ended";

fn started(state: &Path, options: &[&str]) -> (Running, BufReader<ChildStderr>) {
    let mut running = Running::start_piped(state, &[&ANY[..], options].concat());
    let stderr = running.child.stderr.take().unwrap();
    (running, BufReader::new(stderr))
}

/// Everything that the log says from here until the program has been stopped.
fn rest(running: Running, mut stderr: BufReader<ChildStderr>) -> String {
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    rest
}

/// Two peers meet by the key `team-a`, confirm, and part.
async fn session(state: &Path, running: &Running) {
    let mut listener = peer(&ask(state, &["keys", "add", "team-a"])).await;
    let nameplate = listener.listen(None).await.nameplate;
    let mut connector = running.peer_with(Credential::None).await;
    connector.say(&ToRendezvous::Join { nameplate }).await;
    let session = listener.introduced().await.session;
    connector.introduced().await;
    for member in [&mut listener, &mut connector] {
        member.say(&ToRendezvous::Confirmed { session }).await;
    }
    // That both have confirmed, and that the other one has left: what the registry has told, it has logged.
    assert!(matches!(
        connector.hear().await,
        FromRendezvous::PeerSeen { .. }
    ));
    assert!(matches!(
        connector.hear().await,
        FromRendezvous::Vouched { .. }
    ));
    listener.say(&ToRendezvous::Leave { session }).await;
    assert!(matches!(
        connector.hear().await,
        FromRendezvous::PeerLeft { .. }
    ));
}

#[tokio::test]
async fn log_in_a_file_has_one_line_for_a_session_with_its_key_and_neither_address_nor_colour() {
    let state = state_dir();
    let (running, stderr) = started(state.path(), &["-v"]);
    session(state.path(), &running).await;
    let log = rest(running, stderr);
    assert!(!log.contains('\x1b'), "{log}");
    // Those that the log writes; before them stands what is said to the person who starts it.
    let written: Vec<&str> = log.lines().filter(|line| line.contains(" INFO ")).collect();
    let of_session: Vec<_> = written
        .iter()
        .filter(|line| line.contains(SESSION))
        .collect();
    assert_eq!(of_session.len(), 1, "{log}");
    assert!(of_session[0].contains("key=\"team-a\""), "{log}");
    assert!(
        !written.iter().any(|line| line.contains("127.0.0.1")),
        "{log}"
    );
}

#[tokio::test]
async fn log_for_collectors_is_json_with_the_session_and_its_key_as_a_span() {
    let state = state_dir();
    let (running, stderr) = started(state.path(), &["-v", "--log", "json"]);
    session(state.path(), &running).await;
    let log = rest(running, stderr);
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ended = lines
        .iter()
        .find(|line| line["fields"]["message"] == SESSION);
    let ended = ended.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(ended["level"], "INFO");
    assert_eq!(ended["span"]["name"], "session");
    assert_eq!(ended["span"]["key"], "team-a");
    assert_eq!(ended["fields"]["by_code"], true);
}

#[tokio::test]
async fn log_that_is_asked_for_more_names_connection_and_key_and_where_the_peer_is() {
    let state = state_dir();
    let (running, stderr) = started(state.path(), &["-vv"]);
    session(state.path(), &running).await;
    let log = rest(running, stderr);
    let said = |words: &[&str]| {
        log.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(
        said(&["connection{id=1 ", "connected observed=127.0.0.1:"]),
        "{log}"
    );
    assert!(
        said(&["connection{id=1 ", "key=\"team-a\"", "a peer said hello"]),
        "{log}"
    );
    assert!(
        said(&[
            "session{id=session-",
            "key=\"team-a\"",
            "both members have confirmed"
        ]),
        "{log}"
    );
}

#[test]
fn log_writes_ten_warnings_of_one_kind_and_counts_the_others_at_the_end_at_the_latest() {
    let state = state_dir();
    let (running, mut stderr) = started(state.path(), &[]);
    std::fs::write(state.path().join("keys.toml"), "version = 9").unwrap();
    let warning = "the keys from before hold on";
    let mut line = String::new();
    for _ in 0..10 {
        running.signal(Signal::HUP);
        line.clear();
        while !line.contains(warning) {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0);
        }
    }
    // More of them, each seen to before the next one comes: the command asks for the same.
    for _ in 0..5 {
        running.signal(Signal::HUP);
        ask(state.path(), &["status"]);
    }
    let rest = rest(running, stderr);
    assert!(!rest.contains(warning), "{rest}");
    let counted = rest
        .lines()
        .find(|line| line.contains("warnings of one kind were left out"));
    assert!(
        counted.is_some_and(|line| line.contains("left_out=")),
        "{rest}"
    );
}

#[tokio::test]
async fn log_tells_of_a_wrong_key_and_neither_shows_it_nor_where_it_came_from() {
    let state = state_dir();
    let (running, stderr) = started(state.path(), &[]);
    let url = running.url();
    let address = url.authority().parse().unwrap();
    let mut stranger = Peer::connect(address, url.fingerprint.unwrap()).await;
    stranger
        .hello(Credential::AccessKey(Secret::random()))
        .await;
    assert_eq!(stranger.refused().await, Refusal::AccessKey);
    let log = rest(running, stderr);
    let line = log.lines().find(|line| line.contains("its key is unknown"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(!line.contains("127.0.0.1"), "{line}");
    assert!(line.ends_with("revoked or expired"), "{line}");
}

/// A client that takes no server, and says so in these words.
#[derive(Debug)]
struct Unwilling(String);

impl ServerCertVerifier for Unwilling {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Err(Error::General(self.0.clone()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General(self.0.clone()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General(self.0.clone()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[tokio::test]
async fn log_shows_on_one_line_what_a_stranger_says_who_gives_up_a_handshake() {
    let state = state_dir();
    let (running, stderr) = started(state.path(), &["-vv"]);
    let address = running.url().authority().parse().unwrap();
    // It takes no certificate at all, and says why in words of its own.
    let forged = "no\n2026-01-01T00:00:00Z  WARN p2pdbg_rendezvous: forged \u{1b}[2J";
    let mut tls = tls::control_client(None).unwrap();
    let unwilling = Arc::new(Unwilling(forged.to_owned()));
    tls.dangerous().set_certificate_verifier(unwilling);
    let endpoint = endpoint();
    assert!(dial_with(&endpoint, address, tls).await.is_err());
    endpoint.wait_idle().await;
    let log = rest(running, stderr);
    let said = log.lines().find(|line| line.contains("forged"));
    let said = said.unwrap_or_else(|| panic!("{log}"));
    assert!(said.contains("a handshake failed"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}
