//! What goes into a stream's task, and what comes out of it.

use bytes::Bytes;
use p2pdbg_events::StreamState;
use p2pdbg_forward::Connection;
use p2pdbg_ledger::{CarrierHeader, Frame, ResetCode, Violation};
use p2pdbg_tunnel::Tunnel;
use quinn::RecvStream;
use tokio::sync::watch;

use super::redial::{Dial, Dialing};

/// How much may wait for a stream's task.
pub(crate) const INBOX: usize = 64;

/// The tunnel that streams should use, or none while the peer is out of reach.
pub(crate) type BestTunnel = watch::Receiver<Option<Tunnel>>;

/// What the session tells a stream.
#[derive(Debug)]
pub(crate) enum StreamInput {
    /// The peer opened a carrier for it.
    Carrier {
        /// The epoch of the tunnel that it is on.
        epoch: u64,
        /// What the carrier began with: which stream, and at which offset.
        header: CarrierHeader,
        /// The rest of the carrier, to be read to its end.
        stream: RecvStream,
    },
    /// The peer sent a frame about it.
    Frame {
        /// As the ledger is to take it.
        frame: Frame,
        /// The tunnel by which an end came: its confirmation goes back the same way, because the two sides may differ
        /// about which tunnel is best.
        via: Option<Tunnel>,
    },
    /// The peer sent a few bytes once more than on the carrier.
    Copy {
        /// Where they are in the stream.
        offset: u64,
        /// Any of them may have come on the carrier already.
        data: Bytes,
    },
    /// A tunnel is gone, and with it everything on it.
    TunnelLost {
        /// The epoch of the lost one.
        epoch: u64,
    },
    /// A tunnel does not answer, and another one does.
    TunnelSilent {
        /// The epoch of the silent one.
        epoch: u64,
    },
    /// The other end holds it, since nothing listens there, or does so no longer.
    Held(bool),
    /// End it now; the peer is told, if it can be.
    Abort(ResetCode),
}

/// What a stream tells the session.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    /// Its state has changed to this one.
    State(StreamState),
    /// The peer has everything that the local program wrote, and its end.
    Delivered,
    /// The peer broke the rules of the ledger.
    Violation(Violation),
    /// The task has ended; the id is free of it.
    Ended,
}

/// Where a stream's local connection comes from.
pub(crate) enum Local {
    /// It was accepted here, on the port of a forward.
    Accepted(Connection),
    /// It is being dialled; the future gives up by itself or goes on for ever.
    Dialing(Dialing),
    /// It is the debuggee's, whose debugger answers whoever speaks to it; dialled again if it closes without a word.
    Debuggee(Dial),
}
