//! What the status line is made of besides events: the numbers and the activity of the moment.

use std::time::{Duration, Instant};

use super::{DebuggerReport, Waiting};

/// A snapshot of the session, handed to [`Reporter::status`](crate::Reporter::status) whenever it changes.
///
/// The peer's name and the path are not in it: the status line takes them from the events.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What the session is doing.
    pub activity: Activity,
    /// The round-trip time of the current path.
    pub rtt: Option<Duration>,
    /// How many debugger connections are open or held.
    pub streams: usize,
    /// What must listen before held connections can go on.
    pub waiting: Vec<Waiting>,
    /// What was seen of the debugger; of one, where there are several.
    pub debugger: Option<Box<DebuggerReport>>,
}

impl Status {
    /// A session that does this and has no streams.
    pub fn new(activity: Activity) -> Self {
        Self {
            activity,
            rtt: None,
            streams: 0,
            waiting: Vec::new(),
            debugger: None,
        }
    }
}

/// What a session is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activity {
    /// Connecting to the rendezvous at this `HOST:PORT`.
    ReachingRendezvous(String),
    /// Waiting until the peer comes to the rendezvous.
    AwaitingPeer,
    /// Exchanging keys with the peer.
    Pairing,
    /// Looking for any path to the peer.
    Connecting,
    /// There is a path that answers.
    Connected {
        /// Whether a better one is being looked for.
        searching: bool,
    },
    /// Every path is lost; looking for a new one.
    Resuming {
        /// When the last one was lost.
        since: Instant,
    },
    /// Delivering what is left before the end.
    Closing,
}

impl Activity {
    /// How often the line must be drawn anew without any news: for its spinner, or for a time in it.
    ///
    /// `None` while connected, so that an idle session wakes nobody up.
    pub fn redraw_every(&self) -> Option<Duration> {
        match self {
            Self::ReachingRendezvous(_) | Self::Pairing | Self::Connecting | Self::Closing => {
                Some(Duration::from_millis(100))
            }
            Self::AwaitingPeer | Self::Resuming { .. } => Some(Duration::from_secs(1)),
            Self::Connected { .. } => None,
        }
    }
}
