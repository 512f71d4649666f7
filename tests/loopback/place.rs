//! Who gets the one place of a listener: the process that has it, and when it is away, another.

use p2pdbg_base::ErrorCode;
use p2pdbg_events::WarningCode;

use crate::harness::{
    Setting,
    traffic::{accept, receive_reset, say},
};

#[test]
fn second_connect_with_the_same_code_is_refused_and_the_first_goes_on() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    let target = setting.debuggee.listen(target);
    let opened = setting.ide.connect(port);
    let dialled = accept(&target);
    say(&opened, &dialled, "hello");
    let code = pair.listener.first_code().unwrap();
    let mut second = setting
        .connector_with(&code)
        .called("second")
        .home(pair.connector.home())
        .start();
    let failure = second.fails(ErrorCode::NoPlace);
    assert!(
        failure.message.contains("another p2pdbg connect"),
        "{failure:?}"
    );
    let warning = pair.listener.warning(WarningCode::PeerTurnedAway);
    assert!(
        warning.message.contains("a second p2pdbg connect"),
        "{warning:?}"
    );
    say(&dialled, &opened, "hello still");
}

#[test]
fn place_of_a_peer_that_lost_its_state_is_offered_to_a_new_code() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let mut pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    let target = setting.debuggee.listen(target);
    let old = setting.ide.connect(port);
    let old_dialled = accept(&target);
    say(&old, &old_dialled, "hello");
    // A pod that is killed, and started again without a volume.
    pair.connector.kill();
    let code = pair.listener.code();
    let again = setting.connector_with(&code).called("again").start();
    assert!(!again.paired().1);
    pair.listener.warning(WarningCode::PeerRestarted);
    receive_reset(&old);
    pair.listener.forward(port);
    let opened = setting.ide.connect(port);
    say(&opened, &accept(&target), "hello again");
}

#[test]
fn place_of_a_peer_that_has_left_is_offered_to_a_new_code_at_once() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let mut pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    let target = setting.debuggee.listen(target);
    pair.connector.stop();
    let code = pair.listener.code();
    let other = setting.connector_with(&code).called("other").start();
    other.paired();
    pair.listener.forward(port);
    let opened = setting.ide.connect(port);
    say(&opened, &accept(&target), "hello");
}
