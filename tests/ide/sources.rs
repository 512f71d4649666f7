//! Whether the source files are the same at both ends, and copying them.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use p2pdbg_events::{Event, SourcesReport, WarningCode};

use crate::harness::{Home, Pair, Peer, Setting};

/// A Git work tree with these files.
fn checkout(files: &[(&str, &str)]) -> Home {
    let home = Home::new();
    write(home.path(), ".git/HEAD", "");
    for (name, text) in files {
        write(home.path(), name, text);
    }
    home
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn text(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name)).unwrap()
}

#[track_caller]
fn pair(setting: &Setting, here: &Home, there: &Home, options: &[&str]) -> Pair {
    let listener = setting
        .listener()
        .in_directory(here.path())
        .args([format!("debugpy:{}", setting.port())])
        .start();
    let connector = setting
        .connector_with(&listener.code())
        .in_directory(there.path())
        .args(options.iter().copied())
        .start();
    Pair {
        listener,
        connector,
    }
}

#[track_caller]
fn compared(peer: &Peer, differ: &[&str]) -> SourcesReport {
    peer.event(&format!("that {differ:?} differ"), |event| match event {
        Event::Sources(report) => {
            let names: Vec<_> = report.differ.iter().map(ToString::to_string).collect();
            (names == differ).then(|| report.clone())
        }
        _ => None,
    })
}

/// A command beside the IDE, in the listener's directory.
fn beside(listener: &Peer, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pdbg"));
    listener.home().settle(&mut command);
    command
        .current_dir(directory)
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn both_ends_tell_which_files_differ_at_the_start_and_when_one_changes() {
    let setting = Setting::loopback();
    let here = checkout(&[
        ("app.py", "1"),
        ("web/api.py", "same"),
        (".gitignore", "*.log"),
        ("x.log", "a"),
    ]);
    let there = checkout(&[
        ("app.py", "2"),
        ("web/api.py", "same"),
        (".gitignore", "*.log"),
        ("x.log", "b"),
    ]);
    let pair = pair(&setting, &here, &there, &[]);
    let report = compared(&pair.listener, &["app.py"]);
    assert_eq!(
        (report.same, report.only_here, report.only_there),
        (1, 0, 0)
    );
    compared(&pair.connector, &["app.py"]);
    // The debuggee's changes.
    write(there.path(), "web/api.py", "changed");
    compared(&pair.listener, &["app.py", "web/api.py"]);
    compared(&pair.connector, &["app.py", "web/api.py"]);
    // The IDE's changes.
    write(here.path(), "app.py", "2 ");
    write(here.path(), "web/api.py", "changed");
    compared(&pair.listener, &["app.py"]);
    let listed = beside(&pair.listener, here.path(), &["sources"]);
    assert!(listed.status.success(), "{listed:?}");
    assert_eq!(stdout(&listed), "app.py\n");
    assert!(stderr(&listed).contains("1 differ, 1 are the same"));
    // No stream of it is anybody's business.
    let streams = |event: &Event| matches!(event, Event::Stream { .. });
    assert!(!pair.listener.events().iter().any(streams));
}

#[test]
fn nothing_is_copied_unless_the_other_end_accepts_it() {
    let setting = Setting::loopback();
    let (here, there) = (
        checkout(&[("app.py", "new")]),
        checkout(&[("app.py", "old")]),
    );
    let pair = pair(&setting, &here, &there, &[]);
    compared(&pair.listener, &["app.py"]);
    let pushed = beside(&pair.listener, here.path(), &["push"]);
    assert_eq!(pushed.status.code(), Some(1), "{pushed:?}");
    assert!(stderr(&pushed).contains("--accept-push"), "{pushed:?}");
    assert_eq!(text(there.path(), "app.py"), "old");
}

#[test]
fn a_push_puts_the_files_that_differ_into_the_directory_that_accepts_them() {
    let setting = Setting::loopback();
    let big = "0123456789abcdef".repeat(100_000);
    let here = checkout(&[
        ("app.py", "new"),
        ("web/big.py", &big),
        ("only/here.py", "x"),
    ]);
    let there = checkout(&[("app.py", "old"), ("web/big.py", "small")]);
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    compared(&pair.listener, &["app.py", "web/big.py"]);
    let pushed = beside(&pair.listener, here.path(), &["push"]);
    assert!(pushed.status.success(), "{pushed:?}");
    assert!(stderr(&pushed).contains("2 copied"), "{pushed:?}");
    assert_eq!(text(there.path(), "app.py"), "new");
    assert_eq!(text(there.path(), "web/big.py"), big);
    assert!(
        !there.path().join("only").exists(),
        "what does not differ is not asked for"
    );
    compared(&pair.listener, &[]);
    pair.connector.event("received file", |event| match event {
        Event::Received { name } if name.as_str() == "web/big.py" => Some(()),
        _ => None,
    });
    // By name, also from below.
    let pushed = beside(
        &pair.listener,
        &here.path().join("only"),
        &["push", "here.py", "../app.py"],
    );
    assert!(pushed.status.success(), "{pushed:?}");
    assert!(
        stderr(&pushed).contains("1 copied, 1 the same already"),
        "{pushed:?}"
    );
    assert_eq!(text(there.path(), "only/here.py"), "x");
}

#[test]
fn a_push_does_not_go_through_links_and_takes_nothing_from_outside() {
    let setting = Setting::loopback();
    let outside = Home::new();
    let here = checkout(&[("web/app.py", "evil"), ("ok.py", "fine")]);
    let there = checkout(&[]);
    symlink(outside.path(), there.path().join("web")).unwrap();
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    pair.listener.warning(WarningCode::NothingInCommon);
    let pushed = beside(&pair.listener, here.path(), &["push", "web", "ok.py"]);
    assert_eq!(pushed.status.code(), Some(1), "{pushed:?}");
    assert!(
        stderr(&pushed).contains("web/app.py: not taken: a part of its path there is a link"),
        "{pushed:?}"
    );
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(text(there.path(), "ok.py"), "fine");
    let pushed = beside(&pair.listener, here.path(), &["push", "/etc/hostname"]);
    assert_eq!(pushed.status.code(), Some(2), "{pushed:?}");
}

#[test]
fn an_end_that_compares_nothing_is_told_of_nothing() {
    let setting = Setting::loopback();
    let (here, there) = (checkout(&[("app.py", "1")]), checkout(&[("app.py", "2")]));
    let pair = pair(&setting, &here, &there, &["--no-sources"]);
    pair.listener.event("facts", |event| {
        matches!(event, Event::Facts(_)).then_some(())
    });
    let listed = beside(&pair.listener, here.path(), &["sources"]);
    assert_eq!(listed.status.code(), Some(1), "{listed:?}");
    assert!(
        stderr(&listed).contains("compares no source files"),
        "{listed:?}"
    );
    let sources = |event: &Event| matches!(event, Event::Sources(_));
    assert!(!pair.connector.events().iter().any(sources));
}

/// The link is cut while a file is on its way, and mended once both ends have missed each other.
#[test]
#[cfg(target_os = "linux")]
fn a_push_goes_on_after_an_outage_where_it_was() {
    use p2pdbg_natlab::{Host, Lab, NatKind, TwoNats};

    use crate::harness::{Place, Process, eventually};

    let Some(lab) = Lab::new_or_skip("push") else {
        return;
    };
    let delay = std::time::Duration::from_millis(10);
    let lab = TwoNats::new(
        lab,
        NatKind::PORT_RESTRICTED,
        NatKind::PORT_RESTRICTED,
        delay,
    )
    .unwrap();
    let place = |host: &Host| Place::Node((**host).clone());
    let address = lab.rdv.ip().into();
    let setting = Setting::of(
        place(&lab.ide),
        place(&lab.debuggee),
        place(&lab.rdv),
        address,
    );
    let (here, there) = (checkout(&[("app.py", "1")]), checkout(&[("app.py", "1")]));
    // No two parts of it are alike.
    let big: String = (0..8_000_000_u32).map(|n| format!("{n:08}")).collect();
    write(here.path(), "web/big.py", &big);
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    compared(&pair.listener, &[]);
    let mut push = Command::new(env!("CARGO_BIN_EXE_p2pdbg"));
    pair.listener.home().settle(&mut push);
    push.current_dir(here.path()).args(["push", "web/big.py"]);
    let mut push = Process::start("push", push, &setting.transcript);
    let web = there.path().join("web");
    let arrived = || {
        let files = fs::read_dir(&web).into_iter().flatten().flatten();
        files
            .map(|file| file.metadata().map_or(0, |m| m.len()))
            .max()
            .unwrap_or(0)
    };
    eventually("part of the file", || (arrived() > 1 << 20).then_some(()));
    lab.nat_b.uplink().cut().unwrap();
    pair.listener.event("outage", |event| {
        matches!(event, Event::PeerLost { .. }).then_some(())
    });
    assert!(
        push.is_running(),
        "the outage came too late to say anything"
    );
    assert!(
        !web.join("big.py").exists(),
        "it is not in its place before all of it is there"
    );
    lab.nat_b.uplink().mend().unwrap();
    assert_eq!(push.exit_status(), 0);
    assert!(text(there.path(), "web/big.py") == big);
    assert_eq!(fs::read_dir(&web).unwrap().count(), 1);
}

#[test]
fn links_in_circles_and_outside_and_directories_without_end_are_left_out() {
    let setting = Setting::loopback();
    let here = checkout(&[("app.py", "1"), ("a/b.py", "same")]);
    let root = here.path();
    symlink(root, root.join("a/up")).unwrap();
    symlink("itself", root.join("itself")).unwrap();
    symlink("there", root.join("back")).unwrap();
    symlink("back", root.join("there")).unwrap();
    let outside = checkout(&[("outside.py", "1")]);
    symlink(outside.path(), root.join("out")).unwrap();
    let deep = "deep/".repeat(200);
    write(root, &format!("{deep}lost.py"), "1");
    let there = checkout(&[("app.py", "2"), ("a/b.py", "same")]);
    let pair = pair(&setting, &here, &there, &[]);
    let report = compared(&pair.listener, &["app.py"]);
    assert!(!report.partial, "{report:?}");
    assert_eq!(
        (report.same, report.only_here, report.only_there),
        (1, 0, 0)
    );
    compared(&pair.connector, &["app.py"]);
}

/// With a million it is the same, but to make them takes a minute.
#[test]
fn of_a_tree_with_too_many_files_as_many_are_compared_as_there_may_be() {
    let setting = Setting::loopback();
    let here = checkout(&[]);
    for n in 0..21_000 {
        fs::File::create(here.path().join(format!("{n}.py"))).unwrap();
    }
    let there = checkout(&[("1.py", "")]);
    let pair = pair(&setting, &here, &there, &[]);
    let report = compared(&pair.listener, &[]);
    assert_eq!((report.left_out, report.partial), (1_000, true));
    assert_eq!((report.same, report.only_here), (1, 19_999));
    assert!(compared(&pair.connector, &[]).partial);
    let listed = beside(&pair.listener, here.path(), &["sources"]);
    assert!(listed.status.success(), "{listed:?}");
    let said = stderr(&listed);
    assert!(said.contains("1000 files were left out"), "{said}");
}
