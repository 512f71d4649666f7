//! The hot path: reads every UDP port and sends each datagram on its way by its first byte.
//!
//! | first byte | meaning | on a main port | on an alternative port |
//! |---|---|---|---|
//! | 0–3 | STUN | answered here | answered here |
//! | 4–15 | relay frames | answered here | dropped |
//! | 64–255 | QUIC | a bound leg's goes to the other leg, any other to quinn | dropped |
//! | 16–63 | nothing | dropped | dropped |
//!
//! One task owns all ports, the relay's table and the STUN budgets, so that nothing here is locked, and a
//! datagram of a session costs two lookups. A batch that the kernel received as one leaves as one. Legs over TCP hand
//! their datagrams in, and take what is theirs from a queue each.

pub(crate) mod quic_socket;
pub(crate) mod socket;

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use p2pdbg_proto::{
    control::{Role, SessionId},
    relay::LegGrant,
};
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    control::hub::Event,
    counters::Tallies,
    datapath::{
        quic_socket::{Datagram, LONGEST_DATAGRAM},
        socket::{ReceiveBuffers, UdpPort, answerable, canonical},
    },
    fair::LegMeter,
    limits::Limits,
    relay::{
        Forward, Relay, Route, Seen, Source, StreamId, UdpRoute,
        early::Held,
        outbox::{Batch, Outbox},
        tcp_leg::StreamInput,
    },
    stun::{LONGEST_ANSWER, StunServer, topology::Vantages},
};

/// Messages of legs over TCP that are taken before the ports get their turn.
const STREAM_TURN: usize = 32;

/// How often idle legs are looked for.
const SWEEP: Duration = Duration::from_secs(2);

/// How long a port whose reading fails is left alone, so that a broken network does not burn the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// What the hub tells the datapath.
#[derive(Debug)]
pub(crate) enum Command {
    /// Open a session's legs, the listener's first, each with what measures it.
    Open(SessionId, [LegGrant; 2], [Arc<LegMeter>; 2]),
    /// Close them, now or in a while.
    Close {
        /// The session.
        session: SessionId,
        /// In a while.
        linger: bool,
    },
}

/// A port, and what it is for.
pub(crate) struct Port {
    /// The socket.
    pub(crate) udp: Arc<UdpPort>,
    /// Where quinn's datagrams go; none on an alternative port, which serves STUN alone.
    pub(crate) quic: Option<mpsc::Sender<Datagram>>,
}

/// The task's state.
pub(crate) struct Datapath {
    ports: Vec<Port>,
    relay: Relay,
    held: Held,
    stun: StunServer,
    vantages: Arc<Vantages>,
    commands: mpsc::Receiver<Command>,
    streams: mpsc::Receiver<StreamInput>,
    outboxes: HashMap<StreamId, Outbox>,
    events: mpsc::Sender<Event>,
    tallies: Arc<Tallies>,
}

impl Datapath {
    pub(crate) fn new(
        ports: Vec<Port>,
        vantages: Arc<Vantages>,
        limits: &Limits,
        commands: mpsc::Receiver<Command>,
        streams: mpsc::Receiver<StreamInput>,
        events: mpsc::Sender<Event>,
        tallies: Arc<Tallies>,
    ) -> Self {
        Self {
            ports,
            relay: Relay::new(Instant::now(), limits),
            held: Held::default(),
            stun: StunServer::new(limits),
            vantages,
            commands,
            streams,
            outboxes: HashMap::new(),
            events,
            tallies,
        }
    }

    /// Begins with the table of the process before this one.
    pub(crate) fn with_relay(self, relay: Relay) -> Self {
        Self { relay, ..self }
    }

    /// Serves until `stop`, and gives the table back.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Relay {
        let mut buffers = ReceiveBuffers::new();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut first = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.relay,
                Some(command) = self.commands.recv() => self.apply(command),
                _ = sweep.tick() => {
                    self.relay.expire(Instant::now());
                    self.held.expire(Instant::now());
                    self.settle();
                }
                Some(input) = self.streams.recv() => self.serve_streams(input),
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

    fn apply(&mut self, command: Command) {
        match command {
            Command::Open(session, grants, meters) => self.relay.open(session, grants, meters),
            Command::Close {
                session,
                linger: true,
            } => self.relay.linger(Instant::now(), session),
            Command::Close {
                session,
                linger: false,
            } => self.relay.close(session),
        }
        self.settle();
    }

    /// Hangs up on streams that have lost their leg, and counts those that are left.
    fn settle(&mut self) {
        while let Some(orphan) = self.relay.poll_orphan() {
            self.outboxes.remove(&orphan);
        }
        self.tallies.legs.set(self.relay.bound());
        self.tallies.tcp_legs.set(self.relay.streams());
    }

    /// Takes what legs over TCP have to say, this first.
    fn serve_streams(&mut self, first: StreamInput) {
        // As for datagrams: whatever a member refers to has been commanded by now.
        while let Ok(command) = self.commands.try_recv() {
            self.apply(command);
        }
        let now = Instant::now();
        self.on_stream(now, first);
        for _ in 1..STREAM_TURN {
            let Ok(input) = self.streams.try_recv() else {
                break;
            };
            self.on_stream(now, input);
        }
    }

    fn on_stream(&mut self, now: Instant, input: StreamInput) {
        match input {
            StreamInput::Datagrams(stream, batch) => {
                match self.relay.forward_stream(now, stream, batch.bytes.len()) {
                    Forward::To(Route::Udp(route)) => {
                        self.send(&route, &batch.bytes, batch.stride, None);
                    }
                    Forward::To(Route::Stream(to)) => self.put(to, batch),
                    Forward::NotYet(session, role) => {
                        self.hold(now, (session, role), &batch.bytes, batch.stride);
                    }
                    Forward::NotALeg => self.tallies.dropped.add(batch.count()),
                    Forward::TooMuch => self.tallies.policed.add(batch.count()),
                }
            }
            StreamInput::Join {
                stream,
                ip,
                join,
                exported,
                outbox,
                reply,
            } => {
                let joined = self.relay.join(now, stream, ip, &join, &exported);
                if joined.seen.is_some() {
                    self.outboxes.insert(stream, outbox);
                }
                self.settle();
                // A connection that has ended meanwhile says so next.
                let _ = reply.send(joined.reply);
                if let Some(seen) = &joined.seen {
                    self.release(now, (seen.session, seen.role));
                }
                self.on_seen(joined.seen);
            }
            StreamInput::Ended(stream) => {
                self.outboxes.remove(&stream);
                self.relay.on_stream_ended(stream);
                self.settle();
            }
        }
    }

    fn on_seen(&mut self, seen: Option<Seen>) {
        if let Some(seen) = seen {
            self.tallies.legs.set(self.relay.bound());
            // The hub never waits for us, and we do not wait for it: a full queue means that it is behind, and
            // the member will bind again.
            let _ = self.events.try_send(Event::Bound(seen));
        }
    }

    /// Keeps datagrams for a member whose leg is not bound yet.
    fn hold(&mut self, now: Instant, to: (SessionId, Role), datagrams: &[u8], stride: usize) {
        if !self.held.keep(now, to, datagrams, stride) {
            let count = datagrams.len().div_ceil(stride.max(1)) as u64;
            self.tallies.dropped.add(count);
        }
    }

    /// Sends what was kept for a member that has bound its leg, or begun to, as far as that may be.
    fn release(&mut self, now: Instant, to: (SessionId, Role)) {
        for batch in self.held.take(now, to) {
            match self.relay.forward_to(to.0, to.1, batch.bytes.len()) {
                Forward::To(Route::Udp(route)) => {
                    self.send(&route, &batch.bytes, batch.stride, None);
                }
                Forward::To(Route::Stream(stream)) => self.put(stream, batch),
                Forward::NotYet(..) => self.hold(now, to, &batch.bytes, batch.stride),
                Forward::NotALeg => self.tallies.dropped.add(batch.count()),
                Forward::TooMuch => self.tallies.policed.add(batch.count()),
            }
        }
    }

    /// Puts datagrams into the queue of a leg over TCP.
    fn put(&self, to: StreamId, batch: Batch) {
        let (count, length) = (batch.count(), batch.bytes.len() as u64);
        let outbox = self.outboxes.get(&to);
        if outbox.is_some_and(|outbox| outbox.push(batch)) {
            self.tallies.relayed.add(count);
            self.tallies.relayed_bytes.add(length);
        } else {
            self.tallies.dropped.add(count);
        }
    }

    /// Sends datagrams of a leg by UDP.
    fn send(&self, route: &UdpRoute, datagrams: &[u8], stride: usize, ecn: Option<EcnCodepoint>) {
        let count = datagrams.len().div_ceil(stride.max(1)) as u64;
        let transmit = Transmit {
            destination: route.source.remote,
            ecn,
            contents: datagrams,
            segment_size: (datagrams.len() > stride).then_some(stride),
            src_ip: route.local,
        };
        if self.ports[route.source.socket].udp.send_or_drop(&transmit) {
            self.tallies.relayed.add(count);
            self.tallies.relayed_bytes.add(datagrams.len() as u64);
        } else {
            self.tallies.dropped.add(count);
        }
    }

    /// Takes what a port has received.
    fn serve(&mut self, index: usize, count: usize, buffers: &ReceiveBuffers) {
        // A member may bind as soon as it knows its leg, and it was told after the command was sent: so whatever
        // this batch refers to has been commanded by now.
        while let Ok(command) = self.commands.try_recv() {
            self.apply(command);
        }
        let now = Instant::now();
        for (meta, bytes) in buffers.metas.iter().zip(&buffers.bytes).take(count) {
            let batch = &bytes[..meta.len.min(bytes.len())];
            if answerable(meta.dst_ip) {
                self.on_batch(now, index, meta, batch);
            } else {
                self.tallies.dropped.add(1);
            }
        }
    }

    /// Takes datagrams of one sender, each `meta.stride` long but for the last.
    fn on_batch(&mut self, now: Instant, index: usize, meta: &RecvMeta, batch: &[u8]) {
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
                64.. => self.on_quic(now, index, meta, datagrams),
                16..=63 => self.tallies.dropped.add(1),
            }
        }
    }

    fn on_stun(&mut self, now: Instant, index: usize, meta: &RecvMeta, request: &[u8]) {
        let mut buffer = [0; LONGEST_ANSWER];
        let source = canonical(meta.addr);
        let vantage = self.vantages.at(index, meta.dst_ip, source);
        let answer = self
            .stun
            .answer(now, request, source, &vantage, &mut buffer);
        let Some(answer) = answer else {
            self.tallies.dropped.add(1);
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
        let _ = self.ports[answer.from.socket].udp.send_or_drop(&transmit);
        self.tallies.stun_answered.add(1);
    }

    fn on_relay_frame(&mut self, now: Instant, index: usize, meta: &RecvMeta, frame: &[u8]) {
        if self.ports[index].quic.is_none() {
            self.tallies.dropped.add(1);
            return;
        }
        let route = UdpRoute {
            source: source(index, meta.addr),
            local: meta.dst_ip,
        };
        let outcome = self.relay.handle_frame(now, route, frame);
        match outcome.reply {
            Some(reply) => self.reply(index, meta, &reply.encode()),
            None => self.tallies.dropped.add(1),
        }
        if let Some(member) = outcome.began {
            self.release(now, member);
        }
        self.on_seen(outcome.seen);
    }

    fn on_quic(&mut self, now: Instant, index: usize, meta: &RecvMeta, datagrams: &[u8]) {
        let stride = meta.stride.max(1);
        let count = datagrams.len().div_ceil(stride) as u64;
        let Some(quic) = &self.ports[index].quic else {
            self.tallies.dropped.add(count);
            return;
        };
        match self
            .relay
            .forward(now, &source(index, meta.addr), datagrams.len())
        {
            Forward::To(Route::Udp(route)) => self.send(&route, datagrams, stride, meta.ecn),
            Forward::To(Route::Stream(to)) => {
                let bytes = Bytes::copy_from_slice(datagrams);
                self.put(to, Batch { bytes, stride });
            }
            Forward::NotYet(session, role) => self.hold(now, (session, role), datagrams, stride),
            Forward::TooMuch => self.tallies.policed.add(count),
            Forward::NotALeg => {
                for datagram in datagrams.chunks(stride) {
                    if datagram.len() > LONGEST_DATAGRAM {
                        self.tallies.dropped.add(1);
                        continue;
                    }
                    let datagram = Datagram {
                        bytes: Bytes::copy_from_slice(datagram),
                        meta: *meta,
                    };
                    if quic.try_send(datagram).is_err() {
                        self.tallies.dropped.add(1);
                    }
                }
            }
        }
    }

    fn reply(&self, index: usize, meta: &RecvMeta, contents: &[u8]) {
        let transmit = Transmit {
            destination: meta.addr,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: meta.dst_ip,
        };
        // Whoever asked asks again.
        let _ = self.ports[index].udp.send_or_drop(&transmit);
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
    ports: &[Port],
    first: usize,
    buffers: &mut ReceiveBuffers,
) -> (usize, io::Result<usize>) {
    poll_fn(|cx| {
        for offset in 0..ports.len() {
            let index = (first + offset) % ports.len();
            if let Poll::Ready(received) = ports[index].udp.poll_receive(cx, buffers) {
                return Poll::Ready((index, received));
            }
        }
        Poll::Pending
    })
    .await
}
