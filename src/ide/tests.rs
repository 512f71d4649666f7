//! What is planned for each IDE and each debugger, in memory; the program's own tests write it to real projects.

use std::{collections::BTreeMap, path::Path};

use clap::ValueEnum;
use p2pdbg_facts::HostFacts;
use p2pdbg_forward::{Forward, Preset};

use super::*;

const PROJECT: &str = "/home/ada/shop";

/// A session with this debugger, whose peer has its sources elsewhere.
fn session(preset: Preset, peer: &str, place: u16) -> RecentSession {
    let mut forward = Forward::of_preset(preset, preset.default_port());
    if forward.direction == Direction::ToDebuggee {
        forward.bind.port += place;
    }
    let of = |directory: &str| HostFacts {
        directory: Some(directory.parse().unwrap()),
        ..HostFacts::default()
    };
    let mut session = RecentSession::begin(of(PROJECT), &[forward]);
    session.place = place.into();
    session.set_peer(&peer.parse().unwrap());
    session.there = Some(of(&format!("/srv/{peer}")));
    session
}

/// What is planned for these sessions in a project with these files, and the files afterwards.
fn planned(
    ide: Ide,
    sessions: &[RecentSession],
    files: &BTreeMap<PathBuf, String>,
) -> Result<(Plan, BTreeMap<PathBuf, String>), Failure> {
    planned_after(&mut Written::default(), ide, sessions, files)
}

/// The same where it is known what was written before.
fn planned_after(
    written: &mut Written,
    ide: Ide,
    sessions: &[RecentSession],
    files: &BTreeMap<PathBuf, String>,
) -> Result<(Plan, BTreeMap<PathBuf, String>), Failure> {
    let facts: Vec<Facts<'_>> = sessions
        .iter()
        .map(|session| Facts {
            session,
            paths: PathMapping::of(Path::new(PROJECT), session),
        })
        .collect();
    let read = |path: &Path| Ok(files.get(path).cloned());
    let plan = plan(ide, &facts, &read, written)?;
    let mut after = files.clone();
    for file in &plan.files {
        assert_eq!(
            file.before.as_ref(),
            files.get(&file.path),
            "{:?}",
            file.path
        );
        after.insert(file.path.clone(), file.after.clone());
    }
    Ok((plan, after))
}

/// Each IDE with each debugger, in the order of the lists, as far as it has configurations for it.
fn supported() -> impl Iterator<Item = (Ide, Preset)> {
    let pairs = Ide::value_variants()
        .iter()
        .flat_map(|ide| Preset::ALL.map(|preset| (*ide, preset)));
    pairs.filter(|(ide, preset)| {
        match planned(*ide, &[session(*preset, "web", 0)], &BTreeMap::new()) {
            Ok(_) => true,
            Err(failure) => {
                assert_eq!(failure.code, ErrorCode::NothingForIde, "{failure:?}");
                false
            }
        }
    })
}

#[test]
fn configuration_names_the_port_beside_the_ide_and_the_peers_directory_is_mapped() {
    let mut of_ide: BTreeMap<&str, usize> = BTreeMap::new();
    for (ide, preset) in supported() {
        let session = session(preset, "web", 0);
        let port = session.forwards[0].ide_port().to_string();
        let (plan, files) = planned(ide, &[session], &BTreeMap::new()).unwrap();
        let text = files.values().map(String::as_str).collect::<String>();
        assert!(text.contains(&port), "{ide:?} {preset:?}: {text}");
        *of_ide.entry(ide.product()).or_default() += 1;
        if preset == Preset::Debugpy {
            assert!(text.contains("/srv/web"), "{ide:?}: {text} {plan:?}");
        }
    }
    assert_eq!(of_ide.len(), Ide::value_variants().len(), "{of_ide:?}");
    assert!(of_ide.values().sum::<usize>() >= 25, "{of_ide:?}");
}

#[test]
fn configuration_that_is_there_already_is_not_written_again() {
    for (ide, preset) in supported() {
        let sessions = [session(preset, "web", 0)];
        let (_, files) = planned(ide, &sessions, &BTreeMap::new()).unwrap();
        let (again, unchanged) = planned(ide, &sessions, &files).unwrap();
        assert!(
            again.files.iter().all(PlannedFile::is_done),
            "{ide:?} {preset:?}: {again:?}"
        );
        assert_eq!(unchanged, files);
    }
}

#[test]
fn port_that_changes_is_the_only_thing_that_changes_in_a_file() {
    for (ide, preset) in supported() {
        let mut session = session(preset, "web", 0);
        let mut written = Written::default();
        let first = std::slice::from_ref(&session);
        let (_, files) = planned_after(&mut written, ide, first, &BTreeMap::new()).unwrap();
        let forward = &mut session.forwards[0];
        let before = forward.ide_port();
        match forward.direction {
            Direction::ToDebuggee => forward.port = 40_077,
            Direction::ToIde => forward.to.port = 40_077,
        }
        let (_, moved) = planned_after(&mut written, ide, &[session], &files).unwrap();
        for (path, text) in &moved {
            // How listen is started names the port too, and says more of one that is not the debugger's own.
            let without = |text: &str, port: u16| {
                let lines = text.lines().filter(|line| !line.contains("listen"));
                let lines: Vec<String> = lines
                    .map(|line| line.replace(&port.to_string(), "PORT"))
                    .collect();
                lines.join("\n")
            };
            let was = files.get(path).map_or("", String::as_str);
            let (was, is) = (without(was, before), without(text, 40_077));
            assert_eq!(was, is, "{ide:?} {preset:?}");
        }
    }
}

#[test]
fn two_peers_have_an_entry_each_under_their_names() {
    for (ide, preset) in supported() {
        let sessions = [session(preset, "web", 0), session(preset, "db", 1)];
        let (_, files) = planned(ide, &sessions, &BTreeMap::new()).unwrap();
        let text = files.values().map(String::as_str).collect::<String>();
        let ports = sessions.each_ref().map(|s| s.forwards[0].ide_port());
        assert!(text.contains(&ports[0].to_string()), "{ide:?} {preset:?}");
        // Debuggers that dial the IDE may come to one port, which has one entry.
        if ports[0] != ports[1] {
            assert!(text.contains(&ports[1].to_string()), "{ide:?} {preset:?}");
            assert!(
                text.contains("web") && text.contains("db"),
                "{ide:?} {preset:?}: {text}"
            );
        }
    }
}

#[test]
fn users_own_configurations_and_comments_stay_byte_for_byte() {
    let own = "{\n  // mine\n  \"version\": \"0.2.0\",\n  \"configurations\": [\n    { \"name\": \"own\", },\n  ],\n}\n";
    let path = PathBuf::from(".vscode/launch.json");
    let files = BTreeMap::from([(path.clone(), own.to_owned())]);
    for preset in Preset::ALL {
        let sessions = [session(preset, "web", 0)];
        let Ok((_, after)) = planned(Ide::Vscode, &sessions, &files) else {
            continue;
        };
        let text = &after[&path];
        for kept in [
            "  // mine\n",
            "{ \"name\": \"own\", },",
            "\"version\": \"0.2.0\",",
        ] {
            assert!(text.contains(kept), "{preset:?}: {text}");
        }
    }
}

#[test]
fn file_that_does_not_parse_is_named_and_nothing_is_planned() {
    let path = PathBuf::from(".vscode/launch.json");
    let files = BTreeMap::from([(path, "{ \"configurations\": [ }".to_owned())]);
    let failure = planned(Ide::Vscode, &[session(Preset::Debugpy, "web", 0)], &files).unwrap_err();
    assert_eq!(failure.code, ErrorCode::IdeFile);
    assert!(failure.message.contains("launch.json"), "{failure:?}");
}
