//! Sandboxes that refuse system calls, as the seccomp filters of containers do.

use p2pdbg_events::PathKind;

use crate::harness::{
    Setting,
    traffic::{accept, receive, send},
};

const LENGTH: usize = 1 << 20;

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
    assert!(
        connector
            .paths()
            .iter()
            .any(|path| path.kind == PathKind::Direct)
    );
}
