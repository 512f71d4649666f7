//! One of those that read the ports: sorts what its sockets receive, and passes on what is a leg's by itself.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use p2pdbg_proto::address::canonical;
use quinn::udp::{RecvMeta, Transmit};
use tokio_util::sync::CancellationToken;

use crate::{
    datapath::{
        core::Core,
        gather::Gather,
        own_ids::OwnIds,
        quic_socket::{Datagram, LONGEST_DATAGRAM},
        socket::{ReceiveBuffers, answerable},
        worker_sockets::Ports,
    },
    relay::{
        Source, UdpRoute,
        routes::{Found, Routes},
    },
    stun::{LONGEST_ANSWER, StunServer, topology::Vantages},
};

/// How long a port whose reading fails is left alone, so that a broken network does not burn the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// What the workers share; each has its own ports.
pub(crate) struct Shared {
    pub(crate) routes: Routes,
    pub(crate) core: Mutex<Core>,
    /// Its budgets are those of the whole host.
    pub(crate) stun: Mutex<StunServer>,
    pub(crate) vantages: Arc<Vantages>,
    /// By which quinn's datagrams are told.
    pub(crate) own_ids: OwnIds,
}

impl Shared {
    /// Does something with the core, and publishes what has changed by it.
    pub(crate) fn with_core<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.lock();
        let done = act(&mut core);
        core.publish(&self.routes);
        done
    }

    /// The core, for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Worker {
    pub(crate) ports: Ports,
    pub(crate) shared: Arc<Shared>,
}

impl Worker {
    /// Receives and relays until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut buffers = ReceiveBuffers::new();
        let mut first = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                (port, received) = receive(&self.ports, first, &mut buffers) => {
                    // The next search begins behind this one, so that a busy port does not hide the rest.
                    first = port + 1;
                    match received {
                        Ok(count) => self.serve(port, count, &buffers),
                        // Windows reports that an earlier datagram of ours was not wanted; that is no news of this one.
                        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                        Err(error) => {
                            tracing::warn!(%error, "cannot receive");
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                }
            }
        }
    }

    /// Takes what a port has received.
    fn serve(&self, index: usize, count: usize, buffers: &ReceiveBuffers) {
        let now = Instant::now();
        let mut gather = Gather::default();
        for (meta, bytes) in buffers.metas.iter().zip(&buffers.bytes).take(count) {
            let batch = &bytes[..meta.len.min(bytes.len())];
            if answerable(meta.dst_ip) {
                self.on_batch(now, index, meta, batch, &mut gather);
            } else {
                self.ports.tallies.dropped.add(1);
            }
        }
        gather.flush(&self.ports);
    }

    /// Takes datagrams of one sender, each `meta.stride` long but for the last.
    fn on_batch<'b>(
        &self,
        now: Instant,
        index: usize,
        meta: &RecvMeta,
        batch: &'b [u8],
        gather: &mut Gather<'b>,
    ) {
        let stride = meta.stride.max(1);
        let mut rest = batch;
        while let Some(&first) = rest.first() {
            let length = if is_quic(first) {
                // As many as follow each other.
                let count = rest
                    .chunks(stride)
                    .take_while(|datagram| is_quic(datagram[0]))
                    .count();
                (count * stride).min(rest.len())
            } else {
                stride.min(rest.len())
            };
            let (datagrams, behind) = rest.split_at(length);
            rest = behind;
            match first {
                0..=3 => self.on_stun(now, index, meta, datagrams),
                4..=15 => self.on_relay_frame(now, index, meta, datagrams),
                64.. => self.on_quic(now, index, meta, datagrams, gather),
                16..=63 => self.ports.tallies.dropped.add(1),
            }
        }
    }

    fn on_stun(&self, now: Instant, index: usize, meta: &RecvMeta, request: &[u8]) {
        let mut buffer = [0; LONGEST_ANSWER];
        let source = canonical(meta.addr);
        let vantage = self.shared.vantages.at(index, meta.dst_ip, source);
        let answer = {
            let stun = self.shared.stun.lock();
            let mut stun = stun.unwrap_or_else(PoisonError::into_inner);
            stun.answer(now, request, source, &vantage, &mut buffer)
        };
        let Some(answer) = answer else {
            self.ports.tallies.dropped.add(1);
            return;
        };
        let mut destination = meta.addr;
        destination.set_port(answer.to_port.unwrap_or(meta.addr.port()));
        let transmit = Transmit {
            destination,
            ecn: None,
            contents: answer.bytes,
            segment_size: None,
            src_ip: answer.from.from,
        };
        let _ = self.ports.all[answer.from.socket]
            .udp
            .send_or_drop(&transmit);
        self.ports.tallies.stun_answered.add(1);
        if self.ports.all[index].quic.is_none() {
            self.ports.tallies.stun_alternative.add(1);
        }
    }

    fn on_relay_frame(&self, now: Instant, index: usize, meta: &RecvMeta, frame: &[u8]) {
        if self.ports.all[index].quic.is_none() {
            self.ports.tallies.dropped.add(1);
            return;
        }
        let route = UdpRoute {
            source: source(index, meta.addr),
            local: meta.dst_ip,
        };
        self.shared.with_core(|core| {
            core.catch_up(&self.ports);
            core.on_frame(&self.ports, now, route, meta, frame);
        });
    }

    fn on_quic<'b>(
        &self,
        now: Instant,
        index: usize,
        meta: &RecvMeta,
        datagrams: &'b [u8],
        gather: &mut Gather<'b>,
    ) {
        let stride = meta.stride.max(1);
        let Some(quic) = &self.ports.all[index].quic else {
            let count = datagrams.len().div_ceil(stride) as u64;
            self.ports.tallies.dropped.add(count);
            return;
        };
        let source = source(index, meta.addr);
        match self.shared.routes.find(now, &source, datagrams.len()) {
            Some(Found::To(route)) => {
                return gather.add(&self.ports, route, datagrams, stride, meta.ecn);
            }
            Some(Found::TooMuch) => {
                let count = datagrams.len().div_ceil(stride) as u64;
                return self.ports.tallies.policed.add(count);
            }
            None => {}
        }
        // What this source has sent before, when its way was still known, is not to be overtaken.
        gather.flush(&self.ports);
        // A leg may have begun with a forged source: it takes nothing from the connection of whoever is really there.
        let own_ids = self.shared.own_ids;
        let is_quinns = datagrams.chunks(stride).any(|one| own_ids.has(one));
        let is_leg = !is_quinns
            && self.shared.with_core(|core| {
                core.catch_up(&self.ports);
                core.on_datagrams(&self.ports, now, &source, meta, datagrams)
            });
        if is_leg {
            return;
        }
        for datagram in datagrams.chunks(stride) {
            if datagram.len() > LONGEST_DATAGRAM {
                self.ports.tallies.dropped.add(1);
                continue;
            }
            let datagram = Datagram {
                bytes: Bytes::copy_from_slice(datagram),
                meta: *meta,
            };
            if quic.try_send(datagram).is_err() {
                self.ports.tallies.dropped.add(1);
            }
        }
    }
}

fn is_quic(first: u8) -> bool {
    first >= 64
}

fn source(socket: usize, remote: SocketAddr) -> Source {
    Source { socket, remote }
}

/// What the first port, counted from `first` and round, has received that has something.
async fn receive(
    ports: &Ports,
    first: usize,
    buffers: &mut ReceiveBuffers,
) -> (usize, io::Result<usize>) {
    let ports = &ports.all;
    poll_fn(|cx| {
        for offset in 0..ports.len() {
            let index = (first + offset) % ports.len();
            if ports[index].read
                && let Poll::Ready(received) = ports[index].udp.poll_receive(cx, buffers)
            {
                return Poll::Ready((index, received));
            }
        }
        Poll::Pending
    })
    .await
}
