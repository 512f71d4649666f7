//! What leaves the engine: outputs in their order, and the books of what was sent.

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use p2pdbg_stun::TransactionId;

use crate::{
    Config, Family, Output, PunchEvent, SocketId,
    caution::CAREFUL_INTERVAL,
    check::{self, Keys, Length},
    flows::Flows,
    own_mappings::OwnMappings,
    pair::PairKey,
    random::Random,
    stun_gathering,
    transactions::{Purpose, Sent, Transactions},
};

/// Everything goes through here, so that no datagram leaves without its place among the mappings and no request without
/// being remembered.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) keys: Keys,
    pub(super) random: Random,
    pub(super) transactions: Transactions,
    pub(super) own_mappings: OwnMappings,
    pub(super) flows: Flows,
    queue: VecDeque<Output>,
}

impl Outbox {
    pub(super) fn new(config: &Config, seed: [u8; 32], now: Instant) -> Self {
        Self {
            keys: Keys::new(&config.key, config.role),
            random: Random::new(seed),
            transactions: Transactions::default(),
            own_mappings: OwnMappings::default(),
            flows: Flows::new(now, CAREFUL_INTERVAL),
            queue: VecDeque::new(),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    pub(super) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(super) fn event(&mut self, event: PunchEvent) {
        tracing::debug!(?event);
        self.push(Output::Event(event));
    }

    /// Sends a request and remembers it, so that its answer is known for one.
    pub(super) fn request(
        &mut self,
        now: Instant,
        key: PairKey,
        ttl: Option<u8>,
        purpose: Purpose,
    ) {
        let transaction = self.random.transaction();
        let payload = match purpose {
            Purpose::Server => stun_gathering::question(transaction, Family::of(key.1.ip())),
            Purpose::Check { nomination, length } => {
                check::request(&self.keys, transaction, nomination, length)
            }
        };
        let sent = Sent {
            socket: key.0,
            to: key.1,
            at: now,
            purpose,
        };
        self.transactions.insert(transaction, sent);
        self.send(now, key, ttl, payload);
    }

    /// Answers a check of this length, where it came from.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        key: PairKey,
        transaction: TransactionId,
        length: Length,
    ) {
        let payload = check::response(&self.keys, transaction, key.1, length);
        self.send(now, key, None, payload);
    }

    fn send(
        &mut self,
        now: Instant,
        (socket, to): (SocketId, SocketAddr),
        ttl: Option<u8>,
        payload: Vec<u8>,
    ) {
        self.own_mappings.on_sent(socket, to);
        self.flows.on_sent(now, socket, to);
        self.push(Output::Send {
            socket,
            to,
            ttl,
            payload,
        });
    }

    /// These sockets are closed, and their numbers do not come again: no book need name them.
    pub(super) fn forget_sockets(&mut self, now: Instant, closed: &HashSet<SocketId>) {
        self.own_mappings.forget(closed);
        self.flows.forget(now, closed);
    }

    /// Has fresh IPv4 sockets opened; only IPv4 has NATs that are searched.
    pub(super) fn open_sockets(&mut self, sockets: &[SocketId]) {
        let open = |&socket: &SocketId| Output::OpenSocket {
            socket,
            family: Family::V4,
        };
        self.queue.extend(sockets.iter().map(open));
    }
}
