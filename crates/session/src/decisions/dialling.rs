//! When this end dials, calls or waits for the other end's call.

use std::time::{Duration, Instant};

use p2pdbg_path::PathCommand;
use p2pdbg_proto::{rendezvous::Role, tunnel::PathKind};
use p2pdbg_punch::Path;

use super::{
    Decisions, Output, dials_under_way,
    io::{Timer, TunnelFacts},
    listener_dial::{self, CallUse, Ends, ListenerDial, Nominated},
    looking::QUICK_LOOK,
};

/// A new tunnel on a path that answers checks is given up after so long: it would be up within three round trips, and
/// to look for the path anew costs no more.
pub(super) const STUCK: Duration = Duration::from_millis(2_500);

impl Decisions {
    pub(super) fn on_relay(&mut self, ends: Ends, path: PathKind, now: Instant) {
        if self.settings.role != Role::Connector || self.tunnels.serves(path) {
            return;
        }
        match self.listener_dial.take_expected() {
            true => self.await_call(ends, path, now),
            false => {
                self.tunnels
                    .dials
                    .leave(path, ends.1, dials_under_way::LONG, now);
                self.dial(ends, path, now);
            }
        }
    }

    pub(super) fn on_nominated(&mut self, path: &Path, now: Instant) {
        self.path_status.on_direct(path);
        self.starving.by_tcp = path.technique.is_tcp().then_some(path.remote);
        let ends = (path.socket, path.remote);
        let (next, unused) = self.listener_dial.on_nominated(ends, now);
        if let Some(epoch) = unused {
            self.close(epoch);
        }
        match next {
            Nominated::Use(tunnel) => self.adopt(tunnel, now),
            Nominated::Await => self.await_call(ends, PathKind::Direct, now),
            // Confirmed anew: whether the tunnel there still works is seen below.
            Nominated::Dial if self.tunnels.reaches(path.remote) => {}
            Nominated::Dial => self.dial(ends, PathKind::Direct, now),
            Nominated::Accept => {
                self.put(Output::Accept(path.socket));
                if self.tunnels.reaches(path.remote) {
                    // The connector has followed its nomination first, and its tunnel was here before the path was.
                    self.put(Output::Path(PathCommand::DirectUp));
                }
            }
        }
        self.on_confirmed(now);
    }

    /// The nominated path works. Whether the tunnel on it does is asked, if it has not been asked already.
    pub(super) fn on_confirmed(&mut self, now: Instant) {
        self.renew(now);
        if let Some((ends, _)) = self.listener_dial.confirmed() {
            let there = self.tunnels.trusted_at(ends.1);
            if !there.is_empty() {
                self.ask(&there, now);
                self.timers.set_sooner(Timer::Look, now + QUICK_LOOK);
            }
        }
    }

    /// Dials anew, at once, where the nominated path works and the tunnels on it do not: a NAT, or this host, has come
    /// to send from elsewhere, which the checks have followed and a QUIC connection cannot, or not at both ends.
    pub(super) fn renew(&mut self, now: Instant) {
        let Some((ends, confirmed)) = self.listener_dial.confirmed() else {
            return;
        };
        if self.listener_dial.gives_time(now) {
            return;
        }
        let dialled = self.tunnels.dials.since(PathKind::Direct, ends.1);
        let stuck = dialled.is_some_and(|since| now.saturating_duration_since(since) >= STUCK);
        if stuck && self.tunnels.are_suspect_at(ends.1) {
            // Checks pass there and a tunnel does not, as where what is longer is dropped: the next attempt finds out.
            // What is short may be heard on the tunnel before, now and then.
            self.tunnels
                .dials
                .leave(PathKind::Direct, ends.1, STUCK, now);
            self.listener_dial.on_not_nominated();
            self.put(Output::Path(PathCommand::DirectLost));
        } else if dialled.is_none() && self.tunnels.are_dead_at(ends.1, confirmed, now) {
            self.dial(ends, PathKind::Direct, now);
        }
    }

    fn await_call(&mut self, (socket, remote): Ends, path: PathKind, now: Instant) {
        let due = Timer::CallDue {
            socket,
            remote,
            path,
        };
        self.timers.set(due, now + ListenerDial::patience(path));
    }

    pub(super) fn on_call_due(&mut self, ends: Ends, path: PathKind, now: Instant) {
        let (serves, due) = match path {
            PathKind::Direct => (
                self.tunnels.reaches(ends.1),
                self.listener_dial.is_nominated(ends),
            ),
            PathKind::RelayUdp | PathKind::RelayTcp => (self.tunnels.serves(path), true),
        };
        if due && !serves {
            self.dial(ends, path, now);
        }
    }

    pub(super) fn dial(&mut self, (socket, remote): Ends, path: PathKind, now: Instant) {
        if self.settings.role != Role::Connector {
            return;
        }
        if let Some(number) = self.tunnels.dials.begin(path, remote, now) {
            self.put(Output::Dial {
                number,
                socket,
                remote,
                path,
            });
        }
    }

    pub(super) fn on_call_up(&mut self, ends: Ends, tunnel: TunnelFacts, now: Instant) {
        match self.listener_dial.on_up(ends, tunnel) {
            CallUse::Now => self.adopt(tunnel, now),
            CallUse::Later(older) => {
                let unused = Timer::CallUnused(tunnel.epoch);
                self.timers.set(unused, now + listener_dial::UNUSED);
                if let Some(older) = older {
                    self.timers.clear(Timer::CallUnused(older));
                    self.close(older);
                }
            }
        }
    }
}
