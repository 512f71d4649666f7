//! Sandboxes that refuse system calls, as the seccomp filters of containers do.

use p2pdbg_events::{PathKind, Via};

use crate::harness::{
    Setting,
    traffic::{accept, receive, send},
};

const LENGTH: usize = 1 << 20;

#[test]
fn udp_refused_session_is_relayed_over_tcp_and_carries_bytes() {
    for policy in [&[][..], &["--path", "relay-tcp"]] {
        let setting = Setting::loopback();
        let (port, target) = (setting.port(), setting.port());
        let forward = format!("{port}:localhost:{target}");
        let debuggee = setting.debuggee.listen(target);
        let listener = setting.listener().args(["-L", &forward]).start();
        let connector = setting.connector_with(&listener.code());
        let connector = connector.args(policy).denied("udp").start();
        assert_eq!(connector.path(PathKind::Relay).via, Via::Tcp);
        listener.forward(port);
        let opened = setting.ide.connect(port);
        let dialled = accept(&debuggee);
        std::thread::scope(|scope| {
            scope.spawn(|| send(&opened, 1, LENGTH));
            scope.spawn(|| receive(&dialled, 1, LENGTH));
        });
    }
}

#[test]
fn udp_refused_to_the_listener_session_is_relayed_over_tcp() {
    let setting = Setting::loopback();
    let port = setting.port();
    let forward = format!("{port}:localhost:{port}");
    let listener = setting.listener().args(["-L", &forward]).denied("udp");
    let listener = listener.start();
    let connector = setting.connector_with(&listener.code()).start();
    assert_eq!(listener.path(PathKind::Relay).via, Via::Tcp);
    listener.forward(port);
    // Directly too, once that is found.
    for path in connector.paths() {
        assert!(
            path.kind != PathKind::Direct || path.via == Via::Tcp,
            "{path:?}"
        );
    }
}

#[test]
fn batches_of_datagrams_refused_session_goes_direct_and_carries_bytes() {
    let calls = "recvmmsg,sendmmsg";
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let debuggee = setting.debuggee.listen(target);
    let listener = setting.listener().args(["-L", &forward]).denied(calls);
    let listener = listener.start();
    let connector = setting.connector_with(&listener.code()).denied(calls);
    let connector = connector.start();
    listener.path(PathKind::Direct);
    listener.forward(port);
    let opened = setting.ide.connect(port);
    let dialled = accept(&debuggee);
    std::thread::scope(|scope| {
        scope.spawn(|| send(&opened, 1, LENGTH));
        scope.spawn(|| receive(&dialled, 1, LENGTH));
    });
    connector.path(PathKind::Direct);
}
