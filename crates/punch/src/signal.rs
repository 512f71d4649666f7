//! What one engine tells the other through the rendezvous, sealed by the driver.
//!
//! Every signal is a whole picture of its sender: a later one replaces an earlier one, so losing count is impossible.

use std::net::SocketAddr;

use p2pdbg_nat::NatReport;
use serde::{Deserialize, Serialize};

use crate::{
    candidate::Candidate,
    direct_tcp::TcpOffer,
    search::{Hints, SearchPlan},
};

/// The version of the format, its first byte.
const VERSION: u8 = 3;

/// The longest signal that is read, in bytes. Ours are below 2 KiB.
const LONGEST: usize = 8 * 1024;

/// Candidates in one of our signals.
pub(crate) const MAX_CANDIDATES: usize = 24;

/// STUN servers in one of our signals.
pub(crate) const MAX_SERVERS: usize = 4;

/// A whole picture of one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signal {
    /// Names the sender's network situation; another number means that it began anew.
    pub(crate) generation: u32,
    /// Where the sender may be reached.
    pub(crate) candidates: Vec<Candidate>,
    /// What the sender's NAT looks like.
    pub(crate) report: NatReport,
    /// STUN servers that see the sender well, for a peer whose own do not; at most [`MAX_SERVERS`].
    pub(crate) servers: Vec<SocketAddr>,
    /// The round trip between the sender and its STUN server, in milliseconds; 0 if unknown.
    pub(crate) server_rtt_ms: u16,
    /// What the controlling side wants both to do now; never from the controlled side.
    pub(crate) plan: Option<Plan>,
    /// What the search under way found out about the sender's NAT.
    pub(crate) hints: Option<Hints>,
    /// What the sender says of its TCP ports, while a path by TCP is looked for.
    pub(crate) tcp: Option<TcpOffer>,
}

/// An attempt that both sides make together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Counts the controlling side's attempts; another number begins another attempt.
    pub(crate) attempt: u32,
    /// The controlled side's generation that it was made for.
    pub(crate) for_generation: u32,
    /// What is done besides the plain checks. It may be added, and go on to its next round, in the same attempt.
    pub(crate) search: Option<SearchPlan>,
}

/// Why a signal of the peer was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignalError {
    #[error("the peer's traversal signal is too long")]
    TooLong,
    #[error("the peer's traversal signal has another version")]
    Version,
    #[error("the peer's traversal signal is malformed")]
    Malformed,
}

impl Signal {
    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("a vector takes every value of these types")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SignalError> {
        if bytes.len() > LONGEST {
            return Err(SignalError::TooLong);
        }
        let (&version, rest) = bytes.split_first().ok_or(SignalError::Malformed)?;
        if version != VERSION {
            return Err(SignalError::Version);
        }
        let (signal, rest): (Self, _) =
            postcard::take_from_bytes(rest).map_err(|_| SignalError::Malformed)?;
        if rest.is_empty() {
            Ok(signal)
        } else {
            Err(SignalError::Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::Kind;

    fn example() -> Signal {
        let candidate = |kind, address: &str| Candidate {
            kind,
            address: address.parse().unwrap(),
        };
        Signal {
            generation: 3,
            candidates: vec![
                candidate(Kind::Host, "192.168.1.2:40000"),
                candidate(Kind::ServerReflexive, "[2001:db8::1]:40000"),
            ],
            report: NatReport {
                answered: true,
                external: vec!["192.0.2.1".parse().unwrap()],
                ..NatReport::default()
            },
            servers: vec!["192.0.2.7:3478".parse().unwrap()],
            server_rtt_ms: 20,
            plan: Some(Plan {
                attempt: 1,
                for_generation: 9,
                search: Some(SearchPlan::Mutual { round: 2 }),
            }),
            hints: Some(Hints {
                attempt: 1,
                round: 2,
                ports: vec![5001, 5003],
                range: Some((5000, 6000)),
                counter: Some("192.0.2.1:5000".parse().unwrap()),
                foreign_per_kilosecond: 3,
            }),
            tcp: Some(TcpOffer {
                series: 1,
                round: 2,
                candidates: vec![candidate(Kind::Mapped, "192.0.2.1:40001")],
                server_rtt_ms: 30,
            }),
        }
    }

    #[test]
    fn a_signal_survives_the_round_trip() {
        assert_eq!(Signal::decode(&example().encode()), Ok(example()));
    }

    #[test]
    fn another_version_a_tail_and_a_cut_are_refused() {
        let bytes = example().encode();
        let mut other = bytes.clone();
        other[0] = 1;
        assert_eq!(Signal::decode(&other), Err(SignalError::Version));
        assert_eq!(
            Signal::decode(&vec![VERSION; LONGEST + 1]),
            Err(SignalError::TooLong)
        );
        let mut tail = bytes.clone();
        tail.push(0);
        assert_eq!(Signal::decode(&tail), Err(SignalError::Malformed));
        for cut in 0..bytes.len() {
            assert!(Signal::decode(&bytes[..cut]).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let _ = Signal::decode(&bytes);
        }
    }
}
