//! Command lines that clap refuses with advice that would lead astray.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use p2pdbg_base::{ErrorCode, Failure};

use super::connect::refuse_more_than_a_code;

/// What was meant by the words after the program's name, of which clap has refused one; `None` where clap's own words
/// do.
pub fn misread(error: &clap::Error, words: &[OsString]) -> Option<Failure> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let words: Vec<String> = words
        .iter()
        .filter_map(|word| word.to_str().map(str::to_owned))
        .collect();
    let is_option = |word: &&String| word.starts_with('-');
    let (command, rest) = words.split_first()?;
    match command.as_str() {
        // The options of a program that is to be run without a -- before it.
        "connect" => {
            let plain: Vec<String> = rest
                .iter()
                .take_while(|word| !is_option(word))
                .cloned()
                .collect();
            refuse_more_than_a_code(&plain).err()
        }
        "listen" => {
            let refused = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::String(refused)) => refused.as_str(),
                _ => return None,
            };
            let is_port = ["--port", "-p", "-P"].contains(&refused);
            is_port.then(|| {
                Failure::new(ErrorCode::Usage, format!("listen has no option {refused}"))
                    .hint("say what listens at the port, as in debugpy:5678, or forward it alone: -L 5678:localhost:5678")
            })
        }
        _ => None,
    }
}
