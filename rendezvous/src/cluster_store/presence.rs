//! What this node knows of the store and of the other nodes.

use std::collections::HashMap;

use p2pdbg_proto::node::NodeNumber;

use super::{Away, Epoch, Held, Process};

/// Whether the store is of use at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreState {
    /// It was not asked yet.
    Unknown,
    /// It has answered the last question.
    Answers,
    /// It does not answer, or not as it should: known peers that are at different nodes do not meet.
    Away(String),
    /// Another process has this node's number: this one writes nothing.
    Contested,
}

/// The store and the nodes as an operator is told of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodesSeen {
    pub(crate) store: StoreState,
    /// The nodes that live, in the order of their numbers.
    pub(crate) living: Vec<NodeNumber>,
    /// Those of them, but this one, that go out of service, in the same order.
    pub(crate) draining: Vec<NodeNumber>,
}

/// What is to be done after a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: the store has what was written before.
    Nothing,
    /// All records are to be written: the store may not have them.
    WriteAll,
}

/// The store and the nodes as the last beat has shown them.
#[derive(Debug)]
pub(super) struct Presence {
    state: StoreState,
    live: HashMap<NodeNumber, Epoch>,
}

impl NodesSeen {
    /// Before anything was asked.
    pub(super) fn nothing() -> Self {
        Self {
            store: StoreState::Unknown,
            living: Vec::new(),
            draining: Vec::new(),
        }
    }
}

impl Presence {
    pub(super) fn new() -> Self {
        Self {
            state: StoreState::Unknown,
            live: HashMap::new(),
        }
    }

    pub(super) fn state(&self) -> &StoreState {
        &self.state
    }

    /// Whether the store is to be asked.
    pub(super) fn is_usable(&self) -> bool {
        self.state == StoreState::Answers
    }

    /// Whether this process of a node lives.
    pub(super) fn lives(&self, node: NodeNumber, epoch: Epoch) -> bool {
        self.live.get(&node) == Some(&epoch)
    }

    /// The processes that live.
    pub(super) fn processes(&self) -> impl Iterator<Item = Process> {
        let live = self.live.iter();
        live.map(|(&node, &epoch)| Process { node, epoch })
    }

    pub(super) fn live(&self) -> impl Iterator<Item = NodeNumber> {
        self.live.keys().copied()
    }

    /// The store has answered a beat.
    pub(super) fn on_beat(&mut self, held: Held, live: HashMap<NodeNumber, Epoch>) -> Next {
        let was_usable = self.is_usable();
        self.live = live;
        self.state = match held {
            Held::Another => StoreState::Contested,
            Held::Ours | Held::Missing => StoreState::Answers,
        };
        match held {
            Held::Missing => Next::WriteAll,
            Held::Ours if !was_usable => Next::WriteAll,
            Held::Ours | Held::Another => Next::Nothing,
        }
    }

    /// The store was of no use. Who lived a moment ago may live on.
    pub(super) fn on_away(&mut self, why: Away) {
        self.state = StoreState::Away(why.0);
    }
}
