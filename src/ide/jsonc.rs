//! Lists of entries in JSON with comments, changed without touching anything else: comments, order, commas, indents and
//! line ends stay as they are.

use std::path::Path;

use jsonc_parser::{
    ParseOptions,
    cst::{CstArray, CstInputValue as Value, CstNode, CstObject, CstRootNode},
};
use p2pdbg_base::{ErrorCode, Failure};
use serde_json::Value as Json;

use super::entry::Entry;

/// What tells the elements of a list apart: the first of these that they have.
const IDENTITIES: [&str; 5] = ["name", "label", "localRoot", "from", "text"];

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
pub(super) enum Place {
    /// The file is the list.
    Root,
    /// It is a value of the file's object, which gets this version if it has none.
    Key(&'static str, &'static str),
}

/// The text of a file with these entries in it.
///
/// # Errors
/// When the text does not parse, or has something else where the list should be; says where.
pub(super) fn with_entries(
    path: &Path,
    text: Option<&str>,
    place: &Place,
    entries: &[Entry],
) -> Result<String, Failure> {
    let text = text.unwrap_or_default();
    let (mark, text) = match text.strip_prefix('\u{feff}') {
        Some(rest) => ("\u{feff}", rest),
        None => ("", text),
    };
    let is_new = text.trim().is_empty();
    let root = CstRootNode::parse(text, &DIALECT).map_err(|error| {
        let (line, column) = (error.line_display(), error.column_display());
        let message = format!("line {line}, column {column}: {}", error.kind());
        not_usable(path, &message)
    })?;
    let list = match place {
        Place::Root => match root.value() {
            Some(value) => value
                .as_array()
                .ok_or_else(|| not_usable(path, "it is not a list"))?,
            None => root.array_value_or_set(),
        },
        Place::Key(key, version) => {
            let object = match root.value() {
                Some(value) => value
                    .as_object()
                    .ok_or_else(|| not_usable(path, "it is not an object"))?,
                None => root.object_value_or_set(),
            };
            if object.get("version").is_none() {
                object.insert(0, "version", Value::from(*version));
            }
            match object.get(key) {
                Some(property) => property
                    .array_value()
                    .ok_or_else(|| not_usable(path, &format!("{key:?} is not a list")))?,
                None => object.array_value_or_set(key),
            }
        }
    };
    for entry in entries {
        put(&list, &entry.whole(), &entry.kept_up_to_date());
    }
    let mut after = format!("{mark}{root}");
    if is_new && !after.ends_with('\n') {
        after.push('\n');
    }
    Ok(after)
}

/// Adds `whole` to a list, or brings the element that is it already up to date.
fn put(list: &CstArray, whole: &Value, kept: &Value) {
    let wanted = to_json(whole);
    let identity = IDENTITIES
        .iter()
        .find_map(|key| Some((key, wanted.get(key)?)));
    let is_it = |node: &CstNode| {
        let element = node.to_serde_value();
        identity.is_some_and(|(key, name)| element.as_ref().and_then(|e| e.get(key)) == Some(name))
    };
    match list
        .elements()
        .into_iter()
        .find(is_it)
        .and_then(|node| node.as_object())
    {
        Some(object) => merge(&object, kept),
        None => {
            list.ensure_multiline();
            list.append(whole.clone());
        }
    }
}

/// Sets what differs, and leaves everything else.
fn merge(object: &CstObject, wanted: &Value) {
    let Value::Object(fields) = wanted else {
        return;
    };
    for (key, value) in fields {
        let Some(property) = object.get(key) else {
            object.append(key, value.clone());
            continue;
        };
        match (property.value(), value) {
            (Some(node), Value::Object(_)) if node.as_object().is_some() => {
                if let Some(object) = node.as_object() {
                    merge(&object, value);
                }
            }
            (Some(node), Value::Array(elements))
                if node.as_array().is_some()
                    && elements.iter().all(|e| matches!(e, Value::Object(_))) =>
            {
                if let Some(list) = node.as_array() {
                    elements
                        .iter()
                        .for_each(|element| put(&list, element, element));
                }
            }
            (Some(node), _) if node.to_serde_value() == Some(to_json(value)) => {}
            _ => property.set_value(value.clone()),
        }
    }
}

fn to_json(value: &Value) -> Json {
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

    const PLACE: Place = Place::Key("configurations", "0.2.0");

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
        let once =
            with_entries(Path::new("launch.json"), Some(text), &PLACE, &[entry(port)]).unwrap();
        let twice = with_entries(
            Path::new("launch.json"),
            Some(&once),
            &PLACE,
            &[entry(port)],
        )
        .unwrap();
        assert_eq!(once, twice, "a second time changes nothing");
        once
    }

    #[test]
    fn a_file_that_is_not_there_is_made_whole() {
        let text = with_entries(Path::new("launch.json"), None, &PLACE, &[entry(5678)]).unwrap();
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
    fn a_file_that_does_not_parse_is_told_with_its_place() {
        let fault = |text: &str| {
            let result = with_entries(Path::new("launch.json"), Some(text), &PLACE, &[entry(1)]);
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
