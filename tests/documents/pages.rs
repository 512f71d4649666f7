//! The commands that the documents show.

use std::path::{Path, PathBuf};

/// One command, with what is typed into it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// As a shell gets it.
    pub(crate) line: String,
    /// The lines that follow it at the prompt of a debugger.
    pub(crate) typed: Vec<String>,
}

/// The documents with a fenced command in them, by their paths below the repository's root.
pub(crate) fn pages() -> Vec<(String, Vec<Shown>)> {
    let read = texts().into_iter();
    let pages: Vec<_> = read.map(|(name, text)| (name, commands(&text))).collect();
    let seen: usize = pages.iter().map(|(_, lines)| lines.len()).sum();
    assert!(seen > 60, "{seen}");
    pages
}

/// Each `p2pdbg listen` with something behind it that stands in a sentence or a table, once, with its page. What has
/// something left out, or names a peer that the reader knows, is not one.
pub(crate) fn listens_in_sentences() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (page, text) in texts() {
        let mut fenced = false;
        let prose = text.lines().filter(|line| {
            let is_fence = line.trim_start().starts_with("```");
            fenced ^= is_fence;
            !fenced && !is_fence
        });
        let prose: Vec<&str> = prose.collect();
        let prose = prose.join("\n");
        for span in prose.split('`').skip(1).step_by(2) {
            let line = span.split_whitespace().collect::<Vec<_>>().join(" ");
            let is_whole = line.starts_with("p2pdbg listen ")
                && !["…", " NAME", "--peer ", "--json"]
                    .iter()
                    .any(|part| line.contains(part));
            if is_whole && !found.iter().any(|(_, known)| *known == line) {
                found.push((page.clone(), line));
            }
        }
    }
    assert!(found.len() > 12, "{found:?}");
    found
}

/// The documents, by their paths below the repository's root.
fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "python/README.md",
        "rendezvous/README.md",
        "packaging/npm/README.md",
        "editors/vscode/README.md",
    ]
    .map(|page| root.join(page))
    .into();
    for folder in ["docs", "docs/ide", "docs/use", "editors/vscode/walkthrough"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        found.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
        found.sort();
        paths.extend(found);
    }
    let page = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        (name, text)
    };
    paths.into_iter().map(page).collect()
}

/// The commands in the fenced blocks of no language, or of a shell. A block whose first line is no command is a screen,
/// a figure or a format, and none of its lines is one.
fn commands(text: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    // Of the block: none outside of one, else whether it holds commands, once that is known.
    let mut block: Option<Option<bool>> = None;
    for line in text.lines().map(str::trim) {
        if let Some(language) = line.strip_prefix("```") {
            block = match (block, language) {
                (None, "" | "sh" | "bash" | "console") => Some(None),
                (None, _) => Some(Some(false)),
                (Some(_), _) => None,
            };
            continue;
        }
        let Some(holds) = &mut block else { continue };
        if *holds.get_or_insert_with(|| is_command(line)) && !line.is_empty() {
            add(&mut found, line);
        }
    }
    found
}

fn add(found: &mut Vec<Shown>, line: &str) {
    let unfinished = found.last_mut().filter(|shown| shown.line.ends_with('\\'));
    if let Some(shown) = unfinished {
        shown.line.pop();
        shown.line.push_str(line);
        return;
    }
    for prompt in ["(gdb) ", "(lldb) "] {
        if let Some(typed) = line.strip_prefix(prompt) {
            return found.last_mut().unwrap().typed.push(typed.to_owned());
        }
    }
    let line = line.strip_prefix("$ ").unwrap_or(line);
    // What a command prints stands below it.
    if is_command(line) {
        let (line, _) = line.split_once(" #").unwrap_or((line, ""));
        let (line, typed) = (line.trim().to_owned(), Vec::new());
        found.push(Shown { line, typed });
    }
}

/// Whether a line begins with the name of a program, or is one of neovim's.
fn is_command(line: &str) -> bool {
    const PROGRAMS: [&str; 29] = [
        "cargo",
        "dlv",
        "docker",
        "echo",
        "export",
        "gdb",
        "gdbserver",
        "go",
        "install",
        "java",
        "lldb",
        "lldb-server",
        "loginctl",
        "mkdir",
        "npx",
        "p2pdbg",
        "p2pdbg-rendezvous",
        "python",
        "rsync",
        "scp",
        "scripts/demo",
        "socat",
        "ssh",
        "sudo",
        "sysctl",
        "systemctl",
        "kubectl",
        "curl",
        "pip",
    ];
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let word = line.split_whitespace().next().unwrap_or_default();
    // "p2pdbg (listen or connect)" and the like are words of a figure.
    let is_figure = line.contains('─') || line.contains('(') && word.starts_with("p2pdbg");
    // Of this repository.
    let is_built = word.starts_with("target/") || word.starts_with("scripts/");
    (PROGRAMS.contains(&word) && !is_figure) || is_built || line.starts_with(':')
}
