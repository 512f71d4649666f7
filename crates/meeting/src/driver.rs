//! The task of a meeting: moves messages and time between the link, the owner and [`Meetings`], and keeps the paths
//! that are made ready.

use std::{sync::Arc, task::Poll, time::Instant};

use p2pdbg_net::deadline::sleep_until;
use p2pdbg_path::{Approach, Introduction, PathEvent};
use p2pdbg_proto::rendezvous::{Credential, SessionId};
use p2pdbg_rendezvous_client::{Link, LinkConfig, LinkEvent, is_unknown};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    MeetingCommand, MeetingConfig, MeetingEvent,
    io::{Input, Output, Reached},
    meetings::Meetings,
    stun,
};

/// A listener is back at a rendezvous that was started again within this: it sends every 20 s, gives up after 25 s of
/// silence, and then dials.
const RETURN: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) struct MeetingDriver {
    config: MeetingConfig,
    meetings: Meetings,
    link: Link,
    report: mpsc::Sender<MeetingEvent>,
    /// What is made ready, for each encounter that may become a session.
    approaches: Vec<(SessionId, Approach)>,
}

impl MeetingDriver {
    /// Begins to reach the rendezvous.
    pub(super) fn new(config: MeetingConfig, report: mpsc::Sender<MeetingEvent>) -> Self {
        let credential = match &config.rendezvous.access_key {
            Some(key) => Credential::AccessKey(key.clone()),
            None => Credential::None,
        };
        let link = LinkConfig {
            url: config.rendezvous.clone(),
            route: config.paths.route.clone(),
            transports: config.transports,
        };
        let link = Link::open(link, credential, &config.paths.changes);
        Self {
            meetings: Meetings::new(&config),
            config,
            link,
            report,
            approaches: Vec::new(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<MeetingCommand>,
        closing: CancellationToken,
    ) {
        let mut changes = self.config.paths.changes.subscribe();
        self.act().await;
        while !self.meetings.is_over() {
            self.link.is_awaited(self.meetings.does_a_person_wait());
            let deadline = self.meetings.poll_timeout();
            let input = tokio::select! {
                event = self.link.event() => match event {
                    Some(event) => self.judge(event).await,
                    None => break,
                },
                command = commands.recv() => match command {
                    Some(command) => Input::Owner(command),
                    None => break,
                },
                _ = changes.changed() => Input::NetworkChanged,
                (session, event) = next_event(&mut self.approaches) => {
                    match self.on_approach(session, event) {
                        Some(input) => input,
                        None => continue,
                    }
                }
                () = sleep_until(deadline) => Input::Timeout,
                () = closing.cancelled() => break,
            };
            self.handle(input).await;
        }
        while let Ok(command) = commands.try_recv() {
            self.handle(Input::Owner(command)).await;
        }
        self.handle(Input::Close).await;
        self.link.close().await;
    }

    async fn handle(&mut self, input: Input) {
        self.meetings.handle(Instant::now(), input);
        self.act().await;
    }

    /// What an event of the link is for the meeting.
    async fn judge(&self, event: LinkEvent) -> Input {
        match event {
            LinkEvent::Up {
                told,
                rendezvous,
                at,
                stun,
                over_tcp,
                up_for,
                ..
            } => {
                let mut stun = stun::as_seen_from_here(stun, rendezvous, &at.host).await;
                stun.retain(|server| !is_unknown(*server));
                let reached = Reached {
                    address: rendezvous,
                    stun,
                    over_tcp,
                    returns_until: Instant::now() + RETURN.saturating_sub(up_for),
                };
                Input::LinkUp { told, reached }
            }
            LinkEvent::Down(error) => Input::LinkDown(error),
            LinkEvent::Message(message) => Input::Rendezvous(message),
        }
    }

    /// Keeps what the paths tell for the session; what they have for the peer goes through the meeting.
    fn on_approach(&mut self, session: SessionId, event: PathEvent) -> Option<Input> {
        match event {
            PathEvent::Signal(signal) => Some(Input::PathSignal(session, signal)),
            event => {
                if let Some(approach) = self.approach(session) {
                    approach.keep(event);
                }
                None
            }
        }
    }

    fn approach(&mut self, session: SessionId) -> Option<&mut Approach> {
        let mut all = self.approaches.iter_mut();
        all.find(|(id, _)| *id == session).map(|(_, one)| one)
    }

    /// Does what is to be done.
    async fn act(&mut self) {
        while let Some(output) = self.meetings.poll_output() {
            match output {
                Output::Send(message) => self.link.send(message),
                Output::BeginWith(messages) => self.link.begin_with(messages),
                Output::UseCredential(credential) => self.link.use_credential(credential),
                Output::Redial => self.link.nudge(),
                Output::Event(event) => self.tell(event).await,
                Output::MakeReady(session, introduction) => self.make_ready(session, introduction),
                Output::ExpectTunnel { session, peer, key } => {
                    let identity = Arc::clone(&self.config.identity);
                    if let Some(approach) = self.approach(session) {
                        approach.expect(peer, &identity, key);
                    }
                }
                Output::Confirmed(session) => {
                    if let Some(approach) = self.approach(session) {
                        approach.confirmed();
                    }
                }
                Output::PeerSeen(session, addresses, bound) => {
                    if let Some(approach) = self.approach(session) {
                        approach.on_peer_seen(addresses, bound);
                    }
                }
                Output::Met(session, mut met) => {
                    let index = self.approaches.iter().position(|(id, _)| *id == session);
                    met.approach = index.map(|index| self.approaches.swap_remove(index).1);
                    self.tell(MeetingEvent::Met(met)).await;
                }
            }
        }
        let meetings = &self.meetings;
        self.approaches
            .retain(|(session, _)| meetings.awaits(*session));
    }

    fn make_ready(&mut self, session: SessionId, introduction: Introduction) {
        // Without UDP the session finds the same, and says it.
        let paths = self.config.paths.clone();
        let approach = Approach::begin(paths, introduction).ok();
        self.approaches.extend(approach.map(|one| (session, one)));
    }

    async fn tell(&self, event: MeetingEvent) {
        // Without an owner the task ends at its next step.
        let _ = self.report.send(event).await;
    }
}

/// What is told next of what is made ready, and for which encounter.
async fn next_event(approaches: &mut [(SessionId, Approach)]) -> (SessionId, PathEvent) {
    std::future::poll_fn(|cx| {
        for (session, approach) in approaches.iter_mut() {
            if let Poll::Ready(event) = approach.poll_event(cx) {
                return Poll::Ready((*session, event));
            }
        }
        Poll::Pending
    })
    .await
}
