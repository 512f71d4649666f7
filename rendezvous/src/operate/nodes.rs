//! What an operator is told of the nodes of a cluster.

use p2pdbg_proto::node::{Node, NodeNumber};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cluster_store::{NodesSeen, StoreState};

/// The nodes as this one sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesReport {
    /// The number of the node that is asked.
    pub own: u8,
    /// All nodes, in the order of their numbers.
    pub nodes: Vec<NodeReport>,
    /// How the store is; none is used without it.
    pub store: Option<StoreReport>,
}

/// One node of the cluster as the one that is asked sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its number, from 10 to 99.
    pub number: u8,
    /// Where peers reach it; empty of one that lives and that this node was not told of.
    pub at: String,
    /// Whether it has said of late that it lives; unknown without a store that answers.
    pub lives: Option<bool>,
    /// Whether it goes out of service, and is sent no peers and no sessions to relay; unknown as `lives` is.
    pub drains: Option<bool>,
}

/// The store as the node that is asked sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    /// Whether it is of use.
    pub answers: bool,
    /// Why it is of no use, if it is not.
    pub why: Option<String>,
}

/// What tells an operator of the nodes, at any moment.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    own: NodeNumber,
    nodes: Vec<Node>,
    state: Option<watch::Receiver<NodesSeen>>,
}

impl Nodes {
    /// Of these, with what the store's task finds out.
    pub(crate) fn new(
        own: NodeNumber,
        mut nodes: Vec<Node>,
        state: Option<watch::Receiver<NodesSeen>>,
    ) -> Self {
        nodes.sort_by_key(|node| node.number);
        Self { own, nodes, state }
    }

    /// The numbers of all nodes of the list.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u8> {
        self.nodes.iter().map(|node| node.number.get())
    }

    /// The nodes and the store as they were last seen; `drains` is whether this one goes out of service.
    pub(crate) fn report(&self, drains: bool) -> NodesReport {
        let (store, seen) = match &self.state {
            Some(state) => {
                let seen = state.borrow().clone();
                let why = match &seen.store {
                    StoreState::Answers => None,
                    StoreState::Unknown => Some("it was not asked yet".to_owned()),
                    StoreState::Away(why) => Some(why.clone()),
                    StoreState::Contested => Some("another host serves as this node".to_owned()),
                };
                let answers = why.is_none();
                (Some(StoreReport { answers, why }), answers.then_some(seen))
            }
            None => (None, None),
        };
        let report = |node: &Node| NodeReport {
            number: node.number.get(),
            at: node.at.to_string(),
            lives: seen.as_ref().map(|seen| seen.living.contains(&node.number)),
            drains: match node.number == self.own {
                true => Some(drains),
                false => seen
                    .as_ref()
                    .map(|seen| seen.draining.contains(&node.number)),
            },
        };
        let is_told = |number: &NodeNumber| self.nodes.iter().any(|node| node.number == *number);
        let living = seen.iter().flat_map(|seen| &seen.living);
        let untold = living.filter(|number| !is_told(number));
        let untold = untold.map(|number| NodeReport {
            number: number.get(),
            at: String::new(),
            lives: Some(true),
            drains: seen.as_ref().map(|seen| seen.draining.contains(number)),
        });
        NodesReport {
            own: self.own.get(),
            nodes: self.nodes.iter().map(report).chain(untold).collect(),
            store,
        }
    }
}
