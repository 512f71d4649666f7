//! What a shell offers behind the tab key: debuggers, known peers, and the words of a code.
//!
//! It is asked for each time, by the script of [`generate`](super::generate::completions): what is known when a script
//! is made would be out of date the next day.

use std::{env, ffi::OsStr, path::PathBuf};

use clap_complete::engine::CompletionCandidate;
use p2pdbg_forward::Preset;
use p2pdbg_identity::StateDir;
use p2pdbg_pairing::KnownPeers;
use p2pdbg_proto::code;

use crate::config::{Config, at_home};

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

/// The peers known to this host, to be offered.
pub(super) fn peers() -> Vec<CompletionCandidate> {
    let known = known_peers().into_iter();
    known.map(CompletionCandidate::new).collect()
}

/// The peers known to this host; nothing of what cannot be read.
pub(super) fn known_peers() -> Vec<String> {
    let asked = env::var_os("P2PDBG_STATE").map(PathBuf::from);
    let configured = || Config::load().ok()?.state;
    let state = asked.map(at_home).or_else(configured);
    let known = StateDir::open_if_there(state.as_deref(), "p2pdbg")
        .and_then(|state| KnownPeers::load(&state, 1).ok());
    let names = known.iter().flat_map(KnownPeers::names);
    names.map(ToString::to_string).collect()
}

/// The words that a code may go on with.
pub(super) fn code_words(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_str().unwrap_or_default();
    code::completions(typed)
        .into_iter()
        .map(CompletionCandidate::new)
        .collect()
}
