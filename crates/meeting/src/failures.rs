//! What a failed exchange means for the person at this end.

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_pairing as pairing;

/// By code, for the person who typed it.
pub(super) fn code_failure(failure: &pairing::Failure) -> Failure {
    let (code, hint) = match failure {
        pairing::Failure::Version { .. } => (
            ErrorCode::PeerVersion,
            "use the same version of p2pdbg at both ends",
        ),
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

/// Between known peers.
pub(super) fn known_peer_failure(failure: &pairing::Failure) -> Failure {
    let code = match failure {
        pairing::Failure::Version { .. } => ErrorCode::PeerVersion,
        pairing::Failure::Protocol => ErrorCode::PeerMisbehaved,
        _ => ErrorCode::PeerIdentity,
    };
    Failure::new(code, failure.to_string()).hint("pair the two hosts again with a new code")
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
