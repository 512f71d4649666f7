//! Whether the user of this host lets the peer have debuggers attach.

use p2pdbg_debugger::Preset;
use tokio::sync::{mpsc, oneshot};

/// What the user of this host has said of attaching.
#[derive(Debug, Clone)]
pub enum Consent {
    /// It may not be: nothing is listed either.
    Refused,
    /// It may be, each time.
    Given,
    /// Each time somebody is asked; what runs here is listed.
    Asked(mpsc::Sender<Question>),
}

impl Consent {
    /// Has somebody asked, if that is what was settled; whether the debugger may attach. Nobody's answer is none.
    #[cfg(target_os = "linux")]
    pub(crate) async fn ask(&self, pid: u32, command: String, debugger: Preset) -> bool {
        let asked = match self {
            Self::Refused => return false,
            Self::Given => return true,
            Self::Asked(asked) => asked,
        };
        let (answer, answered) = oneshot::channel();
        let question = Question {
            pid,
            command,
            debugger,
            answer,
        };
        asked.send(question).await.is_ok() && answered.await.unwrap_or(false)
    }
}

impl PartialEq for Consent {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refused, Self::Refused) | (Self::Given, Self::Given) => true,
            (Self::Asked(one), Self::Asked(other)) => one.same_channel(other),
            _ => false,
        }
    }
}

impl Eq for Consent {}

/// Whether one debugger may attach to one program.
#[derive(Debug)]
pub struct Question {
    /// Its process id on this host.
    pub pid: u32,
    /// Its command line, as it runs here: not escaped yet.
    pub command: String,
    /// The debugger that the peer wants to attach to it.
    pub debugger: Preset,
    /// What was answered. Dropped, it is a no.
    pub answer: oneshot::Sender<bool>,
}
