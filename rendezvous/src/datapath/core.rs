//! What all workers share and write: the relay's table, what waits for a leg, and the queues of legs over TCP.
//!
//! One lock guards it. The datagrams of two bound legs over UDP never take it (see [`crate::relay::routes`]); frames by
//! which legs are bound, first packets that wait, and datagrams from or to TCP do. It is held for as long as one of
//! them takes, and never across an await.

use std::{collections::HashMap, time::Instant};

use bytes::Bytes;
use p2pdbg_proto::{
    relay::RelayFrame,
    rendezvous::{Role, SessionId},
};
use quinn::udp::RecvMeta;
use tokio::sync::mpsc;

use crate::{
    datapath::{command::Command, worker_sockets::Ports},
    hub_event::HubEvent,
    key_rooms::KeyRooms,
    keys::unix_s,
    relay::{
        Forward, Relay, Route, Seen, Source, TcpLegId, UdpRoute,
        early::Held,
        outbox::{Batch, KeyOutbox},
        routes::Routes,
        tcp_leg_input::TcpLegInput,
    },
    wire_cost::Load,
};

/// The relay's table and all that belongs to it, under one lock: see above.
pub(crate) struct Core {
    pub(crate) relay: Relay,
    pub(crate) held: Held,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) outboxes: HashMap<TcpLegId, KeyOutbox>,
    /// What may wait in them on the account of each key.
    pub(crate) rooms: KeyRooms,
    pub(crate) events: mpsc::Sender<HubEvent>,
}

impl Core {
    /// Does what the hub has commanded by now. A member may bind as soon as it knows its leg, and it was told after the
    /// command was sent: so whatever a datagram refers to has been commanded by the time that it is here.
    pub(crate) fn catch_up(&mut self, ports: &Ports) {
        while let Ok(command) = self.commands.try_recv() {
            self.apply(ports, command);
        }
    }

    pub(crate) fn apply(&mut self, ports: &Ports, command: Command) {
        match command {
            Command::Open(session, grants, meters) => self.relay.open(session, grants, meters),
            Command::OpenGuest(ticket, meters, until) => {
                let now = Instant::now();
                self.relay.open_guest(now, *ticket, meters, until);
            }
            Command::Drain(draining) => self.relay.drain(draining),
            Command::Close {
                session,
                linger: true,
            } => self.relay.linger(Instant::now(), session),
            Command::Close {
                session,
                linger: false,
            } => self.relay.close(session),
        }
        self.settle(ports);
    }

    pub(crate) fn expire(&mut self, ports: &Ports, now: Instant) {
        self.relay.expire(now);
        self.held.expire(now);
        self.rooms.forget_unused();
        self.settle(ports);
    }

    /// Lets the workers know what has changed. Called before the lock is left, and behind all that was to be sent
    /// first, so that nothing overtakes what was held.
    pub(crate) fn publish(&mut self, routes: &Routes) {
        self.relay.publish(routes);
    }

    /// Hangs up on streams that have lost their leg, and counts those that are left.
    fn settle(&mut self, ports: &Ports) {
        while let Some(orphan) = self.relay.poll_orphan() {
            self.outboxes.remove(&orphan);
        }
        ports.tallies.legs.set(self.relay.bound());
        ports.tallies.tcp_legs.set(self.relay.streams());
        ports.tallies.guests.set(self.relay.guests());
    }

    pub(crate) fn on_stream(&mut self, ports: &Ports, now: Instant, input: TcpLegInput) {
        match input {
            TcpLegInput::Datagrams(stream, batch) => {
                let forward = self.relay.forward_stream(now, stream, batch.load());
                self.pass(ports, now, forward, batch);
            }
            TcpLegInput::Join {
                stream,
                ip,
                join,
                exported,
                outbox,
                reply,
            } => {
                let joined = self.relay.join(now, stream, ip, &join, &exported);
                if let Some(seen) = &joined.seen {
                    let sender = self.relay.key_of(seen.session, seen.role.other());
                    let outbox = outbox.on_account(self.rooms.of(sender));
                    self.outboxes.insert(stream, outbox);
                }
                self.settle(ports);
                // A connection that has ended meanwhile says so next.
                let _ = reply.send(joined.reply);
                if let Some(seen) = &joined.seen {
                    self.release(ports, now, (seen.session, seen.role));
                }
                self.on_seen(ports, joined.seen);
            }
            TcpLegInput::Ended(stream) => {
                self.outboxes.remove(&stream);
                self.relay.on_stream_ended(stream);
                self.settle(ports);
            }
        }
    }

    /// Takes a frame that came to a main port.
    pub(crate) fn on_frame(
        &mut self,
        ports: &Ports,
        now: Instant,
        route: UdpRoute,
        meta: &RecvMeta,
        frame: &[u8],
    ) {
        if let Some(ticket) = self.relay.admit(unix_s(), frame) {
            // The hub, which has the books, opens the legs; the member binds again in a moment.
            let _ = self.events.try_send(HubEvent::Ticket(Box::new(ticket)));
            return;
        }
        let outcome = self.relay.handle_frame(now, route, frame);
        match outcome.reply {
            Some(reply) => ports.reply(route.source.socket, meta, &RelayFrame::encode(&reply)),
            None => ports.tallies.dropped.add(1),
        }
        if let Some(member) = outcome.began {
            self.release(ports, now, member);
        }
        self.on_seen(ports, outcome.seen);
    }

    /// Passes on what came from a source over UDP; whether it is a leg's at all.
    pub(crate) fn on_datagrams(
        &mut self,
        ports: &Ports,
        now: Instant,
        source: &Source,
        meta: &RecvMeta,
        datagrams: &[u8],
    ) -> bool {
        let stride = meta.stride.max(1);
        match self.relay.forward(now, source, Load::of(datagrams, stride)) {
            Forward::NotALeg => return false,
            Forward::To(Route::Udp(route)) => ports.send(&route, datagrams, stride, meta.ecn),
            forward => {
                let bytes = Bytes::copy_from_slice(datagrams);
                self.pass(ports, now, forward, Batch { bytes, stride });
            }
        }
        true
    }

    fn pass(&mut self, ports: &Ports, now: Instant, forward: Forward, batch: Batch) {
        match forward {
            Forward::To(Route::Udp(route)) => ports.send(&route, &batch.bytes, batch.stride, None),
            Forward::To(Route::Stream(stream)) => self.put(ports, stream, batch),
            Forward::NotYet(session, role) => {
                let sender = self.relay.key_of(session, role.other());
                let to = ((session, role), sender);
                let kept = self.held.keep(now, to, &batch.bytes, batch.stride);
                if !kept {
                    ports.tallies.dropped.add(batch.count());
                }
            }
            Forward::NotALeg => ports.tallies.dropped.add(batch.count()),
            Forward::TooMuch => ports.tallies.policed.add(batch.count()),
        }
    }

    fn on_seen(&mut self, ports: &Ports, seen: Option<Seen>) {
        if let Some(seen) = seen {
            // A guest may have made room for the one that is proved.
            self.settle(ports);
            // The hub never waits for us, and we do not wait for it: a full queue means that it is behind, and
            // the member will bind again.
            let _ = self.events.try_send(HubEvent::Bound(seen));
        }
    }

    /// Sends what was kept for a member that has bound its leg, or begun to, as far as that may be.
    fn release(&mut self, ports: &Ports, now: Instant, to: (SessionId, Role)) {
        for batch in self.held.take(now, to) {
            let forward = self.relay.forward_to(to.0, to.1, batch.load());
            self.pass(ports, now, forward, batch);
        }
    }

    /// Puts datagrams into the queue of a leg over TCP.
    fn put(&self, ports: &Ports, to: TcpLegId, batch: Batch) {
        let (count, length) = (batch.count(), batch.bytes.len() as u64);
        let outbox = self.outboxes.get(&to);
        if outbox.is_some_and(|outbox| outbox.push(batch)) {
            ports.tallies.relayed.add(count);
            ports.tallies.relayed_bytes.add(length);
        } else {
            ports.tallies.dropped.add(count);
        }
    }
}
