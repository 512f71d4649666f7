//! What the peer's program wrote, on its way to the local one: carriers → ledger → socket.

use std::{collections::VecDeque, sync::Arc, task::Poll};

use bytes::Bytes;
use p2pdbg_ledger::{CarrierHeader, CarrierId, Opened, Receiver, Violation};
use quinn::RecvStream;

use super::{
    local::LocalWriter,
    redial::Redial,
    tap::{Tap, Traffic},
};

/// With this code a carrier is stopped that brings nothing that is wanted.
pub(crate) const UNWANTED: quinn::VarInt = quinn::VarInt::from_u32(1);

/// The most that is taken from a carrier at once, in chunks: QUIC gives out one for each packet. The local program gets
/// them by one call to the operating system, which costs more than anything else that happens to a packet here.
const CHUNKS: usize = 64;

/// One direction of a stream at the end where its bytes go to.
pub(super) struct Downlink {
    pub(super) receiver: Receiver,
    carriers: Vec<IncomingCarrier>,
    next_carrier: u64,
    /// What the ledger has given out and the local program has not taken.
    unwritten: VecDeque<Bytes>,
    /// How much of that, from the front, an earlier connection took already, in bytes.
    repeated: usize,
    /// How to dial the local program again, until it has answered.
    pub(super) redial: Option<Redial>,
    traffic: Arc<Traffic>,
    tap: Tap,
}

struct IncomingCarrier {
    id: CarrierId,
    epoch: u64,
    stream: RecvStream,
}

/// What a step of the downlink found out.
#[derive(Debug)]
pub(super) enum DownlinkEvent {
    Progress,
    /// The local program takes no more.
    Broken,
    /// The peer broke the rules.
    Violation(Violation),
}

impl Downlink {
    pub(super) fn new(receiver: Receiver, traffic: Arc<Traffic>, tap: Tap) -> Self {
        Self {
            receiver,
            carriers: Vec::new(),
            next_carrier: 0,
            unwritten: VecDeque::new(),
            repeated: 0,
            redial: None,
            traffic,
            tap,
        }
    }

    /// Takes a carrier that the peer opened on the tunnel of this epoch.
    pub(super) fn open(
        &mut self,
        epoch: u64,
        header: &CarrierHeader,
        mut stream: RecvStream,
    ) -> Result<(), Violation> {
        let id = CarrierId(self.next_carrier);
        self.next_carrier += 1;
        match self.receiver.open(id, header)? {
            Opened::Accepted { displaced } => {
                self.carriers.push(IncomingCarrier { id, epoch, stream });
                self.forget(|carrier| displaced.contains(&carrier.id));
            }
            Opened::Refused => drop(stream.stop(UNWANTED)),
        }
        Ok(())
    }

    /// Takes a copy of bytes that a carrier brings too.
    pub(super) fn on_copy(&mut self, offset: u64, data: Bytes) -> Result<(), Violation> {
        // What the local program does not take waits in QUIC, which holds the peer up; datagrams it does not hold up.
        if self.unwritten.len() >= CHUNKS {
            return Ok(());
        }
        let news = self.receiver.handle_copy(offset, data)?;
        self.unwritten.extend(news.filter(|n| !n.is_empty()));
        Ok(())
    }

    /// Waits for the next thing that moves, and moves it. Cancelling it loses nothing.
    ///
    /// Without a writer nothing is connected yet, and everything waits.
    pub(super) async fn step(&mut self, writer: Option<&mut LocalWriter>) -> DownlinkEvent {
        let Some(writer) = writer else {
            return std::future::pending().await;
        };
        if !self.unwritten.is_empty() {
            let (tap, redial) = (&mut self.tap, &mut self.redial);
            let taken = |chunk: Bytes| {
                tap.show(&chunk);
                // More than is kept cannot be repeated, so a connection that ends has ended.
                redial.take_if(|redial| !redial.keep(chunk));
            };
            return match writer.write(&mut self.unwritten, taken).await {
                Ok(written) => {
                    let again = written.min(self.repeated);
                    self.repeated -= again;
                    self.traffic.on_received(written - again);
                    self.receiver.consumed(written - again);
                    DownlinkEvent::Progress
                }
                Err(error) => {
                    tracing::debug!(%error, "the local connection takes no more");
                    DownlinkEvent::Broken
                }
            };
        }
        let mut chunks = [const { Bytes::new() }; CHUNKS];
        let (carrier, read) = self.read(&mut chunks).await;
        match read {
            Ok(Some(count)) => {
                for chunk in chunks.into_iter().take(count) {
                    match self.receiver.handle_data(carrier, chunk) {
                        Ok(news) => self.unwritten.extend(news.filter(|n| !n.is_empty())),
                        Err(violation) => return DownlinkEvent::Violation(violation),
                    }
                }
            }
            // Finished, reset, or lost with its tunnel: the sender knows what it must repeat.
            Ok(None) | Err(_) => self.forget(|known| known.id == carrier),
        }
        DownlinkEvent::Progress
    }

    /// Reads from the first carrier that may be read and has something.
    async fn read(
        &mut self,
        chunks: &mut [Bytes],
    ) -> (CarrierId, Result<Option<usize>, quinn::ReadError>) {
        let (receiver, carriers) = (&self.receiver, &mut self.carriers);
        std::future::poll_fn(|cx| {
            for carrier in carriers.iter_mut().rev() {
                if !receiver.is_readable(carrier.id) {
                    continue;
                }
                let read = std::pin::pin!(carrier.stream.read_chunks(chunks));
                if let Poll::Ready(read) = read.poll(cx) {
                    return Poll::Ready((carrier.id, read));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Whether the local program has taken all that was given out, again after it was dialled again.
    pub(super) fn is_written(&self) -> bool {
        self.unwritten.is_empty()
    }

    /// Gives out again what an earlier connection to the local program took.
    pub(super) fn repeat(&mut self, mut written: VecDeque<Bytes>) {
        self.repeated += written.iter().map(Bytes::len).sum::<usize>();
        written.append(&mut self.unwritten);
        self.unwritten = written;
    }

    /// Reports a tunnel as lost.
    pub(super) fn on_tunnel_lost(&mut self, epoch: u64) {
        self.forget(|carrier| carrier.epoch == epoch);
    }

    /// Stops every carrier: nothing more is wanted.
    pub(super) fn stop(&mut self) {
        self.forget(|_| true);
        self.unwritten.clear();
    }

    fn forget(&mut self, unwanted: impl Fn(&IncomingCarrier) -> bool) {
        for carrier in self.carriers.iter_mut().filter(|c| unwanted(c)) {
            // Of no effect on one that has ended.
            let _ = carrier.stream.stop(UNWANTED);
            self.receiver.carrier_ended(carrier.id);
        }
        self.carriers.retain(|carrier| !unwanted(carrier));
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_ledger::{Side, StreamId};

    use super::*;

    #[test]
    fn copies_for_a_program_that_does_not_read_are_kept_up_to_a_bound() {
        const LENGTH: usize = 10;
        let receiver = Receiver::new(StreamId::new(Side::Listener, 0), 0);
        let mut downlink = Downlink::new(receiver, Arc::default(), Tap::default());
        let copy = |downlink: &mut Downlink, number: usize| {
            let offset = (number * LENGTH) as u64;
            let data = Bytes::from_static(&[7; LENGTH]);
            downlink.on_copy(offset, data).unwrap();
        };
        (0..3 * CHUNKS).for_each(|number| copy(&mut downlink, number));
        assert_eq!(downlink.unwritten.len(), CHUNKS);
        // What was not kept was not counted as received either: the carrier brings it.
        let received = |downlink: &Downlink| downlink.receiver.received();
        assert_eq!(received(&downlink), (CHUNKS * LENGTH) as u64);
        downlink.unwritten.clear();
        copy(&mut downlink, CHUNKS);
        assert_eq!(received(&downlink), ((CHUNKS + 1) * LENGTH) as u64);
    }
}
