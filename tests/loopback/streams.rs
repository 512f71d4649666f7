//! What a forwarded connection must do as if there were nothing in between.

use std::{net::TcpStream, thread};

use p2pdbg_events::{Event, StreamState};

use crate::harness::{
    Pair, Setting,
    traffic::{accept, finish, receive, receive_end, receive_reset, reset, say, send},
};

/// A forward, and something that listens at its target.
struct Forwarded {
    pair: Pair,
    /// Where to connect.
    port: u16,
    /// What is dialled.
    target: std::net::TcpListener,
    setting: Setting,
}

/// `-L` or `-R`; on loopback either end of both is on this host.
fn forwarded(option: &str) -> Forwarded {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port([option, &forward], port);
    Forwarded {
        pair,
        port,
        target: setting.debuggee.listen(target),
        setting,
    }
}

impl Forwarded {
    /// A connection through the tunnel: the end that was opened, and the one that was dialled.
    fn connection(&self) -> (TcpStream, TcpStream) {
        let opened = self.setting.ide.connect(self.port);
        let dialled = accept(&self.target);
        (opened, dialled)
    }
}

/// Both directions at once, each with its own numbers.
fn exchange(a: &TcpStream, b: &TcpStream, seed: u64, length: usize) {
    thread::scope(|scope| {
        scope.spawn(|| send(a, seed, length));
        scope.spawn(|| send(b, seed + 1, length));
        scope.spawn(|| receive(a, seed + 1, length));
        scope.spawn(|| receive(b, seed, length));
    });
}

#[test]
fn fifty_megabytes_each_way_at_once_arrive_unharmed() {
    let forwarded = forwarded("-L");
    let (opened, dialled) = forwarded.connection();
    exchange(&opened, &dialled, 1, 50_000_000);
    finish(&opened);
    receive_end(&dialled);
    finish(&dialled);
    receive_end(&opened);
}

#[test]
fn a_forward_opened_at_the_debuggee_leads_to_the_ide() {
    let forwarded = forwarded("-R");
    let (opened, dialled) = forwarded.connection();
    exchange(&opened, &dialled, 1, 5_000_000);
    for peer in [&forwarded.pair.listener, &forwarded.pair.connector] {
        peer.stream(StreamState::Open);
    }
}

#[test]
fn a_hundred_connections_at_once_do_not_mix() {
    let forwarded = forwarded("-L");
    let connections: Vec<_> = (0..100).map(|_| forwarded.connection()).collect();
    // All are open before any of them says a thing, and which is which is seen from what they say.
    for (seed, (opened, dialled)) in (1..).zip(&connections) {
        say(opened, dialled, &format!("I am {seed}"));
    }
    thread::scope(|scope| {
        for (seed, (opened, dialled)) in (1..).zip(&connections) {
            scope.spawn(move || exchange(opened, dialled, seed * 1000, 100_000));
        }
    });
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let forwarded = forwarded("-L");
    for seed in 0..200 {
        let (opened, dialled) = forwarded.connection();
        send(&opened, seed, 100);
        finish(&opened);
        receive(&dialled, seed, 100);
        receive_end(&dialled);
        drop(dialled);
        receive_end(&opened);
    }
}

#[test]
fn the_side_that_opened_may_end_first_and_go_on_reading() {
    let forwarded = forwarded("-L");
    let (opened, dialled) = forwarded.connection();
    send(&opened, 1, 10_000);
    finish(&opened);
    receive(&dialled, 1, 10_000);
    receive_end(&dialled);
    thread::scope(|scope| {
        scope.spawn(|| send(&dialled, 2, 3_000_000));
        receive(&opened, 2, 3_000_000);
    });
    finish(&dialled);
    receive_end(&opened);
}

#[test]
fn the_side_that_was_dialled_may_end_first_and_go_on_reading() {
    let forwarded = forwarded("-L");
    let (opened, dialled) = forwarded.connection();
    send(&dialled, 1, 10_000);
    finish(&dialled);
    receive(&opened, 1, 10_000);
    receive_end(&opened);
    thread::scope(|scope| {
        scope.spawn(|| send(&opened, 2, 3_000_000));
        receive(&dialled, 2, 3_000_000);
    });
    finish(&opened);
    receive_end(&dialled);
}

#[test]
fn what_was_written_before_the_end_arrives_though_the_writer_is_gone() {
    let forwarded = forwarded("-L");
    let (opened, dialled) = forwarded.connection();
    thread::scope(|scope| {
        scope.spawn(move || {
            send(&dialled, 1, 3_000_000);
            drop(dialled);
        });
        receive(&opened, 1, 3_000_000);
        receive_end(&opened);
    });
}

#[test]
fn a_connection_broken_off_at_one_end_is_broken_off_at_the_other() {
    let forwarded = forwarded("-L");
    let (opened, dialled) = forwarded.connection();
    say(&opened, &dialled, "hello");
    reset(opened);
    receive_reset(&dialled);

    let (opened, dialled) = forwarded.connection();
    say(&dialled, &opened, "hello");
    reset(dialled);
    receive_reset(&opened);
}

#[test]
fn a_connection_that_is_reset_at_once_disturbs_no_other() {
    let forwarded = forwarded("-L");
    let (opened, dialled) = forwarded.connection();
    for round in 0..20 {
        reset(forwarded.setting.ide.connect(forwarded.port));
        say(&opened, &dialled, &format!("round {round}"));
    }
    // The streams have come and gone over one tunnel.
    for peer in [&forwarded.pair.listener, &forwarded.pair.connector] {
        let lost = |event: &Event| matches!(event, Event::PeerLost { .. });
        assert!(!peer.events().iter().any(lost));
    }
}

#[test]
fn the_side_that_was_dialled_may_speak_first() {
    let forwarded = forwarded("-L");
    let (opened, dialled) = forwarded.connection();
    say(&dialled, &opened, "220 welcome");
    say(&opened, &dialled, "helo");
}

#[test]
fn a_reader_that_takes_its_time_holds_the_writer_up_and_loses_nothing() {
    let forwarded = forwarded("-L");
    let (opened, dialled) = forwarded.connection();
    // More than everything between the two would hold, were it not for the ledger's bounds.
    const LENGTH: usize = 40_000_000;
    thread::scope(|scope| {
        scope.spawn(|| send(&opened, 1, LENGTH));
        let (other, other_end) = forwarded.connection();
        // Another connection goes on meanwhile, to the end.
        exchange(&other, &other_end, 5, 1_000_000);
        receive(&dialled, 1, LENGTH);
    });
}

/// A message of 100 MB that comes only in part, and a header without an end: nothing is waited for, and the bytes go
/// through as they are.
#[test]
fn a_message_that_is_too_long_or_never_ends_goes_through_as_it_is() {
    for beginning in [
        "Content-Length: 104857600\r\n\r\n{\"seq\":1,\"type\":\"event\",\"event\":\"output\",\"body\":{\"output\":\"",
        "Content-Length: 18446744073709551615\r\n\r\n",
        "Content-Length: 5\r\nX-",
    ] {
        let forwarded = forwarded("-L");
        let (ide, debuggee) = forwarded.connection();
        say(
            &ide,
            &debuggee,
            "Content-Length: 60\r\n\r\n{\"seq\":1,\"type\":\"request\",\"command\":\"initialize\",\"arguments\":{}}",
        );
        say(&debuggee, &ide, beginning);
        exchange(&ide, &debuggee, 7, 5_000_000);
        finish(&debuggee);
        receive_end(&ide);
        finish(&ide);
        receive_end(&debuggee);
    }
}
