//! Names of streams and carriers.

use std::fmt;

/// The end of a session that opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The peer beside the IDE, which allocated the code.
    Listener,
    /// The peer on the debuggee's host.
    Connector,
}

impl Side {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Listener => Self::Connector,
            Self::Connector => Self::Listener,
        }
    }

    fn bit(self) -> u64 {
        match self {
            Self::Listener => 0,
            Self::Connector => 1,
        }
    }
}

/// A stream within a session: the opener's counter, shifted left by one, with the opener's side in the lowest bit
/// (0 listener, 1 connector).
///
/// Never used twice in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

impl StreamId {
    /// The stream that `opener` opened as its `counter`-th, counted from 0. The counter's highest bit is lost.
    pub fn new(opener: Side, counter: u64) -> Self {
        Self(counter << 1 | opener.bit())
    }

    /// The id as it goes over the wire.
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// An id that came over the wire.
    pub const fn from_u64(id: u64) -> Self {
        Self(id)
    }

    /// Who opened it.
    pub fn opener(self) -> Side {
        if self.0 & 1 == 0 {
            Side::Listener
        } else {
            Side::Connector
        }
    }

    /// Which of its opener's streams it is, counted from 0.
    pub fn counter(self) -> u64 {
        self.0 >> 1
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.opener() {
            Side::Listener => 'l',
            Side::Connector => 'c',
        };
        write!(f, "{side}{}", self.counter())
    }
}

/// A carrier, as the driver knows it: any number that it uses once per stream and direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CarrierId(pub u64);
