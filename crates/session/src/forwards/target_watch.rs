//! Looks whether something listens at the target of a forward, and opens or closes the port that depends on it.

use std::time::Instant;

use p2pdbg_base::HostPort;
use p2pdbg_events::{Event as Report, Warning, WarningCode};
use p2pdbg_forward::port_failure;
use p2pdbg_net::listening::{self, Presence};
use p2pdbg_proto::tunnel::{TunnelMessage, WhileAbsent};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Forwards,
    look_times::{self, LookTimes},
};
use crate::event::SessionEvent;

impl Forwards {
    /// Begins to look whether a target listens that was reached and is refused from now on while it does not.
    pub(crate) fn on_reached(&mut self, forward: u16, tasks: &mut JoinSet<()>) {
        let entry = self.table.get(usize::from(forward));
        let begins = entry.is_some_and(|entry| {
            entry.while_absent == WhileAbsent::HoldOnce && !entry.is_looked_at
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
        // What the connector has refused stays closed, whatever its peer says of the target.
        if !opens || entry.while_absent == WhileAbsent::Hold || entry.is_refused() {
            return;
        }
        match (listening, entry.accepting.is_some()) {
            (true, false) => {
                if let Err(error) = self.open(forward, tasks).await {
                    let failure = port_failure(&self.table[usize::from(forward)].forward, &error);
                    let warning = Warning::new(WarningCode::ForwardFailed, failure.message);
                    self.reporter.emit(Report::Warning(warning));
                }
            }
            (false, true) => {
                if let Some(accepting) = entry.accepting.take() {
                    accepting.close().await;
                }
            }
            _ => {}
        }
    }

    /// Notes whether somebody could be told of a target, and whether there are streams.
    pub(crate) fn note_usage(&self, has_tunnel: bool, has_streams: bool) {
        look_times::note_usage(&self.usage, has_tunnel, has_streams);
    }

    /// Notes what the look at a target has shown; what the other end is to hear of it.
    pub(crate) fn note_target(&mut self, forward: u16, listening: bool) -> Option<TunnelMessage> {
        look_times::note_turn(&self.usage);
        let entry = self.table.get_mut(usize::from(forward))?;
        entry.listening.send_replace(Some(listening));
        Some(TunnelMessage::TargetListening {
            forward,
            listening,
            number: entry.latest.count_up(),
        })
    }

    /// Whether what the other end says of a target counts: this end opens the port, and nothing later has been heard.
    pub(crate) fn hear_of_target(&mut self, forward: u16, number: u32) -> bool {
        let opens = self.opens(forward);
        let entry = self.table.get_mut(usize::from(forward));
        opens && entry.is_some_and(|entry| entry.latest.hear(number))
    }

    pub(super) fn look_at_target(&mut self, forward: u16, tasks: &mut JoinSet<()>) {
        let entry = &mut self.table[usize::from(forward)];
        let target = entry.forward.target.clone();
        let times = LookTimes::new(self.usage.subscribe(), Instant::now());
        entry.is_looked_at = true;
        tasks.spawn(look(target, forward, times, self.events.clone()));
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
async fn look(
    target: HostPort,
    forward: u16,
    mut times: LookTimes,
    events: mpsc::Sender<SessionEvent>,
) {
    let mut shown = Shown::default();
    loop {
        times.next().await;
        let listens = match listening::look(&target) {
            // What cannot be seen may be there.
            Ok(presence) => presence != Presence::Absent,
            Err(error) => {
                tracing::warn!(%error, "cannot see which ports listen");
                continue;
            }
        };
        if let Some(listens) = shown.note(listens) {
            let event = SessionEvent::TargetListening(forward, listens);
            if events.send(event).await.is_err() {
                return;
            }
        }
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
}
