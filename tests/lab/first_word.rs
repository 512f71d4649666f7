//! Ports of debuggers: who connects there without being a debugger's client, and who accepts without being a debugger.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
};

use p2pdbg_events::{StreamState, WarningCode};
use p2pdbg_natlab::{Lab, NatKind, TwoNats};

use crate::{
    DELAY,
    harness::{
        Pair, Setting,
        traffic::{accept, receive_reset, say},
    },
    setting,
};

/// Two hosts behind NATs, so that a preset has its port at both ends.
fn two_hosts(name: &str) -> Option<(TwoNats, Setting)> {
    let lab = Lab::new_or_skip(name)?;
    let nat = NatKind::PORT_RESTRICTED;
    let lab = TwoNats::new(lab, nat, nat, DELAY).unwrap();
    let setting = setting(&lab);
    Some((lab, setting))
}

fn pair_for(setting: &Setting, preset: &str) -> (Pair, u16) {
    let port = setting.port();
    let pair = setting.pair_with_port([format!("{preset}:{port}")], port);
    (pair, port)
}

fn has_no_connection(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    listener.set_nonblocking(false).unwrap();
}

#[test]
fn silent_connection_beside_the_ide_touches_no_debuggee() {
    let Some((_lab, setting)) = two_hosts("silent") else {
        return;
    };
    let (_pair, port) = pair_for(&setting, "delve");
    let debuggee = setting.debuggee.listen(port);
    // A port scan, and a client that says something only later.
    drop(setting.ide.connect(port));
    let client = setting.ide.connect(port);
    let spoken = setting.ide.connect(port);
    let dialled = {
        (&spoken).write_all(b"{").unwrap();
        accept(&debuggee)
    };
    let mut heard = [0];
    (&dialled).read_exact(&mut heard).unwrap();
    has_no_connection(&debuggee);
    (&client).write_all(b"the first word").unwrap();
    let mut heard = [0; 14];
    accept(&debuggee).read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"the first word");
}

#[test]
fn web_page_at_the_port_of_a_debugger_is_turned_away_and_told() {
    let Some((_lab, setting)) = two_hosts("page") else {
        return;
    };
    let (pair, port) = pair_for(&setting, "debugpy");
    let debuggee = setting.debuggee.listen(port);
    for words in [
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\n$k#6b",
        // Of a page whose own name leads to this host.
        "FOO / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 4\r\n\r\n$k#6b",
    ] {
        let page = setting.ide.connect(port);
        (&page).write_all(words.as_bytes()).unwrap();
        receive_reset(&page);
    }
    let warning = pair.listener.warning(WarningCode::WebPage);
    assert!(warning.message.contains(&port.to_string()), "{warning:?}");
    has_no_connection(&debuggee);
}

#[test]
fn accept_without_a_listener_behind_it_is_tried_again_with_the_same_bytes() {
    let Some((_lab, setting)) = two_hosts("proxy-accept") else {
        return;
    };
    let (pair, port) = pair_for(&setting, "delve");
    let proxy = setting.debuggee.listen(port);
    let client = setting.ide.connect(port);
    (&client).write_all(b"{\"method\":1}").unwrap();
    // What stands in the debuggee's place reads the question, or does not, and closes.
    let mut taken = accept(&proxy);
    taken.read_exact(&mut [0; 4]).unwrap();
    drop(taken);
    drop(accept(&proxy));
    pair.connector.warning(WarningCode::TargetHangsUp);
    pair.listener.stream(StreamState::Waiting);
    let mut answers: TcpStream = accept(&proxy);
    let mut heard = [0; 12];
    answers.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"{\"method\":1}");
    say(&answers, &client, "the answer");
    pair.listener.stream(StreamState::Open);
}
