//! The queue of what goes out on a connection: bounded by its bytes, with room of its own for each session.

use std::sync::Arc;

use p2pdbg_base::Room;
use tokio::sync::{
    SetOnce,
    mpsc::{self, error::TrySendError},
};

use crate::key_rooms::{Account, Taken};

/// Frames that wait to be sent on one connection. Their bytes are what bounds them, with [`OVERHEAD`] for each.
const QUEUE: usize = 16 * 1_024;

/// What a frame costs in a queue beyond its bytes.
const OVERHEAD: usize = 128;

/// What may wait for one member of what the other says or causes in one session, in bytes: two of the longest signals,
/// or some forty of the usual ones, or 250 places where it was seen.
const LANE: usize = 40 * 1_024;

/// What of that may wait whatever else waits on the account of the same key: a message of an exchange, and where the
/// other member is.
const FREE: usize = 4 * 1_024;

/// What goes out on a connection.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A whole frame, and what counts those of its session.
    Frame(Vec<u8>, Option<Lane>),
    /// The frame by which the peer hears that it is let in.
    Welcome(Vec<u8>),
    /// Nothing more: close with this code.
    Close(u32),
}

/// Counts the bytes of one session that wait for one of its members.
#[derive(Clone, Debug)]
pub(crate) struct Lane(Account);

impl Lane {
    /// On the account of the key of who talks, which has this room.
    pub(crate) fn new(of_key: Arc<Room>) -> Self {
        Self(Account::new(Arc::new(Room::new(LANE)), of_key, FREE))
    }
}

/// What waits, and the room that it takes for so long.
type Waiting = (Outgoing, Taken);

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    /// It waits to be sent.
    Queued,
    /// Too much waits in its session, or on the account of its key.
    LaneFull,
    /// The peer does not keep up.
    Full,
}

/// The hub's end of a connection's queue.
#[derive(Debug)]
pub(crate) struct Outlet {
    queue: mpsc::Sender<Waiting>,
    room: Arc<Room>,
    closing: Arc<SetOnce<u32>>,
}

/// The connection's end of its queue.
#[derive(Debug)]
pub(crate) struct Inlet {
    queue: mpsc::Receiver<Waiting>,
    closing: Arc<SetOnce<u32>>,
}

/// A connection's queue of at most `most` bytes.
pub(crate) fn outgoing_queue(most: usize) -> (Outlet, Inlet) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let closing = Arc::new(SetOnce::new());
    let outlet = Outlet {
        queue: sender,
        room: Arc::new(Room::new(most)),
        closing: closing.clone(),
    };
    let inlet = Inlet {
        queue: receiver,
        closing,
    };
    (outlet, inlet)
}

impl Outlet {
    /// Whether there was room. What is said in a session has room of its own there, so that whoever talks in one takes
    /// none from another, nor from what the rendezvous itself has to say.
    ///
    /// A connection that has ended has room for anything: what its peer said before must be heard first, and then
    /// [`HubEvent::Lost`](crate::hub_event::HubEvent::Lost) tells of the end.
    pub(crate) fn push(&self, outgoing: Outgoing) -> Pushed {
        if self.queue.is_closed() {
            return Pushed::Queued;
        }
        if let Outgoing::Close(code) = outgoing {
            // The first one counts.
            let _ = self.closing.set(code);
        }
        let length = outgoing.length();
        let (taken, refused) = match outgoing.lane() {
            Some(Lane(account)) => (account.take(length), Pushed::LaneFull),
            None => (Taken::of(&self.room, length), Pushed::Full),
        };
        let Some(taken) = taken else {
            return refused;
        };
        match self.queue.try_send((outgoing, taken)) {
            Err(TrySendError::Full(_)) => Pushed::Full,
            Ok(()) | Err(TrySendError::Closed(_)) => Pushed::Queued,
        }
    }
}

impl Inlet {
    /// The next thing to send; `None` when the hub has dropped the connection.
    pub(crate) async fn next(&mut self) -> Option<Outgoing> {
        let (outgoing, _) = self.queue.recv().await?;
        Some(outgoing)
    }

    /// Resolves with the code when the hub has said that nothing more follows, however much waits before that.
    pub(crate) fn closing(&self) -> impl Future<Output = u32> + use<> {
        let closing = self.closing.clone();
        async move { *closing.wait().await }
    }

    /// The next thing to send, if it waits already.
    pub(crate) fn try_next(&mut self) -> Option<Outgoing> {
        let (outgoing, _) = self.queue.try_recv().ok()?;
        Some(outgoing)
    }
}

impl Outgoing {
    fn lane(&self) -> Option<&Lane> {
        match self {
            Outgoing::Frame(_, lane) => lane.as_ref(),
            Outgoing::Welcome(_) | Outgoing::Close(_) => None,
        }
    }

    fn length(&self) -> usize {
        match self {
            Outgoing::Frame(frame, _) | Outgoing::Welcome(frame) => {
                frame.len().saturating_add(OVERHEAD)
            }
            Outgoing::Close(_) => 0,
        }
    }
}
