//! What the tasks of legs over TCP tell the datapath, which owns the relay's table.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use p2pdbg_proto::{relay::RelayFrame, relay_stream::Join};
use tokio::{
    runtime::Handle,
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
};

use super::{
    io::TcpLegId,
    outbox::{Backlog, Batch, Outbox, outbox},
};

/// What the tasks of these connections tell the datapath.
#[derive(Debug)]
pub(crate) enum TcpLegInput {
    /// A member asks for its leg.
    Join {
        stream: TcpLegId,
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
    Datagrams(TcpLegId, Batch),
    /// A connection has ended, whether it had joined a leg or not.
    Ended(TcpLegId),
}

/// The way to the datapath, for all connections.
#[derive(Clone, Debug)]
pub(crate) struct Legs {
    pub(crate) datapath: mpsc::Sender<TcpLegInput>,
    pub(crate) next: Arc<AtomicU64>,
}

impl Legs {
    /// The way in, given its end.
    pub(crate) fn new(datapath: mpsc::Sender<TcpLegInput>) -> Self {
        Self {
            datapath,
            next: Arc::default(),
        }
    }

    /// A stream of its own for a connection, which the datapath is told the end of.
    pub(crate) fn open(&self) -> OpenStream<'_> {
        OpenStream {
            id: TcpLegId(self.next.fetch_add(1, Ordering::Relaxed)),
            legs: self,
            asked: false,
        }
    }
}

/// The stream of a connection, by which it asks for a leg. However the connection's task ends, once it has asked the
/// datapath is told that the stream has ended, behind all that it was told before: a task may be dropped while it waits
/// for the answer, and the leg would be kept for it until its session closes.
#[derive(Debug)]
pub(crate) struct OpenStream<'a> {
    pub(crate) id: TcpLegId,
    legs: &'a Legs,
    asked: bool,
}

impl OpenStream<'_> {
    /// Asks the datapath to bind a leg to the stream; gives its answer, and what waits for the member from then on.
    /// `None` if the datapath has ended.
    pub(crate) async fn ask(
        &mut self,
        ip: IpAddr,
        join: Join,
        exported: [u8; 32],
        most_waiting: usize,
    ) -> Option<(RelayFrame, Backlog)> {
        let (outbox, backlog) = outbox(most_waiting);
        let (reply, answer) = oneshot::channel();
        let ask = TcpLegInput::Join {
            stream: self.id,
            ip,
            join,
            exported,
            outbox,
            reply,
        };
        self.asked = true;
        self.legs.datapath.send(ask).await.ok()?;
        Some((answer.await.ok()?, backlog))
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        if !self.asked {
            return;
        }
        let ended = TcpLegInput::Ended(self.id);
        if let Err(TrySendError::Full(ended)) = self.legs.datapath.try_send(ended) {
            // The datapath is busy, and takes it in a moment. Where the runtime ends, so does the datapath.
            if let Ok(runtime) = Handle::try_current() {
                let datapath = self.legs.datapath.clone();
                runtime.spawn(async move { datapath.send(ended).await });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_proto::relay::LegId;

    use super::*;

    fn legs(queue: usize) -> (Legs, mpsc::Receiver<TcpLegInput>) {
        let (datapath, inputs) = mpsc::channel(queue);
        (Legs::new(datapath), inputs)
    }

    fn ask(legs: &Legs) -> tokio::task::JoinHandle<()> {
        let legs = legs.clone();
        tokio::spawn(async move {
            let mut stream = legs.open();
            let join = Join {
                leg: LegId([1; 16]),
                attempt: 1,
                mac: [0; 32],
            };
            let ip = IpAddr::from([192, 0, 2, 1]);
            stream.ask(ip, join, [0; 32], 1_000).await;
        })
    }

    #[tokio::test]
    async fn connection_that_goes_while_it_is_answered_is_told_as_ended_however_busy_the_datapath_is()
     {
        for queue in [1, 8] {
            let (legs, mut inputs) = legs(queue);
            let asking = ask(&legs);
            let Some(TcpLegInput::Join { stream, reply, .. }) = inputs.recv().await else {
                panic!("no JOIN");
            };
            for _ in 0..queue {
                let other = TcpLegInput::Ended(TcpLegId(99));
                legs.datapath.try_send(other).unwrap();
            }
            asking.abort();
            assert!(asking.await.unwrap_err().is_cancelled());
            let leg = LegId([1; 16]);
            let lifetime_s = 30;
            assert!(reply.send(RelayFrame::Bound { leg, lifetime_s }).is_err());
            drop(legs);
            for _ in 0..queue {
                inputs.recv().await.unwrap();
            }
            let next = inputs.recv().await;
            assert!(matches!(next, Some(TcpLegInput::Ended(ended)) if ended == stream));
        }
    }

    #[tokio::test]
    async fn connection_that_never_asked_tells_nothing() {
        let (legs, mut inputs) = legs(1);
        drop(legs.open());
        drop(legs);
        assert!(inputs.recv().await.is_none());
    }
}
