//! The table of tunnels that are up or being dialled: how each is doing, and which one the streams use.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::{address::canonical, tunnel::PathKind};

use super::{
    dials_under_way::Dials,
    direct_path_flapping::DirectPathFlapping,
    health::{Attention, Health, TunnelHealth},
    io::{Counters, TunnelFacts},
};

/// The tunnels of a session, in the order in which they came up.
#[derive(Debug, Default)]
pub(super) struct TunnelTable {
    up: Vec<Up>,
    /// What this end dials and waits for.
    pub(super) dials: Dials,
    /// Since when this process is known to have heard what came.
    attention: Attention,
    /// The epoch of the one that streams use.
    used: Option<u64>,
    was_up: bool,
    /// How the direct path has come and gone.
    comebacks: DirectPathFlapping,
    /// Whether the relay carries more than the direct path.
    relay_first: bool,
    /// Whether the rendezvous' relay carries more than the nearer one.
    home_first: bool,
    /// Where a relay is that is nearer than the rendezvous.
    near: Option<SocketAddr>,
}

/// Over what a tunnel leads. A newer one of a kind takes the place of the older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Direct,
    /// Through the rendezvous.
    Relay,
    /// Through the relay that is nearer.
    Near,
}

#[derive(Debug)]
struct Up {
    facts: TunnelFacts,
    counters: Option<Counters>,
    health: TunnelHealth,
    /// Whether the streams were told to leave it, and have not used it since.
    left: bool,
    /// Whether it can carry anything: neither closed here nor seen to have ended.
    open: bool,
    /// Until when it must go on answering before streams leave another one for it.
    trial_until: Option<Instant>,
}

/// What a look at the tunnels has shown.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Whether one does not answer, and may be on its way to become suspect.
    pub(super) silent: bool,
    /// Whether to look again before long.
    pub(super) again_soon: bool,
    /// Whether one is suspect, so that streams are to leave it.
    pub(super) suspect: bool,
    /// Whether one was asked, because nothing had been heard of it for long.
    pub(super) asked: bool,
    /// Whether anything was sent or heard since the look before.
    pub(super) moved: bool,
    /// The kinds of path of those that have become suspect.
    pub(super) suspects: Vec<PathKind>,
    /// Whether one of these leads through the nearer relay.
    pub(super) is_near_suspect: bool,
    /// Whether one of these is what streams use.
    pub(super) is_used_suspect: bool,
    /// The epochs of those that are to be asked for a sign of life.
    pub(super) ask: Vec<u64>,
}

impl TunnelTable {
    /// Takes in what QUIC has counted.
    pub(super) fn take_in(&mut self, counters: &[Counters]) {
        for counters in counters {
            if let Some(up) = self.find_mut(counters.epoch) {
                up.counters = Some(*counters);
                up.facts.rtt = counters.rtt;
                up.facts.remote = counters.remote;
                up.open &= counters.open;
            }
        }
    }

    /// Judges how each tunnel is doing by the counters that were taken in. One on which nothing was heard for
    /// `unheard` is asked, and so are all when one is silent.
    pub(super) fn look(&mut self, unheard: Duration, now: Instant) -> Look {
        let mut look = Look::default();
        let (near, used) = (self.near, self.used);
        for up in &mut self.up {
            let Some(counters) = &up.counters else {
                continue;
            };
            up.trial_until = up.trial_until.filter(|until| now < *until);
            let was_suspect = up.health.is_suspect();
            let total = up.health.total();
            match up.health.look(counters, now) {
                Health::Good if up.health.owes_pulse() => look.ask.push(up.facts.epoch),
                // Nobody uses it meanwhile, so it answers only if it is asked.
                Health::Good if up.trial_until.is_some() => look.ask.push(up.facts.epoch),
                Health::Good if up.health.unheard(now) >= unheard => {
                    look.ask.push(up.facts.epoch);
                    look.asked = true;
                }
                Health::Good => {}
                Health::Asked => look.again_soon = true,
                Health::Silent => {
                    look.again_soon = true;
                    look.silent = true;
                }
                Health::Suspect => {
                    look.ask.push(up.facts.epoch);
                    look.suspect = true;
                    if !was_suspect {
                        look.suspects.push(up.facts.path);
                        look.is_used_suspect |= used == Some(up.facts.epoch);
                        let is_relayed = up.facts.path != PathKind::Direct;
                        look.is_near_suspect |= is_relayed && is_there(up.facts.remote, near);
                    }
                }
            }
            look.moved |= up.health.total() != total;
        }
        // Without streams the looks are far apart, so one may be suspect that no look has found silent.
        if look.silent || !look.suspects.is_empty() {
            let asked = look.ask.clone();
            look.ask
                .extend(self.trusted().filter(|epoch| !asked.contains(epoch)));
        }
        look
    }

    /// The tunnels that are not suspect; those are asked at every look anyway.
    pub(super) fn trusted(&self) -> impl Iterator<Item = u64> + '_ {
        let trusted = self.up.iter().filter(|up| !up.health.is_suspect());
        trusted.map(|up| up.facts.epoch)
    }

    /// Something is taken in now, so this process runs.
    pub(super) fn attend(&mut self, now: Instant) {
        self.attention.note(now);
    }

    /// Takes back what the last looks held against the tunnels: this process did not run in the meantime.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.attention.begin_anew(now);
        self.up.iter_mut().for_each(|up| up.health.forgive(now));
    }

    /// Takes back so much of the silence of each: this process was late by that.
    pub(super) fn excuse(&mut self, late: Duration, now: Instant) {
        self.up
            .iter_mut()
            .for_each(|up| up.health.excuse(late, now));
    }

    /// For how long nothing has answered on a tunnel, as the other end is told.
    pub(super) fn unanswered(&mut self, epoch: u64, now: Instant) -> Duration {
        self.find_mut(epoch)
            .map_or(Duration::ZERO, |up| up.health.unanswered(now))
    }

    /// The other end says for how long it has not been answered on a tunnel.
    pub(super) fn on_pulse(&mut self, epoch: u64, unanswered: Duration, now: Instant) {
        let attentive = self.attention.since(now);
        if let Some(up) = self.find_mut(epoch) {
            up.health.on_pulse(unanswered, attentive, now);
        }
    }

    /// The tunnel that streams use.
    pub(super) fn used(&self) -> Option<&TunnelFacts> {
        self.find(self.used?).map(|up| &up.facts)
    }

    /// What was counted on the tunnel that streams use, as of the last time that somebody looked.
    pub(super) fn used_counters(&self) -> Option<&Counters> {
        self.find(self.used?)?.counters.as_ref()
    }

    /// Whether no tunnel has come up so far.
    pub(super) fn never_up(&self) -> bool {
        !self.was_up
    }

    /// Since when nothing has come from the peer, if that is so: there is no tunnel, or the one in use does not answer,
    /// and it is only in use because no other does.
    pub(super) fn out_of_reach_since(&self, now: Instant) -> Option<Instant> {
        match self.used.and_then(|used| self.find(used)) {
            Some(up) => up.health.silent_since(),
            None => self.was_up.then_some(now),
        }
    }

    /// Whether a tunnel of this kind is up and answers, or is being dialled.
    pub(super) fn has(&self, path: PathKind) -> bool {
        self.is_dialling(path) || self.serves(path)
    }

    /// Whether a tunnel of this kind is up and answers.
    pub(super) fn serves(&self, path: PathKind) -> bool {
        self.serves_kind(kind_of(path))
    }

    /// Whether a tunnel by the relay is up and has answered whatever was asked there: of one that was idle when another
    /// fell silent this is known sooner than that it is suspect.
    pub(super) fn relay_answers(&self) -> bool {
        let mut relayed = self
            .up
            .iter()
            .filter(|up| up.facts.path != PathKind::Direct);
        relayed.any(|up| up.open && !up.health.is_suspect() && !up.health.is_unanswered())
    }

    /// Whether a tunnel through the nearer relay is up and answers.
    pub(super) fn serves_near(&self) -> bool {
        self.serves_kind(Kind::Near)
    }

    /// Whether a tunnel through the nearer relay is up, whether it answers or not.
    pub(super) fn has_near(&self) -> bool {
        !self.of_kind(Kind::Near).is_empty()
    }

    fn serves_kind(&self, kind: Kind) -> bool {
        let mut same = self.up.iter().filter(|up| self.kind(&up.facts) == kind);
        same.any(|up| !up.health.is_suspect())
    }

    fn kind(&self, tunnel: &TunnelFacts) -> Kind {
        self.kind_at(tunnel.path, tunnel.remote)
    }

    fn kind_at(&self, path: PathKind, remote: SocketAddr) -> Kind {
        match kind_of(path) {
            Kind::Relay if self.is_near(remote) => Kind::Near,
            kind => kind,
        }
    }

    /// Whether the nearer relay is at this address.
    pub(super) fn is_near(&self, remote: SocketAddr) -> bool {
        is_there(remote, self.near)
    }

    /// Whether this tunnel leads through the nearer relay.
    pub(super) fn leads_near(&self, epoch: u64) -> bool {
        let up = self.find(epoch);
        up.is_some_and(|up| self.kind(&up.facts) == Kind::Near)
    }

    /// The nearer relay is there from now on; gives the tunnels through the one before, if that was elsewhere.
    pub(super) fn set_near(&mut self, near: Option<SocketAddr>) -> Vec<u64> {
        let near = near.map(canonical);
        if self.near == near {
            return Vec::new();
        }
        let before = self.of_kind(Kind::Near);
        self.near = near;
        before
    }

    /// Whether the streams have a tunnel that answers.
    pub(super) fn serves_streams(&self) -> bool {
        let used = self.used.and_then(|used| self.find(used));
        used.is_some_and(|up| !up.health.is_unanswered())
    }

    /// Whether the newest direct tunnel, which the older ones give way to, leads to this address and answers.
    pub(super) fn reaches(&self, remote: SocketAddr) -> bool {
        let direct = self
            .up
            .iter()
            .filter(|up| up.facts.path == PathKind::Direct);
        let newest = direct.filter(|up| up.open).map(|up| up.facts.epoch).max();
        let mut there = self.directly_at(remote);
        there.any(|up| Some(up.facts.epoch) == newest && !up.health.is_suspect())
    }

    /// Whether there are direct tunnels to this address and none of them answers, nor did when the path itself was
    /// confirmed last: the path is alive, and the tunnels on it are dead.
    pub(super) fn are_dead_at(&self, remote: SocketAddr, confirmed: Instant, now: Instant) -> bool {
        let dead = |up: &Up| {
            let mute = up.health.mute_since(up.facts.rtt, now);
            mute.is_some_and(|since| since <= confirmed)
        };
        self.are_all_at(remote, dead)
    }

    /// Whether there are direct tunnels to this address and each is suspect, though it may have been heard just now.
    pub(super) fn are_suspect_at(&self, remote: SocketAddr) -> bool {
        self.are_all_at(remote, |up| up.health.is_suspect())
    }

    /// Whether there are direct tunnels to this address and each is so.
    fn are_all_at(&self, remote: SocketAddr, is: impl Fn(&Up) -> bool) -> bool {
        let mut there = self.directly_at(remote).peekable();
        there.peek().is_some() && there.all(is)
    }

    /// Whether a direct tunnel answers, besides those to this address.
    pub(super) fn answers_directly_but_at(&self, remote: Option<SocketAddr>) -> bool {
        let mut direct = self.up.iter().filter(|up| {
            up.facts.path == PathKind::Direct && Some(canonical(up.facts.remote)) != remote
        });
        direct.any(|up| up.open && !up.health.is_unanswered())
    }

    /// The direct tunnels to this address that are not suspect; those are asked at every look anyway.
    pub(super) fn trusted_at(&self, remote: SocketAddr) -> Vec<u64> {
        let trusted = self
            .directly_at(remote)
            .filter(|up| !up.health.is_suspect());
        trusted.map(|up| up.facts.epoch).collect()
    }

    fn directly_at(&self, remote: SocketAddr) -> impl Iterator<Item = &Up> {
        let direct = self
            .up
            .iter()
            .filter(|up| up.open && up.facts.path == PathKind::Direct);
        direct.filter(move |up| canonical(up.facts.remote) == remote)
    }

    fn is_dialling(&self, path: PathKind) -> bool {
        let mut dials = self.dials.iter();
        dials.any(|(at, to)| self.kind_at(at, to) == kind_of(path))
    }

    /// Adds a tunnel that came up; returns the older ones of the same kind, which have had their time.
    pub(super) fn insert(&mut self, facts: TunnelFacts, now: Instant) -> Vec<u64> {
        let kind = self.kind(&facts);
        let older = self.of_kind(kind);
        // Whatever else is being dialled on this kind of path is as good as answered.
        let mut dials = std::mem::take(&mut self.dials);
        dials.retain(|at, to| self.kind_at(at, to) != kind);
        self.dials = dials;
        let is_direct = facts.path == PathKind::Direct;
        let trial = self.comebacks.trial().filter(|_| is_direct);
        self.up.push(Up {
            facts,
            counters: None,
            health: TunnelHealth::new(now),
            left: false,
            open: true,
            trial_until: trial.map(|trial| now + trial),
        });
        self.was_up = true;
        older
    }

    fn of_kind(&self, kind: Kind) -> Vec<u64> {
        let same = self.up.iter().filter(|up| self.kind(&up.facts) == kind);
        same.map(|up| up.facts.epoch).collect()
    }

    /// Removes a tunnel that ended; returns its kind of path if it was there.
    pub(super) fn remove(&mut self, epoch: u64, now: Instant) -> Option<PathKind> {
        let index = self.up.iter().position(|up| up.facts.epoch == epoch)?;
        let path = self.up.remove(index).facts.path;
        if path == PathKind::Direct && self.direct().is_empty() {
            self.comebacks.on_lost(now);
        }
        Some(path)
    }

    /// Whether one still has to show that it goes on answering.
    pub(super) fn has_trial(&self) -> bool {
        self.up.iter().any(|up| up.trial_until.is_some())
    }

    /// Notes that this end closes a tunnel.
    pub(super) fn on_closed(&mut self, epoch: u64) {
        if let Some(up) = self.find_mut(epoch) {
            up.open = false;
        }
    }

    /// The epochs of the tunnels on direct paths.
    pub(super) fn direct(&self) -> Vec<u64> {
        self.of_kind(Kind::Direct)
    }

    /// Settles which tunnel streams should use; whether it is another one than before.
    ///
    /// One that answers before one that is suspect, one that stayed before one that comes and goes, direct before the
    /// relay unless that carries more, the nearer relay before the rendezvous', newer before older. Where all are
    /// suspect, whichever answers again serves until one is trusted.
    pub(super) fn choose(&mut self) -> bool {
        let rank = |facts: &TunnelFacts| match (self.kind(facts), self.relay_first) {
            (Kind::Direct, false) => 3,
            // What keeps a direct path from carrying more does so to any host over UDP, and the rendezvous has TCP.
            (Kind::Relay, true) => 4,
            (Kind::Near, _) if self.home_first => 1,
            (Kind::Near, _) => 2,
            (Kind::Relay, false) if self.home_first => 2,
            (Kind::Relay, false) => 1,
            (Kind::Direct, true) => 0,
        };
        let open = self.up.iter().filter(|up| up.open);
        let best = open.max_by_key(|up| {
            // Nobody changes to a tunnel that has been asked and has not answered either: then the peer is away, or
            // this host's network, and no other way would be better.
            let waits = up.health.is_unanswered() && self.used != Some(up.facts.epoch);
            let answers = match (up.health.is_suspect(), up.health.is_unanswered()) {
                (false, _) if !waits => 2,
                (true, false) => 1,
                _ => 0,
            };
            let lasts = up.trial_until.is_none();
            let stays = answers == 1 && self.used == Some(up.facts.epoch);
            (answers, lasts, stays, rank(&up.facts), up.facts.epoch)
        });
        let best = best.map(|up| up.facts.epoch);
        std::mem::replace(&mut self.used, best) != best
    }

    /// Puts the relay before the direct path from now on, or behind it again.
    pub(super) fn prefer_relay(&mut self, relay: bool) {
        self.relay_first = relay;
    }

    /// Puts the rendezvous' relay before the nearer one from now on, or behind it again.
    pub(super) fn prefer_home(&mut self, home: bool) {
        self.home_first = home;
    }

    /// The next tunnel that does not answer while the one in use does. Each is given once; what the streams had on it
    /// must not wait until it answers again or ends.
    pub(super) fn poll_leave(&mut self) -> Option<u64> {
        let used = self.used?;
        if let Some(current) = self.find_mut(used) {
            current.left = false;
            if current.health.is_suspect() {
                return None;
            }
        }
        let silent = |up: &&mut Up| up.health.is_suspect() && !up.left && up.facts.epoch != used;
        let silent = self.up.iter_mut().find(silent)?;
        silent.left = true;
        Some(silent.facts.epoch)
    }

    fn find(&self, epoch: u64) -> Option<&Up> {
        self.up.iter().find(|up| up.facts.epoch == epoch)
    }

    fn find_mut(&mut self, epoch: u64) -> Option<&mut Up> {
        self.up.iter_mut().find(|up| up.facts.epoch == epoch)
    }
}

/// Which of UDP and TCP carries the relay's leg may change under a tunnel, so it makes no difference.
fn kind_of(path: PathKind) -> Kind {
    match path {
        PathKind::Direct => Kind::Direct,
        PathKind::RelayUdp | PathKind::RelayTcp => Kind::Relay,
    }
}

fn is_there(remote: SocketAddr, near: Option<SocketAddr>) -> bool {
    near == Some(canonical(remote))
}

#[cfg(test)]
mod tests;
