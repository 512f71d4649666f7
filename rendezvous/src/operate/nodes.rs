//! What an operator is told of the nodes of a cluster.

use p2pdbg_proto::node::{Node, NodeNumber};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::directory::StoreState;

/// The nodes as this one sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesReport {
    /// This node's number.
    pub own: u8,
    /// All nodes, by number.
    pub nodes: Vec<NodeReport>,
    /// How the store is; none is used without it.
    pub store: Option<StoreReport>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its number.
    pub number: u8,
    /// Where peers reach it; empty of one that lives and that this node was not told of.
    pub at: String,
    /// Whether it has said of late that it lives; unknown without a store that answers.
    pub lives: Option<bool>,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    /// Whether it is of use.
    pub answers: bool,
    /// Why not.
    pub why: Option<String>,
}

/// Tells of them.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    own: NodeNumber,
    nodes: Vec<Node>,
    state: Option<watch::Receiver<(StoreState, Vec<NodeNumber>)>>,
}

impl Nodes {
    /// Of these, with what the desk finds out.
    pub(crate) fn new(
        own: NodeNumber,
        mut nodes: Vec<Node>,
        state: Option<watch::Receiver<(StoreState, Vec<NodeNumber>)>>,
    ) -> Self {
        nodes.sort_by_key(|node| node.number);
        Self { own, nodes, state }
    }

    /// How things are.
    pub(crate) fn report(&self) -> NodesReport {
        let (store, live) = match &self.state {
            Some(state) => {
                let (state, live) = state.borrow().clone();
                let why = match &state {
                    StoreState::Answers => None,
                    StoreState::Unknown => Some("it was not asked yet".to_owned()),
                    StoreState::Away(why) => Some(why.clone()),
                    StoreState::Contested => Some("another host serves as this node".to_owned()),
                };
                let answers = why.is_none();
                (Some(StoreReport { answers, why }), answers.then_some(live))
            }
            None => (None, None),
        };
        let report = |node: &Node| NodeReport {
            number: node.number.get(),
            at: node.at.to_string(),
            lives: live.as_ref().map(|live| live.contains(&node.number)),
        };
        let is_told = |number: &NodeNumber| self.nodes.iter().any(|node| node.number == *number);
        let untold = live.iter().flatten().filter(|number| !is_told(number));
        let untold = untold.map(|number| NodeReport {
            number: number.get(),
            at: String::new(),
            lives: Some(true),
        });
        NodesReport {
            own: self.own.get(),
            nodes: self.nodes.iter().map(report).chain(untold).collect(),
            store,
        }
    }
}
