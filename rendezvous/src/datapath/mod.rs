//! The hot path: reads every UDP port and sends each datagram on its way by its first byte.
//!
//! | first byte | meaning | on a main port | on an alternative port |
//! |---|---|---|---|
//! | 0–3 | STUN | answered here | answered here |
//! | 4–15 | relay frames | answered here | dropped |
//! | 64–255 | QUIC | a bound leg's to the other leg, if it bears no connection id of ours; else to quinn | dropped |
//! | 16–63 | nothing | dropped | dropped |
//!
//! As many workers as there are cores read the main ports, each by a socket of its own (`SO_REUSEPORT`). The system
//! gives a flow's datagrams always to the same socket, and a worker sends what it receives on its own socket before it
//! receives more: so no flow is reordered, and no datagram goes from one worker to another. A datagram of two bound
//! legs costs one lookup in a table that is shared for reading ([`crate::relay::routes`]); everything else takes the
//! lock of [`core::Core`]. What one receive brought for one receiver leaves in one call ([`gather`]).
//!
//! quinn has one endpoint for each main port, fed by all workers. Legs over TCP hand their datagrams to the task in
//! this file, and take what is theirs from a queue each. The first worker reads the alternative ports.

pub(crate) mod amplification;
pub(crate) mod command;
mod core;
pub(crate) mod gather;
pub(crate) mod own_ids;
pub(crate) mod quic_socket;
pub(crate) mod socket;
pub(crate) mod worker;
pub(crate) mod worker_sockets;

pub(crate) use self::command::Command;
use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    datapath::{
        core::Core,
        own_ids::OwnIds,
        worker::{Shared, Worker},
        worker_sockets::Ports,
    },
    health::Part,
    hub_event::HubEvent,
    key_rooms::KeyRooms,
    limits::Limits,
    relay::{Relay, early::Held, routes::Routes, tcp_leg_input::TcpLegInput},
    stun::{StunServer, topology::Vantages},
};

/// Messages of legs over TCP that are taken under one lock.
const STREAM_TURN: usize = 32;

/// How often idle legs are looked for.
const SWEEP: Duration = Duration::from_secs(2);

/// What reaches the datapath, and what leaves it, other than by a port.
pub(crate) struct Channels {
    pub(crate) commands: mpsc::Receiver<Command>,
    /// What comes from legs over TCP.
    pub(crate) streams: mpsc::Receiver<TcpLegInput>,
    pub(crate) events: mpsc::Sender<HubEvent>,
}

/// Everything that reads ports or serves legs over TCP.
pub(crate) struct Datapath {
    shared: Arc<Shared>,
    workers: Vec<Ports>,
    streams: mpsc::Receiver<TcpLegInput>,
}

impl Datapath {
    /// With a worker for each set of ports, of which there is at least one, and with this table, which may be that of
    /// the process before this one.
    pub(crate) fn new(
        workers: Vec<Ports>,
        vantages: Arc<Vantages>,
        limits: &Limits,
        own_ids: OwnIds,
        channels: Channels,
        mut relay: Relay,
    ) -> Self {
        let routes = Routes::new(relay.began());
        relay.publish(&routes);
        let core = Core {
            relay,
            held: Held::default(),
            commands: channels.commands,
            outboxes: HashMap::new(),
            rooms: KeyRooms::new(limits.leg_queue_bytes_per_key),
            events: channels.events,
        };
        let shared = Shared {
            routes,
            core: Mutex::new(core),
            stun: Mutex::new(StunServer::new(limits)),
            vantages,
            own_ids,
        };
        Self {
            shared: Arc::new(shared),
            workers,
            streams: channels.streams,
        }
    }

    /// Serves until `stop`, and gives the table back.
    pub(crate) async fn run(self, stop: CancellationToken) -> Option<Relay> {
        let mut tasks = JoinSet::new();
        if let Some(ports) = self.workers.first().cloned() {
            let shared = self.shared.clone();
            tasks.spawn(keep(shared, ports, self.streams, stop.clone()));
        }
        for ports in self.workers {
            let shared = self.shared.clone();
            tasks.spawn(Worker { ports, shared }.run(stop.clone()));
        }
        while tasks.join_next().await.is_some() {
            // One that has panicked leaves a port that nobody reads.
            if !stop.is_cancelled() {
                return None;
            }
        }
        let core = Arc::into_inner(self.shared)?.core.into_inner();
        Some(core.unwrap_or_else(PoisonError::into_inner).relay)
    }
}

/// Does what no port asks for: the hub's commands, legs over TCP, and forgetting.
async fn keep(
    shared: Arc<Shared>,
    ports: Ports,
    mut streams: mpsc::Receiver<TcpLegInput>,
    stop: CancellationToken,
) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ports = &ports;
    loop {
        let command = poll_fn(|cx| {
            let mut core = shared.lock();
            core.commands.poll_recv(cx)
        });
        tokio::select! {
            () = stop.cancelled() => return,
            Some(command) = command => shared.with_core(|core| core.apply(ports, command)),
            _ = sweep.tick() => {
                let now = Instant::now();
                ports.tallies.heartbeats.beat(Part::Datapath, now);
                shared.with_core(|core| core.expire(ports, now));
            }
            Some(first) = streams.recv() => {
                let now = Instant::now();
                shared.with_core(|core| {
                    core.catch_up(ports);
                    core.on_stream(ports, now, first);
                    for _ in 1..STREAM_TURN {
                        let Ok(input) = streams.try_recv() else {
                            break;
                        };
                        core.on_stream(ports, now, input);
                    }
                });
            }
        }
    }
}
