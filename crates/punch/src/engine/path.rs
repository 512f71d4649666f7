//! The path that both ends agree on: nomination, consent, and the tunnel that may or may not come up on it.

use std::time::{Duration, Instant};

use super::{Engine, attempts::Phase};
use crate::{
    LossReason, Obstacle, Output, Path, PunchEvent, SocketId, Technique, Timing,
    check::{Length, Nominated},
    consent_freshness::Consent,
    nomination::{Nomination, Step},
    pair::PairKey,
    transactions::Purpose,
};

/// How long the socket of a path outlives the path: what is on its way still arrives, and the driver has time to move
/// its streams.
const RETIREMENT: Duration = Duration::from_secs(10);

/// Between two looks at the pairs beside a path on which streams move. NATs remember a packet for at least this long
/// (RFC 4787 REQ-5 and its exceptions), so the two ends need not look at the same time.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The first look where the path goes by TCP and nothing is known against UDP: after an outage both come back, and
/// which is found first is chance.
const LOOK_FOR_UDP: Duration = Duration::from_secs(2);

/// The path that both sides agreed on.
#[derive(Debug)]
pub(super) struct Direct {
    pub(super) path: Path,
    pub(super) consent: Consent,
    /// The other way that was told of last.
    unused: Option<(Technique, Duration)>,
    /// When the other pairs are looked at next.
    look_again_at: Instant,
}

impl Direct {
    pub(super) fn key(&self) -> PairKey {
        (self.path.socket, self.path.remote)
    }
}

/// The agreement on a path, and what is known of the tunnel on it.
#[derive(Debug)]
pub(super) struct Agreement {
    pub(super) nomination: Nomination,
    /// The controlling side owes the peer a nomination, even of a path that stands.
    pub(super) nominate_anew: bool,
    /// The number of the nomination that both ends agreed to last, as far as this one knows.
    pub(super) agreed: Option<u32>,
    pub(super) direct: Option<Direct>,
    pub(super) tunnel_up: bool,
    /// Paths in a row that were nominated and on which no tunnel came up.
    tunnel_failures: u32,
    pub(super) streams_active: bool,
    /// Whether a NAT between the peers has turned out to forget within a rest of the consent checks.
    pub(super) forgetful: bool,
    /// The peer's generation in which there was a path.
    pub(super) worked_with: Option<u32>,
    /// Sockets of former paths, and when they close.
    retired: Vec<(SocketId, Instant)>,
}

impl Agreement {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            nomination: Nomination::new(timing),
            nominate_anew: false,
            agreed: None,
            direct: None,
            tunnel_up: false,
            tunnel_failures: 0,
            streams_active: false,
            forgetful: false,
            worked_with: None,
            retired: Vec::new(),
        }
    }

    /// The socket of the path, which outlives whatever opened it.
    pub(super) fn socket(&self) -> Option<SocketId> {
        self.direct.as_ref().map(|d| d.path.socket)
    }

    /// Asks the path at once and often, until it answers or is lost.
    pub(super) fn doubt(&mut self, now: Instant) {
        if let Some(direct) = &mut self.direct {
            direct.consent.doubt(now);
        }
    }

    /// Something is taken in, which may be the first after this process was stopped.
    pub(super) fn allow_for_lateness(&mut self, now: Instant) {
        if let Some(direct) = &mut self.direct {
            direct.consent.allow_for_lateness(now);
        }
    }

    /// The path is watched closely while streams move on it, or no tunnel is up yet.
    pub(super) fn set_activity(&mut self, now: Instant, tunnel_up: bool, streams_active: bool) {
        self.tunnel_up = tunnel_up;
        if tunnel_up {
            self.tunnel_failures = 0;
        }
        self.streams_active = streams_active;
        if let Some(direct) = &mut self.direct {
            direct.consent.set_active(now, streams_active || !tunnel_up);
        }
    }

    /// Has a former path's socket close in a while; the session's own two stay.
    pub(super) fn retire(&mut self, now: Instant, socket: Option<SocketId>) {
        if let Some(socket) = socket.filter(|&s| s > SocketId::V6) {
            self.retired.push((socket, now + RETIREMENT));
        }
    }

    /// When consent, or the closing of a former path's socket, is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let consent = self.direct.as_ref().map(|d| d.consent.next_at());
        let retired = self.retired.first().map(|r| r.1);
        [consent, retired].into_iter().flatten().min()
    }
}

impl Engine {
    pub(super) fn decide(&mut self) {
        if self.attempts.is_held(self.now) {
            return;
        }
        if self.is_controlling() {
            let by_tcp = self.avoids_udp();
            let direct = self.path.direct.as_ref();
            let current = direct.map(|d| &d.path).filter(|_| !self.path.nominate_anew);
            match self
                .path
                .nomination
                .poll(self.now, &self.attempts.checks, current, by_tcp)
            {
                Some(Step::Ask { key, nominated }) => {
                    let nomination = Some(nominated);
                    let length = Length::Wide;
                    self.out
                        .request(self.now, key, None, Purpose::Check { nomination, length });
                }
                Some(Step::GiveUp { key }) => self.attempts.checks.on_narrow(key),
                None => {}
            }
        } else if let Some((key, wanted, rtt)) =
            self.attempts.checks.wanted_and_valid(self.path.agreed)
        {
            self.establish(key, wanted, rtt);
        }
    }

    /// Both sides agree on a pair.
    pub(super) fn establish(&mut self, key: PairKey, nominated: Nominated, rtt: Duration) {
        let Nominated { number, technique } = nominated;
        self.path.agreed = Some(number);
        let since = self.peer.remote.as_ref().map_or(self.now, |r| r.since);
        let path = Path {
            socket: key.0,
            remote: key.1,
            technique,
            rtt,
            after: self.now.duration_since(since),
        };
        let same = self.path.direct.as_ref().is_some_and(|d| d.key() == key);
        if !same {
            self.path.tunnel_up = false;
        }
        let before = self
            .path
            .direct
            .take()
            .map(|d| d.path.socket)
            .filter(|&s| s != key.0);
        let watched = self.path.streams_active || !self.path.tunnel_up;
        let look_again = match technique.is_tcp() && !self.avoids_udp() {
            true => LOOK_FOR_UDP,
            false => LOOK_AGAIN,
        };
        self.path.direct = Some(Direct {
            path,
            consent: Consent::new(self.config.timing, self.now, watched, self.path.forgetful),
            unused: None,
            look_again_at: self.now + look_again,
        });
        self.path.worked_with = self.peer.remote.as_ref().map(|r| r.generation);
        self.stop_search();
        self.path.retire(self.now, before);
        self.on_agreed_beside_tcp(key.0);
        self.attempts.obstacle = None;
        self.host.gathering.set_refreshing(self.now, false);
        self.out.push(Output::Nominated(path));
        self.tell_unused();
    }

    /// Tells of the best other way beside the path, if that is news.
    pub(super) fn tell_unused(&mut self) {
        let Some(direct) = &mut self.path.direct else {
            return;
        };
        let checks = &self.attempts.checks;
        let Some(other) = checks.best_slower(&direct.path) else {
            return;
        };
        let known = direct.unused.is_some_and(|(technique, rtt)| {
            technique == other.technique && rtt.abs_diff(other.rtt) <= rtt / 4
        });
        if !known {
            direct.unused = Some((other.technique, other.rtt));
            let path_rtt = checks.rtt(direct.key()).unwrap_or(direct.path.rtt);
            self.out.event(PunchEvent::Unused {
                technique: other.technique,
                rtt: other.rtt,
                path_rtt,
            });
        }
    }

    /// The path's pair was answered. A private address is a VPN's if it is far away, and an answer that is late proves
    /// nothing where the next one is not.
    pub(super) fn tell_of_lan(&mut self, key: PairKey) {
        let pair = self.attempts.checks.get(key);
        let is_lan = pair.is_some_and(|pair| pair.technique == Technique::Lan);
        if let Some(direct) = self.path.direct.as_mut().filter(|d| d.key() == key)
            && is_lan
            && direct.path.technique == Technique::Vpn
        {
            direct.path.technique = Technique::Lan;
            self.out.event(PunchEvent::PathIsLan);
        }
    }

    /// Looks now and then at all other pairs beside a path that streams move on: one of them may be the better one by
    /// now. Nothing of an idle session is worth the packets.
    pub(super) fn look_again(&mut self) {
        let Some(at) = self.look_again_at() else {
            return;
        };
        if let Some(direct) = &mut self.path.direct
            && self.now >= at
        {
            direct.look_again_at = self.now + LOOK_AGAIN;
            // Each look is paid for anew, or after some hours none would be left.
            self.attempts.pacer.begin_attempt();
            let key = direct.key();
            self.attempts.checks.look_again(self.now, key);
        }
    }

    pub(super) fn look_again_at(&self) -> Option<Instant> {
        let direct = self.path.direct.as_ref()?;
        let resting = matches!(self.attempts.phase, Phase::Resting { .. });
        (resting && self.path.streams_active).then_some(direct.look_again_at)
    }

    pub(super) fn keep_consent(&mut self) {
        let jitter = self.out.random.u32() as u8;
        let Some(direct) = &mut self.path.direct else {
            return;
        };
        if direct.consent.expired(self.now) {
            self.lose_path(LossReason::ConsentExpired);
        } else if direct.consent.poll(self.now, jitter) {
            self.path.forgetful |= direct.consent.is_forgetful();
            let (key, technique) = (direct.key(), direct.path.technique);
            // A peer that has begun anew meanwhile may have forgotten what it was asked, and answered.
            let number = self.path.agreed.filter(|_| self.is_controlling());
            let purpose = Purpose::Check {
                nomination: number.map(|number| Nominated { number, technique }),
                length: Length::Short,
            };
            self.out.request(self.now, key, None, purpose);
        }
    }

    /// The driver lost its tunnel. If it never had one here, the checks get through and the tunnel does not; trying the
    /// same again and again at once would go on for ever.
    pub(super) fn on_tunnel_lost(&mut self) {
        if self.path.direct.is_none() {
            return;
        }
        self.path.tunnel_failures += u32::from(!self.path.tunnel_up);
        if self.path.tunnel_up || self.path.tunnel_failures < 2 {
            self.lose_path(LossReason::TunnelLost);
            return;
        }
        let timing = &self.config.timing;
        let pause = timing
            .first_pause
            .saturating_mul(1 << self.path.tunnel_failures.min(16));
        self.attempts.held_until = Some(self.now + pause.min(timing.longest_pause));
        self.drop_path(LossReason::TunnelLost);
        self.attempts.checks.stop_all();
        self.path.nomination.reset();
        self.path.nominate_anew = true;
        self.attempts.obstacle = Some(Obstacle::TunnelFails);
        self.attempts.phase = Phase::Waiting;
    }

    fn drop_path(&mut self, reason: LossReason) {
        if let Some(direct) = self.path.direct.take() {
            self.path.tunnel_up = false;
            // The controlling side may know nothing of this, and goes on to say the same number. What it has said
            // before does not count, or this end would go back at once to what it gives up.
            self.path.agreed = None;
            self.attempts.checks.forget_nominations();
            self.attempts.checks.fail(direct.key());
            self.path.retire(self.now, Some(direct.path.socket));
            if direct.path.technique.is_tcp() {
                self.tcp.on_lost(self.now);
            }
            self.host.gathering.set_refreshing(self.now, true);
            self.out.push(Output::PathLost { reason });
        }
    }

    pub(super) fn lose_path(&mut self, reason: LossReason) {
        if self.path.direct.is_some() {
            self.drop_path(reason);
            self.begin_generation();
            self.attempts.obstacle = Some(Obstacle::Lost);
        }
    }

    /// Asks the path at once and often, and a server of each family whether this host is still where it was.
    pub(super) fn ask_whether_all_stands(&mut self) {
        self.path.doubt(self.now);
        self.host.gathering.ask_again(self.now);
    }

    pub(super) fn on_path_silent(&mut self) {
        self.ask_whether_all_stands();
        self.suspend_search();
    }

    pub(super) fn close_retired(&mut self) {
        while let Some(&(socket, at)) = self.path.retired.first()
            && at <= self.now
        {
            self.path.retired.remove(0);
            let keep = self.path.socket();
            self.close_sockets(&[socket], keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use super::*;
    use crate::{Config, Input, PunchKey, Role, transactions::Sent};

    const REMOTE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 1000);

    fn nominated(technique: Technique) -> Nominated {
        Nominated {
            number: 1,
            technique,
        }
    }

    /// An engine with a path.
    fn engine(technique: Technique, start: Instant) -> Engine {
        let config = Config::new(Role::Controlling, PunchKey::new([7; 32]), Vec::new());
        let mut engine = Engine::new(config, [7; 32], start);
        let (socket, local) = (SocketId::V4, SocketAddr::from(([192, 0, 2, 1], 1000)));
        engine.handle(start, Input::SocketOpened { socket, local });
        engine.establish(
            (socket, REMOTE),
            nominated(technique),
            Duration::from_millis(20),
        );
        engine.handle(start, Input::TunnelUp);
        engine.handle(start, Input::StreamsActive(true));
        outputs(&mut engine);
        engine
    }

    fn outputs(engine: &mut Engine) -> Vec<Output> {
        std::iter::from_fn(|| engine.poll_output()).collect()
    }

    #[test]
    fn path_that_was_taken_for_a_vpns_is_told_as_a_lans_once_an_answer_is_fast() {
        let start = Instant::now();
        let mut engine = engine(Technique::Vpn, start);
        let key = (SocketId::V4, REMOTE);
        engine.attempts.checks.add(key, Technique::Lan);
        for (ms, is_lan) in [(30, false), (1, true), (1, false), (40, false)] {
            engine.now += Duration::from_millis(ms);
            let sent = Sent {
                socket: key.0,
                to: key.1,
                at: engine.now - Duration::from_millis(ms),
                purpose: Purpose::CHECK,
            };
            engine.on_check_answered(sent, REMOTE, Length::Short);
            let told = outputs(&mut engine);
            let told = told.contains(&Output::Event(PunchEvent::PathIsLan));
            assert_eq!(told, is_lan, "{ms} ms");
        }
        assert_eq!(engine.nominated().unwrap().technique, Technique::Lan);
    }

    #[test]
    fn path_by_tcp_has_udp_looked_for_soon_unless_that_carries_too_little() {
        for avoided in [false, true] {
            let start = Instant::now();
            let mut engine = engine(Technique::HolePunch, start);
            if avoided {
                engine.handle(start, Input::AvoidUdp(LOOK_AGAIN));
            }
            let key = (SocketId::V4, REMOTE);
            let by_tcp = nominated(Technique::TcpPunch);
            engine.establish(key, by_tcp, Duration::from_millis(20));
            let look_at = engine.path.direct.as_ref().unwrap().look_again_at;
            assert_eq!(look_at == start + LOOK_AGAIN, avoided);
        }
    }

    #[test]
    fn peer_that_was_met_again_is_told_how_things_stand_though_nothing_has_changed() {
        let start = Instant::now();
        let mut engine = engine(Technique::HolePunch, start);
        let signals = |outputs: Vec<Output>| {
            let signal = |output: &Output| matches!(output, Output::Signal(_));
            outputs.iter().filter(|output| signal(output)).count()
        };
        engine.handle(start, Input::Timeout);
        assert_eq!(signals(outputs(&mut engine)), 0);
        engine.handle(start, Input::MetAgain);
        assert_eq!(signals(outputs(&mut engine)), 1);
    }

    #[test]
    fn path_under_streams_is_asked_and_not_lost_whatever_is_heard_first_after_a_stop() {
        let inputs = [
            Input::Timeout,
            Input::PathSilent,
            Input::NetworkChanged,
            Input::StreamsActive(false),
        ];
        for input in inputs {
            let start = Instant::now();
            let mut engine = engine(Technique::HolePunch, start);
            engine.handle(start + Duration::from_secs(60), input);
            let outputs = outputs(&mut engine);
            let asked =
                |output: &Output| matches!(output, Output::Send { to, .. } if *to == REMOTE);
            assert!(outputs.iter().any(asked), "{outputs:?}");
            assert_eq!(engine.nominated().map(|path| path.remote), Some(REMOTE));
        }
    }
}
