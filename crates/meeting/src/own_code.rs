//! The code by which this end pairs: a listener's, which it makes, or a connector's, which a person typed.

use std::time::Instant;

use p2pdbg_pairing::{Attempts, Burns, CodeFate, Failure};
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
    /// How often a listener's codes were burned.
    burns: Burns,
    /// Until when it makes no other.
    not_before: Option<Instant>,
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

    /// Whether a listener may ask for a nameplate now: for its own again, or for one for another code.
    pub(super) fn may_ask(&self) -> bool {
        self.code.is_some() || (self.not_before.is_none() && !self.burns.is_over())
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

    /// A connector's confirmation is about to leave, which is a guess for whoever answers in the listener's place;
    /// whether it may.
    pub(super) fn confirm(&mut self) -> bool {
        self.attempts.confirm()
    }

    /// The code was burned: another is made after a pause; false if none is made any more.
    pub(super) fn on_burned(&mut self, now: Instant) -> bool {
        let pause = self.burns.burned();
        self.not_before = pause.map(|pause| now + pause);
        pause.is_some()
    }

    /// Somebody has paired, who knew the words.
    pub(super) fn on_paired(&mut self) {
        self.burns.paired();
    }

    /// When the pause after a burned code is over.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.not_before
    }

    /// Whether that pause has just ended.
    pub(super) fn on_timeout(&mut self, now: Instant) -> bool {
        self.not_before.take_if(|at| *at <= now).is_some()
    }

    /// These messages are about to be sent: leaves out a second request for a new nameplate, which would bring a second
    /// one.
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
