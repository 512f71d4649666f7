//! What a shell offers behind the tab key: debuggers, known peers, and the words of a code.
//!
//! The script that `p2pdbg completions` prints asks this program each time, by a variable of its own; what is there
//! when the script is made would be out of date the next day.

use std::{env, ffi::OsStr, io, path::PathBuf};

use clap::CommandFactory;
use clap_complete::{CompleteEnv, Shell, engine::CompletionCandidate, env::Shells};
use p2pdbg_forward::Preset;
use p2pdbg_identity::StateDir;
use p2pdbg_pairing::KnownPeers;
use p2pdbg_proto::code;

use super::args::Cli;
use crate::config::{Config, at_home};

/// The variable by which a shell asks for completions.
const VARIABLE: &str = "P2PDBG_COMPLETE";

/// Answers a shell that asks for completions, and ends the process; otherwise does nothing.
pub fn answer_shell() {
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .complete();
}

/// Writes the script by which `shell` asks.
///
/// # Errors
/// If `out` cannot be written.
pub fn write_script(shell: Shell, out: &mut dyn io::Write) -> io::Result<()> {
    let known = Shells::builtins();
    let completer = known.completer(&shell.to_string());
    let completer = completer.ok_or(io::ErrorKind::Unsupported)?;
    completer.write_registration(VARIABLE, "p2pdbg", "p2pdbg", "p2pdbg", out)
}

/// The debuggers, each with how its debuggee is started.
pub(super) fn forwards() -> Vec<CompletionCandidate> {
    let presets = Preset::ALL.into_iter().map(|preset| {
        let start = preset.start_debuggee(preset.default_port());
        CompletionCandidate::new(preset.name()).help(Some(start.into()))
    });
    let auto = "-R if something listens beside the IDE already, else -L";
    let auto = CompletionCandidate::new("auto").help(Some(auto.into()));
    presets.chain([auto]).collect()
}

/// The peers known to this host.
pub(super) fn peers() -> Vec<CompletionCandidate> {
    let asked = env::var_os("P2PDBG_STATE").map(PathBuf::from);
    let configured = || Config::load().ok()?.state;
    let state = asked.map(at_home).or_else(configured);
    let known = StateDir::open_if_there(state.as_deref(), "p2pdbg")
        .and_then(|state| KnownPeers::load(&state, 1).ok());
    let names = known.iter().flat_map(KnownPeers::names);
    names
        .map(|name| CompletionCandidate::new(name.to_string()))
        .collect()
}

/// The words that a code may go on with.
pub(super) fn code_words(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_str().unwrap_or_default();
    code::completions(typed)
        .into_iter()
        .map(CompletionCandidate::new)
        .collect()
}
