//! Looks whether something listens at the target of a forward, and opens or closes the port that depends on it.

use std::time::{Duration, Instant};

use p2pdbg_base::HostPort;
use p2pdbg_events::{Event as Report, Warning, WarningCode};
use p2pdbg_forward::port_failure;
use p2pdbg_net::{
    deadline::sleep_until,
    listening::{self, Presence},
};
use p2pdbg_proto::tunnel::WhileAbsent;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::Forwards;
use crate::event::Event;

/// How often the table of listening sockets is looked at for a forward that refuses while its target is absent.
const LOOK: Duration = Duration::from_millis(250);

/// The same while the session has not been used for a while.
const CALM_LOOK: Duration = Duration::from_secs(1);

/// For how long it counts as used after its last stream, or after a target has begun or ceased to listen: a program
/// that is started again soon is not waited for.
const USED: Duration = Duration::from_secs(30);

/// How the session is used, by which targets are looked at more or less often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    has_tunnel: bool,
    has_streams: bool,
    /// How many times a target has begun or ceased to listen.
    turns: u32,
}

impl Forwards {
    /// Begins to look whether a target listens that was reached and is refused from now on while it does not.
    pub(crate) fn on_reached(&mut self, forward: u16, tasks: &mut JoinSet<()>) {
        let entry = self.table.get(usize::from(forward));
        let begins = entry.is_some_and(|entry| {
            entry.while_absent == WhileAbsent::HoldOnce && entry.task.is_none()
        });
        if begins && !self.opens(forward) {
            self.look_at_target(forward, tasks);
        }
    }

    /// Opens or closes a port that is open only while its target listens.
    pub(crate) async fn on_target_listening(
        &mut self,
        forward: u16,
        listening: bool,
        tasks: &mut JoinSet<()>,
    ) {
        let opens = self.opens(forward);
        let Some(entry) = self.table.get_mut(usize::from(forward)) else {
            return;
        };
        if !opens || entry.while_absent == WhileAbsent::Hold {
            return;
        }
        match (listening, entry.task.is_some()) {
            (true, false) => {
                if let Err(error) = self.open(forward, tasks).await {
                    let failure = port_failure(&self.table[usize::from(forward)].forward, &error);
                    let warning = Warning::new(WarningCode::ForwardFailed, failure.message);
                    self.reporter.emit(Report::Warning(warning));
                }
            }
            (false, true) => {
                if let Some(task) = entry.task.take() {
                    task.abort();
                }
            }
            _ => {}
        }
    }

    /// Notes whether somebody could be told of a target, and whether there are streams.
    pub(crate) fn note_usage(&self, has_tunnel: bool, has_streams: bool) {
        self.usage.send_if_modified(|usage| {
            let now = Usage {
                has_tunnel,
                has_streams,
                ..*usage
            };
            std::mem::replace(usage, now) != now
        });
    }

    /// Notes what the look at a target has shown.
    pub(crate) fn note_target(&mut self, forward: u16, listening: bool) {
        self.usage
            .send_modify(|usage| usage.turns = usage.turns.wrapping_add(1));
        if let Some(entry) = self.table.get_mut(usize::from(forward)) {
            entry.listening = Some(listening);
        }
    }

    pub(super) fn look_at_target(&mut self, forward: u16, tasks: &mut JoinSet<()>) {
        let entry = &mut self.table[usize::from(forward)];
        let target = entry.forward.target.clone();
        let looks = Looks::new(self.usage.subscribe(), Instant::now());
        entry.task = Some(tasks.spawn(look(target, forward, looks, self.events.clone())));
    }
}

/// What the looks at a target have shown.
#[derive(Default)]
struct Shown {
    told: Option<bool>,
    last: Option<bool>,
}

impl Shown {
    /// Notes what a look has shown. Returns what is to be told: at once that the target listens, but not before the
    /// second look in a row that it has ceased to. An IDE that is started again closes its port for a moment, and who
    /// came then would be refused for nothing.
    fn note(&mut self, listens: bool) -> Option<bool> {
        let before = self.last.replace(listens);
        let news = self.told != Some(listens) && (listens || before != Some(true));
        news.then(|| *self.told.insert(listens))
    }
}

/// Tells whenever a target begins or ceases to listen.
async fn look(target: HostPort, forward: u16, mut looks: Looks, events: mpsc::Sender<Event>) {
    let mut shown = Shown::default();
    loop {
        looks.next().await;
        let listens = match listening::look(&target) {
            // What cannot be seen may be there.
            Ok(presence) => presence != Presence::Absent,
            Err(error) => {
                tracing::warn!(%error, "cannot see which ports listen");
                continue;
            }
        };
        if let Some(listens) = shown.note(listens) {
            let event = Event::TargetListening(forward, listens);
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// When a target is looked at: the first time at once, then as often as the session's use makes it worth, and not at
/// all while there is no tunnel by which the other end could be told.
struct Looks {
    usage: watch::Receiver<Usage>,
    used_until: Instant,
    /// When the last look began.
    last: Option<Instant>,
    /// How long it took.
    took: Duration,
}

impl Looks {
    fn new(usage: watch::Receiver<Usage>, now: Instant) -> Self {
        Self {
            usage,
            used_until: now + USED,
            last: None,
            took: Duration::ZERO,
        }
    }

    /// Waits until it is time to look.
    async fn next(&mut self) {
        self.took = self.last.map_or(Duration::ZERO, |last| last.elapsed());
        loop {
            let due = self.due(Instant::now());
            tokio::select! {
                () = sleep_until(due) => break,
                changed = self.usage.changed() => match changed {
                    Ok(()) => self.used_until = Instant::now() + USED,
                    // The session is over, and this task with it.
                    Err(_) => std::future::pending().await,
                }
            }
        }
        self.last = Some(Instant::now());
    }

    /// When the next look is due.
    fn due(&self, now: Instant) -> Option<Instant> {
        let Some(last) = self.last else {
            return Some(now);
        };
        let usage = *self.usage.borrow();
        let pause = match usage.has_streams || now < self.used_until {
            true => LOOK,
            false => CALM_LOOK,
        };
        let pause = listening::rest_after(pause, self.took);
        usage.has_tunnel.then_some(last + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_that_is_away_for_a_single_look_has_not_ceased_to_listen() {
        let mut shown = Shown::default();
        let looks = [false, true, true, false, true, false, false, false, true];
        let told = looks.map(|listens| shown.note(listens));
        let ceased = Some(false);
        let begun = Some(true);
        let told_then = [ceased, begun, None, None, None, None, ceased, None, begun];
        assert_eq!(told, told_then);
    }

    #[test]
    fn target_is_looked_at_closely_while_streams_run_and_a_while_longer_and_never_without_a_tunnel()
    {
        let (tell, usage) = watch::channel(Usage::default());
        let now = Instant::now();
        let mut looks = Looks::new(usage, now);
        assert_eq!(looks.due(now), Some(now), "the first is due at once");
        looks.last = Some(now);
        assert_eq!(looks.due(now), None, "nobody can be told");
        tell.send_modify(|usage| usage.has_tunnel = true);
        assert_eq!(looks.due(now), Some(now + LOOK));
        let later = now + USED;
        assert_eq!(looks.due(later), Some(now + CALM_LOOK));
        tell.send_modify(|usage| usage.has_streams = true);
        assert_eq!(looks.due(later), Some(now + LOOK));
        looks.took = Duration::from_millis(100);
        assert_eq!(looks.due(later), Some(now + Duration::from_secs(2)));
    }

    #[tokio::test]
    async fn target_waits_for_a_tunnel_and_is_looked_at_closely_from_then_on() {
        let (tell, usage) = watch::channel(Usage::default());
        let before = Instant::now().checked_sub(2 * LOOK).unwrap();
        let mut looks = Looks {
            usage,
            used_until: before,
            last: Some(before),
            took: Duration::ZERO,
        };
        tokio::select! {
            biased;
            () = looks.next() => panic!("nobody can be told"),
            () = std::future::ready(()) => {}
        }
        tell.send_modify(|usage| usage.has_tunnel = true);
        looks.next().await;
        assert!(looks.used_until > Instant::now());
    }
}
