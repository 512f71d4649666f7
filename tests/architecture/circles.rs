//! Circles of imports between the files of a crate.
//!
//! Two files that import each other are one idea in two places: neither is understood, moved or tested alone.
//!
//! Each folder is looked at by itself. Its parts are its files, its `mod.rs` (or `lib.rs`) among them, and the folders
//! in it, each as a whole: what any file in one imports, that folder imports. So a circle between two folders is found
//! although no two of their files import each other, and so is one between a `mod.rs` and a file beside it: there the
//! file takes what the `mod.rs` defines, and the `mod.rs` uses what the file defines. A `mod.rs` that gathers its
//! files (`mod`, `pub use`) uses nothing of them. What several of them need and it defines belongs in a file of its
//! own, below them all.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Item, ItemMod, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

use super::{manifests, root};

/// Circles that stay, each with its reason.
///
/// A type whose methods stand in several files, by what they are about, is not cut by moving its definition: the
/// compiler sees one type either way. Where its `mod.rs` holds it together with what each file keeps for it, that is
/// the reason given here.
const DEFENDED: [(&[&str], &str); 7] = [
    (
        &[
            "crates/punch/src/engine/attempts.rs",
            "crates/punch/src/engine/host.rs",
            "crates/punch/src/engine/mod.rs",
            "crates/punch/src/engine/nat_view.rs",
            "crates/punch/src/engine/path.rs",
            "crates/punch/src/engine/peer.rs",
            "crates/punch/src/engine/port_search.rs",
            "crates/punch/src/engine/search_harm.rs",
        ],
        "the engine's own methods stand beside the state of theirs that it holds, one subject a file",
    ),
    (
        &[
            "crates/sources/src/directory/mod.rs",
            "crates/sources/src/directory/windows.rs",
        ],
        "an entry holds what its system keeps of a file, and each system's directory makes entries",
    ),
    (
        &[
            "rendezvous/src/registry/cluster.rs",
            "rendezvous/src/registry/connection.rs",
            "rendezvous/src/registry/handles.rs",
            "rendezvous/src/registry/key_limits.rs",
            "rendezvous/src/registry/mod.rs",
            "rendezvous/src/registry/nameplates.rs",
            "rendezvous/src/registry/prepared.rs",
            "rendezvous/src/registry/room.rs",
            "rendezvous/src/registry/sessions.rs",
            "rendezvous/src/registry/shared_limits.rs",
        ],
        "the registry's own methods stand beside the tables of theirs that it holds, one subject a file",
    ),
    (
        &["rendezvous/src/cluster_store", "rendezvous/src/registry"],
        "the measurement of very many peers drives the desk and registries; nothing that serves does",
    ),
    (
        &[
            "labs/natlab/src/gateway.rs",
            "labs/natlab/src/host.rs",
            "labs/natlab/src/lab.rs",
            "labs/natlab/src/link.rs",
            "labs/natlab/src/nat.rs",
            "labs/natlab/src/network.rs",
            "labs/natlab/src/node.rs",
            "labs/natlab/src/shaper.rs",
        ],
        "a link knows its node and its network, and a network its uplink: the lab is a graph",
    ),
    (
        &["src/ide/jsonc_merge.rs", "src/ide/own_elements.rs"],
        "an object holds lists and a list objects, so merging them is one recursion",
    ),
    (
        &[
            "src/commands/running_peer/control_socket.rs",
            "src/commands/running_peer/mod.rs",
            "src/commands/running_peer/running.rs",
        ],
        "the host's own methods for who asks and for what sessions tell stand beside what they keep",
    ),
];

/// Names from the root of a crate on.
type Module = Vec<String>;

/// What a file imports from its own crate.
struct Imports {
    /// The module whose text is read.
    here: Module,
    found: BTreeSet<Module>,
    /// What it lends its name to, by that name.
    lent: BTreeMap<String, Module>,
    /// The names with which `pub use` hands something on.
    handed_on: BTreeSet<String>,
    /// The files that are compiled for tests alone.
    of_tests: BTreeSet<Module>,
    /// The first name of each path in its text.
    named: BTreeSet<String>,
}

impl Imports {
    /// What a path leads to within the crate, if it does.
    fn resolve(&self, path: &[String]) -> Option<Module> {
        let mut names = path.iter().peekable();
        let mut module = match names.peek().map(|name| name.as_str()) {
            Some("crate") => Vec::new(),
            Some("super" | "self") => self.here.clone(),
            _ => return None,
        };
        for name in names {
            match name.as_str() {
                "crate" | "self" => {}
                "super" => drop(module.pop()),
                _ => module.push(name.clone()),
            }
        }
        Some(module)
    }

    /// Takes an import in, whose names this module has for others too if it `lends` them.
    fn note_tree(&mut self, tree: &UseTree, prefix: &[String], lends: bool) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        let (path, name) = match tree {
            UseTree::Path(path) => return self.note_tree(&path.tree, &with(&path.ident), lends),
            UseTree::Name(name) => (with(&name.ident), Some(&name.ident)),
            UseTree::Rename(name) => (with(&name.ident), Some(&name.rename)),
            UseTree::Glob(_) => (prefix.to_vec(), None),
            UseTree::Group(group) => {
                let each = |tree| self.note_tree(tree, prefix, lends);
                return group.items.iter().for_each(each);
            }
        };
        // `pub use link::Link` names a module of this one's.
        let lent = lends.then(|| [self.here.clone(), path.clone()].concat());
        let found = self.resolve(&path).or(lent);
        if let (Some(name), Some(found)) = (name, &found) {
            // A name that is imported for its own use is there for the modules within it too.
            self.lent.insert(name.to_string(), found.clone());
            if lends {
                self.handed_on.insert(name.to_string());
                return;
            }
        }
        self.found.extend(found);
    }

    /// What it hands on and uses too is imported like anything else.
    fn note_own_use(&mut self) {
        let used = self.handed_on.intersection(&self.named);
        self.found.extend(used.map(|name| self.lent[name].clone()));
    }
}

impl<'a> Visit<'a> for Imports {
    fn visit_item(&mut self, item: &'a Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(module) => &module.attrs,
            Item::Use(import) => &import.attrs,
            Item::Fn(function) => &function.attrs,
            Item::Impl(block) => &block.attrs,
            _ => &[],
        };
        let is_test = |attribute: &Attribute| {
            let list = attribute.meta.require_list();
            list.is_ok_and(|list| list.path.is_ident("cfg") && list.tokens.to_string() == "test")
        };
        match item {
            Item::Mod(module) if attributes.iter().any(is_test) => {
                let name = module.ident.to_string();
                self.of_tests.insert([&self.here[..], &[name]].concat());
            }
            _ if attributes.iter().any(is_test) => {}
            item => visit::visit_item(self, item),
        }
    }

    fn visit_item_mod(&mut self, module: &'a ItemMod) {
        self.here.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.here.pop();
    }

    fn visit_item_use(&mut self, import: &'a ItemUse) {
        let lends = !matches!(import.vis, Visibility::Inherited);
        self.note_tree(&import.tree, &[], lends);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names = path.segments.iter().map(|part| part.ident.to_string());
        let names: Vec<String> = names.collect();
        self.named.insert(names[0].clone());
        if names.len() > 1 {
            self.found.extend(self.resolve(&names));
        }
        visit::visit_path(self, path);
    }
}

/// The sources below a folder, tests aside, by their modules. Beside a `lib.rs` a `main.rs` is a part by itself.
fn modules(folder: &Path, module: &[String], files: &mut BTreeMap<Module, PathBuf>) {
    let has_library = folder.join("lib.rs").exists();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" {
            continue;
        }
        let below = [module, std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            modules(&path, &below, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let is_folder =
                ["mod", "lib"].contains(&name.as_str()) || name == "main" && !has_library;
            files.insert(if is_folder { module.to_vec() } else { below }, path);
        }
    }
}

/// Which modules of a crate each of them imports.
fn imports(files: &BTreeMap<Module, PathBuf>) -> BTreeMap<&Module, BTreeSet<&Module>> {
    let read = |(module, path): (&Module, &PathBuf)| {
        let text = std::fs::read_to_string(path).unwrap();
        let is_main = module.len() == 1 && module[0] == "main";
        let mut imports = Imports {
            here: if is_main { Vec::new() } else { module.clone() },
            found: BTreeSet::new(),
            lent: BTreeMap::new(),
            handed_on: BTreeSet::new(),
            of_tests: BTreeSet::new(),
            named: BTreeSet::new(),
        };
        imports.visit_file(&syn::parse_file(&text).unwrap());
        imports.note_own_use();
        (module.clone(), imports)
    };
    let all: BTreeMap<Module, Imports> = files.iter().map(read).collect();
    let of_tests: Vec<&Module> = all.values().flat_map(|imports| &imports.of_tests).collect();
    let ships = |module: &Module| !of_tests.iter().any(|tests| module.starts_with(tests));
    let graph = files.keys().filter(|module| ships(module)).map(|module| {
        let found = all[module].found.iter();
        let found = found.filter_map(|found| {
            let (to, _) = files.get_key_value(&definer(found.clone(), &all)?)?;
            (to != module).then_some(to)
        });
        (module, found.collect())
    });
    graph.collect()
}

/// The module that defines what this names, whoever lends it its name.
fn definer(mut found: Module, all: &BTreeMap<Module, Imports>) -> Option<Module> {
    loop {
        let mut file = found.clone();
        while !all.contains_key(&file) {
            file.pop()?;
        }
        let lent = found
            .get(file.len())
            .and_then(|name| all[&file].lent.get(name));
        match lent {
            Some(from) if *from != found => found = from.clone(),
            _ => return Some(file),
        }
    }
}

type Graph<T> = BTreeMap<T, BTreeSet<T>>;

fn reached<'a>(from: &'a PathBuf, graph: &'a Graph<PathBuf>) -> BTreeSet<&'a PathBuf> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(part) = next.pop() {
        let new = graph.get(part).into_iter().flatten();
        next.extend(new.filter(|to| reached.insert(*to)));
    }
    reached
}

/// The part of a folder that a file is or lies in: the file, or the folder's folder.
fn part(folder: &Path, file: &Path) -> Option<PathBuf> {
    let first = file.strip_prefix(folder).ok()?.components().next()?;
    Some(folder.join(first))
}

/// Which parts of a folder import which others.
fn between_parts(folder: &Path, imports: &Graph<&Path>) -> Graph<PathBuf> {
    let mut graph = Graph::new();
    for (file, imported) in imports {
        if let Some(from) = part(folder, file) {
            let others = imported.iter().filter_map(|to| part(folder, to));
            let others: Vec<_> = others.filter(|to| *to != from).collect();
            graph
                .entry(from)
                .or_insert_with(BTreeSet::new)
                .extend(others);
        }
    }
    graph
}

/// Every circle of a crate, by its files and folders.
fn circles(source: &Path) -> BTreeSet<Vec<PathBuf>> {
    let mut files = BTreeMap::new();
    modules(source, &[], &mut files);
    let path = |module: &Module| files[module].as_path();
    let imports = imports(&files);
    let imports = imports
        .iter()
        .map(|(from, to)| (path(from), to.iter().map(|to| path(to)).collect()));
    let imports: Graph<&Path> = imports.collect();
    let folders: BTreeSet<&Path> = files.values().filter_map(|file| file.parent()).collect();
    let mut circles = BTreeSet::new();
    for folder in folders {
        let graph = between_parts(folder, &imports);
        for part in graph.keys() {
            let back = |to: &&PathBuf| reached(to, &graph).contains(part);
            let circle = reached(part, &graph).into_iter().filter(back);
            let circle: Vec<PathBuf> = circle.cloned().collect();
            if !circle.is_empty() {
                circles.insert(circle);
            }
        }
    }
    circles
}

#[test]
fn files_import_each_other_in_no_circle_but_those_with_a_reason() {
    let mut found = BTreeSet::new();
    for manifest in manifests().into_values() {
        let source = match manifest.folder.as_str() {
            "src" => root().join("src"),
            folder => root().join(folder).join("src"),
        };
        let relative = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_owned();
        let circles = circles(&source).into_iter();
        found.extend(circles.map(|circle| circle.iter().map(relative).collect::<Vec<_>>()));
    }
    let defended = DEFENDED.map(|(files, _)| files.iter().map(PathBuf::from).collect());
    let defended = BTreeSet::from(defended);
    let new: Vec<_> = found.difference(&defended).collect();
    assert!(new.is_empty(), "circles without a reason: {new:#?}");
    let gone: Vec<_> = defended.difference(&found).collect();
    assert!(gone.is_empty(), "circles that are no more: {gone:#?}");
}

/// The circles of a crate that consists of these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let source = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = source.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let relative = |path: &PathBuf| {
        path.strip_prefix(source.path())
            .unwrap()
            .display()
            .to_string()
    };
    let circles = circles(source.path()).into_iter();
    circles
        .map(|circle| circle.iter().map(relative).collect())
        .collect()
}

#[test]
fn circle_through_a_folders_front_is_found_and_a_front_that_gathers_is_none() {
    let child = (
        "part/child.rs",
        "use super::Shared; pub struct Child(Shared);",
    );
    let circle = vec![vec!["part/child.rs".to_owned(), "part/mod.rs".to_owned()]];
    for front in [
        "mod child; use self::child::Child; pub struct Shared; pub struct Front(Child);",
        "mod child; pub use self::child::Child; pub struct Shared; pub struct Front(Child);",
        "mod child; pub struct Shared; pub struct Front(self::child::Child);",
    ] {
        let files = [("lib.rs", "mod part;"), ("part/mod.rs", front), child];
        assert_eq!(circles_of(&files), circle, "{front}");
    }
    for front in [
        "mod child; pub use self::child::Child; pub struct Shared;",
        "mod child; mod shared; pub use self::{child::Child, shared::Shared}; pub struct Front(Child);",
        "mod child; pub struct Shared; #[cfg(test)] mod tests { use super::child::Child; }",
    ] {
        let shared = ("part/shared.rs", "pub struct Shared;");
        let files = [
            ("lib.rs", "mod part;"),
            ("part/mod.rs", front),
            child,
            shared,
        ];
        assert_eq!(circles_of(&files), Vec::<Vec<String>>::new(), "{front}");
    }
}

#[test]
fn circle_of_two_folders_is_found_although_no_two_files_make_one() {
    let files = [
        ("lib.rs", "mod one; mod other;"),
        ("one/mod.rs", "mod high; mod low;"),
        ("one/high.rs", "use crate::other::low::Low;"),
        ("one/low.rs", "pub struct Low;"),
        ("other/mod.rs", "mod high; mod low;"),
        ("other/high.rs", "use crate::one::low::Low;"),
        ("other/low.rs", "pub struct Low;"),
    ];
    assert_eq!(circles_of(&files), [["one", "other"]]);
}
