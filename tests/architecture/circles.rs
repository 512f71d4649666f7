//! Circles of imports between the files of a crate.
//!
//! Two files that import each other are one idea in two places: neither is understood, moved or tested alone. A file
//! and those in its folder are one part here, whose `mod.rs` says what the part is; so imports between them do not
//! count.

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
const DEFENDED: [(&[&str], &str); 3] = [
    (
        &[
            "crates/session/src/driver.rs",
            "crates/session/src/pipes.rs",
            "crates/session/src/relays.rs",
            "crates/session/src/sources.rs",
        ],
        "the driver's own methods for pipes, relays and sources stand beside what they need",
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
        &["src/ide/jsonc.rs", "src/ide/lists.rs"],
        "an object holds lists and a list objects, so merging them is one recursion",
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
        if let (true, Some(name), Some(found)) = (lends, name, &found) {
            self.lent.insert(name.to_string(), found.clone());
        }
        self.found.extend(found);
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
        if !attributes.iter().any(is_test) {
            visit::visit_item(self, item);
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
        if names.len() > 1 {
            self.found.extend(self.resolve(&names));
        }
        visit::visit_path(self, path);
    }
}

/// The sources below a folder, tests aside, by their modules.
fn modules(folder: &Path, module: &[String], files: &mut BTreeMap<Module, PathBuf>) {
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
            let is_folder = ["mod", "lib", "main"].contains(&name.as_str());
            files.insert(if is_folder { module.to_vec() } else { below }, path);
        }
    }
}

/// Which modules of a crate each of them imports.
fn imports(files: &BTreeMap<Module, PathBuf>) -> BTreeMap<&Module, BTreeSet<&Module>> {
    let read = |(module, path): (&Module, &PathBuf)| {
        let text = std::fs::read_to_string(path).unwrap();
        let mut imports = Imports {
            here: module.clone(),
            found: BTreeSet::new(),
            lent: BTreeMap::new(),
        };
        imports.visit_file(&syn::parse_file(&text).unwrap());
        (module.clone(), imports)
    };
    let all: BTreeMap<Module, Imports> = files.iter().map(read).collect();
    let graph = files.keys().map(|module| {
        let found = all[module].found.iter();
        let found = found.filter_map(|found| {
            let (to, _) = files.get_key_value(&definer(found.clone(), &all)?)?;
            let is_one_part = to.starts_with(module) || module.starts_with(to);
            (!is_one_part).then_some(to)
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

fn reached<'a>(
    from: &'a Module,
    graph: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        let new = graph[module].iter().filter(|to| reached.insert(**to));
        next.extend(new.copied());
    }
    reached
}

/// Every circle of a crate, by its files.
fn circles(source: &Path) -> BTreeSet<Vec<PathBuf>> {
    let mut files = BTreeMap::new();
    modules(source, &[], &mut files);
    let graph = imports(&files);
    let reached: BTreeMap<_, _> = graph
        .keys()
        .map(|from| (*from, reached(from, &graph)))
        .collect();
    let of = |module: &Module| {
        let circle = reached[module]
            .iter()
            .filter(|to| reached[**to].contains(module));
        let paths = circle.map(|module| files[*module].strip_prefix(root()).unwrap().to_owned());
        paths
            .collect::<BTreeSet<PathBuf>>()
            .into_iter()
            .collect::<Vec<_>>()
    };
    let circles = graph.keys().map(|module| of(module));
    circles.filter(|circle| !circle.is_empty()).collect()
}

#[test]
fn files_import_each_other_in_no_circle_but_those_with_a_reason() {
    let mut found = BTreeSet::new();
    for manifest in manifests().into_values() {
        let source = match manifest.folder.as_str() {
            "src" => root().join("src"),
            folder => root().join(folder).join("src"),
        };
        found.extend(circles(&source));
    }
    let defended = DEFENDED.map(|(files, _)| files.iter().map(PathBuf::from).collect());
    assert_eq!(found, BTreeSet::from(defended));
}
