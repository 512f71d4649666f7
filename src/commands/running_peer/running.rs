//! The sessions that run, and what they tell.

use std::{task::Poll, time::Instant};

use p2pdbg_base::PeerName;
use p2pdbg_events::{Event, Reporter, snapshot::ProcessState};
use p2pdbg_meeting::{ChannelId, MeetingCommand};
use p2pdbg_pairing::PeerId;
use p2pdbg_proto::signal::PeerMessage;
use p2pdbg_session::{Session, SessionInput, SessionOutput};
use tokio::sync::mpsc;

use super::{RunningPeer, RunningPeerEvent, absence::Absence};

/// A session with one peer, and what the host keeps of it.
pub(super) struct Running {
    /// The channel to its peer.
    pub(super) channel: ChannelId,
    pub(super) peer: PeerId,
    /// What it is called here.
    pub(super) name: PeerName,
    /// The number of the place that it has, from 0.
    pub(super) place: usize,
    /// Whether the peer is away.
    pub(super) absence: Absence,
    /// Reports of this session alone.
    pub(super) reporter: Reporter,
    pub(super) session: Session,
    pub(super) outputs: mpsc::Receiver<SessionOutput>,
}

impl Running {
    /// Ends it. What it still says to its peer goes to `say`.
    pub(super) async fn close(mut self, say: mpsc::Sender<(ChannelId, PeerMessage)>) {
        let last_words = async {
            while let Some(output) = self.outputs.recv().await {
                if let SessionOutput::Message(message) = output {
                    // Without an owner nobody is told.
                    let _ = say.send((self.channel, message)).await;
                }
            }
        };
        tokio::join!(self.session.close(), last_words);
    }
}

/// The next that one of the sessions tells: which one, and `None` from one that has ended.
pub(super) async fn next_output(sessions: &mut [Running]) -> (usize, Option<SessionOutput>) {
    std::future::poll_fn(|cx| {
        for (index, running) in sessions.iter_mut().enumerate() {
            if let Poll::Ready(output) = running.outputs.poll_recv(cx) {
                return Poll::Ready((index, output));
            }
        }
        Poll::Pending
    })
    .await
}

impl RunningPeer {
    pub(super) fn handle_output(
        &mut self,
        index: usize,
        output: Option<SessionOutput>,
    ) -> Option<RunningPeerEvent> {
        let running = self.sessions.get(index)?;
        match output {
            Some(SessionOutput::Message(message)) => {
                self.tell_meeting(MeetingCommand::Message(running.channel, message));
                None
            }
            Some(SessionOutput::Relay(node)) => {
                self.tell_meeting(MeetingCommand::Relay(running.channel, node));
                None
            }
            Some(SessionOutput::Facts(facts)) => {
                let reporter = running.reporter.clone();
                let place = self.places.get_mut(running.place);
                if let Some(recent) = place.and_then(|place| place.recent.as_mut()) {
                    recent.set_there(facts.clone());
                }
                self.write_recent();
                reporter.emit(Event::Facts(facts));
                None
            }
            Some(SessionOutput::Roots(roots)) => {
                let place = self.places.get_mut(running.place);
                if let Some(recent) = place.and_then(|place| place.recent.as_mut()) {
                    recent.set_roots(roots);
                }
                self.write_recent();
                None
            }
            Some(SessionOutput::Ready(forwards)) => Some(RunningPeerEvent::Ready(forwards)),
            Some(SessionOutput::Over(end)) => {
                let running = self.remove(index);
                Some(RunningPeerEvent::Over(end, running.reporter))
            }
            Some(SessionOutput::Doubt) => {
                self.tell_meeting(MeetingCommand::Doubt);
                None
            }
            Some(SessionOutput::LegLost) => {
                self.tell_meeting(MeetingCommand::LegLost(running.channel));
                None
            }
            Some(SessionOutput::Away(away)) => {
                self.on_away(index, away);
                None
            }
            Some(SessionOutput::Drained) => None,
            None => {
                self.remove(index);
                None
            }
        }
    }

    fn on_away(&mut self, index: usize, away: bool) {
        let reachable = self.stage() != ProcessState::ReachingRendezvous;
        let Some(running) = self.sessions.get_mut(index) else {
            return;
        };
        let was_offered = running.absence.is_offered();
        running.absence.note(away, reachable, Instant::now());
        if was_offered && !away {
            // It is back: the code is nobody's any more.
            self.await_peers();
        }
    }

    /// Takes a session out; its place and its channel are free.
    pub(super) fn remove(&mut self, index: usize) -> Running {
        let running = self.sessions.remove(index);
        self.places.release(running.place);
        self.tell_meeting(MeetingCommand::SessionOver(running.channel));
        running.reporter.end_status();
        running
    }

    /// Waits for the peers that may come, after one has left.
    pub(in crate::commands) fn await_return(&mut self, left: &Reporter) {
        self.await_peers();
        self.say_who_is_awaited(Some(left));
    }

    /// Lets the streams deliver what is left of connections that have ended here.
    pub(in crate::commands) async fn drain(&mut self) {
        for index in 0..self.sessions.len() {
            self.sessions[index].session.input(SessionInput::Drain);
            loop {
                match self.sessions[index].outputs.recv().await {
                    Some(SessionOutput::Drained) | None => break,
                    output => {
                        if let Some(RunningPeerEvent::Over(..)) = self.handle_output(index, output)
                        {
                            return;
                        }
                    }
                }
            }
        }
    }
}
