//! Where `p2pdbg push` writes, and where it rather does not.

use std::{fs, os::unix::fs::symlink};

use p2pdbg_events::WarningCode;

use crate::{
    harness::{Home, Setting},
    sources::{beside, checkout, compared, pair, plain, stderr, stdout, text, write},
};

#[test]
fn one_of_two_services_with_the_same_names_is_asked_for_and_nothing_is_written_beside_it() {
    let setting = Setting::loopback();
    let here = checkout(&[
        ("one/app.py", "1"),
        ("one/db.py", "1"),
        ("two/app.py", "2"),
        ("two/db.py", "2"),
    ]);
    let there = plain(&[("app.py", "3"), ("db.py", "3")]);
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    for peer in [&pair.listener, &pair.connector] {
        let warning = peer.warning(WarningCode::NothingInCommon);
        assert!(
            warning
                .message
                .as_str()
                .contains("any of which may be meant"),
            "{warning:?}"
        );
    }
    for arguments in [
        &["sources"][..],
        &["push"],
        &["push", "two/app.py"],
        &["push", "two"],
    ] {
        let output = beside(&pair.listener, here.path(), arguments);
        let said = stderr(&output);
        assert!(
            said.contains("any of which may be meant"),
            "{arguments:?}: {said}"
        );
        assert!(said.contains("--sources DIR"), "{said}");
        assert_eq!(
            output.status.success(),
            arguments == ["sources"],
            "{output:?}"
        );
    }
    assert_eq!(fs::read_dir(there.path()).unwrap().count(), 2);
    let arguments = ["push", "--sources", "two", "two/app.py"];
    let pushed = beside(&pair.listener, here.path(), &arguments);
    assert!(stderr(&pushed).contains("1 copied"), "{pushed:?}");
    assert_eq!(text(there.path(), "app.py"), "2");
}

#[test]
fn file_is_copied_to_its_place_also_where_a_copy_of_the_project_lies_beside_it() {
    let setting = Setting::loopback();
    let here = checkout(&[
        ("app.py", "1"),
        ("db.py", "1"),
        ("old/app.py", "1"),
        ("old/db.py", "1"),
    ]);
    let there = plain(&[("app.py", "1"), ("db.py", "1")]);
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    compared(&pair.listener, &[]);
    // One file, and then all of them: the copy alone is the same as what is there.
    for edited in [&["app.py"][..], &["app.py", "db.py"]] {
        for name in edited {
            write(here.path(), name, "edited");
        }
        let listed = beside(&pair.listener, here.path(), &["sources"]);
        assert_eq!(stdout(&listed), format!("{}\n", edited.join("\n")));
    }
    let pushed = beside(&pair.listener, here.path(), &["push"]);
    assert!(stderr(&pushed).contains("2 copied"), "{pushed:?}");
    assert_eq!(text(there.path(), "app.py"), "edited");
}

#[test]
fn file_that_is_named_behind_a_link_goes_where_its_name_says() {
    let setting = Setting::loopback();
    let here = plain(&[
        ("app.py", "1"),
        ("real/use.py", "new"),
        ("lib/tool.py", "new"),
    ]);
    symlink("real", here.path().join("shared")).unwrap();
    symlink("lib", here.path().join("linked")).unwrap();
    let there = plain(&[
        ("app.py", "1"),
        ("shared/use.py", "old"),
        ("lib/tool.py", "old"),
    ]);
    symlink("lib", there.path().join("linked")).unwrap();
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    compared(&pair.listener, &["lib/tool.py"]);
    let arguments = ["push", "shared/use.py", "linked/tool.py"];
    let pushed = beside(&pair.listener, here.path(), &arguments);
    assert!(stderr(&pushed).contains("2 copied"), "{pushed:?}");
    assert_eq!(text(there.path(), "shared/use.py"), "new");
    assert!(!there.path().join("real").exists());
    // Where there is the same link, what is behind it is the same.
    assert_eq!(text(there.path(), "lib/tool.py"), "new");
}

#[test]
fn what_was_installed_is_compared_and_copied_only_if_it_is_named() {
    let setting = Setting::loopback();
    let files = |own: &'static str| {
        plain(&[
            ("app.py", own),
            ("env/pyvenv.cfg", "home = /usr"),
            ("env/bin/pip", own),
            ("node_modules/left/pad.js", own),
            ("__pycache__/app.cpython-311.pyc", own),
        ])
    };
    let (here, there) = (files("#!/home/a"), files("#!/home/b"));
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    let differ = ["app.py", "env/bin/pip", "node_modules/left/pad.js"];
    compared(&pair.listener, &differ);
    let pushed = beside(&pair.listener, here.path(), &["push"]);
    assert!(pushed.status.success(), "{pushed:?}");
    let said = stderr(&pushed);
    assert!(
        said.contains("what was installed is left as it is there (2 that differ"),
        "{said}"
    );
    assert!(said.contains("1 copied"), "{said}");
    assert_eq!(text(there.path(), "env/bin/pip"), "#!/home/b");
    write(here.path(), "app.py", "newer");
    let pushed = beside(&pair.listener, here.path(), &["push", "."]);
    let said = stderr(&pushed);
    assert!(
        said.contains("what was installed is left as it is there (3 in it"),
        "{said}"
    );
    assert!(said.contains("1 copied"), "{said}");
    assert_eq!(text(there.path(), "env/bin/pip"), "#!/home/b");
    for (named, file) in [
        ("node_modules/left", "node_modules/left/pad.js"),
        ("env", "env/bin/pip"),
    ] {
        let pushed = beside(&pair.listener, here.path(), &["push", named]);
        assert!(stderr(&pushed).contains("1 copied"), "{pushed:?}");
        assert_eq!(text(there.path(), file), "#!/home/a");
    }
}

#[test]
fn directory_is_copied_with_the_files_in_it_that_are_too_long_to_be_compared() {
    let setting = Setting::loopback();
    let long = "x".repeat(9 << 20);
    let here = plain(&[
        ("app.py", "1"),
        ("data/small.txt", "1"),
        ("data/long.txt", &long),
    ]);
    let there = plain(&[("app.py", "1")]);
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    assert_eq!(compared(&pair.listener, &[]).left_out, 1);
    let pushed = beside(&pair.listener, here.path(), &["push", "data"]);
    assert!(stderr(&pushed).contains("2 copied"), "{pushed:?}");
    assert_eq!(text(there.path(), "data/long.txt"), long);
}

#[test]
fn names_of_a_home_are_told_to_nobody_because_listen_was_started_there() {
    let setting = Setting::loopback();
    let home = Home::new();
    write(home.path(), "diary.txt", "1");
    write(home.path(), "project/app.py", "new");
    let there = plain(&[("app.py", "old"), ("diary.txt", "2")]);
    let listener = setting
        .listener()
        .home(home.clone())
        .in_directory(home.path())
        .args([format!("debugpy:{}", setting.port())])
        .start();
    let connector = setting
        .connector_with(&listener.code())
        .in_directory(there.path())
        .start();
    listener.event("facts", |event| {
        matches!(event, p2pdbg_events::Event::Facts(_)).then_some(())
    });
    let refused = beside(&listener, home.path(), &["sources"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(
        stderr(&refused).contains("a home directory is compared only if"),
        "{refused:?}"
    );
    let listed = beside(&listener, &home.path().join("project"), &["sources"]);
    assert_eq!(stdout(&listed), "app.py\n", "{listed:?}");
    assert!(
        stderr(&listed).contains("1 differ, 0 are the same, 0 are here alone"),
        "{listed:?}"
    );
    drop(connector);
}

#[test]
#[cfg(target_os = "linux")]
fn file_system_that_is_only_read_is_told_as_that() {
    use std::process::Command;

    use crate::sources::Disk;

    let there = Home::new();
    let disk = there.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let Some(_mounted) = Disk::mount(&disk) else {
        crate::harness::skip("only root can mount a file system");
        return;
    };
    write(&disk, "app.py", "old");
    let mut remount = Command::new("mount");
    remount.args(["-o", "remount,ro"]).arg(&disk);
    assert!(remount.status().unwrap().success());
    let setting = Setting::loopback();
    let here = plain(&[("app.py", "new")]);
    let accepted = disk.to_str().unwrap();
    let pair = crate::sources::pair_in(&setting, &here, &disk, &["--accept-push", accepted]);
    compared(&pair.listener, &["app.py"]);
    let pushed = beside(&pair.listener, here.path(), &["push"]);
    assert_eq!(pushed.status.code(), Some(1), "{pushed:?}");
    let said = stderr(&pushed);
    assert!(
        said.contains("nothing can be written to the file system there"),
        "{said}"
    );
}

/// As `docker run -v ./app.py:/app/app.py` and `subPath` of Kubernetes have it.
#[test]
#[cfg(target_os = "linux")]
fn file_that_is_mounted_by_itself_is_written_over_and_what_was_there_is_kept() {
    use crate::sources::Disk;

    let setting = Setting::loopback();
    let here = plain(&[("app.py", "new"), ("db.py", "1")]);
    let there = plain(&[("app.py", ""), ("db.py", "1")]);
    let volume = plain(&[("app.py", "written there")]);
    let place = there.path().join("app.py");
    let Some(_mounted) = Disk::bind(&volume.path().join("app.py"), &place) else {
        crate::harness::skip("only root can mount a file");
        return;
    };
    let accepted = there.path().to_str().unwrap();
    let pair = pair(&setting, &here, &there, &["--accept-push", accepted]);
    compared(&pair.listener, &["app.py"]);
    let pushed = beside(&pair.listener, here.path(), &["push"]);
    let said = stderr(&pushed);
    assert!(said.contains("1 copied"), "{pushed:?}");
    assert_eq!(text(volume.path(), "app.py"), "new");
    let (_, kept) = said.split_once("kept beside it as ").unwrap();
    let kept = kept.lines().next().unwrap();
    assert_eq!(text(there.path(), kept), "written there");
    let count = fs::read_dir(there.path()).unwrap().count();
    assert_eq!(count, 3, "no part is left");
}
