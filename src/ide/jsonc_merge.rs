//! Lists of entries in JSON with comments, changed without touching anything else: comments, order, commas, indents and
//! line ends stay as they are.

use std::path::Path;

use jsonc_parser::{
    ParseOptions,
    cst::{CstArray, CstInputValue as Value, CstNode, CstObject, CstObjectProp, CstRootNode},
};
use p2pdbg_base::{ErrorCode, Failure};
use serde_json::Value as Json;

use super::{
    entry::Entry,
    own_elements::{self, IDENTITIES},
    written::Lists,
};

/// What VS Code and Zed accept: comments and trailing commas besides JSON.
const DIALECT: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: false,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Where the list of entries is.
pub(super) enum ListPosition {
    /// The file is the list.
    Root,
    /// It is a value of the file's object, which gets this version if it has none.
    Key(&'static str, &'static str),
}

/// The text of a file with these entries in it. What of their lists was left to the user is noted.
///
/// # Errors
/// When the text does not parse, or has something else where the list should be; says where.
pub(super) fn with_entries(
    path: &Path,
    text: Option<&str>,
    place: &ListPosition,
    entries: &[Entry],
    written: &mut Lists,
    notes: &mut Vec<String>,
) -> Result<String, Failure> {
    let (mark, text) = without_mark(text.unwrap_or_default());
    let is_new = text.trim().is_empty();
    let root = parse(path, text)?;
    let list = match place {
        ListPosition::Root => match root.value() {
            Some(value) => value
                .as_array()
                .ok_or_else(|| not_usable(path, "it is not a list"))?,
            None => root.array_value_or_set(),
        },
        ListPosition::Key(key, version) => {
            let object = match root.value() {
                Some(value) => value
                    .as_object()
                    .ok_or_else(|| not_usable(path, "it is not an object"))?,
                None => root.object_value_or_set(),
            };
            if last(&object, "version").is_none() {
                object.insert(0, "version", Value::from(*version));
            }
            match last(&object, key) {
                Some(property) => property
                    .array_value()
                    .ok_or_else(|| not_usable(path, &format!("{key:?} is not a list")))?,
                None => object.array_value_or_set(key),
            }
        }
    };
    for entry in entries {
        put(&list, entry, written, notes);
    }
    let mut after = format!("{mark}{root}");
    if is_new && !after.ends_with('\n') {
        after.push('\n');
    }
    Ok(after)
}

/// The version that a file's object says it has.
///
/// # Errors
/// When the text does not parse.
pub(super) fn version(path: &Path, text: Option<&str>) -> Result<Option<Json>, Failure> {
    let (_, text) = without_mark(text.unwrap_or_default());
    let object = parse(path, text)?.value().and_then(|root| root.as_object());
    let version = object.and_then(|object| last(&object, "version")?.value());
    Ok(version.and_then(|version| version.to_serde_value()))
}

/// A text without the byte order mark with which some editors begin it.
fn without_mark(text: &str) -> (&str, &str) {
    match text.strip_prefix('\u{feff}') {
        Some(rest) => ("\u{feff}", rest),
        None => ("", text),
    }
}

fn parse(path: &Path, text: &str) -> Result<CstRootNode, Failure> {
    CstRootNode::parse(text, &DIALECT).map_err(|error| {
        let (line, column) = (error.line_display(), error.column_display());
        let message = format!("line {line}, column {column}: {}", error.kind());
        not_usable(path, &message)
    })
}

/// The property of that name; of several the last one, which is the one that IDEs read.
fn last(object: &CstObject, name: &str) -> Option<CstObjectProp> {
    let is_it = |property: &CstObjectProp| property.decoded_name().as_deref() == Some(name);
    object.properties().into_iter().rev().find(is_it)
}

/// Adds an entry to a list, or brings the element that is it already up to date.
fn put(list: &CstArray, entry: &Entry, written: &mut Lists, notes: &mut Vec<String>) {
    let whole = entry.whole();
    let wanted = to_json(&whole);
    let Some((key, name)) = IDENTITIES
        .iter()
        .find_map(|key| Some((key, wanted.get(key)?)))
    else {
        return;
    };
    let is_it = |node: &CstNode| {
        let element = node.to_serde_value();
        element.as_ref().and_then(|element| element.get(key)) == Some(name)
    };
    let of_entry = name.as_str().unwrap_or_default();
    let there = list.elements().into_iter().find(is_it);
    match there.and_then(|node| node.as_object()) {
        Some(object) => {
            let there = object.to_serde_value().unwrap_or(Json::Null);
            let kept = entry.kept_up_to_date(&there);
            merge(&object, &kept, of_entry, written, notes);
        }
        None => {
            list.ensure_multiline();
            list.append(whole);
            if let Value::Object(fields) = entry.kept_up_to_date(&Json::Null) {
                for (key, value) in &fields {
                    note(value, &format!("{of_entry}/{key}"), written);
                }
            }
        }
    }
}

/// Sets what differs, and leaves everything else. `within` is what the object is called among what was written.
pub(super) fn merge(
    object: &CstObject,
    wanted: &Value,
    within: &str,
    written: &mut Lists,
    notes: &mut Vec<String>,
) {
    let Value::Object(fields) = wanted else {
        return;
    };
    for (key, value) in fields {
        let name = format!("{within}/{key}");
        let Some(property) = last(object, key) else {
            object.append(key, value.clone());
            note(value, &name, written);
            continue;
        };
        match (property.value(), value) {
            (Some(node), Value::Object(_)) if node.as_object().is_some() => {
                if let Some(object) = node.as_object() {
                    let ours = written.get(&name).cloned().unwrap_or_default();
                    take_out(&object, value, &ours);
                    let before = pairs(&object);
                    merge(&object, value, &name, written, notes);
                    note_fields(value, &name, written);
                    // What the user had written there already is the user's.
                    let is_ours = |pair: &Json| ours.contains(pair) || !before.contains(pair);
                    if let Some(noted) = written.get_mut(&name) {
                        noted.retain(is_ours);
                    }
                }
            }
            (Some(node), Value::Array(elements)) if node.as_array().is_some() => {
                if let Some(list) = node.as_array() {
                    let before = written.get(&name).map(Vec::as_slice);
                    let updated = own_elements::update(&list, elements, before);
                    let left = updated.left.into_iter();
                    notes.extend(
                        left.map(|left| format!("left {key:?} of {within:?} as it is: {left}")),
                    );
                    // What the user had written there already is the user's.
                    written.insert(name, updated.ours);
                }
            }
            (Some(node), _) if node.to_serde_value() == Some(to_json(value)) => {}
            _ => {
                property.set_value(value.clone());
                note(value, &name, written);
            }
        }
    }
}

/// Takes out of an object what was written into it the last time, stands there still and is wanted no more: the
/// directory of a deployment, say, whose files are mapped by its name.
fn take_out(object: &CstObject, wanted: &Value, ours: &[Json]) {
    let wanted = to_json(wanted);
    for property in object.properties() {
        let (Some(key), Some(value)) = (property.decoded_name(), property.value()) else {
            continue;
        };
        let own = pair(&key, &value.to_serde_value().unwrap_or(Json::Null));
        if ours.contains(&own) && wanted.get(&key).is_none() {
            property.remove();
        }
    }
}

/// The fields of an object as they are noted.
fn pairs(object: &CstObject) -> Vec<Json> {
    let fields = object.properties().into_iter();
    let pairs = fields.filter_map(|field| {
        let value = field.value()?.to_serde_value()?;
        Some(pair(&field.decoded_name()?, &value))
    });
    pairs.collect()
}

/// A field of an object as it is noted.
fn pair(key: &str, value: &Json) -> Json {
    Json::Object([(key.to_owned(), value.clone())].into_iter().collect())
}

/// Notes the lists that were written, and the fields of the objects.
fn note(value: &Value, name: &str, written: &mut Lists) {
    match value {
        Value::Array(elements) => {
            written.insert(name.to_owned(), elements.iter().map(to_json).collect());
        }
        Value::Object(fields) => {
            note_fields(value, name, written);
            for (key, value) in fields {
                note(value, &format!("{name}/{key}"), written);
            }
        }
        _ => {}
    }
}

/// Notes the fields of an object alone, and no list within it.
fn note_fields(value: &Value, name: &str, written: &mut Lists) {
    if let Value::Object(fields) = value {
        let pairs = fields.iter().map(|(key, value)| pair(key, &to_json(value)));
        written.insert(name.to_owned(), pairs.collect());
    }
}

pub(super) fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Number(text) => serde_json::from_str(text).unwrap_or(Json::Null),
        Value::String(text) => Json::String(text.clone()),
        Value::Array(elements) => elements.iter().map(to_json).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(k, v)| (k.clone(), to_json(v)))
            .collect(),
    }
}

fn not_usable(path: &Path, why: &str) -> Failure {
    let path = path.display();
    Failure::new(
        ErrorCode::IdeFile,
        format!("{path} cannot be changed: {why}"),
    )
    .hint("nothing was written; put the file right and run this again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ide::entry::{number, object};

    const PLACE: ListPosition = ListPosition::Key("configurations", "0.2.0");

    fn entry(port: u16) -> Entry {
        let mapping = object([("localRoot", "here".into()), ("remoteRoot", "/srv".into())]);
        Entry::named("name", "p2pdbg debugpy")
            .kept(
                "connect",
                object([("host", "127.0.0.1".into()), ("port", number(port))]),
            )
            .kept("pathMappings", Value::Array(vec![mapping]))
            .proposed("justMyCode", true)
    }

    fn merged(text: &str, port: u16) -> String {
        let once = with_entries(
            Path::new("launch.json"),
            Some(text),
            &PLACE,
            &[entry(port)],
            &mut Lists::new(),
            &mut Vec::new(),
        )
        .unwrap();
        let twice = with_entries(
            Path::new("launch.json"),
            Some(&once),
            &PLACE,
            &[entry(port)],
            &mut Lists::new(),
            &mut Vec::new(),
        )
        .unwrap();
        assert_eq!(once, twice, "a second time changes nothing");
        once
    }

    #[test]
    fn a_file_that_is_not_there_is_made_whole() {
        let text = with_entries(
            Path::new("launch.json"),
            None,
            &PLACE,
            &[entry(5678)],
            &mut Lists::new(),
            &mut Vec::new(),
        )
        .unwrap();
        let json: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(json["version"], "0.2.0");
        assert_eq!(json["configurations"][0]["connect"]["port"], 5678);
        assert!(text.ends_with("}\n"));
        assert_eq!(merged(&text, 5678), text);
    }

    #[test]
    fn comments_order_and_trailing_commas_stay() {
        let before = "// mine\r\n{\r\n\t\"configurations\": [ // all of them\r\n\t\t{ \"name\": \"app\", /* x */ \"type\": \"node\", },\r\n\t\t// the last\r\n\t],\r\n\t\"version\": \"0.2.0\", // last\r\n}\r\n";
        let after = merged(before, 5678);
        for part in before.split("\r\n\t\t// the last") {
            assert!(
                after.contains(part.trim_end_matches(['}', '\r', '\n'])),
                "{after}"
            );
        }
        assert!(after.contains("// the last") && after.contains("p2pdbg debugpy"));
        assert!(
            !after.replace("\r\n", "").contains('\n'),
            "line ends are kept: {after:?}"
        );
        // Without what was added it is what it was.
        let added = after.find("{\r\n\t\t\t\"name\": \"p2pdbg").unwrap();
        assert!(
            before.starts_with(
                after[..added]
                    .trim_end()
                    .trim_end_matches("// the last")
                    .trim_end()
            )
        );
    }

    #[test]
    fn what_the_user_changed_in_our_entry_stays_and_the_port_follows() {
        let before = r#"{
  "version": "0.2.0",
  "configurations": [
    {
      // works for me
      "name": "p2pdbg debugpy",
      "connect": { "port": 1, "host": "127.0.0.1" }, // the tunnel
      "pathMappings": [
        { "remoteRoot": "/old", "localRoot": "here" }, // main
        { "remoteRoot": "/lib", "localRoot": "lib" }
      ],
      "justMyCode": false
    }
  ]
}"#;
        let after = merged(before, 5679);
        let expected = before
            .replace("\"port\": 1", "\"port\": 5679")
            .replace("/old", "/srv");
        assert_eq!(after, expected);
    }

    #[test]
    fn fields_that_were_written_go_when_they_are_wanted_no_more_and_the_users_stay() {
        let mut written = Lists::new();
        let mut write = |text: Option<&str>, there: &str| {
            let map = Value::Object(vec![(there.to_owned(), "here".into())]);
            let entry = Entry::named("name", "p2pdbg gdbserver").kept("sourceFileMap", map);
            let path = Path::new("launch.json");
            with_entries(path, text, &PLACE, &[entry], &mut written, &mut Vec::new()).unwrap()
        };
        let first = write(None, "/releases/5");
        let with_users = first.replace(
            "\"/releases/5\": \"here\"",
            "// libc\n        \"/build/glibc\": \"libc\",\n        \"/releases/5\": \"here\"",
        );
        let second = write(Some(&with_users), "/releases/6");
        assert!(!second.contains("/releases/5"), "{second}");
        assert!(
            second.contains("// libc\n        \"/build/glibc\": \"libc\""),
            "{second}"
        );
        assert!(second.contains("\"/releases/6\": \"here\""), "{second}");
        // What the user has changed is the user's.
        let changed = second.replace("\"/releases/6\": \"here\"", "\"/releases/6\": \"other\"");
        let third = write(Some(&changed), "/releases/7");
        assert!(third.contains("\"/releases/6\": \"other\""), "{third}");
        assert_eq!(write(Some(&third), "/releases/7"), third);
    }

    #[test]
    fn a_file_that_does_not_parse_is_told_with_its_place() {
        let fault = |text: &str| {
            let result = with_entries(
                Path::new("launch.json"),
                Some(text),
                &PLACE,
                &[entry(1)],
                &mut Lists::new(),
                &mut Vec::new(),
            );
            result.unwrap_err()
        };
        let failure = fault(
            "{\n  \"version\": \"0.2.0\",\n  \"configurations\": [\n    { \"name\" \"x\" }\n  ]\n}",
        );
        assert!(failure.message.contains("launch.json"), "{failure}");
        assert!(failure.message.contains("line 4"), "{failure}");
        for text in [
            "[]",
            "3",
            "{\"configurations\": {}}",
            "{'a': 1}",
            "{\"a\": 1 \"b\": 2}",
            "{",
        ] {
            assert_eq!(fault(text).code, ErrorCode::IdeFile, "{text}");
        }
    }
}
