//! What becomes of the files of a project that are links, have access lists, or were written for another deployment.

use std::{fs, os::unix::fs::symlink};

use p2pdbg::recent_sessions::RecentSession;
use p2pdbg_facts::HostFacts;
use p2pdbg_forward::{Forward, Preset};

use crate::configurations::User;
#[cfg(target_os = "linux")]
use crate::sources::Disk;

#[test]
fn link_that_leads_to_no_file_yet_stays_a_link_and_the_file_is_made() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    fs::create_dir_all(user.project.join(".vscode")).unwrap();
    fs::create_dir(user.project.join("common")).unwrap();
    let link = user.project.join(".vscode/launch.json");
    symlink(
        "../common/settings.json",
        user.project.join(".vscode/other"),
    )
    .unwrap();
    symlink("other", &link).unwrap();
    user.write("vscode");
    assert!(link.is_symlink() && user.file("common/settings.json").contains("p2pdbg debugpy"));
    assert!(user.write("vscode").contains("nothing to change"));
    // Nor is one put aside that leads nowhere at all.
    fs::remove_dir_all(user.project.join("common")).unwrap();
    let output = user.run(&["vscode", "--write"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("it is a link that leads nowhere"), "{said}");
    assert!(link.is_symlink());
    symlink("nowhere", user.project.join(".zed")).unwrap();
    let output = user.run(&["zed", "--write"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("it is a link that leads nowhere"), "{said}");
}

#[test]
#[cfg(target_os = "linux")]
fn extended_attributes_of_a_file_stay() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};

    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    user.put(".vscode/launch.json", "{}");
    let launch = user.project.join(".vscode/launch.json");
    if setxattr(&launch, "user.origin", b"team", XattrFlags::empty()).is_err() {
        crate::harness::skip("the file system has no extended attributes");
        return;
    }
    user.write("vscode");
    assert!(user.file(".vscode/launch.json").contains("p2pdbg debugpy"));
    let mut value = [0; 8];
    let length = getxattr(&launch, "user.origin", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"team");
}

#[test]
fn names_of_a_file_that_has_several_stay_names_of_one_file() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    let long = format!("// {}\n{{}}", "x".repeat(8192));
    for (name, before) in [("short", "{}"), ("long", long.as_str())] {
        user.put(".vscode/launch.json", before);
        let other = user.project.join(name);
        fs::hard_link(user.project.join(".vscode/launch.json"), &other).unwrap();
        user.write("vscode");
        let text = user.file(".vscode/launch.json");
        assert!(text.contains("p2pdbg debugpy"), "{text}");
        assert_eq!(fs::read_to_string(&other).unwrap(), text);
        let beside = fs::read_dir(user.project.join(".vscode")).unwrap();
        assert_eq!(beside.count(), 2, "what was written beside it is gone");
        fs::remove_file(user.project.join(".vscode/launch.json")).unwrap();
    }
}

/// There is room for the new text beside the old one, and not for both where the old one is.
#[test]
#[cfg(target_os = "linux")]
fn file_with_several_names_keeps_its_text_on_a_full_disk() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    let directory = user.project.join(".vscode");
    fs::create_dir(&directory).unwrap();
    let Some(_mounted) = Disk::mount(&directory) else {
        crate::harness::skip("only root can mount a file system");
        return;
    };
    // Of a page, which what is added does not fit into.
    let page = 4096;
    let text = format!("{{}}// {}", "x".repeat(page - 6));
    let launch = directory.join("launch.json");
    fs::write(&launch, &text).unwrap();
    fs::hard_link(&launch, directory.join("other")).unwrap();
    let room = rustix::fs::statvfs(&directory).unwrap();
    let pages = usize::try_from(room.f_bavail * room.f_frsize).unwrap() / page;
    fs::write(directory.join("full"), vec![0; (pages - 2) * page]).unwrap();
    let output = user.run(&["vscode", "--write"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(fs::read_to_string(&launch).unwrap(), text);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 3);
}

/// Its directory would let another file be put in its place.
#[test]
fn file_that_is_read_only_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt;

    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    for name in ["launch.json", "tasks.json"] {
        let file = format!(".vscode/{name}");
        user.put(&file, "{}");
        let path = user.project.join(&file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        let output = user.run(&["vscode", "--write"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let told = format!("{name}: it is read-only");
        assert!(said.contains(&told), "{said}");
        assert_eq!(user.file(&file), "{}");
        // Neither is the other one written.
        let beside = fs::read_dir(user.project.join(".vscode")).unwrap();
        assert_eq!(beside.count(), 1);
        fs::remove_file(&path).unwrap();
    }
}

/// A session with a deployment behind a link.
fn deployed(user: &User, preset: Preset, release: &str) {
    let forward = Forward::of_preset(preset, preset.default_port());
    let here = HostFacts::of_directory(Some(&user.project));
    let mut session = RecentSession::begin(here, &[forward]);
    session.ended = true;
    session.set_peer(&"web-1".parse().unwrap());
    session.there = Some(HostFacts {
        directory: Some("/srv/current".parse().unwrap()),
        root: Some("/srv/current".parse().unwrap()),
        root_resolved: Some(format!("/srv/releases/{release}").parse().unwrap()),
        ..HostFacts::default()
    });
    user.keep(&[session]);
}

#[test]
fn both_names_of_a_deployment_are_those_of_the_one_that_runs_now() {
    for (ide, preset, file) in [
        ("vscode", Preset::Gdbserver, ".vscode/launch.json"),
        ("vscode", Preset::Debugpy, ".vscode/launch.json"),
        ("zed", Preset::Debugpy, ".zed/debug.json"),
        (
            "pycharm",
            Preset::Pydevd,
            ".idea/runConfigurations/p2pdbg_pydevd.xml",
        ),
    ] {
        let user = User::with_session(&[preset], "/srv/app");
        deployed(&user, preset, "5");
        user.write(ide);
        let first = user.file(file);
        assert!(
            first.contains("/srv/current") && first.contains("/srv/releases/5"),
            "{first}"
        );
        deployed(&user, preset, "6");
        user.write(ide);
        let expected = first.replace("/srv/releases/5", "/srv/releases/6");
        assert_eq!(user.file(file), expected, "{ide} {preset:?}");
        assert!(
            user.write(ide).contains("nothing to change"),
            "{ide} {preset:?}"
        );
    }
}

#[test]
fn mapping_of_a_second_name_is_added_behind_the_first_and_the_users_own_stays() {
    let user = User::with_session(&[Preset::Pydevd], "/srv/current");
    user.write("pycharm");
    let file = ".idea/runConfigurations/p2pdbg_pydevd.xml";
    let one = "<mapping local-root=\"$PROJECT_DIR$\" remote-root=\"/srv/current\" />\n";
    let own = "          <mapping local-root=\"$PROJECT_DIR$/lib\" remote-root=\"/opt/lib\" />\n          \
               <mapping local-root=\"$PROJECT_DIR$\" remote-root=\"/mnt/app\" />\n";
    let text = user.file(file).replace(one, &format!("{one}{own}"));
    user.put(file, &text);
    deployed(&user, Preset::Pydevd, "6");
    user.write("pycharm");
    let two =
        "          <mapping local-root=\"$PROJECT_DIR$\" remote-root=\"/srv/releases/6\" />\n";
    assert_eq!(user.file(file), text.replace(one, &format!("{one}{two}")));
    assert!(user.write("pycharm").contains("nothing to change"));
    deployed(&user, Preset::Pydevd, "7");
    user.write("pycharm");
    let three = two.replace("releases/6", "releases/7");
    assert_eq!(user.file(file), text.replace(one, &format!("{one}{three}")));
}

#[test]
fn field_that_the_user_had_written_already_is_not_taken_out() {
    let user = User::with_session(&[Preset::Gdbserver], "/srv/current");
    user.write("vscode");
    let file = ".vscode/launch.json";
    let map = "\"sourceFileMap\": {";
    let field = "\"/srv/releases/5\": \"${workspaceFolder}\"";
    let text = user.file(file).replace(map, &format!("{map}\n{field},"));
    assert!(text.contains(field));
    user.put(file, &text);
    for release in ["5", "6"] {
        deployed(&user, Preset::Gdbserver, release);
        user.write("vscode");
        assert!(user.file(file).contains(field), "{}", user.file(file));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn file_that_is_mounted_by_itself_is_written_over() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    user.put(".vscode/launch.json", "");
    user.put("volume.json", "{}");
    let launch = user.project.join(".vscode/launch.json");
    let Some(_mounted) = Disk::bind(&user.project.join("volume.json"), &launch) else {
        crate::harness::skip("only root can mount a file");
        return;
    };
    user.write("vscode");
    assert!(user.file("volume.json").contains("p2pdbg debugpy"));
    let beside = fs::read_dir(user.project.join(".vscode")).unwrap();
    assert_eq!(beside.count(), 2, "what was written beside it is gone");
}
