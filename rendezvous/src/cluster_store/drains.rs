//! Which nodes go out of service: each says so of itself, and no new sessions are sent to it by the others.

use std::time::Duration;

use p2pdbg_proto::node::NodeNumber;

use super::{ALIVE_FOR, Away, Directory, Found, Process};

/// How often the others are asked for, and how often a node says it of itself while it holds.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// Where a node says so.
fn place(node: NodeNumber) -> String {
    format!("drains:{node}")
}

/// What this node says of itself, and what it has read of the others.
#[derive(Debug, Default)]
pub(super) struct Drains {
    own: bool,
    /// Whether the store has yet to be told that this node stays after all.
    is_to_take_back: bool,
    others: Vec<NodeNumber>,
    /// What the registry was told of the others last.
    told: Vec<NodeNumber>,
}

impl Drains {
    /// Whether this node goes out of service, from now on.
    pub(super) fn set(&mut self, own: bool) {
        self.is_to_take_back |= self.own && !own;
        self.own = own;
    }

    /// Tells the others. It is about this process: the one after it serves again.
    pub(super) async fn say<D: Directory>(
        &mut self,
        directory: &mut D,
        own: Process,
    ) -> Result<(), Away> {
        if !self.own && !self.is_to_take_back {
            return Ok(());
        }
        let text = if self.own {
            own.epoch.to_string()
        } else {
            String::new()
        };
        directory.put(&place(own.node), &text, ALIVE_FOR).await?;
        self.is_to_take_back = false;
        Ok(())
    }

    /// Reads which of these do.
    pub(super) async fn look<D: Directory>(
        &mut self,
        directory: &mut D,
        others: Vec<Process>,
    ) -> Result<(), Away> {
        let places: Vec<String> = others.iter().map(|other| place(other.node)).collect();
        let texts = match &places[..] {
            [] => Vec::new(),
            places => directory.texts(places).await?,
        };
        let said = others.into_iter().zip(texts);
        let draining = said.filter(|(other, text)| {
            text.as_ref()
                .is_some_and(|text| *text == other.epoch.to_string())
        });
        self.others = draining.map(|(other, _)| other.node).collect();
        self.others.sort();
        Ok(())
    }

    /// The store was of no use: who has stayed after all could not say so.
    pub(super) fn on_away(&mut self) {
        self.others.clear();
    }

    /// Which of the others do, in the order of their numbers.
    pub(super) fn others(&self) -> &[NodeNumber] {
        &self.others
    }

    /// Whether this one does.
    pub(super) fn has(&self, node: NodeNumber) -> bool {
        self.others.contains(&node)
    }

    /// Which of the others do, to be told if it has changed since it was.
    pub(super) fn poll(&mut self) -> Option<Found> {
        if self.told == self.others {
            return None;
        }
        self.told.clone_from(&self.others);
        Some(Found::Draining(self.others.clone()))
    }
}
