//! What the README promises, held against the code.

use std::path::{Path, PathBuf};

use clap::Parser;
use p2pdbg::cli::args::Cli;
use p2pdbg_forward::{Direction, Preset};

const README: &str = include_str!("../README.md");

#[test]
fn every_preset_has_its_row_with_the_command_that_starts_the_debuggee() {
    for preset in Preset::ALL {
        let name = format!("| `{}` ", preset.name());
        let row = README.lines().find(|line| line.starts_with(&name));
        let row = row.unwrap_or_else(|| panic!("{} has no row", preset.name()));
        let port = preset.default_port();
        let start = preset.start_debuggee(port);
        assert!(row.contains(&format!("| `{start}` |")), "{row}\n{start}");
        let (_, ide) = row.trim_end_matches(" |").rsplit_once("| ").unwrap();
        assert!(ide.contains(&port.to_string()), "{row}");
        if preset.direction() == Direction::ToDebuggee {
            assert!(!ide.starts_with("listens"), "{row}");
        } else {
            assert!(!ide.starts_with("attaches"), "{row}");
        }
    }
}

/// The documents, by their paths.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md"), root.join("python/README.md")];
    for folder in ["docs", "docs/ide", "docs/use"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let entries = entries.map(|entry| entry.unwrap().path());
        paths.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    assert!(paths.len() > 12);
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_command_line_that_is_shown_parses() {
    let mut seen = 0;
    for (path, text) in documents() {
        let mut fenced = false;
        let mut shows_a_screen = false;
        for line in text.lines().map(str::trim) {
            if let Some(kind) = line.strip_prefix("```") {
                fenced = !fenced;
                shows_a_screen = kind == "text";
            }
            let (line, _) = line.split_once(" #").unwrap_or((line, ""));
            let line = line.trim();
            if !fenced
                || shows_a_screen
                || !line.starts_with("p2pdbg ")
                || line.contains(['…', '[', '|', '('])
            {
                continue;
            }
            seen += 1;
            let (line, _) = line.split_once(" > ").unwrap_or((line, ""));
            let words = line.split_whitespace().map(|word| word.trim_matches('\''));
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{}: {line}: {error}", path.display());
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

/// What stands between backquotes in a sentence or a table, and begins with the program's name.
fn inline_commands(text: &str) -> Vec<String> {
    let mut fenced = false;
    let prose = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    });
    let prose: Vec<&str> = prose.collect();
    let spans = prose.join("\n");
    let spans = spans.split('`').skip(1).step_by(2);
    let words = spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "));
    words.filter(|span| span.starts_with("p2pdbg ")).collect()
}

#[test]
fn every_command_line_that_stands_in_a_sentence_parses() {
    let mut seen = 0;
    for (path, text) in documents() {
        // What the peers say to the rendezvous begins with the program's name too.
        if path.ends_with("docs/PROTOCOL.md") {
            continue;
        }
        for line in inline_commands(&text) {
            // With something left out, or what `--version` says.
            if line.contains(['…', '(']) {
                continue;
            }
            seen += 1;
            let words = line.split_whitespace().map(|word| word.trim_matches('\''));
            if let Err(error) = Cli::try_parse_from(words) {
                // A command that is only named.
                let is_named = line.split(' ').count() == 2
                    && error.kind() == clap::error::ErrorKind::MissingRequiredArgument;
                assert!(is_named, "{}: {line}: {error}", path.display());
            }
        }
    }
    assert!(seen > 100, "{seen}");
}

/// All Rust of a directory and those below it.
fn sources(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// What stands for something else in a message is … there; what is left must be in the program.
#[test]
fn every_message_that_is_explained_is_one_of_the_programs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut program = String::new();
    for directory in ["src", "crates"] {
        sources(&root.join(directory), &mut program);
    }
    let page = std::fs::read_to_string(root.join("docs/ide/what-goes-wrong.md")).unwrap();
    let (_, says) = page.split_once("## p2pdbg says").unwrap();
    let (says, _) = says.split_once("\n## ").unwrap();
    let mut seen = 0;
    for row in says.lines().filter(|line| line.starts_with("| \"")) {
        let (messages, _) = row[2..].split_once(" |").unwrap();
        let quoted = messages.split('"').skip(1).step_by(2);
        for part in quoted.flat_map(|message| message.split('…')) {
            let part = part.trim_matches([' ', ':']);
            assert!(program.contains(part), "{row}: {part:?}");
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn every_link_between_documents_leads_to_a_file() {
    for (path, text) in documents() {
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'));
        for (link, _) in links.filter(|(link, _)| !link.contains("://")) {
            let (file, _) = link.split_once('#').unwrap_or((link, ""));
            let target = path.parent().unwrap().join(file);
            assert!(target.exists(), "{}: {link}", path.display());
        }
    }
}
