//! Comments are as wide as editors are told, which rustfmt does not see to.

use std::path::{Path, PathBuf};

use super::root;

/// All Rust that is written here, below a folder.
pub(super) fn rust_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            rust_below(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn comments_are_no_wider_than_editorconfig_says() {
    let mut files = Vec::new();
    let folders = ["src", "rendezvous", "crates", "labs", "tests", "fuzz"];
    for folder in folders {
        rust_below(&root().join(folder), &mut files);
    }
    assert!(files.len() > 500, "{}", files.len());
    let settings = std::fs::read_to_string(root().join(".editorconfig")).unwrap();
    let (_, width) = settings.split_once("max_line_length = ").unwrap();
    let width: usize = width.lines().next().unwrap().parse().unwrap();
    let is_too_wide =
        |line: &str| line.trim_start().starts_with("//") && line.chars().count() > width;
    let mut at_fault = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            if is_too_wide(line) {
                at_fault.push(format!("{}:{number}", file.display()));
            }
        }
    }
    assert!(
        at_fault.is_empty(),
        "wider than {width} columns:\n{}",
        at_fault.join("\n")
    );
}
