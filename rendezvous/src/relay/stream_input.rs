//! What the tasks of legs over TCP tell the datapath, which owns the relay's table.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicU64},
};

use p2pdbg_proto::{relay::RelayFrame, relay_stream::Join};
use tokio::sync::{mpsc, oneshot};

use super::{
    io::StreamId,
    outbox::{Backlog, Batch, Outbox, outbox},
};

/// What the tasks of these connections tell the datapath.
#[derive(Debug)]
pub(crate) enum StreamInput {
    /// A member asks for its leg.
    Join {
        stream: StreamId,
        /// The address that the connection comes from, as far as it is known.
        ip: IpAddr,
        join: Join,
        /// Keying material of the TLS connection, over which JOIN proves the leg's key.
        exported: [u8; 32],
        /// Takes what it is to be sent.
        outbox: Outbox,
        reply: oneshot::Sender<RelayFrame>,
    },
    /// Datagrams of a member whose leg is joined.
    Datagrams(StreamId, Batch),
    /// A connection has ended, whether it had joined a leg or not.
    Ended(StreamId),
}

/// The way to the datapath, for all connections.
#[derive(Clone, Debug)]
pub(crate) struct Legs {
    pub(crate) datapath: mpsc::Sender<StreamInput>,
    pub(crate) next: Arc<AtomicU64>,
}

impl Legs {
    /// The way in, given its end.
    pub(crate) fn new(datapath: mpsc::Sender<StreamInput>) -> Self {
        Self {
            datapath,
            next: Arc::default(),
        }
    }

    /// Asks the datapath to bind a leg to the stream; gives its answer, and what waits for the member from then on.
    /// `None` if the datapath has ended.
    pub(crate) async fn ask(
        &self,
        stream: StreamId,
        ip: IpAddr,
        join: Join,
        exported: [u8; 32],
        most_waiting: usize,
    ) -> Option<(RelayFrame, Backlog)> {
        let (outbox, backlog) = outbox(most_waiting);
        let (reply, answer) = oneshot::channel();
        let ask = StreamInput::Join {
            stream,
            ip,
            join,
            exported,
            outbox,
            reply,
        };
        self.datapath.send(ask).await.ok()?;
        Some((answer.await.ok()?, backlog))
    }

    /// Tells the datapath that the connection of the stream has ended.
    pub(crate) async fn end(&self, stream: StreamId) {
        let _ = self.datapath.send(StreamInput::Ended(stream)).await;
    }
}
