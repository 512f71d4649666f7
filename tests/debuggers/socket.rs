//! A Unix socket beside the IDE in place of a port: gdb comes to gdbserver by it.

use std::{fs, os::unix::fs::PermissionsExt};

use p2pdbg_events::Event;

use crate::{
    harness::{Home, Peer, Setting, skip},
    scenario::python,
    script::{Missing, Script},
};

/// Waits until the forward with this socket stands.
#[track_caller]
fn stands(peer: &Peer, socket: &str) {
    peer.event("forward of a socket", |event| match event {
        Event::Forward { listen, .. } if listen.to_string() == socket => Some(()),
        _ => None,
    });
}

#[test]
fn gdb_comes_to_gdbserver_by_a_unix_socket_that_goes_with_the_listener() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let target = setting.port();
    let home = Home::new();
    let socket = home.path().join("gdb.sock");
    // What a `listen` that was killed has left behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let path = socket.to_str().unwrap();
    let mut pair = setting.pair(["-L", &format!("{path}:localhost:{target}")]);
    stands(&pair.listener, path);
    stands(&pair.connector, path);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let start = |place, script, arguments: [&str; 2]| {
        Script::start(place, &python, script, &arguments, &setting.transcript)
    };
    let port = target.to_string();
    let server = start(
        &setting.debuggee,
        "debuggee/gdbserver.py",
        ["--port", &port],
    );
    if let Err(Missing(why)) = server.port() {
        return skip(&why);
    }
    let gdb = start(&setting.ide, "ide/gdb_remote.py", ["--socket", path]);
    for script in [gdb, server] {
        if let Err(Missing(why)) = script.seen() {
            return skip(&why);
        }
    }
    pair.listener.stop();
    assert!(!socket.exists());
}

#[test]
fn file_that_is_no_socket_keeps_its_name_and_listen_says_so() {
    let setting = Setting::loopback();
    let home = Home::new();
    let file = home.path().join("notes.txt");
    fs::write(&file, "mine").unwrap();
    let forward = format!("{}:localhost:1234", file.display());
    let mut listener = setting.listener().args(["-L", &forward]).start();
    let failure = listener.fails(p2pdbg_base::ErrorCode::PortInUse);
    assert!(failure.message.contains("no socket"), "{failure:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}
