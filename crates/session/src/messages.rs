//! What comes over the tunnels: control messages, frames of the ledger, carriers, and what the streams tell.

use std::time::Duration;

use p2pdbg_facts::HostFacts;
use p2pdbg_ledger::{Admission, CarrierHeader, Frame, StreamId, Violation};
use p2pdbg_proto::{
    rendezvous::Role,
    tunnel::{ForwardOffer, ForwardState, TunnelMessage, close},
};
use quinn::RecvStream;

use super::{decisions::Input, driver::SessionDriver, io::SessionOutput, rejections::Rejection};
use crate::stream::{StreamEvent, UNWANTED};

impl SessionDriver {
    pub(super) async fn handle_control(&mut self, epoch: u64, message: TunnelMessage) {
        match message {
            TunnelMessage::Ledger(bytes) => match Frame::decode(&bytes) {
                Ok(frame) => self.handle_frame(epoch, frame),
                Err(error) => self.on_misbehaviour(epoch, &error),
            },
            TunnelMessage::Forwards(offers) if self.role == Role::Connector => {
                self.on_forwards(epoch, offers).await;
            }
            TunnelMessage::ForwardState { forward, state } if self.role == Role::Listener => {
                self.on_forward_state(forward, state).await;
            }
            TunnelMessage::TargetListening {
                forward,
                listening,
                number,
            } => {
                if self.forwards.hear_of_target(forward, number) {
                    self.forwards
                        .on_target_listening(forward, listening, &mut self.tasks)
                        .await;
                }
            }
            TunnelMessage::StreamWaiting {
                stream,
                waiting,
                number,
            } => self.on_stream_waits(StreamId::from_u64(stream), waiting, number),
            TunnelMessage::Ping { unanswered_ms } => {
                let unanswered = Duration::from_millis(unanswered_ms.into());
                self.decide(Input::Pulse { epoch, unanswered });
            }
            TunnelMessage::RelayByTcp { seconds } => {
                let time = Duration::from_secs(seconds.into());
                self.decide(Input::AskedForTcp(time));
            }
            TunnelMessage::SourcesChanged if self.role == Role::Listener => {
                self.sources.sources.on_peer_changed();
            }
            TunnelMessage::Elsewhere(one) if self.role == Role::Listener => {
                let followed = self.forwards.on_elsewhere(&one);
                if let Some((port, debugger)) = followed {
                    self.follow(port, debugger);
                }
            }
            TunnelMessage::Facts(said) => self.on_facts(HostFacts::accept(said)),
            // Each of these is one end's to say, and Hello was said before the tunnel counted. All are named, so that a
            // message that is new cannot be forgotten here.
            TunnelMessage::Hello { .. }
            | TunnelMessage::Forwards(_)
            | TunnelMessage::ForwardState { .. }
            | TunnelMessage::SourcesChanged
            | TunnelMessage::Elsewhere(_) => {
                self.on_misbehaviour(epoch, &"a message that does not belong here");
            }
        }
    }

    /// The forwards that the listener wants, at the connector.
    async fn on_forwards(&mut self, epoch: u64, offers: Vec<ForwardOffer>) {
        match self.forwards.accept(offers, &mut self.tasks).await {
            Ok(answers) => answers
                .into_iter()
                .for_each(|answer| self.connections.send(answer)),
            Err(fault) => return self.on_misbehaviour(epoch, &fault),
        }
        if let Some(standing) = self.forwards.newly_standing() {
            self.tell(SessionOutput::Ready(standing));
        }
    }

    /// What the connector has made of a forward, at the listener.
    async fn on_forward_state(&mut self, forward: u16, state: ForwardState) {
        self.forwards.on_state(forward, state);
        self.forwards.settle_asked(forward, &mut self.tasks).await;
        self.settle_pipes();
        if let Some(standing) = self.forwards.newly_standing() {
            self.tell(SessionOutput::Ready(standing));
        }
    }

    /// A stream waits at the other end for its target to listen, or no longer.
    fn on_stream_waits(&mut self, stream: StreamId, waiting: bool, number: u32) {
        if !self.streams.hear_of_waiting(stream, number) {
            return;
        }
        if !waiting {
            return self.streams.on_waited(stream);
        }
        let forward = self.streams.forward_of(stream);
        if let Some(target) = forward.and_then(|forward| self.forwards.target(forward)) {
            let _is_news = self.streams.on_waiting(stream, target, self.role.other());
        }
    }

    /// It comes on every tunnel, and is mostly known.
    fn on_facts(&mut self, facts: HostFacts) {
        if self.peers.there.as_ref() != Some(&facts) {
            self.peers.there = Some(facts.clone());
            self.note_roots();
            self.tell(SessionOutput::Facts(facts));
        }
    }

    pub(super) fn handle_frame(&mut self, epoch: u64, frame: Frame) {
        let stream = frame.stream();
        match self.admit(stream, frame.forward()) {
            Ok(true) => {
                let is_end = matches!(frame, Frame::End(_));
                let via = self.connections.find(epoch).filter(|_| is_end).cloned();
                if !self.streams.handle_frame(stream, frame, via) {
                    self.connections.close(epoch, close::PROTOCOL);
                }
            }
            Ok(false) => {
                if let Some(reply) = frame.reply_if_closed() {
                    self.connections.send_frame(epoch, reply);
                }
            }
            Err(violation) => self.on_misbehaviour(epoch, &violation),
        }
    }

    pub(super) fn handle_carrier(
        &mut self,
        epoch: u64,
        header: CarrierHeader,
        mut stream: RecvStream,
    ) {
        match self.admit(header.stream, Some(header.forward)) {
            Ok(true) => self.streams.handle_carrier(epoch, &header, stream),
            Ok(false) => {
                let _ = stream.stop(UNWANTED);
                self.connections.send_frame(epoch, header.reply_if_closed());
            }
            Err(violation) => self.on_misbehaviour(epoch, &violation),
        }
    }

    /// Whether a stream lives; one that the peer opens with this message begins to.
    pub(super) fn admit(
        &mut self,
        stream: StreamId,
        opens: Option<u16>,
    ) -> Result<bool, Violation> {
        let admission = self.streams.admit(stream, opens.is_some())?;
        if let (Admission::New, Some(forward)) = (admission, opens) {
            let local = match forward {
                p2pdbg_proto::sources::FORWARD => self.answer_about_sources(),
                p2pdbg_proto::attach::FORWARD => self.answer_about_programs(),
                _ => self.forwards.dial(stream, forward),
            };
            let ide_port = self.forwards.ide_port(forward);
            self.streams
                .start(stream, forward, local, ide_port, &mut self.tasks);
        }
        Ok(admission != Admission::Closed)
    }

    pub(super) fn handle_stream(&mut self, stream: StreamId, event: StreamEvent) {
        if let StreamEvent::Violation(violation) = &event {
            self.connections.rejections().note(Rejection::Violation);
            tracing::warn!(%violation, "the peer broke the rules of a stream");
        }
        let changes = matches!(event, StreamEvent::State(_) | StreamEvent::Ended);
        if changes && self.streams.waits_here(stream, self.role) {
            self.announce_waiting(stream, false);
        }
        let target = self
            .streams
            .forward_of(stream)
            .and_then(|forward| self.forwards.target(forward))
            .cloned();
        self.streams.on_event(stream, event, target);
        self.update_status();
    }

    /// Tells the other end whether a stream waits here until its target listens.
    pub(super) fn announce_waiting(&mut self, stream: StreamId, waiting: bool) {
        if let Some(number) = self.streams.count_waiting(stream) {
            self.connections.send(TunnelMessage::StreamWaiting {
                stream: stream.to_u64(),
                waiting,
                number,
            });
        }
    }

    pub(super) fn on_misbehaviour(&mut self, epoch: u64, what: &dyn std::fmt::Display) {
        tracing::warn!(epoch, %what, "the peer broke the protocol");
        self.connections.rejections().note(Rejection::Violation);
        self.connections.close(epoch, close::PROTOCOL);
    }
}
