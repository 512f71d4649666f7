//! One entry of an IDE's list: what it holds when it is made, and which of that follows from the session and is kept
//! up to date. The rest is the user's from then on.

use jsonc_parser::cst::CstInputValue as Value;
use serde_json::Value as Json;

use super::values::{Filled, FilledField};

/// An entry of a list, told from the others by the value of one key.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    fields: Vec<(String, Value, Upkeep)>,
}

/// What becomes of a value in an entry that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upkeep {
    /// It is kept up to date.
    Kept,
    /// The same, unless the user has put something of another kind there.
    KeptInKind,
    /// The same, unless the user has put this there.
    KeptUnless(&'static str),
    /// The same, unless the user's command is a whole line, which has its arguments in it.
    KeptBesideProgram,
    /// It is the user's.
    Proposed,
}

impl Entry {
    /// The entry for which `key` has this value.
    pub(super) fn named(key: &str, name: &str) -> Self {
        Self { fields: Vec::new() }.kept(key, name)
    }

    /// With a value that is kept up to date.
    pub(super) fn kept(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields
            .push((key.to_owned(), value.into(), Upkeep::Kept));
        self
    }

    /// With an object that is kept up to date, unless the user has something else than an object there.
    pub(super) fn kept_in_kind(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields
            .push((key.to_owned(), value.into(), Upkeep::KeptInKind));
        self
    }

    /// With a value that is kept up to date, unless the user has `own` there.
    pub(super) fn kept_unless(mut self, key: &str, value: &str, own: &'static str) -> Self {
        self.fields
            .push((key.to_owned(), value.into(), Upkeep::KeptUnless(own)));
        self
    }

    /// With the arguments of a program, which are kept up to date.
    pub(super) fn arguments(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields
            .push((key.to_owned(), value.into(), Upkeep::KeptBesideProgram));
        self
    }

    /// With these fields as well, each kept up to date or not.
    pub(super) fn with(mut self, fields: Vec<FilledField>) -> Self {
        let fields = fields.into_iter();
        self.fields.extend(fields.map(|field| {
            let upkeep = match field.kept {
                true => Upkeep::Kept,
                false => Upkeep::Proposed,
            };
            (field.key.to_owned(), field.value.into(), upkeep)
        }));
        self
    }

    /// With a value that the user may change.
    pub(super) fn proposed(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields
            .push((key.to_owned(), value.into(), Upkeep::Proposed));
        self
    }

    /// All of it, for a new entry.
    pub(super) fn whole(&self) -> Value {
        Value::Object(
            self.fields
                .iter()
                .map(|(k, v, _)| (k.clone(), v.clone()))
                .collect(),
        )
    }

    /// What is kept up to date in one that is there, and holds this.
    pub(super) fn kept_up_to_date(&self, there: &Json) -> Value {
        let kept = self.fields.iter().filter(|(key, _, upkeep)| match upkeep {
            Upkeep::Kept => true,
            Upkeep::KeptInKind => there.get(key).is_none_or(Json::is_object),
            Upkeep::KeptUnless(own) => there.get(key).is_none_or(|there| there != own),
            Upkeep::KeptBesideProgram => !has_line_of_shell(there),
            Upkeep::Proposed => false,
        });
        Value::Object(kept.map(|(k, v, _)| (k.clone(), v.clone())).collect())
    }
}

/// Whether the command of a task says by itself what p2pdbg is to do, or is a shell or another program that is given
/// p2pdbg's whole line.
fn has_line_of_shell(task: &Json) -> bool {
    // Each may be an object that says how it is quoted.
    let text = |word: &Json| -> Option<String> {
        let text = word.get("value").unwrap_or(word).as_str()?;
        Some(text.to_owned())
    };
    let says_listen = |text: &String| {
        let mut words = text.split_whitespace();
        words.any(|word| word.trim_matches(['"', '\'']) == "listen")
    };
    let args = task.get("args").and_then(Json::as_array);
    let args: Vec<String> = args.into_iter().flatten().filter_map(text).collect();
    let command = task.get("command").and_then(text);
    let is_ours = args.first().is_some_and(|first| first == "listen");
    command.is_some_and(|command| says_listen(&command))
        || (!is_ours && args.iter().any(says_listen))
}

/// A port as JSON has it.
pub(super) fn number(n: u16) -> Value {
    Value::Number(n.to_string())
}

/// An object as JSON has it, its fields in this order.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.map(|(key, value)| (key.to_owned(), value)).into())
}

impl From<Filled> for Value {
    fn from(filled: Filled) -> Self {
        match filled {
            Filled::Text(text) => text.into(),
            Filled::Number(n) => number(n),
            Filled::List(values) => Self::Array(values.into_iter().map(Self::from).collect()),
            Filled::Object(fields) => {
                let fields = fields.into_iter();
                Self::Object(fields.map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_of_a_shell_is_known_wherever_it_stands() {
        for (task, is_line) in [
            (json!({"command": "p2pdbg listen debugpy"}), true),
            (json!({"command": "bash -lc 'p2pdbg listen'"}), true),
            (
                json!({"command": "bash -lc \"cd x && p2pdbg 'listen'\""}),
                true,
            ),
            (
                json!({"command": {"value": "p2pdbg listen", "quoting": "weak"}}),
                true,
            ),
            (
                json!({"command": "bash", "args": ["-lc", "p2pdbg listen"]}),
                true,
            ),
            (
                json!({"command": "bash", "args": ["-c", {"value": "exec p2pdbg listen", "quoting": "strong"}]}),
                true,
            ),
            (
                json!({"command": "npx", "args": ["p2pdbg", "listen"]}),
                true,
            ),
            (
                json!({"command": "p2pdbg", "args": ["listen", "debugpy"]}),
                false,
            ),
            (
                json!({"command": "p2pdbg", "args": ["listen", "--name", "listen"]}),
                false,
            ),
            (json!({"command": "/home/me/listen.sh"}), false),
            (json!({"command": "p2pdbg", "args": []}), false),
            (json!({"args": [5]}), false),
        ] {
            assert_eq!(has_line_of_shell(&task), is_line, "{task}");
        }
    }
}
