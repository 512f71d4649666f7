//! When the tunnels are looked at, and when they are asked for a sign of life.

use std::time::{Duration, Instant};

use p2pdbg_path::PathCommand;

use super::{Awaited, Decisions, Output, io::Timer, keep_alive};

/// How often the tunnels are looked at while streams move.
const LOOK: Duration = Duration::from_millis(150);

/// How often they are looked at while there are streams of which none moves.
const CALM_LOOK: Duration = Duration::from_secs(1);

/// How often they are looked at while one has not answered.
pub(super) const QUICK_LOOK: Duration = Duration::from_millis(100);

/// For how long tunnels are looked at closely after somebody has asked the peer something: until it is told as lost.
const AWAITED: Duration = Duration::from_secs(5);

impl Decisions {
    pub(super) fn look_soon(&mut self, now: Instant) {
        self.timers
            .set_sooner(Timer::Look, now + keep_alive::WAITING);
    }

    pub(super) fn on_pulse(&mut self, epoch: u64, unanswered: Duration, now: Instant) {
        self.tunnels.on_pulse(epoch, unanswered, now);
        if !unanswered.is_zero() {
            self.timers.set_sooner(Timer::Look, now);
        }
    }

    /// Judges the tunnels by their counters, and settles when to do so again.
    pub(super) fn look(&mut self, now: Instant) {
        self.awaited = self.awaited.filter(|awaited| now < awaited.until);
        let just_asked = self.awaited.is_some_and(|awaited| !awaited.asked);
        let is_watched = self.streams.live > 0 || self.awaited.is_some();
        let unheard = self.keep_alive.unheard(is_watched);
        let look = self.tunnels.look(unheard, now);
        self.ask(&look.ask, now);
        self.ask_awaited(&look.ask, now);
        if self.reachability.tells_silence(look.silent, now) {
            self.put(Output::Path(PathCommand::Silent));
            self.put(Output::Doubt);
        }
        for path in &look.suspects {
            self.path_status.on_silent(*path);
            self.put(Output::Path(PathCommand::Silent));
            self.put(Output::Path(PathCommand::SendSingly));
        }
        if look.is_used_suspect {
            self.on_used_silent(now);
        }
        if look.is_near_suspect {
            self.on_near_suspect(now);
        }
        self.renew(now);
        self.weigh(now);
        self.weigh_near(now);
        self.choose(now);
        self.history.look(self.tunnels.used_counters(), now);
        let pause = match is_watched {
            false => {
                let settled = self.is_settled();
                self.keep_alive.after(&look, settled)
            }
            true if look.again_soon || just_asked => QUICK_LOOK,
            true if look.moved => LOOK,
            true => CALM_LOOK,
        };
        self.timers.set(Timer::Look, now + pause);
    }

    /// Asks for a sign of life on these tunnels, and says how well this end hears there.
    pub(super) fn ask(&mut self, epochs: &[u64], now: Instant) {
        for &epoch in epochs {
            let unanswered = self.tunnels.unanswered(epoch, now);
            self.put(Output::Ping { epoch, unanswered });
        }
    }

    /// Asks for a sign of life on all tunnels that have given one, and looks closely whether it comes.
    pub(super) fn ask_all(&mut self, now: Instant) {
        self.awaited = Some(Awaited {
            asked: false,
            until: now + AWAITED,
        });
        // What was heard since the last look, which may be long ago, is not to pass for the answer.
        self.timers.set(Timer::Look, now);
    }

    /// Asks on all tunnels but those that were asked just now, if somebody waits for it and has not been served.
    pub(super) fn ask_awaited(&mut self, asked: &[u64], now: Instant) {
        if let Some(awaited) = &mut self.awaited
            && !std::mem::replace(&mut awaited.asked, true)
        {
            let others: Vec<u64> = self
                .tunnels
                .trusted()
                .filter(|epoch| !asked.contains(epoch))
                .collect();
            self.ask(&others, now);
        }
    }
}
