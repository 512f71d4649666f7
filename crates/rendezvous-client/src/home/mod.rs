//! Which of a rendezvous' hosts are dialled next, and in what order. It keeps no time and has no sockets.
//!
//! A peer stays with the host that it has, its *home*: codes and sessions live there. Where its home is lost, an idle
//! peer tries there alone once more, since most hosts that go away are started again. One in need does not wait for
//! that: it goes on to the hosts behind its home in the list, which is the same for the other member of its session, so
//! that both come to the same one. The home has its turn first in any case: what was lost may have been this peer's own
//! network. Where nobody of those answers, or each has refused it, all that are known have their turn.
//!
//! A host that refuses a peer may be behind the others, with a key that it has not been given yet: it comes last until
//! there is a connection, and has its turn again where nobody else answers.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    node::{Node, NodeNumber},
    url::{HostAt, RendezvousUrl},
};

use super::{
    Nodes,
    allowed_addresses::{AllowedAddresses, is_inside, may_be_named},
    node_memory::Remembered,
};

/// The next host is tried this much later (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// The same where the first is the home of a peer in need.
const STAGGER_FROM_HOME: Duration = Duration::from_secs(1);

/// So many nodes behind its home a peer in need tries.
const NEXT: usize = 3;

/// After so many attempts in a row that came to nothing it tries all that are known: a part of a cluster may be gone
/// for long.
const ALL_AFTER: u32 = 3;

/// So often within [`HOPS_WITHIN`] a peer lets itself be sent on. Once is what it takes; twice if the other side moves
/// meanwhile.
const HOPS: usize = 3;

/// The time in which that is counted.
const HOPS_WITHIN: Duration = Duration::from_secs(60);

/// So often a peer comes again to its home, or to a host that it was sent on to, that has told it to come later.
const DELAYS: u32 = 2;

/// The hosts of one link.
#[derive(Debug)]
pub(super) struct Hosts {
    /// Those that the URL names.
    seeds: Vec<HostAt>,
    /// Whether the URL says how another host proves that it is of the same rendezvous.
    is_pinned: bool,
    /// The seeds, or what a node has told, and the seeds that are not among it.
    all: Vec<HostAt>,
    /// Those that a node has told, now or at an earlier start.
    nodes: Vec<Node>,
    /// Whether who has told them was inside.
    told_inside: bool,
    /// Whether they are those of an earlier start alone, which may be gone.
    only_remembered: bool,
    /// Whether the host that is reached is in a network that others do not reach, so that its nodes may be too.
    is_inside: bool,
    home: Option<HostAt>,
    /// Where the home is where this peer was sent, or has told it to come later, and was not reached yet.
    sent_on: Option<SentOn>,
    /// When it let itself be sent on.
    hops: VecDeque<Instant>,
    /// How many attempts have failed since there was a connection.
    failures: u32,
    /// Those that have refused this peer since there was a connection.
    refused: Vec<HostAt>,
}

/// That a host has sent this peer on to another one, or to itself at a later time.
#[derive(Clone, Copy, Debug)]
struct SentOn {
    /// Whether who has sent it was inside.
    inside: bool,
    /// How often the other one has said that it takes this peer later.
    delays: u32,
    /// Whether it has said so just now, and is to be dialled again.
    comes_again: bool,
}

/// Which hosts are dialled next, and when each.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// These, each so much later than the one before unless that has failed sooner.
    InOrder(Vec<HostAt>, Duration),
    /// These, each so much later than the one before; the one with the shortest round trip comes first.
    Nearest(Vec<HostAt>, Duration),
}

impl Hosts {
    /// Those that the URL names, and those that were told of at an earlier start.
    pub(super) fn new(url: &RendezvousUrl, remembered: Remembered) -> Self {
        let mut hosts = Self {
            seeds: url.hosts(),
            is_pinned: url.fingerprint.is_some(),
            all: url.hosts(),
            nodes: Vec::new(),
            told_inside: false,
            only_remembered: false,
            is_inside: false,
            home: None,
            sent_on: None,
            hops: VecDeque::new(),
            failures: 0,
            refused: Vec::new(),
        };
        // Without a fingerprint nobody could tell whether they are of the same rendezvous.
        if hosts.is_pinned {
            hosts.told_inside = remembered.told_inside;
            hosts.only_remembered = !remembered.nodes.is_empty();
            hosts.set_nodes(remembered.nodes);
        }
        hosts
    }

    /// The host of a URL that names one. Peers with the same URL are to come to the same one as long as no other is
    /// nearer: then they find each other without a store.
    pub(super) fn named_alone(&self) -> Option<&HostAt> {
        self.seeds.first().filter(|_| self.seeds.len() == 1)
    }

    /// The nodes that were told, by number, for the next start.
    pub(super) fn to_remember(&self) -> Remembered {
        Remembered {
            nodes: self.nodes.clone(),
            told_inside: self.told_inside,
        }
    }

    /// At which addresses they may be.
    pub(super) fn allowed_addresses(&self) -> AllowedAddresses {
        let told = self.nodes.iter().filter(|_| self.told_inside);
        let home_may = self.sent_on.map_or(self.is_inside, |sent| sent.inside);
        let home = self.home.iter().filter(|_| home_may);
        let told = told.map(|node| &node.at).chain(home);
        AllowedAddresses::anywhere(self.seeds.iter().chain(told).cloned())
    }

    fn set_nodes(&mut self, nodes: Vec<Node>) {
        self.all = nodes.iter().map(|node| node.at.clone()).collect();
        let further = self.seeds.iter().filter(|seed| !self.all.contains(seed));
        let further: Vec<_> = further.cloned().collect();
        self.all.extend(further);
        self.nodes = nodes;
    }

    /// Whether there is a choice.
    pub(super) fn are_several(&self) -> bool {
        self.all.len() > 1
    }

    /// The host that this peer stays with.
    pub(super) fn home(&self) -> Option<&HostAt> {
        self.home.as_ref()
    }

    /// A connection stands, to this address.
    pub(super) fn on_up(&mut self, at: &HostAt, address: IpAddr) {
        self.is_inside = is_inside(address);
        self.home = Some(at.clone());
        self.sent_on = None;
        self.failures = 0;
        self.refused.clear();
    }

    /// This host takes this peer later. Whether it is to be dialled again rather than another one: whoever is awaited
    /// there is nowhere else, and what this peer has left at the node before comes over meanwhile. A home that was
    /// started again has its part of a limit once its peers have asked for it.
    pub(super) fn on_delayed(&mut self, at: &HostAt) -> bool {
        if self.home.as_ref() != Some(at) {
            return false;
        }
        let sent = self.sent_on.get_or_insert(SentOn {
            inside: self.is_inside,
            delays: 0,
            comes_again: false,
        });
        if sent.delays >= DELAYS {
            return false;
        }
        sent.delays += 1;
        sent.comes_again = true;
        true
    }

    /// This host will not have this peer. Whether there is another one to try.
    pub(super) fn on_refused(&mut self, at: &HostAt) -> bool {
        if !self.refused.contains(at) {
            self.refused.push(at.clone());
        }
        let is_left = self.all.iter().any(|host| !self.refused.contains(host));
        if !is_left {
            self.refused.clear();
        }
        is_left
    }

    /// The node that is reached says which one it is, and which there are; those that relay, if it is believed.
    pub(super) fn on_told(
        &mut self,
        own: NodeNumber,
        mut nodes: Vec<Node>,
        mut relays: Vec<Node>,
    ) -> Option<Nodes> {
        if !self.is_pinned {
            return None;
        }
        let is_inside = self.is_inside;
        nodes.retain(|node| may_be_named(&node.at, is_inside));
        relays.retain(|relay| may_be_named(&relay.at, is_inside));
        relays.truncate(NodeNumber::MOST);
        nodes.truncate(NodeNumber::MOST);
        // In the same order at every peer.
        nodes.sort_by_key(|node| node.number);
        nodes.dedup_by_key(|node| node.number);
        if let Some(node) = nodes.iter().find(|node| node.number == own) {
            // It may have been reached by a name that all nodes have.
            self.home = Some(node.at.clone());
        }
        relays.extend(nodes.iter().cloned());
        self.told_inside = is_inside;
        self.only_remembered = false;
        self.set_nodes(nodes);
        let allowed = relays.iter().filter(|_| is_inside);
        let allowed = allowed
            .map(|relay| relay.at.clone())
            .fold(self.allowed_addresses(), AllowedAddresses::and);
        Some(Nodes {
            own,
            relays,
            allowed,
        })
    }

    /// The node that is reached sends this peer to another one. Whether it goes: not in a circle, and not to a host
    /// that could not prove that it belongs to the same rendezvous.
    pub(super) fn go_to(&mut self, now: Instant, at: &HostAt) -> bool {
        self.hops
            .retain(|hop| now.saturating_duration_since(*hop) < HOPS_WITHIN);
        let is_named = self.is_pinned && may_be_named(at, self.is_inside);
        let is_known = is_named || self.seeds.contains(at);
        if !is_known || self.home.as_ref() == Some(at) || self.hops.len() >= HOPS {
            return false;
        }
        self.hops.push_back(now);
        self.home = Some(at.clone());
        self.sent_on = Some(SentOn {
            inside: self.is_inside,
            delays: 0,
            comes_again: false,
        });
        self.failures = 0;
        true
    }

    /// An attempt came to nothing.
    pub(super) fn on_failed(&mut self) {
        let sent_on = self.sent_on.take().filter(|sent| sent.comes_again);
        self.sent_on = sent_on.map(|sent| SentOn {
            comes_again: false,
            ..sent
        });
        self.failures = self.failures.saturating_add(1);
    }

    /// Nobody else answers but those that have refused this peer, and these, which will never take it. They have their
    /// turn again next time. Whether they are believed: hosts that were known at an earlier start may be gone, and what
    /// those of the URL say is not to be hidden by that.
    pub(super) fn on_nobody_else(&mut self, hopeless: &[HostAt]) -> bool {
        let mut seeds = self.seeds.iter();
        let refuses = |seed: &HostAt| self.refused.contains(seed) || hopeless.contains(seed);
        let is_believed = self.only_remembered && seeds.all(refuses);
        self.refused.clear();
        is_believed
    }

    /// Whether an attempt at these hosts shows that there is no other to be reached.
    pub(super) fn are_all(&self, tried: &[HostAt]) -> bool {
        let mut all = self.all.iter();
        all.all(|host| tried.contains(host) || self.refused.contains(host))
    }

    /// Whom to dial next, never nobody; `in_need` says that somebody waits for it, so that others than its home are
    /// tried at once.
    pub(super) fn plan(&self, in_need: bool) -> Plan {
        match &self.home {
            Some(home) if self.sent_on.is_some() => Plan::InOrder(vec![home.clone()], STAGGER),
            Some(home) if !in_need && self.failures == 0 && !self.refused.contains(home) => {
                Plan::InOrder(vec![home.clone()], STAGGER)
            }
            Some(home) if self.are_several() => {
                let near = self.willing(self.from(home, NEXT));
                let hosts = match near.is_empty() || self.failures >= ALL_AFTER {
                    true => self.willing(self.from(home, self.all.len())),
                    false => near,
                };
                Plan::InOrder(self.or_all(hosts), STAGGER_FROM_HOME)
            }
            _ if self.are_several() => {
                let hosts = self.willing(self.all.clone());
                Plan::Nearest(self.or_all(hosts), STAGGER)
            }
            _ => Plan::InOrder(self.all.clone(), STAGGER),
        }
    }

    /// Those of these hosts that have not refused this peer.
    fn willing(&self, mut hosts: Vec<HostAt>) -> Vec<HostAt> {
        hosts.retain(|host| !self.refused.contains(host));
        hosts
    }

    /// These hosts, or all if they are none: an attempt at nobody would be followed by others like it for good.
    fn or_all(&self, hosts: Vec<HostAt>) -> Vec<HostAt> {
        match hosts.is_empty() {
            true => self.all.clone(),
            false => hosts,
        }
    }

    /// This one, so many that follow it in the list, the end of which is followed by its beginning, and the seeds.
    fn from(&self, home: &HostAt, next: usize) -> Vec<HostAt> {
        let at = self.all.iter().position(|one| one == home).unwrap_or(0);
        let (before, behind) = self.all.split_at(at);
        let mut order = vec![home.clone()];
        let others = behind.iter().chain(before);
        let others = others.filter(|one| *one != home);
        // Whatever a node has told, those that a person has named have their turn soon.
        let others = others.take(next).chain(&self.seeds);
        for other in others {
            if !order.contains(other) {
                order.push(other.clone());
            }
        }
        order
    }
}

#[cfg(test)]
mod tests;
