//! The values of a configuration, with the port and the directories of a session put in. In which notation they are
//! written is the IDE's.

use p2pdbg_debugger::ide::{Field, Value};

use super::{Sessions, Wanted};

/// Where a debugger of this host is reached.
const HOST: &str = "127.0.0.1";

/// What of a session goes into the configuration of one of its forwards.
pub(super) struct Known<'a> {
    port: u16,
    /// What stands for the project's directory.
    folder: &'a str,
    /// The directory that is mapped, here.
    here: String,
    /// The same there, by each of its names; none as long as they are not known.
    there: Vec<&'a str>,
    rdbg_map: Option<String>,
}

/// A value with nothing left to be put in.
#[derive(Debug, Clone)]
pub(super) enum Filled {
    Text(String),
    Number(u16),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// A field with nothing left to be put in.
pub(super) struct FilledField {
    pub(super) key: &'static str,
    pub(super) value: Filled,
    /// Whether it is kept up to date, rather than the user's once it is written.
    pub(super) kept: bool,
}

impl<'a> Known<'a> {
    /// `folder` is the IDE's word for the project's directory, and `here` that or one within it.
    pub(super) fn of(
        facts: &'a Sessions<'_>,
        wanted: &Wanted<'_>,
        folder: &'a str,
        here: String,
    ) -> Self {
        Self {
            port: wanted.port(),
            folder,
            here,
            there: facts
                .paths
                .remote
                .iter()
                .map(|path| path.as_str())
                .collect(),
            rdbg_map: facts.paths.list_of_rdbg(folder),
        }
    }

    /// The fields whose values are known, and of two for the same key the first.
    pub(super) fn fields(&self, fields: &[Field]) -> Vec<FilledField> {
        let mut filled: Vec<FilledField> = Vec::new();
        for field in fields {
            let (key, value, kept) = match field {
                Field::Kept(key, value) => (*key, value, true),
                Field::Proposed(key, value) => (*key, value, false),
            };
            let is_there = filled.iter().any(|field| field.key == key);
            if let Some(value) = self.fill(value).filter(|_| !is_there) {
                filled.push(FilledField { key, value, kept });
            }
        }
        filled
    }

    /// `None` if it is not known.
    fn fill(&self, value: &Value) -> Option<Filled> {
        let text = |text: &str| Filled::Text(text.to_owned());
        let of_each = |make: &dyn Fn(&str) -> Filled| {
            let each = self.there.iter().map(|there| make(there));
            (!self.there.is_empty()).then(|| each.collect::<Vec<_>>())
        };
        Some(match value {
            Value::Text(template) => {
                let filled = template.replace("PORT", &self.port.to_string());
                Filled::Text(filled.replace("FOLDER", self.folder))
            }
            Value::Port => Filled::Number(self.port),
            Value::Address => object([("host", text(HOST)), ("port", Filled::Number(self.port))]),
            Value::Here => text(&self.here),
            Value::There => text(self.there.first()?),
            Value::Pairs(here, there) => Filled::List(of_each(&|directory| {
                object([(*here, text(&self.here)), (*there, text(directory))])
            })?),
            Value::ThereAndHere => Filled::List(of_each(&|directory| {
                Filled::List(vec![text(directory), text(&self.here)])
            })?),
            Value::HereByThere => {
                let by_there = |there: &&str| ((*there).to_owned(), text(&self.here));
                self.there.first()?;
                Filled::Object(self.there.iter().map(by_there).collect())
            }
            Value::RdbgMap => Filled::Text(self.rdbg_map.clone()?),
            Value::List(values) => Filled::List(
                values
                    .iter()
                    .map(|value| self.fill(value))
                    .collect::<Option<_>>()?,
            ),
            Value::Object(fields) => {
                let fill =
                    |(key, value): &(&str, Value)| Some(((*key).to_owned(), self.fill(value)?));
                Filled::Object(fields.iter().map(fill).collect::<Option<_>>()?)
            }
        })
    }
}

fn object<const N: usize>(fields: [(&str, Filled); N]) -> Filled {
    Filled::Object(fields.map(|(key, value)| (key.to_owned(), value)).into())
}
