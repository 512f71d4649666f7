//! What a failed exchange means for the person at this end.

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_pairing as pairing;
use p2pdbg_proto::signal::VERSION;

/// By code, for the person who typed it.
pub(super) fn code_failure(failure: &pairing::Failure) -> Failure {
    let (code, hint) = match failure {
        pairing::Failure::Version { theirs } => (ErrorCode::PeerVersion, update(*theirs)),
        pairing::Failure::Protocol | pairing::Failure::Aborted(_) => (
            ErrorCode::PeerMisbehaved,
            "use the same version of p2pdbg at both ends, and try again",
        ),
        _ => (
            ErrorCode::CodeRefused,
            "the code is burned: use the one that p2pdbg listen shows now",
        ),
    };
    Failure::new(code, failure.to_string()).hint(hint)
}

/// What a person is told of an exchange between known peers that failed.
pub(super) fn known_peer_failure(failure: &pairing::Failure) -> Failure {
    let again = "pair the two hosts again with a new code";
    let (code, hint) = match failure {
        pairing::Failure::Version { theirs } => (ErrorCode::PeerVersion, update(*theirs)),
        pairing::Failure::Protocol => (ErrorCode::PeerMisbehaved, again),
        _ => (ErrorCode::PeerIdentity, again),
    };
    Failure::new(code, failure.to_string()).hint(hint)
}

/// Which end is the older one.
fn update(theirs: u16) -> &'static str {
    match theirs < VERSION {
        true => "the other host has the older p2pdbg: update it there",
        false => "this host has the older p2pdbg: update it here",
    }
}

/// What it means that nobody ever answered a connector's confirmations.
pub(super) fn guessed() -> Failure {
    let why = "the code was tried five times and nobody confirmed it: \
        somebody between the two hosts may be guessing its words";
    Failure::new(ErrorCode::CodeRefused, why).hint(
        "look at the network and the rendezvous, and use the code that p2pdbg listen shows now",
    )
}

/// What it means that one code after the other was burned.
pub(super) fn codes_guessed() -> Failure {
    let why = "five codes in a row were tried with a wrong word: \
        somebody is guessing, perhaps at the rendezvous itself";
    Failure::new(ErrorCode::CodeRefused, why).hint(
        "no further code is made; if the rendezvous can be trusted, start p2pdbg listen again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_of_different_versions_are_told_which_end_to_update() {
        let [older, newer] = [VERSION - 1, VERSION + 1];
        for (theirs, end) in [(older, "update it there"), (newer, "update it here")] {
            let failure = pairing::Failure::Version { theirs };
            for told in [code_failure(&failure), known_peer_failure(&failure)] {
                assert_eq!(told.code, ErrorCode::PeerVersion);
                let versions = [theirs, VERSION].map(|version| format!("version {version}"));
                assert!(
                    versions
                        .iter()
                        .all(|version| told.message.contains(version))
                );
                assert!(told.hint.unwrap().ends_with(end));
            }
        }
    }
}
