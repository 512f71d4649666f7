//! What a refusal of the rendezvous means for the request that it answers: what is refused for now is asked for again after
//! a pause, what is refused for good ends the meeting.

use std::time::Duration;

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_proto::control::{Refusal, Request, Role};
use p2pdbg_rendezvous_client::LinkError;
use tokio::time::Instant;

use super::driver::{Driver, RETRY};

/// The pause before a rendezvous that is full is asked again: short beside a session, long beside a request.
const FULL: Duration = Duration::from_secs(5);

/// The longest pause that a rendezvous may ask for.
const LONGEST: Duration = Duration::from_secs(60);

impl Driver {
    pub(super) async fn on_refused(&mut self, request: Request, refusal: Refusal) {
        if matches!(request, Request::Listen(_)) {
            self.asked_for_code = false;
        }
        match refusal {
            Refusal::NameplateUnknown
            | Refusal::NameplateUsed
            | Refusal::NameplateBurned
            | Refusal::NameplateExpired => match request {
                Request::Listen(_) => self.on_code_over(&request),
                // The listener may not have noticed yet that it has to register anew.
                _ if refusal == Refusal::NameplateUnknown && self.may_return() => {
                    self.retry_within(RETRY);
                }
                _ if self.config.paths.role == Role::Connector => {
                    self.fail(no_such_code(refusal)).await;
                }
                _ => {}
            },
            Refusal::NameplateBusy | Refusal::NobodyThere => self.retry_within(RETRY),
            Refusal::Full => self.retry_within(FULL),
            Refusal::Limit { retry_after_s } => match request {
                // What was to be said there is lost, and the peers say it again.
                Request::Session(_) => {}
                _ => {
                    let asked = Duration::from_secs(retry_after_s.into());
                    self.retry_within(asked.clamp(Duration::from_secs(1), LONGEST));
                }
            },
            Refusal::NoSuchSession => {
                if let Request::Session(session) = request {
                    self.on_peer_left(session, false).await;
                }
            }
            Refusal::AccessKey | Refusal::Protocol => {
                let authority = self.config.rendezvous.authority();
                self.fail(LinkError::Refused { authority, refusal }.into())
                    .await;
            }
        }
    }

    /// Asks for everything again after this pause, or sooner if that was planned already.
    fn retry_within(&mut self, pause: Duration) {
        let at = Instant::now() + pause;
        self.retry_at = Some(self.retry_at.map_or(at, |planned| planned.min(at)));
    }

    /// This listener's code has waited for too long: another takes its place.
    fn on_code_over(&mut self, request: &Request) {
        let own = self.code.as_ref().map(|listening| listening.code.nameplate);
        if matches!(request, Request::Listen(nameplate) if *nameplate == own) {
            self.code = None;
            self.register();
        }
    }
}

/// What the person who typed a code that leads nowhere is told.
fn no_such_code(refusal: Refusal) -> Failure {
    let (code, hint) = match refusal {
        Refusal::NameplateUnknown => (
            ErrorCode::NameplateUnknown,
            "check the code's number, and that p2pdbg listen still runs with the same rendezvous",
        ),
        _ => (
            ErrorCode::CodeExpired,
            "ask for the code that p2pdbg listen shows now",
        ),
    };
    Failure::new(code, refusal.to_string()).hint(hint)
}
