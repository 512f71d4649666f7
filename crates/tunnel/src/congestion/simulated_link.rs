//! Ends that always have something to send, over QUIC as tunnels set it, on a link with a rate, a delay and a
//! queue, in virtual time.

use std::{
    cell::Cell,
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
};

use p2pdbg_identity::Identity;
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, Event, ReadError, StreamEvent,
    StreamId,
};

use super::*;
use crate::{Copies, Counted, TunnelConfig};

/// One end, and what is on its way to it.
struct End {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    own: Option<StreamId>,
    coming: VecDeque<(Instant, Vec<u8>)>,
    /// When the link to it is free again.
    free: Instant,
    received: u64,
    /// When something last came, and the longest that nothing did.
    last: Option<Instant>,
    silence: Duration,
    /// How long each datagram to it waited before the link.
    waited: Vec<Duration>,
    /// What small messages it has taken, if the two take turns.
    talk: Talk,
}

/// One end of two programs that take turns: each writes a message when it has the other's.
#[derive(Default)]
struct Talk {
    copies: Copies,
    /// Messages that were written, and those of the other end that have come, by stream or copy.
    written: u64,
    taken: u64,
}

/// The length of a message of programs that take turns.
const MESSAGE: usize = 200;

impl Talk {
    /// Writes the next message.
    fn write(&mut self, own: StreamId, connection: &mut Connection) {
        let message = [0; MESSAGE];
        let offset = self.written * MESSAGE as u64;
        let wrote = connection.send_stream(own).write(&message);
        assert!(wrote.is_ok_and(|wrote| wrote == MESSAGE));
        let path = connection.stats().path;
        let counted = || {
            Some(Counted {
                epoch: 1,
                sent: path.sent_packets,
                lost: path.lost_packets,
                rtt: path.rtt,
            })
        };
        let data = message.to_vec().into();
        let heard = self.taken * MESSAGE as u64;
        let at = now().into();
        self.copies.on_written(at, (offset, data), heard, counted);
        self.written += 1;
    }

    /// Takes what has come; whether the other end's next message has.
    fn take(&mut self, received: u64, connection: &mut Connection) -> bool {
        let mut until = received / MESSAGE as u64;
        while let Some(copy) = connection.datagrams().recv() {
            let offset = u64::from_be_bytes(copy[..8].try_into().unwrap());
            if offset == self.taken * MESSAGE as u64 {
                until = until.max(self.taken + 1);
            }
        }
        let came = until > self.taken;
        self.taken = self.taken.max(until);
        came
    }

    /// Sends the copies that are due; whether there were any.
    fn copy(&mut self, connection: &mut Connection) -> bool {
        let mut any = false;
        while let Some((offset, data)) = self.copies.pop_due(now().into()) {
            let copy = [&offset.to_be_bytes()[..], &data].concat();
            connection.datagrams().send(copy.into(), true).unwrap();
            any = true;
        }
        any
    }
}

impl End {
    /// Reads what has come of the other end's stream.
    fn read(&mut self) {
        // Each end opens one stream: the first of its kind.
        let Some((_, connection)) = &mut self.connection else {
            return;
        };
        let side = connection.side();
        let theirs = StreamId::new(!side, Dir::Uni, 0);
        if let Ok(mut chunks) = connection.recv_stream(theirs).read(true) {
            let mut came = 0;
            loop {
                match chunks.next(usize::MAX) {
                    Ok(Some(chunk)) => came += chunk.bytes.len() as u64,
                    Err(ReadError::Blocked) | Ok(None) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            let _ = chunks.finalize();
            if came > 0 {
                let silence = self.last.map_or(Duration::ZERO, |last| now() - last);
                self.silence = self.silence.max(silence);
                self.last = Some(now());
                self.received += came;
            }
        }
    }
}

struct Pair {
    ends: [End; 2],
    way: Duration,
    /// Bytes a second, and how long the queue may be.
    rate: f64,
    room: Duration,
    /// Which end has something to send.
    sends: [bool; 2],
    /// Whether they take turns instead, the second end first; and how long each of its turns took.
    talks: bool,
    turn_began: Option<Instant>,
    turns: Vec<Duration>,
    /// One datagram in so many is lost at random; 0 for none. The last random number.
    loses: u64,
    random: u64,
}

thread_local! {
    /// The time of the test that runs in this thread.
    static NOW: Cell<Instant> = Cell::new(Instant::now());
}

fn now() -> Instant {
    NOW.get()
}

fn address(of: usize) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1000 + of as u16).into()
}

const STEP: Duration = Duration::from_micros(250);

impl Pair {
    fn new(way: Duration, rate: f64, room: Duration) -> Self {
        let identities = [(); 2].map(|()| Identity::ephemeral().unwrap());
        let mut transport = crate::config::transport();
        transport.congestion_controller_factory(Arc::new(PathControlConfig {
            clock: now,
            ..PathControlConfig::default()
        }));
        let transport = Arc::new(transport);
        let config = |own: usize| {
            let peer = identities[1 - own].fingerprint();
            let mut config = TunnelConfig::new(&identities[own], peer).unwrap();
            config.client.transport_config(Arc::clone(&transport));
            Arc::make_mut(&mut config.server).transport_config(Arc::clone(&transport));
            config
        };
        let end = |server| {
            let endpoint = Arc::new(TunnelConfig::endpoint());
            End {
                endpoint: Endpoint::new(endpoint, server, true, Some([7; 32])),
                connection: None,
                own: None,
                coming: VecDeque::new(),
                free: now(),
                received: 0,
                last: None,
                silence: Duration::ZERO,
                waited: Vec::new(),
                talk: Talk::default(),
            }
        };
        let mut ends = [end(Some(Arc::clone(&config(0).server))), end(None)];
        let client = config(1).client;
        let connected = ends[1]
            .endpoint
            .connect(now(), client, address(0), "p2pdbg");
        ends[1].connection = Some(connected.unwrap());
        Self {
            ends,
            way,
            rate,
            room,
            sends: [true; 2],
            talks: false,
            turn_began: None,
            turns: Vec::new(),
            loses: 0,
            random: 1,
        }
    }

    fn run(&mut self, time: Duration) {
        let until = now() + time;
        while now() < until {
            for of in 0..2 {
                let woken = self.take(of);
                self.work(of, woken);
            }
            NOW.set(now() + STEP);
        }
    }

    /// What has arrived at this end.
    fn take(&mut self, of: usize) -> bool {
        let now = now();
        let mut answer = Vec::new();
        let end = &mut self.ends[of];
        let mut woken = false;
        while end.coming.front().is_some_and(|(due, _)| *due <= now) {
            woken = true;
            let (_, bytes) = end.coming.pop_front().unwrap();
            let from = address(1 - of);
            let came =
                end.endpoint
                    .handle(now, from, None, None, bytes.as_slice().into(), &mut answer);
            match came {
                Some(DatagramEvent::NewConnection(incoming)) => {
                    let accepted = end.endpoint.accept(incoming, now, &mut answer, None);
                    end.connection = Some(accepted.map_err(|error| error.cause).unwrap());
                }
                Some(DatagramEvent::ConnectionEvent(_, event)) => {
                    end.connection.as_mut().unwrap().1.handle_event(event);
                }
                Some(DatagramEvent::Response(_)) | None => {}
            }
        }
        woken
    }

    /// Reads, writes and sends as much as goes.
    fn work(&mut self, of: usize, mut woken: bool) {
        let now = now();
        let end = &mut self.ends[of];
        let Some((handle, connection)) = &mut end.connection else {
            return;
        };
        if connection.poll_timeout().is_some_and(|at| at <= now) {
            connection.handle_timeout(now);
            woken = true;
        }
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = end.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while let Some(event) = connection.poll() {
            match event {
                Event::Connected => end.own = connection.streams().open(Dir::Uni),
                Event::ConnectionLost { reason } => panic!("{reason}"),
                Event::Stream(StreamEvent::Opened { .. }) => {
                    while connection.streams().accept(Dir::Uni).is_some() {}
                }
                _ => {}
            }
        }
        if let Some(own) = end.own
            && self.sends[of]
        {
            while connection.send_stream(own).write(&[0; 16 << 10]).is_ok() {
                woken = true;
            }
        }
        end.read();
        if self.talks {
            woken |= self.talk(of);
        }
        let Some((_, connection)) = &mut self.ends[of].connection else {
            return;
        };
        if !woken && !connection.is_handshaking() {
            return;
        }
        let mut sent = Vec::new();
        loop {
            let mut bytes = Vec::new();
            let Some(transmit) = connection.poll_transmit(now, 10, &mut bytes) else {
                break;
            };
            let size = transmit.segment_size.unwrap_or(transmit.size);
            sent.extend(bytes[..transmit.size].chunks(size).map(<[u8]>::to_vec));
        }
        self.carry(1 - of, sent);
    }

    /// Writes what is due of two programs that take turns; whether something was.
    fn talk(&mut self, of: usize) -> bool {
        let End {
            connection: Some((_, connection)),
            own: Some(own),
            received,
            talk,
            ..
        } = &mut self.ends[of]
        else {
            return false;
        };
        let came = talk.take(*received, connection);
        let mut writes = came;
        if of == 1 {
            if let Some(began) = self.turn_began.take_if(|_| came) {
                self.turns.push(now() - began);
            }
            writes = self.turn_began.is_none();
            self.turn_began.get_or_insert(now());
        }
        if writes {
            talk.write(*own, connection);
        }
        talk.copy(connection) || writes
    }

    /// Puts these onto the way to the end `to`, as far as its queue has room.
    fn carry(&mut self, to: usize, datagrams: Vec<Vec<u8>>) {
        let now = now();
        let to = &mut self.ends[to];
        for datagram in datagrams {
            let begins = to.free.max(now);
            to.waited.push(begins - now);
            if begins - now > self.room {
                continue;
            }
            to.free = begins + Duration::from_secs_f64(datagram.len() as f64 / self.rate);
            // Knuth's generator, of which the high half is random enough.
            let random = self.random.wrapping_mul(6_364_136_223_846_793_005);
            self.random = random.wrapping_add(1_442_695_040_888_963_407);
            if self.loses == 0 || !(self.random >> 33).is_multiple_of(self.loses) {
                to.coming.push_back((to.free + self.way, datagram));
            }
        }
    }
}

/// What share of the link each way was used from then on, and the longest that nothing came; both directions.
fn used(pair: &mut Pair, time: Duration) -> [(f64, Duration); 2] {
    for end in &mut pair.ends {
        (end.received, end.silence) = (0, Duration::ZERO);
        end.waited.clear();
    }
    pair.run(time);
    let whole = pair.rate * time.as_secs_f64();
    pair.ends
        .each_ref()
        .map(|end| (end.received as f64 / whole, end.silence))
}

const MS: Duration = Duration::from_millis(1);

/// One way of a path, and bytes a second.
const LINKS: [(Duration, f64); 4] = [
    (MS.saturating_mul(5), 125e3),
    (MS.saturating_mul(20), 1e6),
    (MS.saturating_mul(50), 1e6),
    (MS.saturating_mul(50), 10e6),
];

#[test]
fn bulk_in_both_directions_fills_the_link_and_never_stands_still() {
    for (way, rate) in LINKS {
        let mut pair = Pair::new(way, rate, 100 * MS);
        pair.run(Duration::from_secs(3));
        for (share, silence) in used(&mut pair, Duration::from_secs(5)) {
            assert!(share > 0.6, "{way:?}, {rate}: {share:.2}");
            // What was lost is sent again after a round trip with a full queue, and may be lost again.
            let longest = 2 * (2 * way + pair.room);
            assert!(silence < longest, "{way:?}, {rate}: {silence:?}");
        }
    }
}

#[test]
fn bulk_in_both_directions_goes_on_where_one_packet_in_twenty_is_lost() {
    for (way, rate) in LINKS {
        let mut pair = Pair::new(way, rate, 100 * MS);
        pair.loses = 20;
        pair.run(Duration::from_secs(3));
        for (share, _) in used(&mut pair, Duration::from_secs(5)) {
            assert!(share > 0.4, "{way:?}, {rate}: {share:.2}");
        }
    }
}

#[test]
fn own_bursts_on_a_slow_link_are_not_taken_for_the_queue_of_somebody_else() {
    let mut pair = Pair::new(10 * MS, 1.25e6, 200 * MS);
    pair.sends = [true, false];
    pair.run(Duration::from_secs(3));
    used(&mut pair, Duration::from_secs(20));
    let longest = pair.ends[1].waited.iter().max().unwrap();
    assert!(*longest < 50 * MS, "{longest:?}");
}

#[test]
fn bulk_fills_a_link_and_lets_others_wait_for_less_than_ten_milliseconds() {
    let mut pair = Pair::new(10 * MS, 12.5e6, 40 * MS);
    pair.sends = [false, true];
    pair.run(Duration::from_secs(3));
    let [(share, _), _] = used(&mut pair, Duration::from_secs(8));
    assert!(share > 0.95, "{share:.3}");
    let waited = &mut pair.ends[0].waited;
    waited.sort_unstable();
    let p99 = waited[waited.len() * 99 / 100];
    assert!(p99 < 10 * MS, "{p99:?}");
}

#[test]
fn beginning_ends_before_it_fills_a_long_queue() {
    for sends in [[true; 2], [true, false]] {
        let mut pair = Pair::new(100 * MS, 10e6, 100 * MS);
        pair.sends = sends;
        pair.run(Duration::from_secs(4));
        let connections = pair.ends.iter().filter_map(|end| end.connection.as_ref());
        for (sent, lost) in connections.map(|(_, connection)| {
            let path = connection.stats().path;
            (path.sent_packets, path.lost_packets)
        }) {
            assert!(lost * 7 < sent, "{lost} of {sent} were lost");
        }
    }
}

/// How long turns took, shortest first, of so many, on a path of 40 ms that loses one datagram in so many each way.
fn turns(count: usize, loses: u64, seed: u64) -> Vec<Duration> {
    let mut pair = Pair::new(20 * MS, 1e7, 100 * MS);
    (pair.sends, pair.talks) = ([false; 2], true);
    (pair.loses, pair.random) = (loses, seed);
    while pair.turns.len() < count {
        pair.run(100 * MS);
    }
    pair.turns.truncate(count);
    pair.turns
}

#[test]
fn turn_takes_little_more_than_a_round_trip_where_packets_are_lost() {
    // Before the first losses are known, a turn or two waits for a repetition; where one in ten is lost, at times more.
    for (loses, missed) in [(100, 0), (20, 0), (10, 5)] {
        let mut late = Vec::new();
        for seed in 0..20 {
            let mut turns = turns(300, loses, seed * 7919 + 1);
            turns.sort();
            let (p50, p99) = (turns[150], turns[297]);
            assert!(p50 < 42 * MS, "one in {loses}, seed {seed}: {p50:?}");
            late.extend(Some((seed, p99)).filter(|_| p99 > 60 * MS));
        }
        println!("one in {loses}: {late:?}");
        assert!(late.len() <= missed, "one in {loses}: {late:?}");
    }
}
