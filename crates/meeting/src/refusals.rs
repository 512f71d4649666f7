//! What a refusal of the rendezvous means for the request that it answers: what is refused for now is asked for again
//! after a pause, what is refused for good ends the meeting.

use std::time::Duration;

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_proto::{
    code::Nameplate,
    rendezvous::{Refusal, Request, Role, SessionId},
};

/// The pause before a peer that was not there, or was lost while the two paired, is looked for again.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// The pause before a rendezvous that is full, or goes out of service, is asked again: short beside a session, long
/// beside a request.
const FULL: Duration = Duration::from_secs(5);

/// The longest pause that a rendezvous may ask for.
const LONGEST: Duration = Duration::from_secs(60);

/// What follows from a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing: it answers something that is not awaited any more.
    Nothing,
    /// Everything is asked for again after this pause, or sooner if that was planned already.
    RetryWithin(Duration),
    /// The listener's nameplate, this one or the one that was asked for, is no longer valid.
    CodeOver(Option<Nameplate>),
    /// The session at the rendezvous is over.
    SessionOver(SessionId),
    /// The meeting is over, for a reason that the user is told.
    Over(Failure),
    /// The meeting is over: the rendezvous does not let this host in.
    NotLetIn,
}

/// What a refusal means at an end of this role. `may_return` says whether the rendezvous has served for so short a time
/// that listeners are still coming back to it.
pub(super) fn meaning(
    role: Role,
    request: &Request,
    refusal: Refusal,
    may_return: bool,
) -> Meaning {
    match (refusal, request) {
        (
            Refusal::NameplateUnknown
            | Refusal::NameplateUsed
            | Refusal::NameplateBurned
            | Refusal::NameplateExpired,
            Request::Listen(nameplate),
        ) => Meaning::CodeOver(*nameplate),
        // The listener may not have noticed yet that it has to register anew.
        (Refusal::NameplateUnknown, _) if may_return => Meaning::RetryWithin(RETRY),
        (
            Refusal::NameplateUnknown
            | Refusal::NameplateUsed
            | Refusal::NameplateBurned
            | Refusal::NameplateExpired,
            _,
        ) => match role {
            Role::Connector => Meaning::Over(no_such_code(refusal)),
            Role::Listener => Meaning::Nothing,
        },
        (Refusal::NameplateBusy | Refusal::NobodyThere, _) => Meaning::RetryWithin(RETRY),
        (Refusal::Full | Refusal::Draining, _) => Meaning::RetryWithin(FULL),
        // What was to be said there is lost, and the peers say it again.
        (Refusal::Limit { .. }, Request::Session(_)) => Meaning::Nothing,
        (Refusal::Limit { retry_after_s } | Refusal::KeysAway { retry_after_s }, _) => {
            let asked = Duration::from_secs(retry_after_s.into());
            Meaning::RetryWithin(asked.clamp(Duration::from_secs(1), LONGEST))
        }
        (Refusal::NoSuchSession, Request::Session(session)) => Meaning::SessionOver(*session),
        (Refusal::NoSuchSession, _) => Meaning::Nothing,
        (Refusal::AccessKey | Refusal::Protocol | Refusal::RelaysAlone, _) => Meaning::NotLetIn,
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
            "ask for the code that p2pdbg listen shows now; it needs none for a host that has kept its state directory",
        ),
    };
    Failure::new(code, refusal.to_string()).hint(hint)
}

#[cfg(test)]
mod tests {
    use p2pdbg_proto::rendezvous::MeetingPoint;

    use super::*;

    fn nameplate() -> Nameplate {
        Nameplate::new(100_007).unwrap()
    }

    #[test]
    fn refused_nameplate_of_a_listener_is_replaced_and_of_a_connector_ends_it() {
        let own = Some(nameplate());
        let over = meaning(
            Role::Listener,
            &Request::Listen(own),
            Refusal::NameplateExpired,
            false,
        );
        assert_eq!(over, Meaning::CodeOver(own));
        let join = Request::Join(nameplate());
        for (refusal, code) in [
            (Refusal::NameplateUnknown, ErrorCode::NameplateUnknown),
            (Refusal::NameplateUsed, ErrorCode::CodeExpired),
            (Refusal::NameplateBurned, ErrorCode::CodeExpired),
            (Refusal::NameplateExpired, ErrorCode::CodeExpired),
        ] {
            match meaning(Role::Connector, &join, refusal, false) {
                Meaning::Over(failure) => assert_eq!(failure.code, code),
                other => panic!("{refusal:?}: {other:?}"),
            }
            let prepare = Request::Prepare(MeetingPoint::Nameplate(nameplate()));
            let ignored = meaning(Role::Listener, &prepare, refusal, false);
            assert_eq!(ignored, Meaning::Nothing);
        }
    }

    #[test]
    fn unknown_nameplate_at_a_rendezvous_just_started_is_asked_for_again() {
        let join = Request::Join(nameplate());
        let again = meaning(Role::Connector, &join, Refusal::NameplateUnknown, true);
        assert_eq!(again, Meaning::RetryWithin(RETRY));
    }

    #[test]
    fn refusal_for_now_is_asked_again_within_bounds_and_one_for_good_is_not() {
        let join = Request::Join(nameplate());
        let limit = |retry_after_s| {
            let refusal = Refusal::Limit { retry_after_s };
            meaning(Role::Connector, &join, refusal, false)
        };
        assert_eq!(limit(0), Meaning::RetryWithin(Duration::from_secs(1)));
        assert_eq!(limit(7), Meaning::RetryWithin(Duration::from_secs(7)));
        assert_eq!(limit(u32::MAX), Meaning::RetryWithin(LONGEST));
        let of = |refusal| meaning(Role::Connector, &join, refusal, false);
        assert_eq!(of(Refusal::NameplateBusy), Meaning::RetryWithin(RETRY));
        assert_eq!(of(Refusal::NobodyThere), Meaning::RetryWithin(RETRY));
        assert_eq!(of(Refusal::Full), Meaning::RetryWithin(FULL));
        assert_eq!(of(Refusal::Draining), Meaning::RetryWithin(FULL));
        assert_eq!(of(Refusal::NoSuchSession), Meaning::Nothing);
        assert_eq!(of(Refusal::AccessKey), Meaning::NotLetIn);
        assert_eq!(of(Refusal::Protocol), Meaning::NotLetIn);
    }

    #[test]
    fn refusal_within_a_session_ends_that_session_at_the_most() {
        let session = SessionId([3; 16]);
        let of = |refusal| meaning(Role::Listener, &Request::Session(session), refusal, false);
        assert_eq!(of(Refusal::NoSuchSession), Meaning::SessionOver(session));
        assert_eq!(of(Refusal::Limit { retry_after_s: 9 }), Meaning::Nothing);
    }
}
