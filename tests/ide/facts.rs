//! Each end is told where the other runs, and `listen` keeps it.

use std::path::Path;

use p2pdbg::recent_sessions;
use p2pdbg_events::Event;
use p2pdbg_facts::HostFacts;
use p2pdbg_identity::StateDir;

use crate::harness::{Home, Peer, Setting};

const COMMIT: &str = "4a1f6c0d8b2e57390c1d2e3f405162738495a6b7";

/// A directory within a Git checkout.
fn checkout() -> Home {
    let home = Home::new();
    std::fs::create_dir_all(home.path().join(".git")).unwrap();
    std::fs::create_dir_all(home.path().join("web")).unwrap();
    std::fs::write(home.path().join(".git/HEAD"), COMMIT).unwrap();
    home
}

#[track_caller]
fn facts(peer: &Peer) -> HostFacts {
    peer.event("facts", |event| match event {
        Event::Facts(facts) => Some(facts.clone()),
        _ => None,
    })
}

#[test]
fn each_end_learns_where_the_other_runs_and_listen_keeps_it() {
    let setting = Setting::loopback();
    let (here, there) = (checkout(), checkout());
    let port = setting.port();
    let forward = format!("debugpy:{port}");
    let mut listener = setting
        .listener()
        .in_directory(here.path())
        .args([
            forward.as_str(),
            "-L",
            &format!("{}:localhost:9", setting.port()),
        ])
        .start();
    let connector = setting
        .connector_with(&listener.code())
        .in_directory(&there.path().join("web"))
        .start();
    let (of_there, of_here) = (facts(&listener), facts(&connector));
    let expected = |directory: &Path, root: &Path| {
        let path = |path: &Path| Some(path.to_str().unwrap().parse().unwrap());
        HostFacts {
            directory: path(directory),
            git_root: path(root),
            git_commit: Some(COMMIT.to_owned()),
            root: path(root),
            ..HostFacts::of_directory(None)
        }
    };
    assert_eq!(of_here, expected(here.path(), here.path()));
    let debuggers = of_there.debuggers.clone();
    let there_expected = expected(&there.path().join("web"), there.path());
    assert_eq!(
        of_there,
        HostFacts {
            debuggers,
            ..there_expected
        }
    );

    let (name, _) = listener.paired();
    let state = StateDir::open(Some(&listener.home().state()), "p2pdbg").unwrap();
    let read = || recent_sessions::read(&state).unwrap().pop().unwrap();
    let kept = read();
    assert!(kept.is_running());
    assert_eq!(kept.pid, listener.id());
    assert_eq!(kept.peer, Some(name));
    assert_eq!(kept.there, Some(of_there));
    assert_eq!(kept.forwards[0].port, port);
    listener.stop();
    assert!(!read().is_running());
    drop(connector);
}
