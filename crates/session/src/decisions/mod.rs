//! What a session decides, without I/O: which tunnel the streams use, who dials whom and when, what is silent or lost,
//! when the session is over, and what a person is told of it.
//!
//! A tunnel is known here by its epoch alone, a socket by its id. Handshakes, proofs and the admission of epochs belong
//! to [`p2pdbg_tunnel`] and [`p2pdbg_ledger`]; bytes to the streams; candidates and checks to [`p2pdbg_punch`].
//!
//! # Order of calls
//!
//! 1. [`Decisions::new`], and [`Input::CallExpected`] if the first tunnel was prepared before there was a session.
//! 2. Whenever something happens: [`Decisions::handle`] with the time and the input.
//! 3. After each input, [`Decisions::poll_output`] until it gives nothing, carrying out each output before the next: a
//!    tunnel that is adopted must be known to whoever is then told to use it.
//! 4. [`Decisions::poll_timeout`] gives the time at which [`Input::Timeout`] is due, with the counters of all adopted
//!    tunnels. It may come early, without harm; where it or any other input comes late, this process was held up.
//! 5. After [`Output::Over`] nothing is taken in any more.
//!
//! The same `now` may be given several times, but it never goes back.

mod dialling;
mod dials_under_way;
mod direct_path_flapping;
mod health;
mod history;
mod io;
mod keep_alive;
mod last_bytes;
mod lateness;
mod listener_dial;
mod looking;
mod near_tunnel;
mod path_status;
mod peer_lost;
mod relay_uncarried;

mod starved_path;
mod starved_path_moves;
mod tunnel_choice;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use p2pdbg_base::{ErrorCode, Failure, PathPolicy};
use p2pdbg_events::{Activity, Event as Report, PathReport};
use p2pdbg_path::PathCommand;
use p2pdbg_proto::{
    rendezvous::Role,
    tunnel::{PathKind, close},
};
use p2pdbg_punch::{LossReason, Technique};

pub use self::io::{Counters, Flow, Input, Near, Output, TunnelEnd, TunnelFacts};
pub(crate) use self::{
    history::{History, whole_milliseconds},
    path_status::milliseconds,
};
use self::{
    io::{Timer, Timers},
    keep_alive::KeepAlive,
    last_bytes::LastBytes,
    listener_dial::ListenerDial,
    path_status::PathStatus,
    peer_lost::{PeerReach, Turn},
    starved_path::Starving,
    tunnel_choice::TunnelTable,
};
use crate::{end::SessionEnd, session_policy::SessionPolicy};

/// The pause before a path is tried again on which no tunnel came up.
const REDIAL: Duration = Duration::from_secs(1);

/// How long a tunnel stays up after a newer one on the same kind of path: what is in flight on it arrives, or is sent
/// again.
const RETIRE: Duration = Duration::from_secs(5);

/// How long streams may take to deliver what is left, when the program that they belong to has ended.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a session without any path is tried with `--path direct`.
const NO_PATH: Duration = Duration::from_secs(60);

/// What the decisions depend on and that does not change.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This end's part: the connector dials, the listener accepts and calls.
    pub role: Role,
    /// Which paths may be used.
    pub path_policy: PathPolicy,
    /// What the user settled about the session.
    pub policy: Arc<SessionPolicy>,
    /// When this program started: reports count from then.
    pub started: Instant,
}

/// How the streams of local programs are doing, as was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Streams {
    live: usize,
    delivered: bool,
    flow: Flow,
}

/// Somebody waits for the peer, though there are no streams.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    /// Whether the tunnels have been asked for it.
    asked: bool,
    /// Until when they are looked at as if there were streams.
    until: Instant,
}

/// The decisions of one session, at one end.
#[derive(Debug)]
pub struct Decisions {
    settings: Settings,
    tunnels: TunnelTable,
    reachability: PeerReach,
    listener_dial: ListenerDial,
    keep_alive: KeepAlive,
    drain: LastBytes,
    path_status: PathStatus,
    history: History,
    starving: Starving,
    streams: Streams,
    awaited: Option<Awaited>,
    timers: Timers,
    outputs: VecDeque<Output>,
    /// Whether the search for a direct path has begun.
    searching: bool,
    over: bool,
}

impl Decisions {
    /// A session that begins now.
    pub fn new(settings: Settings, now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Look, now);
        if settings.path_policy == PathPolicy::Direct {
            timers.set(Timer::NoPath, now + NO_PATH);
        }
        Self {
            tunnels: TunnelTable::default(),
            reachability: PeerReach::default(),
            listener_dial: ListenerDial::new(settings.role, now),
            keep_alive: KeepAlive::new(settings.role),
            drain: LastBytes::default(),
            path_status: PathStatus::new(settings.path_policy),
            history: History::default(),
            starving: Starving::default(),
            streams: Streams {
                live: 0,
                delivered: true,
                flow: Flow::default(),
            },
            awaited: None,
            timers,
            outputs: VecDeque::new(),
            searching: false,
            over: false,
            settings,
        }
    }

    /// Takes in what happened; [`Self::poll_output`] says what follows from it.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.over {
            return;
        }
        self.allow_for_lateness(now);
        self.take_in(input, now);
        if !self.is_settled() {
            self.look_soon(now);
        }
    }

    fn take_in(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Timeout(counters) => self.on_timeout(counters, now),
            Input::CallExpected => self.listener_dial.on_expected(),
            Input::Introduced => self.begin_search(),
            Input::Relay {
                socket,
                remote,
                transport,
            } => {
                self.note_transport(transport, now);
                self.expect_relayed(transport, remote, now);
                self.on_relay((socket, remote), transport.path(), now);
            }
            Input::PeerBound => self.on_peer_bound(),
            Input::NearAt(near) => self.on_near_at(near, now),
            Input::NearRelay { socket, remote } => self.on_near_relay((socket, remote), now),
            Input::Heard { socket, remote } => {
                if self.listener_dial.on_heard() {
                    self.put(Output::Call { socket, remote });
                }
            }
            Input::Nominated(path) => self.on_nominated(&path, now),
            Input::PathIsLan => self.on_lan(now),
            Input::DirectLost(reason) => self.on_direct_lost(reason, now),
            Input::Unused { technique, rtt } => self.on_unused(technique, rtt, now),
            Input::Obstacle(obstacle) => {
                let report = self.path_status.on_obstacle(obstacle, self.after_ms(now));
                self.report_path(report);
            }
            Input::TunnelUp(tunnel) => self.adopt(tunnel, now),
            Input::CallUp {
                socket,
                remote,
                tunnel,
            } => self.on_call_up((socket, remote), tunnel, now),
            Input::CallFailed => self.listener_dial.on_failed(),
            Input::DialFailed(number) => self.on_dial_failed(number, now),
            Input::TunnelEnded { epoch, why } => self.on_tunnel_ended(epoch, why, now),
            Input::Streams { live, delivered } => self.on_streams(live, delivered, now),
            Input::Flow(flow) => self.streams.flow = flow,
            Input::Drain { ports } => self.begin_drain(ports, now),
            Input::Swept => self.on_swept(),
            Input::PathAnswers { after } => self.on_path_answers(after, now),
            Input::Pulse { epoch, unanswered } => self.on_pulse(epoch, unanswered, now),
            Input::Rejected => self.look_soon(now),
            Input::NetworkChanged { woke } => self.on_network_changed(woke, now),
            Input::Asked => self.ask_all(now),
            Input::AskedForTcp(time) => self.on_asked_for_tcp(time, now),
            // The rendezvous ends nothing that ever worked without it.
            Input::PeerLeft if self.tunnels.never_up() => self.end(SessionEnd::PeerClosed),
            Input::PeerLeft => {}
            Input::End(why) => self.end(why.clone()),
        }
    }

    fn on_lan(&mut self, now: Instant) {
        let report = self.path_status.on_lan(self.after_ms(now));
        self.report_path(report);
    }

    fn on_unused(&mut self, technique: Technique, rtt: Duration, now: Instant) {
        let after_ms = self.after_ms(now);
        let report = self.path_status.on_unused(technique, rtt, after_ms);
        self.report_path(report);
    }

    fn on_direct_lost(&mut self, reason: LossReason, now: Instant) {
        self.starving.by_tcp = None;
        let over = self.starving.direct.on_silence_over();
        self.carry(over, now);
        self.path_status.on_direct_lost(reason);
        self.listener_dial.on_not_nominated();
        for epoch in self.tunnels.direct() {
            self.close(epoch);
        }
    }

    /// Whoever stands on the path may have caused it, an impostor's certificate too: that ends no session.
    fn on_dial_failed(&mut self, number: u64, now: Instant) {
        // One that is waited for no more has a successor, or a tunnel is up.
        let Some((path, remote)) = self.tunnels.dials.end(number) else {
            return;
        };
        if path != PathKind::Direct && self.tunnels.is_near(remote) {
            return self.put(Output::NearLost);
        }
        self.timers.set(Timer::Redial(path), now + REDIAL);
    }

    fn on_swept(&mut self) {
        self.drain.on_swept();
        self.check_drained(false);
    }

    fn begin_drain(&mut self, ports: usize, now: Instant) {
        self.timers.set(Timer::DrainExpired, now + DRAIN);
        self.drain.begin(ports);
        self.check_drained(false);
    }

    fn on_path_answers(&mut self, after: Duration, now: Instant) {
        let serves = self.tunnels.serves_streams();
        self.listener_dial.on_answers(after, serves, now);
        self.on_confirmed(now);
    }

    fn on_network_changed(&mut self, woke: bool, now: Instant) {
        if woke {
            self.tunnels.forgive(now);
        }
        self.keep_alive.on_network_changed();
        let back = self.starving.direct.start_anew();
        self.carry(back, now);
        let back = self.starving.relay.start_anew();
        self.carry_relayed(back, now);
        self.weigh_near_anew(now);
        self.path_status.on_network_changed();
        if self.path_status.on_uncarried(false) {
            self.put(Output::Path(PathCommand::AvoidUdp(Duration::ZERO)));
        }
        // The peer may have given up what stands here.
        self.ask_all(now);
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due; never after the end.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next().filter(|_| !self.over)
    }

    /// The epoch of the tunnel that streams use.
    pub fn used(&self) -> Option<u64> {
        self.tunnels.used().map(|tunnel| tunnel.epoch)
    }

    /// Whether no tunnel answers, once a person was told: since when.
    pub(crate) fn lost_since(&self) -> Option<Instant> {
        self.reachability.lost_since()
    }

    /// Whether no tunnel answers, told or not.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        self.reachability.is_out()
    }

    /// What the session is doing, for a person.
    pub fn activity(&self) -> Activity {
        match (self.tunnels.used(), self.reachability.lost_since()) {
            (_, Some(since)) => Activity::Resuming { since },
            (Some(tunnel), None) => Activity::Connected {
                searching: tunnel.path != PathKind::Direct
                    && self.settings.path_policy == PathPolicy::Any,
            },
            (None, None) => Activity::Connecting,
        }
    }

    /// What was measured of late, with a look at the tunnels' counters as they are now.
    pub(crate) fn history(&mut self, counters: &[Counters], now: Instant) -> &History {
        self.tunnels.take_in(counters);
        self.history.look(self.tunnels.used_counters(), now);
        &self.history
    }

    fn put(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn after_ms(&self, now: Instant) -> u64 {
        whole_milliseconds(now.saturating_duration_since(self.settings.started))
    }

    fn end(&mut self, why: SessionEnd) {
        self.over = true;
        self.put(Output::Over(why));
    }

    /// Whether nothing is waited for that looks have to find out.
    fn is_settled(&self) -> bool {
        let waits = self.tunnels.has_trial() || self.reachability.is_out();
        self.tunnels.used().is_some() && !waits && !self.drain.is_wanted()
    }

    fn on_timeout(&mut self, counters: &[Counters], now: Instant) {
        self.tunnels.take_in(counters);
        while !self.over
            && let Some(timer) = self.timers.pop_due(now)
        {
            match timer {
                Timer::Look => self.look(now),
                Timer::Retire(epoch) => self.close(epoch),
                Timer::Redial(path) => self.look_for_path(path),
                Timer::CallDue {
                    socket,
                    remote,
                    path,
                } => self.on_call_due((socket, remote), path, now),
                Timer::CallUnused(epoch) => {
                    if self.listener_dial.give_up(epoch) {
                        self.close(epoch);
                    }
                }
                Timer::Uncarried => self.on_uncarried(),
                Timer::ResumeExpired => self.end(SessionEnd::PeerGone),
                Timer::NoPath => self.on_no_path(),
                Timer::DrainExpired => self.check_drained(true),
            }
        }
    }

    fn begin_search(&mut self) {
        if self.settings.path_policy.allows_direct() && !self.searching {
            self.searching = true;
            self.put(Output::Search);
            self.tell_activity();
        }
    }

    fn tell_activity(&mut self) {
        let active = self.streams.live > 0;
        self.put(Output::Path(PathCommand::StreamsActive(active)));
    }

    fn on_streams(&mut self, live: usize, delivered: bool, now: Instant) {
        let streams = Streams {
            live,
            delivered,
            flow: self.streams.flow,
        };
        let before = std::mem::replace(&mut self.streams, streams);
        if (before.live > 0) != (streams.live > 0) {
            // The paths are watched closely while there are streams, whoever opened them.
            self.tell_activity();
            self.put(Output::InUse(streams.live > 0));
            if streams.live > 0 {
                // Whatever has not been heard during the pause is asked.
                self.timers.set(Timer::Look, now);
            }
        }
        self.check_drained(false);
        if before != streams {
            self.put(Output::Status);
        }
    }

    fn check_drained(&mut self, expired: bool) {
        if self.drain.poll_done(self.streams.delivered, expired) {
            self.timers.clear(Timer::DrainExpired);
            self.put(Output::Drained);
        }
    }

    fn on_no_path(&mut self) {
        if self.tunnels.never_up() {
            let failure = Failure::new(
                ErrorCode::NoPath,
                format!(
                    "there is no direct path: {}",
                    self.path_status.why_relayed()
                ),
            )
            .hint("leave out --path direct, so that the relay may be used");
            self.end(SessionEnd::Failed(failure));
        }
    }

    fn adopt(&mut self, tunnel: TunnelFacts, now: Instant) {
        if tunnel.path == PathKind::Direct {
            self.put(Output::Path(PathCommand::DirectUp));
        }
        self.on_carried(tunnel.path);
        self.timers.clear(Timer::NoPath);
        self.put(Output::Adopt(tunnel.epoch));
        self.ask_again_for_tcp(now);
        for older in self.tunnels.insert(tunnel, now) {
            self.timers.set_sooner(Timer::Retire(older), now + RETIRE);
        }
        self.choose(now);
    }

    fn on_tunnel_ended(&mut self, epoch: u64, why: TunnelEnd<'_>, now: Instant) {
        let why = match why {
            TunnelEnd::Goodbye => return self.end(SessionEnd::PeerClosed),
            TunnelEnd::Replaced => None,
            TunnelEnd::Lost(why) => Some(why),
        };
        let was_near = self.tunnels.leads_near(epoch);
        let is_replaced = why.is_none();
        let Some(path) = self.tunnels.remove(epoch, now) else {
            return;
        };
        tracing::info!(epoch, ?path, why, "a tunnel ended");
        self.timers.clear(Timer::Retire(epoch));
        self.put(Output::Lost(epoch));
        self.look_for_path(path);
        if let Some(why) = why {
            self.path_status.on_lost(path, why);
        }
        // A peer that closes it without another one in its place has left that relay.
        let is_left = match is_replaced {
            true => !self.tunnels.has_near(),
            false => !self.tunnels.serves_near(),
        };
        if was_near && is_left {
            self.put(Output::NearLost);
        }
        self.choose(now);
    }

    /// Has a path looked for anew after its tunnel was lost or did not come up.
    fn look_for_path(&mut self, path: PathKind) {
        if !self.tunnels.has(path) {
            self.put(Output::Path(match path {
                PathKind::Direct => PathCommand::DirectLost,
                PathKind::RelayUdp | PathKind::RelayTcp => PathCommand::RelayLost,
            }));
        }
    }

    /// Closes a tunnel that another one replaces.
    fn close(&mut self, epoch: u64) {
        self.tunnels.on_closed(epoch);
        let code = close::REPLACED;
        self.put(Output::Close { epoch, code });
    }

    /// Settles which tunnel the streams use, and tells what has changed when they move to another one or have none.
    fn choose(&mut self, now: Instant) {
        let changed = self.tunnels.choose();
        if changed {
            self.put(Output::Use(self.used()));
        }
        while let Some(epoch) = self.tunnels.poll_leave() {
            self.put(Output::Leave(epoch));
        }
        let out_since = self.tunnels.out_of_reach_since(now);
        match self.reachability.update(out_since, now) {
            Some(Turn::Lost(since)) => {
                let expires = since + self.settings.policy.resume_for;
                self.timers.set(Timer::ResumeExpired, expires);
                let streams = self.streams.live;
                self.put(Output::Report(Report::PeerLost { streams }));
            }
            Some(Turn::Resumed(gap)) => {
                self.timers.clear(Timer::ResumeExpired);
                let used = self.tunnels.used();
                if used.is_none_or(|used| used.path != PathKind::Direct) {
                    self.put(Output::Path(PathCommand::Returned));
                }
                let (gap_ms, streams) = (whole_milliseconds(gap), self.streams.live);
                self.put(Output::Report(Report::Resumed { gap_ms, streams }));
            }
            None => {}
        }
        self.path_status.untold |= changed;
        // Which of several silent tunnels will be the first to be heard is no news.
        if self.path_status.untold && !self.reachability.is_out() && self.tunnels.used().is_some() {
            self.path_status.untold = false;
            self.tell_path(now);
        }
        self.put(Output::Status);
    }

    fn report_path(&mut self, report: Option<PathReport>) {
        let report = report.map(|report| Output::Report(Report::Path(report)));
        self.outputs.extend(report);
    }

    fn tell_path(&mut self, now: Instant) {
        let after_ms = self.after_ms(now);
        let report: Option<PathReport> = match self.tunnels.used() {
            Some(tunnel) => self.path_status.on_path(tunnel, after_ms),
            None => None,
        };
        if let Some(report) = &report {
            self.history.on_path(report.clone());
        }
        self.report_path(report);
    }
}
