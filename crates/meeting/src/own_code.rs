//! The code by which this end pairs: a listener's, which it makes, or a connector's, which a person typed.

use p2pdbg_pairing::{Attempts, CodeFate, Failure};
use p2pdbg_proto::{
    code::{Code, Nameplate, Words},
    control::{NameplateClaim, ToRendezvous},
};

use super::Whom;

/// The code, and how often it was tried.
#[derive(Default)]
pub(super) struct OwnCode {
    code: Option<Code>,
    /// Proves to the rendezvous that the nameplate is this listener's; a connector has none.
    claim: Option<NameplateClaim>,
    attempts: Attempts,
    /// Whether a nameplate has been asked for on this connection and was neither given nor refused yet.
    asked: bool,
}

impl OwnCode {
    /// A connector's code if it was given one; a listener has none yet.
    pub(super) fn of(whom: &Whom) -> Self {
        let code = match whom {
            Whom::CodeMaker(code) => Some(code.clone()),
            _ => None,
        };
        Self {
            code,
            ..Self::default()
        }
    }

    pub(super) fn get(&self) -> Option<&Code> {
        self.code.as_ref()
    }

    pub(super) fn nameplate(&self) -> Option<Nameplate> {
        self.code.as_ref().map(|code| code.nameplate)
    }

    /// What a listener asks the rendezvous for: its nameplate again, or any.
    pub(super) fn request(&self) -> ToRendezvous {
        let claim = self.claim.clone();
        ToRendezvous::Listen { claim }
    }

    /// The rendezvous has given this nameplate to this listener; the new code, if it is not the one that there was.
    pub(super) fn on_listening(&mut self, claim: NameplateClaim) -> Option<Code> {
        let nameplate = claim.nameplate;
        let known = self.nameplate() == Some(nameplate);
        self.claim = Some(claim);
        if known {
            return None;
        }
        let words = Words::random();
        self.attempts = Attempts::default();
        self.code = Some(Code { nameplate, words });
        self.code.clone()
    }

    /// Gives up the code of a listener; its nameplate, to be given back.
    pub(super) fn take(&mut self) -> Option<Nameplate> {
        self.claim.take()?;
        self.code.take().map(|code| code.nameplate)
    }

    /// An exchange by this code has failed; what becomes of it.
    pub(super) fn failed(&mut self, failure: &Failure) -> CodeFate {
        self.attempts.failed(failure)
    }

    /// These messages are about to be sent: leaves out a second request for a new nameplate, which would bring a second one.
    pub(super) fn is_asked_twice(&mut self, message: &ToRendezvous) -> bool {
        is_for_new(message) && std::mem::replace(&mut self.asked, true)
    }

    /// These were sent right after the hello of a new connection.
    pub(super) fn on_link_up(&mut self, told: &[ToRendezvous]) {
        self.asked = told.iter().any(is_for_new);
    }

    /// A request for a nameplate was answered, or its connection is gone.
    pub(super) fn on_answered(&mut self) {
        self.asked = false;
    }
}

fn is_for_new(message: &ToRendezvous) -> bool {
    matches!(message, ToRendezvous::Listen { claim: None })
}
