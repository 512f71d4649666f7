//! Draining: who is told that this host goes out of service, and which peers are sent to another node meanwhile. What
//! is refused until then is decided where it is asked for; how long it lasts: [`crate::operate::drain_deadline`].

use std::time::Instant;

use p2pdbg_proto::{node::Node, rendezvous::FromRendezvous};

use crate::cluster_store::Ask;

use super::{
    Effect, Now, Registry,
    cluster::Cluster,
    connection::{Connection, Standing},
    left_s,
};

impl Connection {
    /// Whether it loses nothing by going to another node.
    pub(super) fn may_be_sent_on(&self) -> bool {
        let is_peer = !matches!(self.standing, Standing::Stranger { .. });
        is_peer && self.sessions.is_empty() && !self.sent_on
    }
}

impl Cluster {
    /// The node that follows this one by number, where its peers go when it ends: the same for all of them, so that
    /// those who look for each other meet there. One that is known to be dead, or to go out of service too, is passed
    /// over.
    fn next_node(&self) -> Option<&Node> {
        let may_live = |node: &&Node| {
            let living = self.living.as_ref();
            let lives = living.is_none_or(|living| living.contains(&node.number));
            lives && !self.draining.contains(&node.number)
        };
        let others = || {
            let others = self.nodes.iter().filter(|node| node.number != self.own);
            others.filter(may_live)
        };
        let above = others().filter(|node| node.number > self.own);
        let next = above.min_by_key(|node| node.number);
        next.or_else(|| others().min_by_key(|node| node.number))
    }
}

impl Registry {
    /// Gives no new codes and sessions from now on until it stops, at that time at the latest, or gives them again.
    /// Every peer is told, and so is whoever comes.
    pub(crate) fn drain(&mut self, now: Now, until: Option<Instant>) -> Vec<Effect> {
        if std::mem::replace(&mut self.sessions.draining, until) == until {
            return Vec::new();
        }
        let left_s = until.map(|until| left_s(now, until));
        let greeted = self
            .connections
            .iter()
            .filter(|(_, connection)| !matches!(connection.standing, Standing::Stranger { .. }));
        let mut effects: Vec<Effect> = greeted
            .map(|(id, _)| Effect::Tell(*id, FromRendezvous::Draining { left_s }))
            .collect();
        for connection in self.connections.values_mut() {
            connection.sent_on = false;
        }
        if self.has_directory() {
            effects.push(Effect::Ask(Ask::Drain(until.is_some())));
        }
        self.send_on_idle(&mut effects);
        effects
    }

    /// Has the peers that are in no session go to another node while this one goes out of service: each is told once.
    pub(super) fn send_on_idle(&mut self, effects: &mut Vec<Effect>) {
        let next = self.cluster.as_ref().and_then(Cluster::next_node);
        let Some(node) = next.filter(|_| self.sessions.draining.is_some()) else {
            return;
        };
        let most = usize::try_from(self.limits.returns_per_second).unwrap_or(usize::MAX);
        let idle = self
            .connections
            .iter_mut()
            .filter(|(_, connection)| connection.may_be_sent_on());
        for (id, connection) in idle.take(most) {
            connection.sent_on = true;
            let node = node.clone();
            effects.push(Effect::Tell(*id, FromRendezvous::GoTo { node }));
        }
    }
}
