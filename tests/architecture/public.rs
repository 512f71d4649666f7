//! What a crate lends to others: nothing is public that no other crate names.
//!
//! The compiler finds dead code only behind a crate's border, so what is needlessly public is never found to be of no
//! use. Functions and constants are held to it, by their names alone: a name that another crate has for something
//! else counts as used. So are the modules at the roots of crates, by what others take from there. Types are left
//! aside, since they are public with what gives them back.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use syn::{
    Attribute, ImplItem, Item, ItemImpl, ItemMod, Visibility,
    visit::{self, Visit},
};

use super::{manifests, root, width::rust_below};

/// The names that a file has as public, with what they name.
#[derive(Default)]
struct Public(Vec<String>);

impl Public {
    fn note(&mut self, visibility: &Visibility, name: &syn::Ident) {
        if matches!(visibility, Visibility::Public(_)) {
            self.0.push(name.to_string());
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    let of_test = |attribute: &Attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    };
    attributes.iter().any(of_test)
}

impl<'a> Visit<'a> for Public {
    fn visit_item(&mut self, item: &'a Item) {
        match item {
            Item::Fn(function) => self.note(&function.vis, &function.sig.ident),
            Item::Const(constant) => self.note(&constant.vis, &constant.ident),
            Item::Static(constant) => self.note(&constant.vis, &constant.ident),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &'a ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_impl(&mut self, block: &'a ItemImpl) {
        for item in &block.items {
            match item {
                ImplItem::Fn(function) => self.note(&function.vis, &function.sig.ident),
                ImplItem::Const(constant) => self.note(&constant.vis, &constant.ident),
                _ => {}
            }
        }
    }
}

/// The library that a file belongs to, by its folder; none of a program's, a test's or an example's.
fn library(file: &Path, programs: &BTreeSet<String>) -> Option<String> {
    let path = file.strip_prefix(root()).unwrap();
    let mut parts = path.iter().map(|part| part.to_str().unwrap());
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next());
    match (first, second, third) {
        ("crates", name, Some("src")) => Some(format!("crates/{name}")),
        ("rendezvous", "src", Some(module)) => {
            let module = module.trim_end_matches(".rs");
            (module != "main" && !programs.contains(module)).then(|| "rendezvous".to_owned())
        }
        ("src", "main.rs", None) => None,
        ("src", ..) => Some("src".to_owned()),
        _ => None,
    }
}

/// The modules of the rendezvous' program, which stand beside those of its library.
fn modules_of_the_program() -> BTreeSet<String> {
    let main = std::fs::read_to_string(root().join("rendezvous/src/main.rs")).unwrap();
    let items = syn::parse_file(&main).unwrap().items;
    let modules = items.iter().filter_map(|item| match item {
        Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    });
    modules.collect()
}

/// The text without its comments.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("//") {
        Some((code, _)) => code,
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// What a text takes from the root of a crate, by `of::name` and `of::{name, …}`.
fn taken_from<'a>(code: &'a str, of: &str) -> BTreeSet<&'a str> {
    let mut taken = BTreeSet::new();
    for rest in code.split(of).skip(1) {
        let Some(rest) = rest.strip_prefix("::") else {
            continue;
        };
        let Some(group) = rest.strip_prefix('{') else {
            taken.extend(words(rest).next());
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if begins && (c.is_alphanumeric() || c == '_') => {
                    taken.extend(words(&group[at..]).next());
                    begins = false;
                }
                _ => {}
            }
        }
    }
    taken
}

/// A file of Rust.
struct Source {
    file: PathBuf,
    /// Of which library it is, if it is of one.
    library: Option<String>,
    text: String,
    /// The text without its comments.
    code: String,
}

fn sources() -> Vec<Source> {
    let mut files: Vec<PathBuf> = Vec::new();
    let folders = [
        "src",
        "rendezvous",
        "crates",
        "labs",
        "tests",
        "fuzz",
        "examples",
    ];
    for folder in folders {
        rust_below(&root().join(folder), &mut files);
    }
    let programs = modules_of_the_program();
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        Source {
            library: library(&file, &programs),
            code: code(&text),
            text,
            file,
        }
    };
    files.into_iter().map(read).collect()
}

#[test]
fn nothing_is_public_that_no_other_crate_names() {
    let sources = sources();
    // In which libraries each word is said, all that is none taken for one.
    let mut said_in: BTreeMap<&str, BTreeSet<Option<&str>>> = BTreeMap::new();
    for source in &sources {
        for word in words(&source.code) {
            let libraries = said_in.entry(word).or_default();
            libraries.insert(source.library.as_deref());
        }
    }
    let mut at_fault = Vec::new();
    let mut looked_at = 0;
    for source in &sources {
        let Some(library) = source.library.as_deref() else {
            continue;
        };
        let mut public = Public::default();
        public.visit_file(&syn::parse_file(&source.text).unwrap());
        looked_at += public.0.len();
        for name in public.0 {
            let said_in = said_in.get(name.as_str()).into_iter().flatten();
            if said_in.copied().all(|by| by == Some(library)) {
                at_fault.push(format!("{}: {name}", source.file.display()));
            }
        }
    }
    assert!(looked_at > 500, "{looked_at}");
    assert!(
        at_fault.is_empty(),
        "public, though no other crate names it:\n{}",
        at_fault.join("\n")
    );
}

#[test]
fn no_module_is_public_that_no_other_crate_takes_anything_from() {
    let sources = sources();
    let mut at_fault = Vec::new();
    for (package, manifest) in manifests() {
        let file = match manifest.folder.as_str() {
            folder if folder.starts_with("labs/") => continue,
            // Its library is there for the program's own tests.
            "src" => continue,
            folder => root().join(folder).join("src/lib.rs"),
        };
        let items = syn::parse_file(&std::fs::read_to_string(&file).unwrap())
            .unwrap()
            .items;
        let name = package.replace('-', "_");
        let others = sources.iter();
        let others = others.filter(|source| source.library.as_ref() != Some(&manifest.folder));
        let taken: BTreeSet<&str> = others
            .flat_map(|source| taken_from(&source.code, &name))
            .collect();
        for item in items {
            if let Item::Mod(module) = item
                && matches!(module.vis, Visibility::Public(_))
                && !taken.contains(module.ident.to_string().as_str())
            {
                at_fault.push(format!("{}: {}", file.display(), module.ident));
            }
        }
    }
    assert!(
        at_fault.is_empty(),
        "public, though no other crate takes anything from it:\n{}",
        at_fault.join("\n")
    );
}
