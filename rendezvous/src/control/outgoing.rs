//! The queue of what goes out on a connection: bounded by its bytes, with room of its own for each session.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc::{self, error::TrySendError};

/// Frames that wait to be sent on one connection. Their bytes are what bounds them, with [`OVERHEAD`] for each.
const QUEUE: usize = 16 * 1_024;

/// What a frame costs in a queue beyond its bytes.
const OVERHEAD: usize = 128;

/// What may wait for one member of what the other says in one session, in bytes: two of the longest signals, or some
/// forty of the usual ones.
const LANE: usize = 40 * 1_024;

/// What goes out on a connection.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A whole frame, and what counts those of its session.
    Frame(Vec<u8>, Option<Lane>),
    /// Nothing more: close with this code.
    Close(u32),
}

/// Counts the bytes of one session that wait for one of its members.
pub(crate) type Lane = Arc<AtomicUsize>;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    /// It waits to be sent.
    Queued,
    /// Too much waits in its session.
    LaneFull,
    /// The peer does not keep up.
    Full,
}

/// The hub's end of a connection's queue.
#[derive(Debug)]
pub(crate) struct Outlet {
    queue: mpsc::Sender<Outgoing>,
    waiting: Arc<AtomicUsize>,
    most: usize,
}

/// The connection's end of its queue.
#[derive(Debug)]
pub(crate) struct Inlet {
    queue: mpsc::Receiver<Outgoing>,
    waiting: Arc<AtomicUsize>,
}

/// A connection's queue of at most `most` bytes.
pub(crate) fn outgoing_queue(most: usize) -> (Outlet, Inlet) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let waiting = Arc::new(AtomicUsize::new(0));
    let outlet = Outlet {
        queue: sender,
        waiting: waiting.clone(),
        most,
    };
    let inlet = Inlet {
        queue: receiver,
        waiting,
    };
    (outlet, inlet)
}

impl Outlet {
    /// Whether there was room. What is said in a session has room of its own there, so that whoever talks in one takes
    /// none from another, nor from what the rendezvous itself has to say.
    ///
    /// A connection that has ended has room for anything: what its peer said before must be heard first, and then
    /// [`Event::Lost`](super::event::Event::Lost) tells of the end.
    pub(crate) fn push(&self, outgoing: Outgoing) -> Pushed {
        if self.queue.is_closed() {
            return Pushed::Queued;
        }
        let length = outgoing.length();
        let (counter, most, refused) = match &outgoing {
            Outgoing::Frame(_, Some(lane)) => (lane, LANE, Pushed::LaneFull),
            Outgoing::Frame(_, None) | Outgoing::Close(_) => {
                (&self.waiting, self.most, Pushed::Full)
            }
        };
        if counter.load(Ordering::Relaxed).saturating_add(length) > most {
            return refused;
        }
        counter.fetch_add(length, Ordering::Relaxed);
        match self.queue.try_send(outgoing) {
            Err(TrySendError::Full(_)) => Pushed::Full,
            Ok(()) | Err(TrySendError::Closed(_)) => Pushed::Queued,
        }
    }
}

impl Inlet {
    /// The next thing to send; `None` when the hub has dropped the connection.
    pub(crate) async fn next(&mut self) -> Option<Outgoing> {
        let outgoing = self.queue.recv().await?;
        let counter = match &outgoing {
            Outgoing::Frame(_, Some(lane)) => lane,
            Outgoing::Frame(_, None) | Outgoing::Close(_) => &self.waiting,
        };
        counter.fetch_sub(outgoing.length(), Ordering::Relaxed);
        Some(outgoing)
    }
}

impl Outgoing {
    fn length(&self) -> usize {
        match self {
            Outgoing::Frame(frame, _) => frame.len().saturating_add(OVERHEAD),
            Outgoing::Close(_) => 0,
        }
    }
}
