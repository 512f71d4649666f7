//! How a run of the program ends badly: one line that says what happened and why, one that says what to do,
//! a stable code for programs, and an exit status.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why the program gives up, in words for a person and a code for a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Failure {
    /// The stable name of what happened.
    pub code: ErrorCode,
    /// What happened and why; no line breaks, no full stop. Text of the peer's must be escaped before.
    pub message: String,
    /// What to do about it, where something helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure for which there is nothing to advise.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The stable names of failures: those of the `error` events of `--json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The command line, a variable or the configuration file asks for something that makes no sense.
    Usage,
    /// A forward does not parse.
    ForwardMalformed,
    /// What should be a code is not one.
    CodeMalformed,
    /// `connect` needs a code or the name of a known peer.
    CodeMissing,
    /// The rendezvous' URL does not parse.
    RendezvousUrl,
    /// No rendezvous was given anywhere.
    RendezvousMissing,
    /// The configuration file cannot be read or does not parse.
    Configuration,

    /// A word of the code is wrong; the code is burned.
    CodeRefused,
    /// The code has been used or burned already.
    CodeExpired,
    /// Nobody listens at the code's nameplate.
    NameplateUnknown,

    /// The rendezvous does not answer.
    RendezvousUnreachable,
    /// The rendezvous wants another access key, or takes no more.
    RendezvousRefused,
    /// What answers speaks another version, or is no rendezvous.
    RendezvousVersion,
    /// The rendezvous' certificate is not the one that the URL or the system's roots vouch for.
    RendezvousIdentity,

    /// No peer of that name is known.
    PeerUnknown,
    /// The peer's certificate is not the one it paired with.
    PeerIdentity,
    /// The peer speaks another version.
    PeerVersion,
    /// The peer ended the session, or has been away for longer than `--resume-for`.
    PeerGone,
    /// The peer broke the protocol.
    PeerMisbehaved,
    /// `--path` forbids the only path there is.
    NoPath,
    /// A port to open is taken.
    PortInUse,
    /// A port cannot be opened for another reason.
    PortNotOpened,
    /// The peer asked for an address that this end does not allow.
    TargetNotAllowed,
    /// The state directory cannot be used.
    StateDir,
    /// No session is known for what was asked, or several could be meant.
    SessionUnknown,
    /// No forward of the session is one for that IDE.
    NothingForIde,
    /// Not all files could be copied to the debuggee's host.
    PushIncomplete,
    /// No debugger could attach to the program.
    NotAttached,
    /// A file of a project cannot be read, understood or written.
    IdeFile,
    /// The listener has as many peers as it lets in.
    NoPlace,
    /// No p2pdbg that runs here has a session, or not one with that peer.
    NoSession,
    /// The control socket of a p2pdbg that runs here cannot be used.
    ControlSocket,
    /// The stream of a `p2pdbg pipe` broke.
    PipeBroken,
    /// The program's own output cannot be written.
    Output,
    /// The COMMAND cannot be found.
    CommandNotFound,
    /// The COMMAND cannot be started.
    CommandNotStarted,
    /// Something that should not happen.
    Internal,
}

/// The name as it stands in JSON.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A unit variant serialises as a plain string, which `Formatter` takes as a serializer.
        self.serialize(f)
    }
}

/// How a run of the program ends well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for is done.
    Done,
    /// The user pressed ^C, or the system asked the program to stop.
    Interrupted,
    /// The COMMAND ended, with this status (128 + N if signal N killed it).
    Command(u8),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_alike_in_words_and_in_json() {
        for code in [ErrorCode::NameplateUnknown, ErrorCode::StateDir] {
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(json, format!("\"{code}\""));
        }
        assert_eq!(ErrorCode::CodeRefused.to_string(), "code_refused");
    }
}
