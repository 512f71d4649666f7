//! Words that once stood for several things name one type each, so that a search for them leads to one place.

use std::{collections::BTreeMap, path::PathBuf};

use super::{root, width::rust_below};

/// The words, and the file whose type has each; none if no type has it.
const WORDS: [(&str, Option<&str>); 12] = [
    ("Bucket", Some("rendezvous/src/limits.rs")),
    ("Carrier", None),
    ("Control", None),
    ("Driver", None),
    ("Event", Some("crates/events/src/event.rs")),
    ("Opener", Some("crates/pairing/src/seal.rs")),
    ("Place", Some("src/commands/running_peer/places/mod.rs")),
    ("Rest", None),
    ("StreamEvent", Some("crates/session/src/stream/io.rs")),
    ("StreamId", Some("crates/ledger/src/ids.rs")),
    ("StreamInput", Some("crates/session/src/stream/io.rs")),
    ("Tcp", None),
];

/// The name of the type, trait or alias that a line begins to define.
fn defined(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    rest.split(|c: char| !c.is_alphanumeric()).next()
}

#[test]
fn words_of_many_meanings_name_one_type_each_in_what_ships() {
    let mut files = Vec::new();
    for folder in ["src", "rendezvous/src", "crates"] {
        rust_below(&root().join(folder), &mut files);
    }
    let is_test = |file: &PathBuf| file.components().any(|part| part.as_os_str() == "tests");
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| !is_test(file)) {
        let text = std::fs::read_to_string(file).unwrap();
        for line in text.lines() {
            let word = WORDS.iter().find(|(word, _)| defined(line) == Some(word));
            if let Some((word, _)) = word {
                let file = file.strip_prefix(root()).unwrap();
                found
                    .entry(word)
                    .or_default()
                    .push(file.display().to_string());
            }
        }
    }
    for (word, file) in WORDS {
        let found = found.remove(word).unwrap_or_default();
        assert_eq!(found, Vec::from_iter(file), "types called {word}");
    }
}
