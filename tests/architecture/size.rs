//! How long a function may be, and how much one owner may hold.
//!
//! A function that cannot be seen at once hides its parts, which have names of their own; an owner of many fields is
//! several owners. What is data (a file's, a command line's, a report's) may have as many fields as there are facts.

use std::path::{Path, PathBuf};

use syn::{Attribute, Fields, Item};

use super::{manifests, root};

/// Lines of code of a function, its first and its last among them; blank lines and comments are not counted.
const MOST_LINES: usize = 60;

/// Lines of a file, all of them.
const MOST_OF_A_FILE: usize = 600;

/// Fields of a struct that is not plain data.
const MOST_FIELDS: usize = 15;

/// Functions that stay longer, each with its reason.
const LONG: [(&str, &str, &str); 2] = [
    (
        "crates/rendezvous-client/src/error.rs",
        "from",
        "a table: an error, its code, what to do",
    ),
    (
        "src/report/words/mod.rs",
        "lines",
        "one match: an event, what is read of it",
    ),
];

/// Structs of more fields that are plain data, though nothing is derived for them that says so.
const DATA: [(&str, &str, &str); 1] = [(
    "rendezvous/src/limits.rs",
    "Limits",
    "numbers, each for one part of the server",
)];

/// What is derived for what comes from, or goes to, a file, a wire or a command line.
const OF_DATA: [&str; 4] = ["Serialize", "Deserialize", "Parser", "Args"];

/// The sources of what ships, tests aside.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for manifest in manifests().into_values() {
        match manifest.folder.as_str() {
            "src" => collect(&root().join("src"), &mut files),
            folder if folder.starts_with("labs/") => {}
            folder => collect(&root().join(folder).join("src"), &mut files),
        }
    }
    assert!(files.len() > 300, "{}", files.len());
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// A path as the lists here have it.
fn named(path: &Path) -> String {
    let below = path.strip_prefix(root()).unwrap();
    below.to_str().unwrap().replace('\\', "/")
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Where the block ends that begins at this line: rustfmt closes it at the same depth.
fn end_of_block(lines: &[&str], begin: usize) -> Option<usize> {
    let depth = indent(lines[begin]);
    let closes = |line: &&str| indent(line) == depth && line.trim() == "}";
    let end = lines[begin..].iter().position(closes)?;
    Some(begin + end)
}

/// The name of the function whose head begins with this line.
fn function(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    loop {
        match words.next()? {
            "fn" => break,
            "async" | "const" | "default" => {}
            word if word.starts_with("pub") || word.ends_with(')') => {}
            _ => return None,
        }
    }
    let name = words.next()?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
}

/// Whether the function whose head begins here has a block of several lines.
fn has_block(lines: &[&str], begin: usize) -> bool {
    let depth = indent(lines[begin]);
    let head = lines[begin..].iter().take_while(|line| {
        let ends = line.ends_with('{') || line.ends_with(';') || line.ends_with('}');
        !(ends && indent(line) == depth)
    });
    let last = begin + head.count();
    lines.get(last).is_some_and(|line| line.ends_with('{'))
}

/// Every function of a file, tests aside, with its lines of code.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let is_test = lines[at].trim() == "#[cfg(test)]"
            && lines
                .get(at + 1)
                .is_some_and(|line| line.trim_start().starts_with("mod ") && line.ends_with('{'));
        if is_test {
            at = end_of_block(&lines, at + 1).unwrap();
        } else if let Some(name) = function(lines[at])
            && has_block(&lines, at)
        {
            let end = end_of_block(&lines, at).unwrap();
            let is_code =
                |line: &&&str| !matches!(line.trim(), "") && !line.trim().starts_with("//");
            let code = lines[at..=end].iter().filter(is_code).count();
            found.push((name.to_owned(), code));
        }
        at += 1;
    }
    found
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let lines = |path: &PathBuf| std::fs::read_to_string(path).unwrap().lines().count();
    let measured = sources()
        .into_iter()
        .map(|path| (named(&path), lines(&path)));
    let long: Vec<_> = measured
        .filter(|(_, lines)| *lines > MOST_OF_A_FILE)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn no_function_is_longer_than_60_lines_but_those_with_a_reason() {
    let mut long = Vec::new();
    let mut all = 0;
    for path in sources() {
        let functions = functions(&std::fs::read_to_string(&path).unwrap());
        all += functions.len();
        for (name, lines) in functions {
            if lines > MOST_LINES {
                long.push((named(&path), name, lines));
            }
        }
    }
    assert!(all > 3000, "{all} functions are too few to be all");
    let defended = |(file, name, _): &(String, String, usize)| {
        LONG.iter()
            .any(|(in_file, function, _)| file == in_file && name == function)
    };
    let (defended, others): (Vec<_>, Vec<_>) = long.into_iter().partition(defended);
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(defended.len(), LONG.len(), "{defended:?}");
}

#[test]
fn functions_are_found_and_measured_whatever_their_head() {
    let text = "\
impl Thing {
    // Why.
    pub(super) async fn long<T>(
        &self,
        other: T,
    ) -> Option<T>
    where
        T: Send,
    {
        // A comment.

        Some(other)
    }

    fn short(&self) {}

    fn declared(&self) -> bool;
}

#[cfg(test)]
mod tests {
    fn long() {
        let text = 1;
    }
}
";
    let expected = [("long".to_owned(), 9)];
    assert_eq!(functions(text), expected);
}

fn derives_data(attributes: &[Attribute]) -> bool {
    let derived = |attribute: &Attribute| {
        let list = attribute.meta.require_list().ok()?;
        let words = list.tokens.to_string();
        list.path.is_ident("derive").then_some(words)
    };
    let derived = attributes.iter().filter_map(derived);
    derived
        .flat_map(|words| {
            let words = words.split(|c: char| !c.is_alphanumeric());
            words.map(str::to_owned).collect::<Vec<_>>()
        })
        .any(|word| OF_DATA.contains(&word.as_str()))
}

#[test]
fn no_owner_has_more_than_15_fields() {
    let mut large = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        for item in syn::parse_file(&text).unwrap().items {
            let Item::Struct(item) = item else {
                continue;
            };
            let Fields::Named(fields) = &item.fields else {
                continue;
            };
            if fields.named.len() > MOST_FIELDS && !derives_data(&item.attrs) {
                large.push((named(&path), item.ident.to_string()));
            }
        }
    }
    let data = DATA.map(|(file, name, _)| (file.to_owned(), name.to_owned()));
    assert_eq!(large, data);
}
