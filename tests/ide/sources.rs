//! Whether the source files are the same at both ends, and copying them.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use p2pdbg_events::{Event, SourcesReport, WarningCode};

use crate::harness::{Home, Pair, Peer, Setting, eventually};

/// A Git work tree with these files.
pub(super) fn checkout(files: &[(&str, &str)]) -> Home {
    let home = Home::new();
    write(home.path(), ".git/HEAD", "");
    for (name, text) in files {
        write(home.path(), name, text);
    }
    home
}

pub(super) fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub(super) fn text(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name)).unwrap()
}

#[track_caller]
pub(super) fn pair(setting: &Setting, here: &Home, there: &Home, options: &[&str]) -> Pair {
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
pub(super) fn compared(peer: &Peer, differ: &[&str]) -> SourcesReport {
    peer.event(&format!("that {differ:?} differ"), |event| match event {
        Event::Sources(report) => {
            let names: Vec<_> = report.differ.iter().map(ToString::to_string).collect();
            (names == differ).then(|| report.clone())
        }
        _ => None,
    })
}

/// A command beside the IDE, in the listener's directory.
pub(super) fn beside(listener: &Peer, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pdbg"));
    listener.home().settle(&mut command);
    command
        .current_dir(directory)
        .args(arguments)
        .output()
        .unwrap()
}

pub(super) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(super) fn stderr(output: &Output) -> String {
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
    for (name, hint) in [
        ("*.py", "patterns are for the shell"),
        ("gone.py", "check how it is spelt"),
        ("[gone].py", "is not deleted there"),
    ] {
        let pushed = beside(&pair.listener, here.path(), &["push", name]);
        assert_eq!(pushed.status.code(), Some(2), "{pushed:?}");
        assert!(stderr(&pushed).contains(hint), "{pushed:?}");
    }
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
    use p2pdbg_natlab::{Host, Impairments, Lab, NatKind, TwoNats};

    use crate::harness::{Place, Process};

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
    let big: String = (0..2_000_000_u32).map(|n| format!("{n:08}")).collect();
    write(here.path(), "web/big.py", &big);
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    compared(&pair.listener, &[]);
    // It takes a quarter of a minute at this rate, so that it is under way whenever the cut comes.
    let uplink = lab.nat_b.uplink();
    let slow = Impairments::delayed(delay).with_rate(8_000_000);
    uplink.impair(slow).unwrap();
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
    uplink.cut().unwrap();
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
    uplink.impair(Impairments::delayed(delay)).unwrap();
    uplink.mend().unwrap();
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
    assert_eq!(
        (report.same, report.only_here, report.only_there),
        (1, 0, 0)
    );
    // What lies too deep is told.
    assert_eq!((report.left_out, report.partial), (1, true), "{report:?}");
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
    assert!(
        said.contains("1000 files or directories were left out"),
        "{said}"
    );
}

/// Not a Git work tree.
pub(super) fn plain(files: &[(&str, &str)]) -> Home {
    let home = Home::new();
    for (name, text) in files {
        write(home.path(), name, text);
    }
    home
}

/// A pair of which the debuggee's end is started in a directory below.
pub(super) fn pair_in(setting: &Setting, here: &Home, there: &Path, options: &[&str]) -> Pair {
    let listener = setting
        .listener()
        .in_directory(here.path())
        .args([format!("debugpy:{}", setting.port())])
        .start();
    let connector = setting
        .connector_with(&listener.code())
        .in_directory(there)
        .args(options.iter().copied())
        .start();
    Pair {
        listener,
        connector,
    }
}

fn mapping(listener: &Peer, project: &Path) -> String {
    let state = listener.home().state();
    let state = state.to_str().unwrap();
    let output = beside(listener, project, &["ide", "vscode", "--state", state]);
    assert!(output.status.success(), "{output:?}");
    let text = stdout(&output);
    let value = |key: &str| {
        let (_, rest) = text.split_once(&format!("\"{key}\": \"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    format!("{} = {}", value("localRoot"), value("remoteRoot"))
}

/// One pair of directories is what is compared, where copies go, and what is mapped.
#[track_caller]
fn is_one_pair(
    (here, there): (&Home, &Home),
    (below, options): (&str, &[&str]),
    (file, its_place): (&str, &str),
    mapped: &str,
) {
    let setting = Setting::loopback();
    let accepted = there.path().to_str().unwrap();
    let options = [&["--accept-push", accepted], options].concat();
    let pair = pair_in(&setting, here, &there.path().join(below), &options);
    compared(&pair.listener, &[file]);
    // In this order: the one word is the end of the other.
    let expected = mapped.replace("THERE", accepted);
    let expected = expected.replace("HERE", "${workspaceFolder}");
    // What was found is kept for `ide` a moment after it is told.
    eventually(&expected, || {
        (mapping(&pair.listener, here.path()) == expected).then_some(())
    });
    let listed = beside(&pair.listener, here.path(), &["sources"]);
    assert_eq!(stdout(&listed), format!("{file}\n"), "{listed:?}");
    let pushed = beside(&pair.listener, here.path(), &["push"]);
    assert!(stderr(&pushed).contains("1 copied"), "{pushed:?}");
    assert_eq!(text(there.path(), its_place), text(here.path(), file));
    // By its name too.
    write(here.path(), file, "newer\n");
    let pushed = beside(&pair.listener, here.path(), &["push", file]);
    assert!(stderr(&pushed).contains("1 copied"), "{pushed:?}");
    assert_eq!(text(there.path(), its_place), "newer\n");
}

#[test]
fn a_push_finds_the_file_of_a_connect_that_was_started_below_the_root() {
    let here = checkout(&[("backend/app.py", "new\n"), ("web/x.js", "same\n")]);
    let there = checkout(&[("backend/app.py", "old\n"), ("web/x.js", "same\n")]);
    let file = ("backend/app.py", "backend/app.py");
    is_one_pair((&here, &there), ("backend", &[]), file, "HERE = THERE");
    assert!(!there.path().join("backend/backend").exists());
}

#[test]
fn a_copy_of_a_part_of_the_work_tree_is_the_same_files_without_git_there() {
    let here = checkout(&[
        ("README.md", "x\n"),
        ("backend/app.py", "new\n"),
        ("backend/db/models.py", "same\n"),
    ]);
    let there = plain(&[("app.py", "old\n"), ("db/models.py", "same\n")]);
    let file = ("backend/app.py", "app.py");
    is_one_pair((&here, &there), ("", &[]), file, "HERE/backend = THERE");
    assert!(!there.path().join("backend").exists());
}

#[test]
fn a_source_layout_a_directory_above_and_names_in_another_case_are_found() {
    let here = plain(&[
        ("src/Shop/App.py", "new\n"),
        ("src/Shop/db.py", "same\n"),
        ("tests/t.py", "1"),
    ]);
    let there = plain(&[
        ("srv/lib/shop/app.py", "old\n"),
        ("srv/lib/shop/db.py", "same\n"),
    ]);
    let file = ("src/Shop/App.py", "srv/lib/shop/app.py");
    // No mapping leads from Shop to shop by itself.
    let mapped = "HERE/src/Shop = THERE/srv/lib/shop";
    is_one_pair((&here, &there), ("", &[]), file, mapped);
    assert_eq!(
        fs::read_dir(there.path().join("srv/lib")).unwrap().count(),
        1
    );
}

#[test]
fn a_deployment_behind_a_link_keeps_the_name_of_the_link() {
    let here = plain(&[("app.py", "new\n"), ("db.py", "same\n")]);
    let there = plain(&[
        ("releases/5/app.py", "old\n"),
        ("releases/5/db.py", "same\n"),
    ]);
    symlink("releases/5", there.path().join("current")).unwrap();
    let current = there.path().join("current");
    let options = ["--sources", current.to_str().unwrap()];
    let file = ("app.py", "releases/5/app.py");
    is_one_pair(
        (&here, &there),
        ("", &options),
        file,
        "HERE = THERE/current",
    );
}

#[test]
fn a_repository_that_is_the_home_says_nothing_of_what_is_in_it() {
    let setting = Setting::loopback();
    let here = plain(&[("app.py", "1\n")]);
    let home = checkout(&[("app/app.py", "2\n"), (".bashrc", "x")]);
    let listener = setting
        .listener()
        .in_directory(here.path())
        .args([format!("debugpy:{}", setting.port())])
        .start();
    let connector = setting
        .connector_with(&listener.code())
        .home(home.clone())
        .in_directory(&home.path().join("app"))
        .start();
    compared(&listener, &["app.py"]);
    let expected = format!("${{workspaceFolder}} = {}/app", home.path().display());
    eventually(&expected, || {
        (mapping(&listener, here.path()) == expected).then_some(())
    });
    drop(connector);
}

#[test]
fn line_ends_are_told_apart_and_are_those_of_the_debuggee_when_copied() {
    let setting = Setting::loopback();
    let here = plain(&[
        ("run.sh", "#!/bin/sh\r\nexit 0\r\n"),
        ("app.py", "1\r\n2\r\n"),
    ]);
    let there = plain(&[("run.sh", "#!/bin/sh\nexit 1\n"), ("app.py", "1\n2\n")]);
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    let report = compared(&pair.listener, &["run.sh"]);
    let ends: Vec<_> = report.line_ends.iter().map(ToString::to_string).collect();
    assert_eq!(ends, ["app.py"]);
    let pushed = beside(&pair.listener, here.path(), &["push", "run.sh", "app.py"]);
    assert!(
        stderr(&pushed).contains("1 copied, 1 the same already"),
        "{pushed:?}"
    );
    assert_eq!(text(there.path(), "run.sh"), "#!/bin/sh\nexit 0\n");
    assert_eq!(text(there.path(), "app.py"), "1\n2\n");
}

#[test]
fn trees_with_nothing_in_common_are_a_warning_and_copy_nothing() {
    let setting = Setting::loopback();
    let (here, there) = (plain(&[("app.py", "1")]), plain(&[("main.go", "2")]));
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    for peer in [&pair.listener, &pair.connector] {
        let warning = peer.warning(WarningCode::NothingInCommon);
        assert!(warning.hint.unwrap().contains("--sources"));
    }
    let listed = beside(&pair.listener, here.path(), &["sources"]);
    assert!(stderr(&listed).contains("no file in common"), "{listed:?}");
    // What was warned of is not written either.
    let state = pair.listener.home().state();
    let ide = ["ide", "vscode", "--state", state.to_str().unwrap()];
    let shown = eventually("note that there is no mapping", || {
        let shown = beside(&pair.listener, here.path(), &ide);
        let is_told = stderr(&shown).contains("no file here is taken for one at the debuggee");
        is_told.then_some(shown)
    });
    assert!(!stdout(&shown).contains(accepted), "{shown:?}");
    for (name, why) in [("nosuch", "No such file"), ("app.py", "not a directory")] {
        let listed = beside(&pair.listener, here.path(), &["sources", "--sources", name]);
        let said = stderr(&listed);
        let expected = format!("cannot compare {name}: {why}");
        assert!(said.contains(&expected), "{said}");
        assert_eq!(listed.status.code(), Some(2), "{listed:?}");
    }
    let pushed = beside(&pair.listener, here.path(), &["push"]);
    assert_eq!(pushed.status.code(), Some(1), "{pushed:?}");
    assert_eq!(fs::read_dir(there.path()).unwrap().count(), 1);
}

#[test]
fn end_without_any_file_is_told_of() {
    let setting = Setting::loopback();
    let (here, there) = (plain(&[]), plain(&[("main.go", "2")]));
    let pair = pair(&setting, &here, &there, &[]);
    for (peer, end) in [
        (&pair.listener, "this end"),
        (&pair.connector, "the other end"),
    ] {
        let message = peer.warning(WarningCode::NothingInCommon).message;
        let empty = format!("there is none to compare at {end}");
        assert!(message.as_str().contains(&empty), "{message:?}");
    }
    let listed = beside(&pair.listener, here.path(), &["sources"]);
    assert!(
        stderr(&listed).contains("none to compare at this end"),
        "{listed:?}"
    );
}

#[test]
fn a_directory_that_is_ignored_is_told_of_and_fails() {
    let setting = Setting::loopback();
    let here = checkout(&[
        (".gitignore", "build/\n"),
        ("app.py", "1"),
        ("build/out.py", "2"),
    ]);
    let there = checkout(&[("app.py", "1")]);
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    compared(&pair.listener, &[]);
    let pushed = beside(&pair.listener, here.path(), &["push", "build"]);
    assert_eq!(pushed.status.code(), Some(1), "{pushed:?}");
    assert!(
        stderr(&pushed).contains("an ignore file leaves it out"),
        "{pushed:?}"
    );
    let pushed = beside(&pair.listener, here.path(), &["push", "build/out.py"]);
    assert!(pushed.status.success(), "{pushed:?}");
    assert_eq!(text(there.path(), "build/out.py"), "2");
}

#[test]
fn nobody_waits_for_a_peer_that_was_killed() {
    let setting = Setting::loopback();
    let (here, there) = (plain(&[("app.py", "1")]), plain(&[("app.py", "2")]));
    let mut pair = pair(&setting, &here, &there, &[]);
    compared(&pair.listener, &["app.py"]);
    pair.connector.kill();
    for command in ["push", "sources"] {
        let output = beside(&pair.listener, here.path(), &[command]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("out of reach"), "{output:?}");
    }
}

/// Something that is mounted, a small file system say, and gone with the value.
#[cfg(target_os = "linux")]
pub(super) struct Disk<'a>(&'a Path);

#[cfg(target_os = "linux")]
impl<'a> Disk<'a> {
    pub(super) fn mount(at: &'a Path) -> Option<Self> {
        Self::mount_with(&["-t", "tmpfs", "-o", "size=1m", "none"], at)
    }

    /// A single file at the place of another one.
    pub(super) fn bind(file: &Path, at: &'a Path) -> Option<Self> {
        Self::mount_with(&["--bind", file.to_str()?], at)
    }

    fn mount_with(arguments: &[&str], at: &'a Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(arguments).arg(at);
        mount.status().ok()?.success().then_some(Self(at))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// As root, in the directory of another user.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_left_as_it_was_and_owner_and_mode_stay() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    let there = Home::new();
    let disk = there.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let Some(_mounted) = Disk::mount(&disk) else {
        crate::harness::skip("only root can mount a file system");
        return;
    };
    let setting = Setting::loopback();
    let big = "0123456789abcdef".repeat(100_000);
    let here = plain(&[("app.py", "new"), ("big.py", &big), ("fresh/x.sh", "#!")]);
    let script = here.path().join("fresh/x.sh");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    write(&disk, "app.py", "old");
    write(&disk, "big.py", "small");
    fs::set_permissions(disk.join("app.py"), fs::Permissions::from_mode(0o640)).unwrap();
    chown(disk.join("app.py"), Some(1000), Some(1001)).unwrap();
    chown(&disk, Some(1000), Some(1002)).unwrap();
    let accepted = disk.to_str().unwrap();
    let pair = pair_in(&setting, &here, &disk, &["--accept-push", accepted]);
    compared(&pair.listener, &["app.py", "big.py"]);
    let pushed = beside(&pair.listener, here.path(), &["push", "big.py"]);
    assert_eq!(pushed.status.code(), Some(1), "{pushed:?}");
    assert!(
        stderr(&pushed).contains("the disk there is full"),
        "{pushed:?}"
    );
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 2, "no part is left");
    assert_eq!(text(&disk, "big.py"), "small");
    write(here.path(), "far/away/big.py", &big);
    let pushed = beside(&pair.listener, here.path(), &["push", "far/away/big.py"]);
    assert!(stderr(&pushed).contains("is full"), "{pushed:?}");
    assert!(!disk.join("far").exists(), "no directory is left");
    let pushed = beside(&pair.listener, here.path(), &["push", "app.py", "fresh"]);
    assert!(pushed.status.success(), "{pushed:?}");
    assert!(
        stderr(&pushed).contains("kept beside it as .app.py."),
        "{pushed:?}"
    );
    let of = |name: &str| {
        let metadata = fs::metadata(disk.join(name)).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
    };
    assert_eq!(of("app.py"), (1000, 1001, 0o640));
    assert_eq!((of("fresh").0, of("fresh").1), (1000, 1002));
    assert_eq!(of("fresh/x.sh"), (1000, 1002, 0o755));
}
