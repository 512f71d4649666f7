//! What the local program writes, on its way to the peer: socket → ledger → carrier.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use bytes::{Buf, Bytes};
use p2pdbg_ledger::{CarrierId, Retire, Sender};
use p2pdbg_tunnel::Tunnel;
use quinn::{SendStream, VarInt};
use tokio::io;

use super::{
    local::LocalReader,
    tap::{Tap, Traffic},
};

/// Chunks that are offered to QUIC in one go.
const CHUNKS: usize = 16;

/// With this code a carrier is reset whose bytes go another way.
const REROUTED: VarInt = VarInt::from_u32(1);

type Opening = Pin<Box<dyn Future<Output = Result<SendStream, quinn::ConnectionError>> + Send>>;

/// One direction of a stream at the end where its bytes come from.
pub(super) struct Uplink {
    pub(super) sender: Sender,
    carriers: Vec<OutgoingCarrier>,
    opening: Option<(u64, Opening)>,
    /// What of the current carrier's header QUIC has not taken.
    header: Bytes,
    next_carrier: u64,
    /// The epoch of a tunnel that opens no more carriers.
    ended: Option<u64>,
    traffic: Arc<Traffic>,
    tap: Tap,
}

struct OutgoingCarrier {
    id: CarrierId,
    epoch: u64,
    stream: SendStream,
}

/// What a step of the uplink found out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UplinkEvent {
    Progress,
    /// The local program wrote this, at that offset.
    Read(u64, Bytes),
    /// The local program writes no more; what that means is for the stream to judge.
    Ended,
    /// The local connection is broken.
    Broken,
}

impl Uplink {
    pub(super) fn new(sender: Sender, traffic: Arc<Traffic>, tap: Tap) -> Self {
        Self {
            sender,
            carriers: Vec::new(),
            opening: None,
            header: Bytes::new(),
            next_carrier: 0,
            ended: None,
            traffic,
            tap,
        }
    }

    /// Begins a carrier on the best tunnel if the ledger wants one, or if the current one is on another tunnel.
    pub(super) fn route(&mut self, best: Option<&Tunnel>) {
        // One that has ended stays the best until the session hears of it: trying again until then would keep this
        // task, and whatever waits for its thread, busy.
        let Some(tunnel) = best.filter(|tunnel| self.ended != Some(tunnel.epoch)) else {
            return;
        };
        let current = self.sender.current();
        let current = self.carriers.iter().find(|c| Some(c.id) == current);
        let settled = current.is_some_and(|carrier| carrier.epoch == tunnel.epoch);
        let coming = matches!(self.opening, Some((epoch, _)) if epoch == tunnel.epoch);
        if settled || !self.sender.has_use_for_carrier() {
            self.opening = None;
        } else if !coming {
            let connection = tunnel.connection.clone();
            let opening = Box::pin(async move { connection.open_uni().await });
            self.opening = Some((tunnel.epoch, opening));
        }
    }

    /// Waits for the next thing that moves, and moves it. Cancelling it loses nothing.
    ///
    /// Without a reader (nothing is connected yet, or this direction has ended) it only writes.
    pub(super) async fn step(&mut self, reader: Option<&mut LocalReader>) -> UplinkEvent {
        self.retire();
        let capacity = match reader {
            Some(_) => self.sender.capacity(),
            None => 0,
        };
        let mut slots: [Bytes; CHUNKS] = Default::default();
        let mut filled = 0;
        if !self.header.is_empty() {
            slots[0] = self.header.clone();
            filled = 1;
        }
        let header = self.header.len();
        if let Some((_, chunks)) = self.sender.poll_transmit_many(&mut slots[filled..]) {
            filled += chunks;
        }
        let current = self.sender.current();
        let carrier = self.carriers.iter_mut().find(|c| Some(c.id) == current);
        let write = async {
            match carrier {
                Some(carrier) if filled > 0 => {
                    carrier.stream.write_chunks(&mut slots[..filled]).await
                }
                _ => std::future::pending().await,
            }
        };
        let open = async {
            match &mut self.opening {
                Some((_, opening)) => opening.await,
                None => std::future::pending().await,
            }
        };
        let read = async {
            match reader {
                Some(reader) if capacity > 0 => reader.read(capacity).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            written = write => {
                match (written, current) {
                    (Ok(written), Some(current)) => {
                        let of_header = written.bytes.min(header);
                        self.header.advance(of_header);
                        self.sender.transmitted(current, written.bytes - of_header);
                    }
                    (Err(_), Some(current)) => self.on_carrier_lost(current),
                    (_, None) => {}
                }
                UplinkEvent::Progress
            }
            opened = open => {
                self.on_opened(opened);
                UplinkEvent::Progress
            }
            read = read => self.on_read(read),
        }
    }

    fn on_opened(&mut self, opened: Result<SendStream, quinn::ConnectionError>) {
        let Some((epoch, _)) = self.opening.take() else {
            return;
        };
        // A connection that ended is reported by its tunnel; routing begins anew then.
        let Ok(stream) = opened else {
            self.ended = Some(epoch);
            return;
        };
        let id = CarrierId(self.next_carrier);
        self.next_carrier += 1;
        let unsent = std::mem::take(&mut self.header);
        if let (false, Some(current)) = (unsent.is_empty(), self.sender.current()) {
            // A carrier whose header never left is no carrier.
            self.on_carrier_lost(current);
        }
        let header = self.sender.attach(id).encode();
        self.header = Bytes::copy_from_slice(&header);
        self.carriers.push(OutgoingCarrier { id, epoch, stream });
    }

    fn on_read(&mut self, read: io::Result<Option<Bytes>>) -> UplinkEvent {
        match read {
            Ok(Some(chunk)) => {
                self.traffic.on_sent(chunk.len());
                self.tap.show(&chunk);
                let (offset, read) = (self.sender.pushed(), chunk.clone());
                if let Err(error) = self.sender.push(chunk) {
                    // Cannot happen: no more was read than the ledger allowed.
                    tracing::error!(%error, "the ledger refused what it had allowed");
                    return UplinkEvent::Broken;
                }
                UplinkEvent::Read(offset, read)
            }
            Ok(None) => UplinkEvent::Ended,
            Err(error) => {
                tracing::debug!(%error, "the local connection broke");
                UplinkEvent::Broken
            }
        }
    }

    /// Reports a tunnel as lost: what it carried goes again on another.
    pub(super) fn on_tunnel_lost(&mut self, epoch: u64) {
        if matches!(self.opening, Some((opening, _)) if opening == epoch) {
            self.opening = None;
        }
        let current = self.sender.current();
        let on_it = |c: &&OutgoingCarrier| c.epoch == epoch;
        let lost: Vec<CarrierId> = self.carriers.iter().filter(on_it).map(|c| c.id).collect();
        if current.is_some_and(|current| lost.contains(&current)) {
            self.header = Bytes::new();
        }
        self.sender.carriers_lost(|carrier| lost.contains(&carrier));
        self.carriers.retain(|carrier| carrier.epoch != epoch);
    }

    /// Counts no longer on a tunnel that does not answer, though it may yet: what it carried goes again on another.
    pub(super) fn on_tunnel_silent(&mut self, epoch: u64) {
        for carrier in self.carriers.iter_mut().filter(|c| c.epoch == epoch) {
            drop(carrier.stream.reset(REROUTED));
        }
        self.on_tunnel_lost(epoch);
    }

    fn on_carrier_lost(&mut self, carrier: CarrierId) {
        if self.sender.current() == Some(carrier) {
            self.header = Bytes::new();
        }
        self.sender.carrier_lost(carrier);
        self.carriers.retain(|known| known.id != carrier);
    }

    /// Ends the carriers that the ledger feeds no longer.
    pub(super) fn retire(&mut self) {
        let mut retired = VecDeque::new();
        while let Some(retire) = self.sender.poll_retire() {
            retired.push_back(retire);
        }
        for retire in retired {
            let (Retire::Finish(id) | Retire::Reset(id)) = retire;
            let Some(carrier) = self.carriers.iter_mut().find(|c| c.id == id) else {
                continue;
            };
            match retire {
                Retire::Finish(_) => drop(carrier.stream.finish()),
                Retire::Reset(_) => {
                    drop(carrier.stream.reset(REROUTED));
                    self.carriers.retain(|known| known.id != id);
                }
            }
        }
        let (sender, current) = (&self.sender, self.sender.current());
        self.carriers
            .retain(|c| Some(c.id) == current || sender.depends_on(c.id));
    }
}
