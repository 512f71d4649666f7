//! What people get wrong and what strangers send: one clear line, the right exit status, and nothing lost that ran.
//!
//! The command line's own mistakes are in tests/cli.rs, a COMMAND that cannot be started and targets that are not
//! allowed in tests/loopback, garbage at the rendezvous' ports in its own tests.
#![cfg(unix)]

#[path = "../harness/mod.rs"]
mod harness;
mod stun;

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    os::unix::fs::PermissionsExt,
};

use harness::{
    Home, Peer, Place, RendezvousCommand, Setting, eventually,
    traffic::{accept, say},
};
use p2pdbg_base::ErrorCode;
use p2pdbg_events::{Event, WarningCode};
use p2pdbg_proto::{
    code::{Code, Nameplate, Words},
    fingerprint::Fingerprint,
    url::{AccessKey, RendezvousUrl},
};

/// Any free port: which one is of no interest here.
const FORWARD: [&str; 2] = ["-L", "0:localhost:9"];

fn listener(setting: &Setting) -> Peer {
    setting.listener().args(FORWARD).start()
}

/// The listener, with a rendezvous URL that is not quite right.
fn listener_at(setting: &Setting, url: &RendezvousUrl) -> Peer {
    setting
        .listener()
        .args(FORWARD)
        .env("P2PDBG_RENDEZVOUS", url.to_string())
        .start()
}

/// The same code with other words.
fn with_wrong_words(code: &Code) -> Code {
    let words = eventually("other words", || {
        Some(Words::random()).filter(|words| *words != code.words)
    });
    Code {
        nameplate: code.nameplate,
        words,
    }
}

#[test]
fn a_wrong_word_burns_the_code_and_the_next_one_works() {
    let setting = Setting::loopback();
    let listener = listener(&setting);
    let code = listener.code();
    let mut guesser = setting.connector_with(&with_wrong_words(&code)).start();
    let failure = guesser.fails(ErrorCode::CodeRefused);
    assert!(failure.hint.is_some(), "{failure:?}");
    listener.warning(WarningCode::CodeBurned);

    let next = listener.event("another code", |event| match event {
        Event::Ready {
            code: Some(next), ..
        } if *next != code => Some(next.clone()),
        _ => None,
    });
    setting
        .connector_with(&code)
        .start()
        .fails(ErrorCode::CodeExpired);
    let connector = setting.connector_with(&next).start();
    connector.paired();
    listener.paired();
}

#[test]
fn a_nameplate_at_which_nobody_listens_is_a_3() {
    let setting = Setting::loopback();
    let listener = listener(&setting);
    let taken = listener.code().nameplate;
    let nameplate = eventually("another nameplate", || {
        Some(Nameplate::random()).filter(|nameplate| *nameplate != taken)
    });
    let code = Code {
        nameplate,
        words: Words::random(),
    };
    let mut connector = setting.connector_with(&code).start();
    connector.fails(ErrorCode::NameplateUnknown);
}

#[test]
fn a_code_that_was_used_is_a_3_for_somebody_else() {
    let setting = Setting::loopback();
    let listener = listener(&setting);
    let code = listener.code();
    let connector = setting.connector_with(&code).start();
    connector.paired();
    setting
        .connector_with(&code)
        .start()
        .fails(ErrorCode::CodeExpired);
}

#[test]
fn a_wrong_access_key_is_refused_and_not_repeated() {
    let setting = Setting::loopback();
    let key = AccessKey::random();
    let url = RendezvousUrl {
        access_key: Some(key.clone()),
        ..setting.rendezvous.url().clone()
    };
    let shown = url.to_string();
    let mut listener = listener_at(&setting, &url);
    let failure = listener.fails(ErrorCode::RendezvousRefused);
    let secret = shown.split(['/', '@']).nth(2).unwrap();
    let said = format!(
        "{failure:?} {:?} {:?}",
        listener.stdout(),
        listener.stderr()
    );
    assert!(!said.contains(secret), "the key was shown");
}

#[test]
fn a_rendezvous_with_another_certificate_is_not_believed() {
    let setting = Setting::loopback();
    let url = RendezvousUrl {
        fingerprint: Some(Fingerprint::of_certificate(b"another")),
        ..setting.rendezvous.url().clone()
    };
    let mut listener = listener_at(&setting, &url);
    listener.fails(ErrorCode::RendezvousIdentity);
}

#[test]
fn a_rendezvous_that_was_set_up_anew_is_not_believed() {
    let setting = Setting::loopback();
    let bind = setting.rendezvous.url().authority();
    let old = setting.rendezvous.url().clone();
    let transcript = setting.transcript.clone();
    let Setting { rendezvous, .. } = &setting;
    let _ = rendezvous;
    // Another one, with a state of its own, at a port of its own, under the old one's URL.
    let other =
        RendezvousCommand::new(&Place::Here, "127.0.0.1:0", "127.0.0.1", &transcript).start();
    assert_ne!(other.url().authority(), bind);
    let url = RendezvousUrl {
        port: other.url().port,
        ..old
    };
    let mut listener = listener_at(&setting, &url);
    listener.fails(ErrorCode::RendezvousIdentity);
}

#[test]
fn where_nothing_answers_is_a_4() {
    let setting = Setting::loopback();
    // Bound and silent: nobody else can take the port meanwhile.
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = RendezvousUrl {
        port: silent.local_addr().unwrap().port(),
        ..setting.rendezvous.url().clone()
    };
    listener_at(&setting, &url).fails(ErrorCode::RendezvousUnreachable);
}

#[test]
fn what_answers_garbage_is_no_rendezvous() {
    let setting = Setting::loopback();
    let garbage = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = RendezvousUrl {
        port: garbage.local_addr().unwrap().port(),
        ..setting.rendezvous.url().clone()
    };
    std::thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, from)) = garbage.recv_from(&mut datagram) {
            datagram[..length].reverse();
            let _ = garbage.send_to(&datagram[..length], from);
        }
    });
    let mut listener = listener_at(&setting, &url);
    assert_eq!(listener.exit_status(), 4);
}

#[test]
fn a_port_that_is_taken_beside_the_ide_is_named_before_a_code_is_made() {
    let setting = Setting::loopback();
    let port = setting.port();
    let taken = setting.ide.listen(port);
    let mut listener = setting
        .listener()
        .args(["-L", &format!("{port}:localhost:{}", setting.port())])
        .start();
    let failure = listener.fails(ErrorCode::PortInUse);
    assert!(failure.message.contains(&port.to_string()), "{failure:?}");
    assert_eq!(listener.first_code(), None);
    drop(taken);
}

#[test]
fn a_port_that_is_taken_at_the_debuggee_is_told_at_both_ends_and_the_rest_goes_on() {
    let setting = Setting::loopback();
    let (taken, port, target) = (setting.port(), setting.port(), setting.port());
    let _taken = setting.debuggee.listen(taken);
    let debuggee = setting.debuggee.listen(target);
    let pair = setting.pair([
        "-R".to_owned(),
        format!("{taken}:localhost:{}", setting.port()),
        "-L".to_owned(),
        format!("{port}:localhost:{target}"),
    ]);
    pair.listener.warning(WarningCode::ForwardFailed);
    pair.connector.warning(WarningCode::ForwardFailed);
    let ide = setting.ide.connect(port);
    say(&ide, &accept(&debuggee), "all the same");
}

#[test]
fn garbage_at_the_peers_own_ports_disturbs_no_stream() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let debuggee = setting.debuggee.listen(target);
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["-L", &forward], port);
    let path = pair.listener.path(p2pdbg_events::PathKind::Direct);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    say(&ide, &debuggee, "before");
    let stranger = UdpSocket::bind((path.remote.unwrap().ip(), 0)).unwrap();
    for round in 0..200_usize {
        for first in [0, 1, 4, 6, 15, 16, 63, 64, 0xc0, 0xff] {
            let datagram = vec![first; 1 + round * 7];
            for to in [path.local, path.remote].into_iter().flatten() {
                let _ = stranger.send_to(&datagram, to);
            }
        }
    }
    say(&ide, &debuggee, "there");
    say(&debuggee, &ide, "and back");
    assert_eq!(
        pair.listener.paths().last().map(|p| p.kind),
        Some(path.kind)
    );
}

#[test]
fn a_state_directory_that_others_can_read_is_not_used() {
    let setting = Setting::loopback();
    let home = Home::new();
    fs::create_dir_all(home.state()).unwrap();
    fs::set_permissions(home.state(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut listener = setting.listener().home(home).start();
    let failure = listener.fails(ErrorCode::StateDir);
    assert!(failure.message.contains("chmod 700"), "{failure:?}");
    let place = "P2PDBG_STATE: the state directory";
    assert!(failure.message.starts_with(place), "{failure:?}");
}
