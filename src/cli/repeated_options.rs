//! The options of a `p2pdbg listen` as they were given, for the task with which an IDE starts the same one again.
//!
//! They are read from what clap matched, by clap's own definitions: an option that is defined is repeated.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Command, ValueHint, parser::ValueSource};
use p2pdbg_facts::by_its_name;

/// What is not repeated: the task names the peers itself, and nobody reads JSON or holds standard input open there.
const LEFT_OUT: [&str; 3] = ["peer", "json", "until-stdin-ends"];

/// How a `p2pdbg listen` was started, but for its forwards and the peers that it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// `OPTION` or `OPTION=VALUE`, with whole paths.
    pub options: Vec<String>,
    /// Whether the rendezvous was named, with an access key that is not repeated here.
    pub rendezvous: bool,
}

impl Given {
    /// What stands on the command line itself of the options that are defined. What may come of a variable is there the
    /// next time too.
    pub(super) fn read(matches: &ArgMatches, definitions: &Command) -> Self {
        let mut given = Self::default();
        for option in definitions.get_arguments() {
            let id = option.get_id().as_str();
            let is_on_line = matches.value_source(id) == Some(ValueSource::CommandLine);
            let Some(long) = option.get_long().filter(|long| !LEFT_OUT.contains(long)) else {
                continue;
            };
            if is_on_line && !option.get_action().takes_values() {
                given.options.push(format!("--{long}"));
            } else if is_on_line {
                let is_directory = option.get_value_hint() == ValueHint::DirPath;
                for value in matches.get_raw(id).into_iter().flatten() {
                    given.add(long, value, is_directory);
                }
            }
        }
        given
    }

    fn add(&mut self, long: &str, value: &OsStr, is_directory: bool) {
        let whole = is_directory.then(|| whole(Path::new(value)));
        let value = match &whole {
            Some(whole) => whole.as_deref().and_then(Path::to_str),
            None => value.to_str(),
        };
        // The file in which the task stands is everybody's who has the project.
        if long == "rendezvous" && value.is_some_and(|url| url.contains('@')) {
            self.rendezvous = true;
        } else if let Some(value) = value {
            self.options.push(format!("--{long}={value}"));
        }
    }
}

fn whole(directory: &Path) -> Option<PathBuf> {
    let directory = crate::config::at_home(directory.to_owned());
    by_its_name(&directory)
        .or_else(|_| std::path::absolute(&directory))
        .ok()
}
