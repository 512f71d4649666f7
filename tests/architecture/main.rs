//! docs/ARCHITECTURE.md held against the manifests and the sources: imports run one way, between crates and within.

mod circles;
mod messages;
mod public;
mod size;
mod width;
mod words;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

const PAGE: &str = include_str!("../../docs/ARCHITECTURE.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// A crate of the workspace as its manifest describes it.
struct Manifest {
    /// Its folder below the root; `src` for the root itself.
    folder: String,
    /// The crates of ours that it is built from, tests left aside.
    dependencies: Vec<String>,
}

/// Every crate of the workspace, by its package's name.
fn manifests() -> BTreeMap<String, Manifest> {
    let mut folders = vec!["src".to_owned(), "rendezvous".to_owned()];
    for parent in ["crates", "labs"] {
        for entry in std::fs::read_dir(root().join(parent)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            folders.push(format!("{parent}/{name}"));
        }
    }
    folders.into_iter().map(manifest).collect()
}

fn manifest(folder: String) -> (String, Manifest) {
    let directory = if folder == "src" {
        root()
    } else {
        root().join(&folder)
    };
    let text = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap();
    let table: Table = text.parse().unwrap();
    let package = table["package"]["name"].as_str().unwrap().to_owned();
    let mut dependencies = ours(&table);
    if let Some(Value::Table(targets)) = table.get("target") {
        let targets = targets.values().filter_map(Value::as_table);
        dependencies.extend(targets.flat_map(ours));
    }
    (
        package,
        Manifest {
            folder,
            dependencies,
        },
    )
}

fn ours(table: &Table) -> Vec<String> {
    let dependencies = table.get("dependencies").and_then(Value::as_table);
    let names = dependencies.into_iter().flat_map(Table::keys);
    names
        .filter(|name| name.starts_with("p2pdbg"))
        .cloned()
        .collect()
}

/// The floors that the page gives: folder to number.
fn floors() -> BTreeMap<&'static str, u32> {
    let (_, table) = PAGE.split_once("<!-- floors").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let floor = cells.next()?.parse().ok()?;
        let folder = cells.next()?.split('`').nth(1)?;
        Some((folder, floor))
    });
    rows.collect()
}

#[test]
fn floor_plan_names_every_crate_that_ships() {
    let floors = floors();
    let manifests = manifests();
    for manifest in manifests.values() {
        let is_lab = manifest.folder.starts_with("labs/");
        let listed = floors.contains_key(manifest.folder.as_str());
        assert_ne!(is_lab, listed, "{}", manifest.folder);
    }
    assert!(floors.len() > 15, "{floors:?}");
}

#[test]
fn floor_plan_crates_import_only_from_below() {
    let floors = floors();
    let manifests = manifests();
    for (package, manifest) in &manifests {
        let Some(floor) = floors.get(manifest.folder.as_str()) else {
            continue;
        };
        for dependency in &manifest.dependencies {
            let below = floors.get(manifests[dependency].folder.as_str());
            assert!(
                below.is_some_and(|below| below < floor),
                "{package} (floor {floor}) imports {dependency} (floor {below:?})"
            );
        }
    }
}

/// The rows of "Where is it decided?": a file, and the function in it, or the macro that it calls.
fn decided() -> Vec<(&'static str, &'static str)> {
    let (_, table) = PAGE.split_once("<!-- decided").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let rows = table.lines().filter_map(|line| {
        let mut quoted = line.split('`').skip(1).step_by(2);
        Some((quoted.next()?, quoted.next()?))
    });
    rows.collect()
}

#[test]
fn table_of_decisions_names_functions_that_are_in_their_files() {
    let decided = decided();
    assert!(decided.len() >= 20, "{decided:?}");
    for (file, function) in decided {
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        let defined = [
            format!("fn {function}("),
            format!("fn {function}<"),
            format!("{function} {{"),
        ];
        let is_there = defined.iter().any(|definition| text.contains(definition));
        assert!(is_there, "{file} does not hold {function}");
    }
}

#[test]
fn every_crate_says_in_a_readme_what_it_is() {
    for manifest in manifests()
        .values()
        .filter(|manifest| manifest.folder != "src")
    {
        let readme = root().join(&manifest.folder).join("README.md");
        let text = std::fs::read_to_string(&readme).unwrap_or_default();
        assert!(text.contains("Tests: "), "{}", readme.display());
    }
}

#[test]
fn every_document_has_its_place_in_the_site() {
    let summary = std::fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    for folder in ["docs", "docs/ide"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let page = format!("{folder}/{name}");
            let page = page.strip_prefix("docs/").unwrap();
            if page.ends_with(".md") && page != "SUMMARY.md" {
                assert!(summary.contains(&format!("({page})")), "{page}");
            }
        }
    }
}
