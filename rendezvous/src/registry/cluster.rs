//! One node of several: which there are, and to which of them a peer is sent on.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    code::Nameplate,
    node::{Node, NodeNumber},
    rendezvous::FromRendezvous,
    secret::Secret,
};

use super::{
    ConnId, Effect, Now, Registry, connection::Holder, handle_side::HandleSide,
    shared_limits::SharedLimits, voucher_codec::Account,
};
use crate::{
    cluster_store::{Ask, Found},
    keys::KeyId,
    limits::{AddressBuckets, Bucket, Rate},
    ticket_codec::TicketKey,
};

/// How often it is asked again where the listeners are that connectors here wait for.
const SEEK_AGAIN: Duration = Duration::from_secs(2);

/// So many of them are asked for at a time.
const SOUGHT_AT_ONCE: usize = 500;

/// How often an address without a key may have it asked. Who waits asks every two seconds.
const SEEKS: Rate = Rate {
    per_minute: 120,
    burst: 60,
};

/// How often a connection with a key may have the store told or asked something, and all who bear one voucher: a peer
/// waits at up to 64 handles when it comes. What is too much is told with all the rest, and asked again in turn.
const ASKS: Rate = Rate {
    per_minute: 120,
    burst: 128,
};

/// For so many addresses, and for as many vouchers, that is counted.
const SEEKERS: usize = 16_384;

/// The nodes, as this one knows them.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(super) own: NodeNumber,
    pub(super) nodes: Vec<Node>,
    /// The hosts that relay for the nodes and do nothing else.
    relays: Vec<Node>,
    /// By what tickets for other relays are made; none if none are.
    secret: Option<Secret<32>>,
    /// Those that live, as far as the store says.
    pub(super) living: Option<Vec<NodeNumber>>,
    /// Those of the others that say that they go out of service.
    pub(super) draining: Vec<NodeNumber>,
    /// What is asked of the store; none where there is no store.
    seeking: Option<Seeking>,
    /// What this node may give away of the keys' limits; none where there is no store.
    shared_limits: Option<SharedLimits>,
}

/// Which connectors look for a listener that is not here.
#[derive(Debug)]
struct Seeking {
    /// What those without a key have asked.
    asked: AddressBuckets,
    /// What the bearers of vouchers have.
    vouched: HashMap<Account, Bucket>,
    /// Whose listeners are asked for again, by the key on whose account they wait.
    turn: Turn,
    /// When those are looked for who are not in it.
    next: Option<Instant>,
}

/// Who is asked for in turn: one of each key, and then the next one of each, so that a key with many keeps nobody else
/// waiting.
#[derive(Debug, Default)]
struct Turn(VecDeque<(KeyId, VecDeque<(ConnId, HandleSide)>)>);

impl Turn {
    /// Takes in who waits by keys of which nobody is left in it.
    fn take_in(&mut self, waiting: impl Iterator<Item = (KeyId, ConnId, HandleSide)>) {
        let there: HashSet<KeyId> = self.0.iter().map(|(key, _)| *key).collect();
        let mut new: HashMap<KeyId, VecDeque<_>> = HashMap::new();
        for (key, id, side) in waiting.filter(|(key, ..)| !there.contains(key)) {
            new.entry(key).or_default().push_back((id, side));
        }
        self.0.extend(new);
    }
}

impl Iterator for Turn {
    type Item = (ConnId, HandleSide);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, mut waiting) = self.0.pop_front()?;
        let next = waiting.pop_front();
        if !waiting.is_empty() {
            self.0.push_back((key, waiting));
        }
        next
    }
}

impl Seeking {
    /// Whether the store may be asked once more for the bearers of one voucher, which can be shown on many connections.
    fn may_bearer_ask(&mut self, now: Instant, account: Account) -> bool {
        if !self.vouched.contains_key(&account) && self.vouched.len() >= SEEKERS {
            self.vouched.retain(|_, bucket| !bucket.is_full(now));
        }
        if !self.vouched.contains_key(&account) && self.vouched.len() >= SEEKERS {
            return false;
        }
        let bucket = self.vouched.entry(account).or_default();
        bucket.take(ASKS, now, 1).is_ok()
    }
}

impl Cluster {
    /// This node's number, and all nodes.
    pub(crate) fn new(own: NodeNumber, nodes: Vec<Node>) -> Self {
        Self {
            own,
            nodes,
            relays: Vec::new(),
            secret: None,
            living: None,
            draining: Vec::new(),
            seeking: None,
            shared_limits: None,
        }
    }

    /// With these hosts that relay alone, and with tickets for them and for the other nodes.
    pub(crate) fn with_relays(mut self, relays: Vec<Node>, secret: Secret<32>) -> Self {
        self.relays = relays;
        self.secret = Some(secret);
        self
    }

    /// What seals tickets for another host that relays, if there is one of that number.
    pub(super) fn relay(&self, number: NodeNumber) -> Option<TicketKey> {
        let secret = self.secret.as_ref()?;
        let is_node = self.other(number).is_some();
        let is_relay = is_node || self.relays.iter().any(|relay| relay.number == number);
        is_relay.then(|| TicketKey::of(secret, number))
    }

    /// With a store that says where listeners wait.
    pub(crate) fn with_directory(mut self) -> Self {
        self.seeking = Some(Seeking {
            asked: AddressBuckets::new(SEEKERS),
            vouched: HashMap::new(),
            turn: Turn::default(),
            next: None,
        });
        self.shared_limits = Some(SharedLimits::new(self.nodes.len()));
        self
    }

    pub(super) fn shared_limits(&mut self) -> Option<&mut SharedLimits> {
        self.shared_limits.as_mut()
    }

    /// The number of this node.
    pub(crate) fn own(&self) -> NodeNumber {
        self.own
    }

    /// Another node, if there is one of that number.
    pub(super) fn other(&self, number: NodeNumber) -> Option<&Node> {
        let mut nodes = self.nodes.iter();
        nodes.find(|node| node.number == number && number != self.own)
    }
}

impl Registry {
    /// Serves as a node from now on.
    pub(crate) fn join_cluster(&mut self, cluster: Cluster) {
        self.cluster = Some(cluster);
    }

    /// Tells who has just said hello where it is.
    pub(super) fn tell_of_nodes(&self, id: ConnId, effects: &mut Vec<Effect>) {
        if let Some(cluster) = &self.cluster {
            let message = FromRendezvous::Nodes {
                own: cluster.own,
                nodes: cluster.nodes.clone(),
                relays: cluster.relays.clone(),
            };
            effects.push(Effect::Tell(id, message));
        }
    }

    /// This node's number, if it is one of several.
    pub(super) fn number(&self) -> Option<NodeNumber> {
        self.cluster.as_ref().map(Cluster::own)
    }

    /// The other node that has given this nameplate.
    pub(super) fn node_of(&self, nameplate: Nameplate) -> Option<Node> {
        let cluster = self.cluster.as_ref()?;
        cluster.other(nameplate.node()?).cloned()
    }

    /// A listener waits at a handle here; whether the store is told.
    pub(super) fn note_waiting(
        &mut self,
        now: Now,
        id: ConnId,
        side: &HandleSide,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let is_told = side.is_listener() && self.may_ask(now.instant, id);
        if is_told {
            effects.push(Effect::Ask(Ask::Waits(side.digest(), now.instant)));
        }
        is_told
    }

    /// One that the store was told of is gone. There are no more of these than of the others.
    pub(super) fn note_left(&self, side: &HandleSide, effects: &mut Vec<Effect>) {
        if side.is_listener() && self.has_directory() {
            effects.push(Effect::Ask(Ask::Left(side.digest())));
        }
    }

    pub(super) fn has_directory(&self) -> bool {
        let cluster = self.cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.seeking.is_some())
    }

    /// A connector has come to a handle at which nobody waits here.
    pub(super) fn seek(
        &mut self,
        now: Now,
        id: ConnId,
        side: &HandleSide,
        effects: &mut Vec<Effect>,
    ) {
        if self.may_ask(now.instant, id) {
            effects.push(Effect::Ask(Ask::Seek(id.0, side.digest())));
        }
    }

    /// Whether the store, if there is one, may be told or asked something because of this connection.
    fn may_ask(&mut self, now: Instant, id: ConnId) -> bool {
        let seeking = self.cluster.as_mut().and_then(|c| c.seeking.as_mut());
        let (Some(seeking), Some(connection)) = (seeking, self.connections.get_mut(&id)) else {
            return false;
        };
        match connection.holder() {
            Holder::Key(_) => connection.asks.take(ASKS, now, 1).is_ok(),
            Holder::Voucher(account) => seeking.may_bearer_ask(now, account),
            Holder::Address(_) => seeking.asked.take(connection.ip, SEEKS, now, 1).is_ok(),
        }
    }

    /// Looks again for the listeners of the connectors that wait: they may have come to another node since.
    pub(super) fn seek_again(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(seeking) = self.cluster.as_mut().and_then(|c| c.seeking.as_mut()) else {
            return;
        };
        if seeking.next.is_none_or(|next| next <= now.instant) {
            seeking.next = Some(now.instant + SEEK_AGAIN);
            seeking.turn.take_in(self.handles.alone());
        }
        let sought = seeking.turn.by_ref().take(SOUGHT_AT_ONCE);
        effects.extend(sought.map(|(id, side)| Effect::Ask(Ask::Seek(id.0, side.digest()))));
    }

    /// The directory has said something.
    pub(crate) fn on_directory(&mut self, now: Instant, found: Found) -> Vec<Effect> {
        match found {
            Found::Living(living) => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.living = living;
                }
                Vec::new()
            }
            Found::Draining(draining) => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.draining = draining;
                }
                Vec::new()
            }
            Found::Missed(of, with_key, count, own) => {
                self.on_missed(now, (of, with_key), count, own);
                Vec::new()
            }
            // For the hub, which gives them to the relay's books too.
            Found::Keys(_) | Found::Parts(_) => Vec::new(),
            Found::TellAll => vec![Effect::Ask(Ask::All(self.handles.tell_listeners()))],
            Found::At(connector, digest, number) => {
                let id = ConnId(connector);
                let node = self.cluster.as_ref().and_then(|c| c.other(number));
                let is_here = self
                    .handles
                    .at(&HandleSide::of_connector(digest).other_side())
                    .is_some();
                let is_free = self
                    .connections
                    .get(&id)
                    .is_some_and(|connection| connection.sessions.is_empty());
                match node {
                    Some(node) if is_free && !is_here => {
                        let node = node.clone();
                        vec![Effect::Tell(id, FromRendezvous::GoTo { node })]
                    }
                    _ => Vec::new(),
                }
            }
        }
    }
}
