//! Which relay a session has besides the rendezvous' own: another node, if both peers together are much nearer to it.
//! It keeps no time and has no sockets.
//!
//! Both measure how far the nodes are and tell each other under seal. The connector adds up and has the home give
//! both a ticket for the best; the listener goes where that leads. The home's relay stays as it is, so that a session
//! loses nothing by a choice that turns out badly.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    node::NodeNumber,
    relay::TICKET_LIFETIME,
    rendezvous::Role,
    signal::{Distance, MAX_DISTANCES},
};
use p2pdbg_rendezvous_client::NodeAway;

/// A relay is worth a change if the way through it is shorter by this and by a fifth: what is measured varies.
const WORTH: Duration = Duration::from_millis(10);

/// A relay that was lost is not tried again for so long, and for twice as long after each further loss.
const BARRED: Duration = Duration::from_secs(60);

/// The longest of these times.
const BARRED_MOST: Duration = Duration::from_secs(40 * 60);

/// So long a ticket that was asked for may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A ticket is renewed after this.
const RENEWED: Duration = Duration::from_secs(TICKET_LIFETIME.as_secs() * 2 / 3);

/// What the connector is to do now about the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Has the home give both a ticket for this node.
    Ask(NodeNumber),
    /// Relays at the home alone.
    Leave,
}

/// Which relay is the nearest to both peers together, and whether the session is there: see above.
#[derive(Debug)]
pub(crate) struct RelayChoice {
    role: Role,
    home: Option<NodeNumber>,
    here: Vec<NodeAway>,
    there: Vec<Distance>,
    asked: Option<(NodeNumber, Instant)>,
    /// Where the session has a leg, and since when.
    used: Option<(NodeNumber, Instant)>,
    /// Nodes that were lost, or have refused.
    barred: Vec<Bar>,
}

/// A node that was lost as a relay, or has refused to be one, once or several times.
#[derive(Debug)]
struct Bar {
    node: NodeNumber,
    until: Instant,
    /// For how long it is barred the next time.
    next: Duration,
}

impl RelayChoice {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            home: None,
            here: Vec::new(),
            there: Vec::new(),
            asked: None,
            used: None,
            barred: Vec::new(),
        }
    }

    /// So far the nodes are from here, of which one is the home; what the peer is told.
    pub(crate) fn on_measured(
        &mut self,
        home: Option<NodeNumber>,
        here: Vec<NodeAway>,
    ) -> Vec<Distance> {
        self.home = home;
        self.here = here;
        let told = self.here.iter().take(MAX_DISTANCES);
        told.map(|away| Distance {
            node: away.number,
            tenths_ms: tenths(away.rtt),
        })
        .collect()
    }

    /// So far they are from the peer.
    pub(crate) fn on_told(&mut self, mut there: Vec<Distance>) {
        there.truncate(MAX_DISTANCES);
        self.there = there;
    }

    /// What the connector does now.
    pub(crate) fn choose(&mut self, now: Instant) -> Option<Choice> {
        let is_asked = |(_, at): &(NodeNumber, Instant)| now < *at + PATIENCE;
        if self.role == Role::Listener || self.asked.as_ref().is_some_and(is_asked) {
            return None;
        }
        let home = self.sum(self.home?)?;
        // One that was not measured once, on a full link say, may be as good as ever: its tunnel tells.
        let is_unknown = |(node, since): &(NodeNumber, Instant)| {
            self.sum(*node).is_none() && now < *since + RENEWED
        };
        if self.used.as_ref().is_some_and(is_unknown) {
            return None;
        }
        let used = self.used.map(|(node, _)| node);
        let others = self.here.iter().map(|away| away.number);
        let others = others.filter(|node| Some(*node) != self.home);
        let others = others.filter(|node| !self.is_barred(*node, now));
        let best = others
            .filter_map(|node| Some((self.sum(node)?, node)))
            .min()
            .filter(|(sum, _)| is_worth(home, *sum));
        let Some((sum, best)) = best else {
            return used.map(|_| Choice::Leave);
        };
        if let Some((node, since)) = self.used {
            let is_fresh = now < since + RENEWED;
            let keeps = self.sum(node).is_some_and(|own| !is_worth(own, sum));
            if keeps && is_fresh {
                return None;
            }
            // One that takes no sessions renews no tickets either, and is left in time.
            let renews = keeps && !self.is_barred(node, now);
            let again = if renews { node } else { best };
            return Some(self.ask(again, now));
        }
        Some(self.ask(best, now))
    }

    fn ask(&mut self, node: NodeNumber, now: Instant) -> Choice {
        self.asked = Some((node, now));
        Choice::Ask(node)
    }

    /// There is a ticket for this node: where it is. None if this end does not reach it.
    pub(crate) fn on_granted(&mut self, node: NodeNumber, now: Instant) -> Option<SocketAddr> {
        self.asked = None;
        let away = self.here.iter().find(|away| away.number == node)?;
        self.used = Some((node, now));
        Some(away.address)
    }

    /// This node takes no new sessions at the moment.
    pub(crate) fn on_refused(&mut self, node: NodeNumber, now: Instant) {
        let asked = self.asked.take_if(|(asked, _)| *asked == node);
        if asked.is_some() {
            self.bar(node, now);
        }
    }

    /// The session has no such relay any more, since it does not answer or carries too little.
    pub(crate) fn on_gone(&mut self, now: Instant) {
        if let Some((node, _)) = self.used.take() {
            self.bar(node, now);
        }
    }

    fn bar(&mut self, node: NodeNumber, now: Instant) {
        let before = self.barred.iter_mut().find(|bar| bar.node == node);
        match before {
            Some(bar) => {
                bar.until = now + bar.next;
                bar.next = (bar.next * 2).min(BARRED_MOST);
            }
            None => self.barred.push(Bar {
                node,
                until: now + BARRED,
                next: BARRED * 2,
            }),
        }
    }

    fn is_barred(&self, node: NodeNumber, now: Instant) -> bool {
        let mut barred = self.barred.iter();
        barred.any(|bar| bar.node == node && now < bar.until)
    }

    /// The session has no such relay any more, since it needs none.
    pub(crate) fn on_left(&mut self) {
        self.used = None;
    }

    /// Whether this node, which is the home now, is the relay too.
    pub(crate) fn is_used(&self, node: NodeNumber) -> bool {
        self.used.is_some_and(|(used, _)| used == node)
    }

    /// How far the peers are from each other through a node.
    fn sum(&self, node: NodeNumber) -> Option<Duration> {
        let here = self.here.iter().find(|away| away.number == node)?.rtt;
        let there = self.there.iter().find(|away| away.node == node)?;
        let there = Duration::from_micros(100 * u64::from(there.tenths_ms));
        Some(here + there)
    }
}

fn is_worth(now: Duration, then: Duration) -> bool {
    then + WORTH.max(now / 5) <= now
}

fn tenths(rtt: Duration) -> u16 {
    u16::try_from(rtt.as_micros() / 100).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    fn away(nodes: &[(u8, u64)]) -> Vec<NodeAway> {
        let away = |(number, ms): &(u8, u64)| NodeAway {
            number: node(*number),
            address: ([192, 0, 2, *number], 3478).into(),
            rtt: Duration::from_millis(*ms),
        };
        nodes.iter().map(away).collect()
    }

    /// A connector at node 17 that is so far from the nodes, and whose peer is so far.
    fn choice(here: &[(u8, u64)], there: &[(u8, u64)]) -> RelayChoice {
        let mut choice = RelayChoice::new(Role::Connector);
        measure(&mut choice, here, there);
        choice
    }

    fn measure(choice: &mut RelayChoice, here: &[(u8, u64)], there: &[(u8, u64)]) {
        let mut peer = RelayChoice::new(Role::Listener);
        choice.on_told(peer.on_measured(Some(node(17)), away(there)));
        choice.on_measured(Some(node(17)), away(here));
    }

    #[test]
    fn relay_is_the_node_with_the_shortest_way_for_both_and_asked_for_once() {
        let now = Instant::now();
        let near = [(17, 80), (18, 5), (30, 12)];
        let mut choice = choice(&near, &[(17, 70), (18, 60), (30, 9)]);
        assert_eq!(choice.choose(now), Some(Choice::Ask(node(30))));
        assert_eq!(choice.choose(now), None, "it is asked for");
        let again = now + PATIENCE;
        assert_eq!(choice.choose(again), Some(Choice::Ask(node(30))));
        let at = choice.on_granted(node(30), again).unwrap();
        assert_eq!(at, ([192, 0, 2, 30], 3478).into());
        assert_eq!(choice.choose(again + PATIENCE), None, "it is used");
    }

    #[test]
    fn relay_that_is_hardly_nearer_or_that_one_peer_does_not_reach_is_not_taken() {
        let now = Instant::now();
        for (here, there) in [
            ([(17, 40), (18, 35)], [(17, 40), (18, 36)]),
            ([(17, 8), (18, 1)], [(17, 4), (18, 3)]),
            ([(17, 80), (18, 1)], [(17, 80), (19, 1)]),
        ] {
            assert_eq!(
                choice(&here, &there).choose(now),
                None,
                "{here:?} {there:?}"
            );
        }
        let mut listener = RelayChoice::new(Role::Listener);
        measure(&mut listener, &[(17, 80), (18, 1)], &[(17, 80), (18, 1)]);
        assert_eq!(listener.choose(now), None, "it follows");
    }

    #[test]
    fn relay_is_kept_until_another_is_much_nearer_and_left_when_the_home_is_as_near() {
        let now = Instant::now();
        let far = |ms| [(17, 80), (30, 20), (31, ms)];
        let mut choice = choice(&far(30), &far(30));
        choice.choose(now);
        choice.on_granted(node(30), now);
        measure(&mut choice, &far(17), &far(17));
        assert_eq!(choice.choose(now), None);
        measure(&mut choice, &far(10), &far(10));
        assert_eq!(choice.choose(now), Some(Choice::Ask(node(31))));
        choice.on_granted(node(31), now);
        let home = [(17, 10), (30, 20), (31, 10)];
        measure(&mut choice, &home, &home);
        assert_eq!(choice.choose(now), Some(Choice::Leave));
        choice.on_left();
        assert_eq!(choice.choose(now), None);
    }

    #[test]
    fn relay_that_was_lost_is_barred_for_a_while_and_its_ticket_is_renewed_in_time() {
        let now = Instant::now();
        let near = [(17, 80), (30, 10), (31, 20)];
        let mut choice = choice(&near, &near);
        choice.choose(now);
        choice.on_granted(node(30), now);
        choice.on_gone(now);
        assert_eq!(choice.choose(now), Some(Choice::Ask(node(31))));
        choice.on_granted(node(31), now);
        choice.on_gone(now);
        assert_eq!(choice.choose(now), None, "both are barred");
        let later = now + BARRED;
        assert_eq!(choice.choose(later), Some(Choice::Ask(node(30))));
        choice.on_granted(node(30), later);
        let due = later + RENEWED;
        assert_eq!(choice.choose(due - PATIENCE), None);
        assert_eq!(choice.choose(due), Some(Choice::Ask(node(30))));
    }

    #[test]
    fn relay_that_takes_no_new_sessions_is_asked_again_later_and_the_next_best_one_at_once() {
        let now = Instant::now();
        let near = [(17, 80), (30, 10), (31, 20)];
        let mut choice = choice(&near, &near);
        assert_eq!(choice.choose(now), Some(Choice::Ask(node(30))));
        choice.on_refused(node(31), now);
        assert_eq!(choice.choose(now), None, "it was not asked for");
        choice.on_refused(node(30), now);
        assert_eq!(choice.choose(now), Some(Choice::Ask(node(31))));
        choice.on_granted(node(31), now);
        let later = now + BARRED;
        assert_eq!(choice.choose(later), Some(Choice::Ask(node(30))));
    }

    #[test]
    fn relay_that_renews_no_ticket_is_left_in_time_and_not_asked_again_and_again() {
        let now = Instant::now();
        let near = [(17, 80), (30, 10)];
        let mut choice = choice(&near, &near);
        choice.choose(now);
        choice.on_granted(node(30), now);
        let due = now + RENEWED;
        assert_eq!(choice.choose(due), Some(Choice::Ask(node(30))));
        choice.on_refused(node(30), due);
        assert_eq!(choice.choose(due), Some(Choice::Leave));
    }

    #[test]
    fn relay_that_is_lost_again_and_again_is_barred_for_twice_as_long_each_time() {
        let mut now = Instant::now();
        let near = [(17, 80), (30, 10)];
        let mut choice = choice(&near, &near);
        let mut barred = BARRED;
        for _ in 0..8 {
            assert_eq!(choice.choose(now), Some(Choice::Ask(node(30))));
            choice.on_granted(node(30), now);
            choice.on_gone(now);
            assert_eq!(choice.choose(now + barred - WORTH), None);
            now += barred;
            barred = (barred * 2).min(BARRED_MOST);
        }
        assert_eq!(choice.barred.len(), 1);
    }

    #[test]
    fn distances_of_a_stranger_are_bounded_and_do_not_overflow() {
        let mut choice = RelayChoice::new(Role::Connector);
        let far = Distance {
            node: node(17),
            tenths_ms: u16::MAX,
        };
        choice.on_told(vec![far; 100_000]);
        assert_eq!(choice.there.len(), MAX_DISTANCES);
        let told = choice.on_measured(Some(node(17)), away(&[(17, 100_000)]));
        assert_eq!(told, [far]);
        assert_eq!(choice.choose(Instant::now()), None);
    }
}
