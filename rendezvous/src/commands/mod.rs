//! What the program does beside serving.

mod authority;
mod generate;
mod keys;
mod state_directory;
#[cfg(unix)]
mod status;
mod table;

use std::io::{self, Write};

use crate::cli::Command;

/// Does it.
///
/// # Errors
/// Why not, in a sentence.
pub(crate) async fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Authority(command) => authority::run(command),
        Command::Keys(command) => keys::run(command).await,
        Command::Url { state } => keys::print_url(state),
        #[cfg(unix)]
        Command::Status { state, watch, json } => status::run(state, watch, json).await,
        #[cfg(unix)]
        Command::Nodes { state, json } => status::nodes(state, json).await,
        #[cfg(unix)]
        Command::Reload { state } => status::reload(state).await,
        #[cfg(unix)]
        Command::Drain { most, state } => status::drain(state, most).await,
        #[cfg(unix)]
        Command::Undrain { state } => status::undrain(state).await,
        Command::Completions { shell } => print(&generate::completions(shell)),
        Command::Man => print(&generate::man()?),
    }
}

/// Prints, whole or with a reason.
fn print(bytes: &[u8]) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // A pager or `head` has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| format!("cannot write to standard output: {error}")),
    }
}

fn print_json(value: &serde_json::Value) -> Result<(), String> {
    print(format!("{value}\n").as_bytes())
}
