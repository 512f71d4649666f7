//! What a peer may not do, and did.

use crate::{EndKind, StreamId};

/// A breach of the protocol by the peer. Honest peers, however bad the network, never cause one.
///
/// A driver counts it, says it once, and ends what [`Violation::scope`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It acknowledged bytes that were never given to a carrier.
    #[error("the peer acknowledged byte {acked}, but only {sent} were sent")]
    AckedUnsent {
        /// How far it claims to have received.
        acked: u64,
        /// The highest offset ever given to a carrier.
        sent: u64,
    },
    /// It confirmed an end that was not announced, or at another offset.
    #[error("the peer confirmed an end at byte {acked} that was not announced there")]
    AckedNoEnd {
        /// Where it claims the end to be.
        acked: u64,
    },
    /// A carrier or an end lies further ahead than the peer can have kept.
    #[error(
        "the peer named byte {offset}, which it cannot hold yet: at most {horizon} is possible"
    )]
    FromTheFuture {
        /// Where the carrier begins, or the end lies.
        offset: u64,
        /// The highest offset that is possible now.
        horizon: u64,
    },
    /// There are bytes, or a carrier begins, behind the announced end.
    #[error("the peer sent up to byte {offset} of a stream that it had ended at {end}")]
    BeyondEnd {
        /// How far the bytes reach.
        offset: u64,
        /// Where the stream ends, as announced before.
        end: u64,
    },
    /// Two of its carriers have the same ordinal.
    #[error("the peer opened two carriers with the ordinal {0}")]
    RepeatedCarrier(u32),
    /// A carrier was read before its turn. The one breach that is the driver's own: the bytes are lost unless the
    /// tunnel is given up.
    #[error("a carrier at byte {offset} was read when {expected} was expected")]
    ReadAhead {
        /// The offset of the next byte on the carrier.
        offset: u64,
        /// The next byte that was expected.
        expected: u64,
    },
    /// Two announcements of the end differ, or the end lies before bytes that were received.
    #[error(
        "the peer ended a stream with {second:?} at {second_at}, against {first:?} at {first_at}"
    )]
    ContradictoryEnd {
        /// The end that stands, or nothing where bytes alone contradict.
        first: Option<EndKind>,
        /// Where that end lies, or how far bytes were received.
        first_at: u64,
        /// The end that was announced now.
        second: EndKind,
        /// Where it was announced now.
        second_at: u64,
    },
    /// It used one of our stream ids that we never drew.
    #[error("the peer used stream {0}, which was never opened")]
    NeverOpened(StreamId),
    /// It skipped so many ids that they cannot be kept track of.
    #[error("the peer opened stream {0}, too far ahead of those that it has opened before")]
    IdTooFar(StreamId),
    /// It keeps too many streams open.
    #[error("the peer opened more than {0} streams at once")]
    TooManyStreams(usize),
    /// It offered a tunnel with an epoch that is not above those that were accepted.
    #[error("the peer offered a tunnel of epoch {offered}, but {highest} has been accepted before")]
    OldEpoch {
        /// The epoch that it offered.
        offered: u64,
        /// The highest that was accepted.
        highest: u64,
    },
}

/// How much a violation discredits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The one stream: end it at both sockets.
    Stream,
    /// The tunnel that it came over: close it.
    Tunnel,
}

impl Violation {
    /// What to end on account of it.
    pub fn scope(&self) -> Scope {
        match self {
            Self::AckedUnsent { .. }
            | Self::AckedNoEnd { .. }
            | Self::FromTheFuture { .. }
            | Self::BeyondEnd { .. }
            | Self::RepeatedCarrier(_)
            | Self::ContradictoryEnd { .. } => Scope::Stream,
            Self::ReadAhead { .. }
            | Self::NeverOpened(_)
            | Self::IdTooFar(_)
            | Self::TooManyStreams(_)
            | Self::OldEpoch { .. } => Scope::Tunnel,
        }
    }
}
