//! The two ends of a run.

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// The peer that accepts tunnels and calls.
    Listener,
    /// The peer beside the debuggee, which decides which path is nominated.
    Connector,
}

impl End {
    /// Both ends, the listener first.
    pub const BOTH: [Self; 2] = [Self::Listener, Self::Connector];

    /// The end that it is not.
    pub fn other(self) -> Self {
        match self {
            Self::Listener => Self::Connector,
            Self::Connector => Self::Listener,
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}
