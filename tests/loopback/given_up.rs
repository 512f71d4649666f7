//! Connections that are given up while they are held.

use std::{io::Write, net::Shutdown};

use p2pdbg_events::StreamState;

use crate::harness::{
    Setting,
    traffic::{accept, receive, receive_end, say, send},
};

#[test]
fn held_client_that_closed_is_not_delivered_when_the_debuggee_starts() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["-L", &forward], port);
    let mut gives_up = setting.ide.connect(port);
    gives_up.write_all(b"JDWP-Handshake").unwrap();
    pair.listener.stream(StreamState::Waiting);
    drop(gives_up);
    pair.listener.stream(StreamState::GaveUp);
    pair.connector.stream(StreamState::Reset);
    // The debuggee's first connection is the next client's.
    let listener = setting.debuggee.listen(target);
    let opened = setting.ide.connect(port);
    let dialled = accept(&listener);
    say(&opened, &dialled, "I am still here");
}

#[test]
fn held_client_that_ended_its_writing_alone_is_delivered_with_its_end() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["-L", &forward], port);
    let opened = setting.ide.connect(port);
    send(&opened, 1, 10_000);
    opened.shutdown(Shutdown::Write).unwrap();
    pair.listener.stream(StreamState::Waiting);
    let listener = setting.debuggee.listen(target);
    let dialled = accept(&listener);
    receive(&dialled, 1, 10_000);
    receive_end(&dialled);
    say(&dialled, &opened, "an answer to one who only reads");
}

#[test]
fn held_client_that_closes_after_it_ended_its_writing_is_not_delivered() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["-L", &forward], port);
    let opened = setting.ide.connect(port);
    send(&opened, 1, 10_000);
    opened.shutdown(Shutdown::Write).unwrap();
    pair.listener.stream(StreamState::HalfClosed);
    drop(opened);
    pair.listener.stream(StreamState::GaveUp);
    pair.connector.stream(StreamState::Reset);
    let listener = setting.debuggee.listen(target);
    let opened = setting.ide.connect(port);
    say(&opened, &accept(&listener), "the first that is delivered");
}

#[test]
fn thousand_held_clients_that_gave_up_cost_the_session_nothing() {
    const CLIENTS: usize = 1_100;
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["-L", &forward], port);
    for opened in 1..=CLIENTS {
        // As chrome://inspect does once a second.
        let mut client = setting.ide.connect(port);
        client
            .write_all(b"GET /json/list HTTP/1.1\r\n\r\n")
            .unwrap();
        drop(client);
        // More than 1,024 at a time would be refused.
        if opened % 100 == 0 {
            pair.connector.find("end of all of them", |lines| {
                let ended = |line: &&String| line.contains("\"reset\"");
                (lines.iter().filter(ended).count() >= opened).then_some(())
            });
        }
    }
    let listener = setting.debuggee.listen(target);
    let opened = setting.ide.connect(port);
    say(&opened, &accept(&listener), "the first that is delivered");
}
