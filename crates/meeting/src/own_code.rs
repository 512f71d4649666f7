//! The code by which this end pairs: a listener's, which it makes, or a connector's, which a person typed.

use std::{collections::VecDeque, time::Instant};

use p2pdbg_pairing::{Burns, CodeFate, Failure, Guesses};
use p2pdbg_proto::{
    code::{Code, Nameplate, Words},
    rendezvous::{NameplateClaim, ToRendezvous},
};

use super::Whom;

/// So many requests for a nameplate are remembered to which the rendezvous owes an answer; it answers in order. What
/// answers one beyond is taken for one that nobody asked for.
const OWED: usize = 32;

/// The code, and how often it was tried.
#[derive(Default)]
pub(super) struct OwnCode {
    code: Option<Code>,
    /// Proves to the rendezvous that the nameplate is this listener's; a connector has none.
    claim: Option<NameplateClaim>,
    attempts: Guesses,
    /// How often a listener's codes were burned.
    burns: Burns,
    /// Until when it makes no other.
    not_before: Option<Instant>,
    /// What was asked for on this connection and was neither given nor refused yet, in order: the nameplate that was
    /// claimed, or none for a new one.
    asked: VecDeque<Option<Nameplate>>,
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

    /// The rendezvous says that it has given this nameplate; whether this listener has asked for it. A rendezvous that
    /// gives one unasked, or late for what was given up meanwhile, would have it show one code after the other.
    pub(super) fn is_asked_for(&mut self, nameplate: Nameplate) -> bool {
        let own = self.nameplate();
        let gives_claimed = self.asked.front() == Some(&Some(nameplate));
        let asked = self.asked.iter().position(|asked| *asked == own);
        match asked.filter(|_| !gives_claimed) {
            // A claim that is worth nothing is answered by a new one. What was asked before is lost.
            Some(asked) => {
                self.asked.drain(..=asked);
                true
            }
            None => {
                self.asked.pop_front();
                own == Some(nameplate)
            }
        }
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
        self.attempts = Guesses::default();
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
        let Some(asked) = asked_by(message) else {
            return false;
        };
        if asked.is_none() && self.asked.contains(&None) {
            return true;
        }
        if self.asked.len() < OWED {
            self.asked.push_back(asked);
        }
        false
    }

    /// These were sent right after the hello of a new connection.
    pub(super) fn on_link_up(&mut self, told: &[ToRendezvous]) {
        self.asked = told.iter().filter_map(asked_by).take(OWED).collect();
    }

    /// The connection is gone, and what was asked for on it.
    pub(super) fn on_link_down(&mut self) {
        self.asked.clear();
    }

    /// A request for this nameplate, or for a new one, was refused.
    pub(super) fn on_refused(&mut self, nameplate: Option<Nameplate>) {
        // A refusal that answers nothing says that the code has expired.
        let answered = self.asked.iter().position(|asked| *asked == nameplate);
        if let Some(answered) = answered {
            self.asked.remove(answered);
        }
    }
}

/// Which nameplate this message claims, or that it asks for a new one.
fn asked_by(message: &ToRendezvous) -> Option<Option<Nameplate>> {
    match message {
        ToRendezvous::Listen { claim } => Some(claim.as_ref().map(|claim| claim.nameplate)),
        _ => None,
    }
}
