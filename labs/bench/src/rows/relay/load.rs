//! What is sent through the relay, and what it has done with it.

use std::{
    fs, io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use quinn::udp::{Transmit, UdpSocketState};
use rustix::process::{Pid, Signal, kill_process};

use super::{first_byte::QUIC, legs::Legs};
use crate::{process::Process, vitals::Vitals};

/// Datagrams in a batch: as many as QUIC sends at once.
const BATCH: usize = 10;

/// Batches that are more than the queues of two workers hold.
const MORE_THAN_FITS: usize = 2_000;

/// How often a queue is looked at that is emptied: more often, and the looks would take a core from the relay.
const LOOK: Duration = Duration::from_millis(1);

/// What the relay did while the load lasted.
pub(super) struct Done {
    pub(super) bytes: f64,
    pub(super) packets: f64,
    pub(super) cpu_s: f64,
    /// How often its threads went to sleep.
    pub(super) sleeps: f64,
}

/// A relay, and where it is spoken to.
pub(super) struct Relay {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
}

impl Relay {
    /// Sends for a second from one leg of each session, by turns.
    pub(super) fn flood(&mut self, legs: &Legs, size: usize, batched: bool) -> Result<Done> {
        let state = UdpSocketState::new((&legs.sockets[0][0]).into())?;
        let relay = self.address;
        let most = if batched { BATCH } else { 1 };
        let batch = vec![QUIC; size * state.max_gso_segments().min(most)];
        let each = (64 / legs.sockets.len()).max(1);
        self.during(legs, || {
            for [from, _] in &legs.sockets {
                for _ in 0..each {
                    send(&state, from, relay, &batch, size);
                }
            }
            // Nobody reads: a full receive buffer drops what comes, and costs the relay the same.
            Ok(())
        })
    }

    /// The same one datagram at a time, as debuggers send, and with receivers that read: what has come is taken before
    /// the next turn.
    pub(super) fn trickle(&mut self, legs: &Legs, size: usize) -> Result<Done> {
        let datagram = vec![QUIC; size];
        let relay = self.address;
        self.during(legs, || {
            for [from, _] in &legs.sockets {
                // A full queue empties by itself.
                let _ = from.send_to(&datagram, relay);
            }
            for [_, to] in &legs.sockets {
                drain(to)?;
            }
            Ok(())
        })
    }

    fn during(&mut self, legs: &Legs, turn: impl Fn() -> Result<()>) -> Result<Done> {
        self.keep(legs);
        let (before, relayed_before) = (Vitals::of(self.process.id())?, self.relayed()?);
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            turn()?;
        }
        let (after, relayed) = (Vitals::of(self.process.id())?, self.relayed()?);
        Ok(Done {
            bytes: relayed.1 - relayed_before.1,
            packets: relayed.0 - relayed_before.0,
            cpu_s: after.cpu_since(&before),
            sleeps: after.sleeps_since(&before),
        })
    }

    /// Packets a second with which it empties queues that filled while it stood still: nobody sends meanwhile, so it
    /// has all cores to itself. Each worker's queue must be met by some of the sessions.
    pub(super) fn emptied(&mut self, legs: &Legs, size: usize, batched: bool) -> Result<f64> {
        let state = UdpSocketState::new((&legs.sockets[0][0]).into())?;
        let most = if batched { BATCH } else { 1 };
        let batch = vec![QUIC; size * state.max_gso_segments().min(most)];
        let batches = MORE_THAN_FITS * if batched { 1 } else { 10 };
        self.keep(legs);
        let pid = Pid::from_raw(self.process.id().cast_signed()).context("no process")?;
        let before = self.relayed()?;
        kill_process(pid, Signal::STOP)?;
        for [from, _] in legs.sockets.iter().cycle().take(batches) {
            send(&state, from, self.address, &batch, size);
        }
        let began = Instant::now();
        kill_process(pid, Signal::CONT)?;
        while self.waiting()? > 0 {
            std::thread::sleep(LOOK);
        }
        let took = began.elapsed();
        Ok((self.relayed()?.0 - before.0) / took.as_secs_f64())
    }

    /// Has those be heard that only receive: a leg that is silent for long is given up.
    fn keep(&self, legs: &Legs) {
        for [_, to] in &legs.sockets {
            let _ = to.send_to(&[QUIC], self.address);
        }
    }

    /// What waits in its sockets, in bytes as the kernel counts them.
    fn waiting(&self) -> Result<u64> {
        let mut waiting = 0;
        for table in ["udp", "udp6"] {
            let table = fs::read_to_string(format!("/proc/{}/net/{table}", self.process.id()))?;
            for line in table.lines().skip(1) {
                let field = |index| line.split_whitespace().nth(index);
                let port = field(1).and_then(|local| local.rsplit(':').next());
                let port = port.and_then(|port| u16::from_str_radix(port, 16).ok());
                let queue = field(4).and_then(|queues| queues.rsplit(':').next());
                if port == Some(self.address.port()) {
                    waiting += u64::from_str_radix(queue.context("no queue")?, 16)?;
                }
            }
        }
        Ok(waiting)
    }

    /// Packets and bytes that the relay has passed on, as it says next.
    fn relayed(&mut self) -> Result<(f64, f64)> {
        self.process.forget();
        // The line after the next: the next may be half a second old.
        let mut lines = 0;
        let (_, counted) = self.process.find("relayed", |line| {
            let mut words = line.strip_prefix("relayed ")?.split_whitespace();
            lines += 1;
            let packets: f64 = words.next()?.parse().ok()?;
            let bytes: f64 = words.next()?.parse().ok()?;
            (lines > 1).then_some((packets, bytes))
        })?;
        Ok(counted)
    }
}

/// Sends datagrams of `size` bytes in one call. A full queue empties by itself.
fn send(state: &UdpSocketState, from: &UdpSocket, to: SocketAddr, datagrams: &[u8], size: usize) {
    let transmit = Transmit {
        destination: to,
        ecn: None,
        contents: datagrams,
        segment_size: (datagrams.len() > size).then_some(size),
        src_ip: None,
    };
    let _ = state.try_send(from.into(), &transmit);
}

/// Takes all that has come.
pub(super) fn drain(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    while socket.recv(&mut [0; 2_048]).is_ok() {}
    socket.set_nonblocking(false)
}
