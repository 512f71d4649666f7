//! Which of a rendezvous' hosts are dialled next, and in what order. It keeps no time and has no sockets.
//!
//! A peer stays with the host that it has, its *home*: codes and sessions live there. Where its home is lost, an idle
//! peer tries there alone once more, since most hosts that go away are started again. One in need does not wait for
//! that: it goes on to the hosts behind its home in the list, which is the same for the other member of its session, so
//! that both come to the same one. The home has its turn first in any case: what was lost may have been this peer's own
//! network.
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

/// So often within [`HOPS_WITHIN`] a peer lets itself be sent on. Once is what it takes; twice if the other side moves
/// meanwhile.
const HOPS: usize = 3;

/// The time in which that is counted.
const HOPS_WITHIN: Duration = Duration::from_secs(60);

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
    /// Whether the home is where this peer was sent, and was not reached yet.
    sent_on: bool,
    /// Whether who has sent it was inside.
    sent_inside: bool,
    /// When it let itself be sent on.
    hops: VecDeque<Instant>,
    /// How many attempts have failed since there was a connection.
    failures: u32,
    /// Those that have refused this peer since there was a connection.
    refused: Vec<HostAt>,
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
            sent_on: false,
            sent_inside: false,
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
        let home_may = match self.sent_on {
            true => self.sent_inside,
            false => self.is_inside,
        };
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
        self.sent_on = false;
        self.failures = 0;
        self.refused.clear();
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
        self.sent_on = true;
        self.sent_inside = self.is_inside;
        self.failures = 0;
        true
    }

    /// An attempt came to nothing.
    pub(super) fn on_failed(&mut self) {
        self.sent_on = false;
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

    /// Whom to dial next; `in_need` says that an attempt has failed, so that all that are known are tried.
    pub(super) fn plan(&self, in_need: bool) -> Plan {
        let willing = |hosts: &[HostAt]| -> Vec<HostAt> {
            let willing = hosts.iter().filter(|host| !self.refused.contains(host));
            willing.cloned().collect()
        };
        match &self.home {
            Some(home) if self.sent_on => Plan::InOrder(vec![home.clone()], STAGGER),
            Some(home) if !in_need && self.failures == 0 && !self.refused.contains(home) => {
                Plan::InOrder(vec![home.clone()], STAGGER)
            }
            Some(home) if self.are_several() => {
                Plan::InOrder(willing(&self.from(home)), STAGGER_FROM_HOME)
            }
            _ if self.are_several() => Plan::Nearest(willing(&self.all), STAGGER),
            _ => Plan::InOrder(self.all.clone(), STAGGER),
        }
    }

    /// This one, those that follow it in the list, the end of which is followed by its beginning, and the seeds.
    fn from(&self, home: &HostAt) -> Vec<HostAt> {
        let at = self.all.iter().position(|one| one == home).unwrap_or(0);
        let (before, behind) = self.all.split_at(at);
        let mut order = vec![home.clone()];
        let others = behind.iter().chain(before);
        let others = others.filter(|one| *one != home);
        // Whatever a node has told, those that a person has named have their turn soon.
        let others = others.take(NEXT).chain(&self.seeds);
        for other in others {
            if !order.contains(other) {
                order.push(other.clone());
            }
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn at(host: &str) -> HostAt {
        host.parse().unwrap()
    }

    fn hosts() -> Hosts {
        Hosts::new(&"p2pdbg://a,b,c".parse().unwrap(), Remembered::default())
    }

    #[test]
    fn hosts_are_dialled_by_distance_at_first() {
        let all = vec![at("a"), at("b"), at("c")];
        assert_eq!(hosts().plan(true), Plan::Nearest(all, STAGGER));
        let one = Hosts::new(&"p2pdbg://a".parse().unwrap(), Remembered::default());
        assert_eq!(one.plan(true), Plan::InOrder(vec![at("a")], STAGGER));
    }

    #[test]
    fn lost_home_of_an_idle_peer_is_tried_alone_once_and_then_with_the_others() {
        let mut hosts = hosts();
        hosts.on_up(&at("b"), OUTSIDE);
        assert_eq!(hosts.plan(false), Plan::InOrder(vec![at("b")], STAGGER));
        hosts.on_failed();
        let order = vec![at("b"), at("c"), at("a")];
        assert_eq!(hosts.plan(false), Plan::InOrder(order, STAGGER_FROM_HOME));
        hosts.on_up(&at("c"), OUTSIDE);
        assert_eq!(hosts.plan(false), Plan::InOrder(vec![at("c")], STAGGER));
    }

    #[test]
    fn lost_home_of_peers_in_need_is_followed_by_the_same_host_for_both() {
        let mut hosts = hosts();
        hosts.on_up(&at("b"), OUTSIDE);
        for _ in 0..3 {
            let order = vec![at("b"), at("c"), at("a")];
            assert_eq!(hosts.plan(true), Plan::InOrder(order, STAGGER_FROM_HOME));
            hosts.on_failed();
        }
    }

    fn node(text: &str) -> Node {
        text.parse().unwrap()
    }

    fn pinned() -> Hosts {
        let print = "A".repeat(43);
        Hosts::new(
            &format!("p2pdbg://all,b#{print}").parse().unwrap(),
            Remembered::default(),
        )
    }

    #[test]
    fn nodes_that_are_told_come_before_the_seeds_and_the_home_is_known_by_its_number() {
        let mut hosts = pinned();
        hosts.on_up(&at("all"), OUTSIDE);
        let nodes = ["19=c", "17=a", "18=b"].map(node).to_vec();
        hosts.on_told(NodeNumber::new(18).unwrap(), nodes.clone(), Vec::new());
        assert_eq!(hosts.plan(false), Plan::InOrder(vec![at("b")], STAGGER));
        let order = vec![at("b"), at("c"), at("all"), at("a")];
        assert_eq!(hosts.plan(true), Plan::InOrder(order, STAGGER_FROM_HOME));

        // Without a fingerprint any host with a certificate of its own could be named.
        let mut loose = self::hosts();
        let told = loose.on_told(NodeNumber::new(18).unwrap(), nodes, Vec::new());
        assert_eq!(told, None);
        assert!(matches!(loose.plan(false), Plan::Nearest(all, _) if all.len() == 3));
    }

    #[test]
    fn nodes_that_were_told_at_an_earlier_start_are_dialled_with_the_seeds() {
        let print = "A".repeat(43);
        let nodes = ["17=a", "18=b"].map(node).to_vec();
        let remembered = Remembered {
            nodes,
            told_inside: false,
        };
        let of = |url: &str| Hosts::new(&url.parse().unwrap(), remembered.clone()).plan(true);
        let all = vec![at("a"), at("b"), at("dead")];
        let pinned = of(&format!("p2pdbg://dead#{print}"));
        assert_eq!(pinned, Plan::Nearest(all, STAGGER));
        let loose = of("p2pdbg://dead");
        assert_eq!(loose, Plan::InOrder(vec![at("dead")], STAGGER));
    }

    #[test]
    fn node_elsewhere_names_no_host_of_the_network_that_the_peer_is_in() {
        let inside = [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.7.7",
            "169.254.1.1",
            "100.64.0.1",
            "[::1]",
            "[fe80::1]",
            "[fd00::1]",
            "[::ffff:10.0.0.1]",
            "localhost",
            "a.LOCALHOST.",
        ];
        let never = [
            "127.1",
            "0.0.0.0",
            "[::]",
            "224.0.0.1",
            "255.255.255.255",
            "[ff02::1]",
        ];
        let told = |reached: IpAddr| {
            let mut hosts = pinned();
            hosts.on_up(&at("all"), reached);
            let named = inside
                .into_iter()
                .chain(never)
                .chain(["rdv.example", "198.51.100.7"]);
            let named = named.take(NodeNumber::MOST).zip(10u8..);
            let nodes = named.map(|(host, number)| node(&format!("{number}={host}")));
            let told = hosts
                .on_told(NodeNumber::MIN, Vec::new(), nodes.collect())
                .unwrap();
            told.relays.len()
        };
        assert_eq!(told(OUTSIDE), 0);
        assert_eq!(told([10, 0, 0, 1].into()), inside.len());
        let mut hosts = pinned();
        hosts.on_up(&at("all"), OUTSIDE);
        let now = Instant::now();
        assert!(!hosts.go_to(now, &at("192.168.0.1")));
        assert!(hosts.go_to(now, &at("198.51.100.7")));
    }

    #[test]
    fn named_hosts_may_be_in_the_network_around_if_who_named_them_was_there() {
        let own = IpAddr::from([10, 0, 0, 1]);
        let told = |hosts: &mut Hosts, reached| {
            hosts.on_up(&at("all"), reached);
            let (nodes, relays) = (vec![node("17=a")], vec![node("30=r")]);
            hosts
                .on_told(NodeNumber::MIN, nodes, relays)
                .unwrap()
                .allowed
        };
        for (reached, may) in [(OUTSIDE, false), (own, true)] {
            let mut hosts = pinned();
            let allowed = told(&mut hosts, reached);
            assert_eq!(allowed.admits(&at("r"), own), may);
            assert_eq!(hosts.allowed_addresses().admits(&at("a"), own), may);
            assert!(
                hosts.allowed_addresses().admits(&at("all"), own),
                "the user has named it"
            );
            hosts.go_to(Instant::now(), &at("c"));
            assert_eq!(hosts.allowed_addresses().admits(&at("c"), own), may);
            let print = "A".repeat(43);
            let url = format!("p2pdbg://all#{print}").parse().unwrap();
            let later = Hosts::new(&url, hosts.to_remember());
            assert_eq!(later.allowed_addresses().admits(&at("a"), own), may);
        }
    }

    #[test]
    fn peer_that_is_sent_on_goes_there_alone_and_not_in_a_circle() {
        let mut hosts = pinned();
        let now = Instant::now();
        hosts.on_up(&at("a"), OUTSIDE);
        assert!(!hosts.go_to(now, &at("a")), "it is there");
        for to in ["b", "a", "b"] {
            assert!(hosts.go_to(now, &at(to)));
            assert_eq!(hosts.plan(true), Plan::InOrder(vec![at(to)], STAGGER));
            hosts.on_up(&at(to), OUTSIDE);
        }
        assert!(!hosts.go_to(now, &at("a")));
        assert!(hosts.go_to(now + HOPS_WITHIN, &at("a")));
        // Where nothing answers there, it looks elsewhere.
        hosts.on_failed();
        let order = vec![at("a"), at("all"), at("b")];
        assert_eq!(hosts.plan(false), Plan::InOrder(order, STAGGER_FROM_HOME));
    }

    #[test]
    fn host_that_refuses_is_left_out_until_there_is_a_connection_and_all_together_are_final() {
        let mut hosts = hosts();
        assert!(hosts.on_refused(&at("a")));
        hosts.on_failed();
        let others = vec![at("b"), at("c")];
        assert_eq!(hosts.plan(true), Plan::Nearest(others, STAGGER));
        hosts.on_up(&at("b"), OUTSIDE);
        let order = vec![at("b"), at("c"), at("a")];
        assert_eq!(hosts.plan(true), Plan::InOrder(order, STAGGER_FROM_HOME));
        assert!(hosts.on_refused(&at("b")) && hosts.on_refused(&at("c")));
        hosts.on_failed();
        let left = vec![at("a")];
        assert_eq!(hosts.plan(false), Plan::InOrder(left, STAGGER_FROM_HOME));
        assert!(!hosts.on_refused(&at("a")), "nobody is left");
        let one = "p2pdbg://a".parse().unwrap();
        assert!(!Hosts::new(&one, Remembered::default()).on_refused(&at("a")));
    }

    #[test]
    fn hosts_that_refuse_have_their_turn_again_where_nobody_else_answers() {
        let mut hosts = hosts();
        assert!(hosts.on_refused(&at("a")));
        hosts.on_failed();
        assert!(!hosts.on_nobody_else(&[]), "the user has named the others");
        assert!(matches!(hosts.plan(true), Plan::Nearest(all, _) if all.len() == 3));
    }

    #[test]
    fn refusal_of_all_hosts_of_the_url_is_believed_if_others_are_remembered_alone() {
        let print = "A".repeat(43);
        let url = format!("p2pdbg://a,b#{print}").parse().unwrap();
        let remembered = Remembered {
            nodes: vec![node("18=gone")],
            told_inside: false,
        };
        let mut hosts = Hosts::new(&url, remembered);
        assert!(hosts.on_refused(&at("a")));
        assert!(!hosts.on_nobody_else(&[]), "b has said nothing");
        hosts.on_refused(&at("a"));
        assert!(hosts.on_nobody_else(&[at("b")]));
        hosts.on_up(&at("a"), OUTSIDE);
        let own = NodeNumber::new(18).unwrap();
        hosts.on_told(own, vec![node("18=gone")], Vec::new());
        hosts.on_refused(&at("a"));
        assert!(!hosts.on_nobody_else(&[at("b")]), "it was told now");
    }

    #[test]
    fn peer_without_a_pinned_certificate_is_sent_to_hosts_of_its_url_alone() {
        let mut hosts = hosts();
        let now = Instant::now();
        hosts.on_up(&at("a"), OUTSIDE);
        assert!(!hosts.go_to(now, &at("elsewhere")));
        assert!(hosts.go_to(now, &at("b")));
    }
}
