//! The hub: the one task that owns the [`Registry`]. Connections and the datapath send it events, and it
//! carries out what the registry decides.
//!
//! It never waits for a peer: what a peer is told goes into a bounded queue of its connection, and a peer
//! that lets its queue run full is dropped.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    frame,
    rendezvous::{FromRendezvous, Refusal, Request, SessionId, ToRendezvous},
};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster_store::{Ask, Found, StoreHandle, Uses},
    counters::Tallies,
    datapath::Command,
    health::Part,
    hub_event::HubEvent,
    hub_report::{Report, report},
    key_rooms::KeyRooms,
    keys::{KeyRing, UsageFile, unix_s},
    outgoing::{Lane, Outgoing, Outlet, Pushed},
    registry::{ConnId, Effect, Now, Registry},
    relay_allowance::{Book, Notice},
    self_check::{Counted, SelfCheck},
    ticket_codec::Ticket,
};

const TICK: Duration = Duration::from_secs(1);

/// How often the relay's books are settled: so long a leg that begins may have more than its share.
const SETTLE: Duration = Duration::from_millis(250);

/// How often what the keys have used is written down: a crash forgets no more than that.
const WRITE_DOWN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Hub {
    registry: Registry,
    book: Book,
    usage: UsageFile,
    outlets: HashMap<ConnId, Outlet>,
    /// What may wait on the account of each key.
    rooms: KeyRooms,
    /// What waits of each session for its members; they last as long as it does.
    lanes: HashMap<SessionId, HashMap<ConnId, Lane>>,
    events: mpsc::Receiver<HubEvent>,
    datapath: mpsc::Sender<Command>,
    tallies: Arc<Tallies>,
    self_check: SelfCheck,
    /// By which the store's task is asked, at a node of several that have a store.
    store: Option<StoreHandle>,
}

impl Hub {
    pub(crate) fn new(
        registry: Registry,
        book: Book,
        usage: UsageFile,
        events: mpsc::Receiver<HubEvent>,
        datapath: mpsc::Sender<Command>,
        tallies: Arc<Tallies>,
        self_check: SelfCheck,
    ) -> Self {
        let rooms = KeyRooms::new(registry.most_waiting_of_key());
        Self {
            rooms,
            registry,
            book,
            usage,
            outlets: HashMap::new(),
            lanes: HashMap::new(),
            events,
            datapath,
            tallies,
            self_check,
            store: None,
        }
    }

    /// Asks the store of so many nodes by this; without one it is asked for nothing.
    #[cfg(feature = "cluster")]
    pub(crate) fn ask_through(&mut self, store: StoreHandle, nodes: usize) {
        self.store = Some(store);
        self.book.share_with(nodes);
    }

    /// Serves until `stop`, and then tells every peer that the rendezvous is stopping.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Left {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut settle = tokio::time::interval(SETTLE);
        settle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut write_down = tokio::time::interval(WRITE_DOWN);
        write_down.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let effects = tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {
                    self.check();
                    self.rooms.forget_unused();
                    self.say_uses();
                    self.registry.expire(now())
                }
                _ = settle.tick() => {
                    self.settle();
                    Vec::new()
                }
                _ = write_down.tick() => {
                    self.usage.write_down(self.book.used());
                    Vec::new()
                }
                found = StoreHandle::next(&mut self.store) => match found {
                    Found::Keys(ring) => self.set_keys(*ring),
                    Found::Parts(shares) => {
                        self.book.on_parts(now().instant, shares.clone());
                        self.registry.on_parts(shares);
                        // Others are not given what this node gives up before it says that it goes by less.
                        self.say_uses();
                        Vec::new()
                    }
                    found => self.registry.on_directory(now().instant, found),
                },
                event = self.events.recv() => match event {
                    Some(event) => self.on_event(event).await,
                    None => break,
                },
            };
            self.carry_out(effects).await;
        }
        let farewell = self.registry.stop();
        self.carry_out(farewell).await;
        self.settle();
        self.usage.write_down_at_once(self.book.used());
        Left {
            registry: self.registry,
            book: self.book,
            usage: self.usage,
        }
    }

    /// Says once what the operator should mend.
    fn check(&mut self) {
        let tallies = self.tallies.snapshot();
        let counted = Counted {
            connections: tallies.connections,
            tcp_connections: tallies.tcp_connections,
            stun: tallies.stun_answered,
            stun_alternative: tallies.stun_alternative,
            unix_s: unix_s(),
        };
        for finding in self.self_check.look(counted) {
            tracing::warn!("{finding}");
        }
    }

    async fn on_event(&mut self, event: HubEvent) -> Vec<Effect> {
        match event {
            HubEvent::Connected(id, arrival, outlet) => {
                self.outlets.insert(id, outlet);
                self.self_check.on_peer(arrival.observed.ip());
                self.registry.on_connected(now(), id, arrival);
                Vec::new()
            }
            HubEvent::Message(id, message) => {
                let now = now();
                if let ToRendezvous::Clock { unix_s } = message
                    && let Some(ip) = self.registry.key_holder_at(id)
                {
                    self.self_check.on_clock(ip, unix_s, now.unix_s);
                }
                self.registry.handle(now, id, message)
            }
            HubEvent::Malformed(id) => self.registry.on_malformed(id),
            HubEvent::Lost { id, on_purpose } => {
                self.outlets.remove(&id);
                self.registry.on_lost(now(), id, on_purpose)
            }
            HubEvent::Bound(bound) => self.registry.on_bound(now(), bound),
            HubEvent::Ticket(ticket) => {
                self.on_ticket(ticket).await;
                Vec::new()
            }
            HubEvent::Keys(keys) => self.set_keys(keys),
            HubEvent::Drain(until) => {
                // The datapath never waits for the hub, so this cannot wait for ever.
                let _ = self.datapath.send(Command::Drain(until.is_some())).await;
                self.registry.drain(now(), until)
            }
            HubEvent::Report(reply) => {
                // Who asked may have gone.
                let findings = self.self_check.findings().to_vec();
                let _ = reply.send(Report {
                    findings,
                    ..report(&self.registry, &self.book, now().unix_s)
                });
                Vec::new()
            }
        }
    }

    /// Says what keys use of the limits that nodes share.
    fn say_uses(&mut self) {
        let Some(store) = &mut self.store else {
            return;
        };
        if let Some(limits) = self.registry.uses(now().instant, &self.book.wants()) {
            let relayed = self.book.relayed();
            let heard = self.registry.heard_parts();
            store.ask(Ask::Uses(Uses {
                limits,
                relayed,
                heard,
            }));
        }
    }

    fn set_keys(&mut self, keys: KeyRing) -> Vec<Effect> {
        let now = now();
        let unix_s = self.registry.trusted_unix_s(now);
        self.book.set_keys(&keys, unix_s);
        self.registry.set_keys(now, keys)
    }

    /// Has a session of another node relayed, on the account of its key.
    async fn on_ticket(&mut self, ticket: Box<Ticket>) {
        let now = now();
        let left = Duration::from_secs(ticket.expires.saturating_sub(now.unix_s));
        let meters = self.book.open_guest(ticket.terms);
        let until = now.instant + left;
        let open = Command::OpenGuest(ticket, meters, until);
        // The datapath never waits for the hub, so this cannot wait for ever.
        let _ = self.datapath.send(open).await;
    }

    /// Settles the books of the relay, and tells the operator what they say.
    fn settle(&mut self) {
        let now = now();
        self.tallies.heartbeats.beat(Part::Hub, now.instant);
        self.book.settle(now.instant, now.unix_s);
        while let Some(notice) = self.book.poll_notice() {
            let name = |key| self.registry.keys().name(key);
            match notice {
                Notice::Nearly(key) => {
                    tracing::warn!(key = name(key), "four fifths of the month's bytes are used");
                }
                Notice::UsedUp(key) => {
                    tracing::warn!(
                        key = name(key),
                        "the month's bytes are used up: new relays are slow"
                    );
                }
            }
        }
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Tell(id, message) => match self.count_and_tell(id, &message) {
                    Pushed::Queued => {}
                    // What says where the other member or a relay is to be found is left out: the session goes on by
                    // what it has, and a leg that is bound anew is told again.
                    Pushed::LaneFull => {
                        if let FromRendezvous::Signal { session, .. } = message {
                            effects.extend(self.registry.on_overflow(session));
                        }
                    }
                    Pushed::Full => {
                        // Dropping the outlet ends the connection.
                        self.outlets.remove(&id);
                        effects.extend(self.registry.on_lost(now(), id, false));
                    }
                },
                Effect::Close(id, code) => {
                    if let Some(outlet) = self.outlets.remove(&id) {
                        let _ = outlet.push(Outgoing::Close(code));
                    }
                    effects.extend(self.registry.on_lost(now(), id, false));
                }
                Effect::Ask(ask) => {
                    if let Some(store) = &mut self.store {
                        store.ask(ask);
                    }
                }
                // The datapath never waits for the hub, so this cannot wait for ever.
                Effect::OpenLegs(session, grants, keys) => {
                    let meters = self.book.open(keys);
                    let open = Command::Open(session, grants, meters);
                    let _ = self.datapath.send(open).await;
                }
                Effect::CloseLegs { session, linger } => {
                    self.lanes.remove(&session);
                    let _ = self.datapath.send(Command::Close { session, linger }).await;
                }
            }
        }
        self.tallies.peers.set(self.registry.peers());
        self.tallies.sessions.set(self.registry.sessions());
    }

    /// Tells a peer something, and counts it among the refused ones if it hears that no place is left for it, whether
    /// it comes or was here; whether it keeps up.
    fn count_and_tell(&mut self, id: ConnId, message: &FromRendezvous) -> Pushed {
        if let FromRendezvous::Refused {
            // Who asks for a code or a session is told so of that, and stays.
            request: Request::Hello | Request::Other,
            refusal: Refusal::Full,
        } = message
        {
            self.tallies.connections_refused.add(1);
        }
        self.tell(id, message)
    }

    /// Whether the peer keeps up.
    fn tell(&mut self, id: ConnId, message: &FromRendezvous) -> Pushed {
        let Some(outlet) = self.outlets.get(&id) else {
            return Pushed::Queued;
        };
        // What the other member of a session can have said as often as it likes.
        let lane = match message {
            FromRendezvous::Signal { session, .. }
            | FromRendezvous::PeerSeen { session, .. }
            | FromRendezvous::RelayAt { session, .. } => {
                let lanes = self.lanes.entry(*session).or_default();
                let lane = lanes.entry(id).or_insert_with(|| {
                    let key = self.registry.key_of_other(*session, id);
                    Lane::new(self.rooms.of(key))
                });
                Some(lane.clone())
            }
            _ => None,
        };
        let mut bytes = Vec::new();
        match frame::encode(message, &mut bytes) {
            Ok(()) => outlet.push(match message {
                FromRendezvous::Welcome { .. } => Outgoing::Welcome(bytes),
                _ => Outgoing::Frame(bytes, lane),
            }),
            Err(error) => {
                // Only a signal is long, and the longest fits.
                tracing::error!(%error, "a message of ours does not fit into a frame");
                Pushed::Queued
            }
        }
    }
}

/// What is left of a hub that has stopped. The relay goes on for as long as peers take leave.
#[derive(Debug)]
pub(crate) struct Left {
    registry: Registry,
    book: Book,
    usage: UsageFile,
}

impl Left {
    /// Counts what has been relayed since, once the relay has stopped too.
    pub(crate) fn settle(mut self) -> Registry {
        let now = now();
        self.book.settle(now.instant, now.unix_s);
        self.usage.write_down_at_once(self.book.used());
        self.registry
    }
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_s: unix_s(),
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_identity::StateDir;
    use p2pdbg_proto::secret::Secret;

    use super::*;
    use crate::{
        keys::{KeyId, KeyLimits},
        limits::Limits,
        registry::voucher_codec::Vouchers,
    };

    #[tokio::test]
    async fn what_is_relayed_after_the_hub_has_stopped_is_counted_for_its_key() {
        let (usage, key) = (UsageFile::new(StateDir::in_memory()), KeyId([1; 8]));
        let mut book = Book::new(Instant::now(), unix_s(), None);
        let ring = KeyRing::of(&[(key, KeyLimits::default())]);
        book.set_keys(&ring, unix_s());
        let [meter, _] = book.open([key; 2]);
        let registry = Registry::new(Limits::default(), ring, Vouchers::new(&Secret::random()));
        let (_events, events) = mpsc::channel(1);
        let (datapath, _commands) = mpsc::channel(1);
        let self_check = SelfCheck::new(Duration::ZERO);
        let hub = Hub::new(
            registry,
            book,
            usage.clone(),
            events,
            datapath,
            Arc::default(),
            self_check,
        );
        let stop = CancellationToken::new();
        stop.cancel();
        let left = hub.run(stop).await;
        assert!(meter.admits(0, 1_000));
        left.settle();
        let used = &usage.read()[0].1;
        assert_eq!(used[..], [(key, 1_000)]);
    }
}
