//! Who meets whom, the first time and later.

use p2pdbg_base::ErrorCode;
use p2pdbg_events::{WaitingFor, WarningCode};

use crate::harness::{
    Home, Setting,
    traffic::{accept, receive_reset, say},
};

/// Two that have paired by code, and ended.
fn acquainted(setting: &Setting) -> (Home, Home) {
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let mut listener = setting
        .listener()
        .args(["--name", "laptop", "-L", &forward])
        .start();
    let mut connector = setting
        .connector_with(&listener.code())
        .args(["--name", "web-1"])
        .start();
    assert_eq!(listener.paired(), ("web-1".to_owned(), false));
    assert_eq!(connector.paired(), ("laptop".to_owned(), false));
    connector.stop();
    listener.closed();
    listener.stop();
    (listener.home(), connector.home())
}

#[test]
fn peers_that_know_each_other_need_no_code_whoever_is_first() {
    let setting = Setting::loopback();
    let (laptop, web) = acquainted(&setting);
    for listener_first in [true, false] {
        let (port, target) = (setting.port(), setting.port());
        let forward = format!("{port}:localhost:{target}");
        let listener = setting
            .listener()
            .home(laptop.clone())
            .args(["--peer", "web-1", "-L", &forward]);
        let connector = setting
            .connector()
            .home(web.clone())
            .args(["--peer", "laptop"]);
        let (mut listener, mut connector) = if listener_first {
            let listener = listener.start();
            listener.waiting(WaitingFor::Peer);
            (listener, connector.start())
        } else {
            let connector = connector.start();
            connector.waiting(WaitingFor::Peer);
            (listener.start(), connector)
        };
        assert_eq!(listener.paired(), ("web-1".to_owned(), true));
        assert_eq!(connector.paired(), ("laptop".to_owned(), true));
        let target = setting.debuggee.listen(target);
        listener.forward(port);
        let opened = setting.ide.connect(port);
        say(&opened, &accept(&target), "as if we had never parted");
        connector.stop();
        listener.closed();
        listener.stop();
    }
}

#[test]
fn a_peer_keeps_its_name_here_whatever_it_calls_itself_later() {
    let setting = Setting::loopback();
    let (laptop, web) = acquainted(&setting);
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let listener = setting
        .listener()
        .home(laptop)
        .args(["--peer", "web-1", "-L", &forward])
        .start();
    let connector = setting
        .connector()
        .home(web)
        .args(["--peer", "laptop", "--name", "db-7"])
        .start();
    assert_eq!(listener.paired(), ("web-1".to_owned(), true));
    connector.paired();
}

#[test]
fn a_peer_that_is_not_known_is_named_with_those_that_are() {
    let setting = Setting::loopback();
    let (laptop, _) = acquainted(&setting);
    let mut stranger = setting.listener().args(["--peer", "web-1"]).start();
    let failure = stranger.fails(ErrorCode::PeerUnknown);
    assert!(failure.message.contains("web-1"), "{failure:?}");
    let mut misspelt = setting
        .listener()
        .home(laptop)
        .args(["--peer", "web-2"])
        .start();
    let failure = misspelt.fails(ErrorCode::PeerUnknown);
    assert!(failure.hint.unwrap().contains("web-1"));
}

#[test]
fn the_same_connector_comes_again_to_a_listener_that_still_runs() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let mut pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    let target = setting.debuggee.listen(target);
    let home = pair.connector.home();
    let code = pair.listener.first_code().unwrap();
    for _ in 0..2 {
        let opened = setting.ide.connect(port);
        let dialled = accept(&target);
        say(&opened, &dialled, "hello");
        pair.connector.stop();
        pair.listener.closed();
        // With the code of the first time, as the shell's history has it.
        pair.connector = setting.connector_with(&code).home(home.clone()).start();
        let (_, known) = pair.listener.paired();
        assert!(known);
        pair.connector.paired();
        pair.listener.forward(port);
    }
}

#[test]
fn a_connector_that_was_killed_comes_again_with_the_same_code() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let mut pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    let target = setting.debuggee.listen(target);
    let old = setting.ide.connect(port);
    let old_dialled = accept(&target);
    say(&old, &old_dialled, "hello");
    pair.connector.kill();

    let home = pair.connector.home();
    pair.connector = setting
        .connector_with(&pair.listener.first_code().unwrap())
        .called("restarted")
        .home(home)
        .start();
    pair.connector.paired();
    pair.listener.warning(WarningCode::PeerRestarted);
    // What the old process carried is over, loudly.
    receive_reset(&old);
    pair.listener.forward(port);
    let opened = setting.ide.connect(port);
    let dialled = accept(&target);
    say(&opened, &dialled, "hello again");
}

/// A container with a random user and nothing to write to. Even root can make no directory in `/proc`.
#[test]
#[cfg(target_os = "linux")]
fn a_connect_that_can_keep_nothing_pairs_by_code_and_carries_streams() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let listener = setting
        .listener()
        .args(["-L", &format!("{port}:localhost:{target}")])
        .start();
    let mut connector = setting
        .connector_with(&listener.code())
        .env("P2PDBG_STATE", "");
    for variable in [
        "HOME",
        "XDG_STATE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_RUNTIME_DIR",
    ] {
        connector = connector.env(variable, "/proc");
    }
    let connector = connector.start();
    let warning = connector.warning(WarningCode::NothingKept);
    assert!(warning.hint.unwrap().contains("--state DIR"));
    listener.forward(port);
    let debuggee = setting.debuggee.listen(target);
    let ide = setting.ide.connect(port);
    let served = accept(&debuggee);
    say(&ide, &served, "hello");
    say(&served, &ide, "hello yourself");
}
