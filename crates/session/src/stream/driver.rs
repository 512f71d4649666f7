//! The task of a stream: moves bytes between its local connection, its ledger and the best tunnel.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use p2pdbg_events::StreamState;
use p2pdbg_ledger::{
    Budget, CopyHeader, EndKind, Frame, Limits, Receiver, ResetCode, Sender, StreamId, Violation,
};
use p2pdbg_net::deadline::sleep_until;
use p2pdbg_proto::tunnel::TunnelMessage;
use p2pdbg_tunnel::{Copies, Counted, Tunnel};
use tokio::{sync::mpsc, time::Instant};

use super::{
    client_left::Verdict,
    downlink::{Downlink, DownlinkEvent},
    io::{BestTunnel, Local, StreamEvent, StreamInput},
    local::Connection,
    program::Program,
    redial::{Dialing, Redial},
    tap::{Tap, Traffic},
    uplink::{Uplink, UplinkEvent},
};

/// How long an acknowledgement may wait for more to acknowledge.
const ACK_DELAY: Duration = Duration::from_millis(200);

/// Everything that a stream's task starts with.
pub(crate) struct Stream {
    /// Its id in the session.
    pub(crate) id: StreamId,
    /// The forward it belongs to.
    pub(crate) forward: u16,
    /// The session's memory for what is not acknowledged.
    pub(crate) budget: Budget,
    /// Which tunnel is best at the moment, and when that changes.
    pub(crate) best: BestTunnel,
    /// What the session tells it.
    pub(crate) inbox: mpsc::Receiver<StreamInput>,
    /// What it tells the session.
    pub(crate) report: mpsc::Sender<(StreamId, StreamEvent)>,
    /// Where it counts what passes.
    pub(crate) traffic: Arc<Traffic>,
    /// Where it shows what the local program writes, and what it is given.
    pub(crate) taps: (Tap, Tap),
    /// Whether the local program is a debugger's client, which waits for an answer before it ends its writing.
    pub(crate) is_client: bool,
}

impl Stream {
    /// Drives the stream to its end.
    pub(crate) async fn run(self, local: Local) {
        let Self {
            id,
            forward,
            budget,
            best,
            inbox,
            report,
            traffic,
            taps: (written, given),
            is_client,
        } = self;
        let sender = Sender::new(id, forward, Limits::default(), &budget);
        let mut downlink = Downlink::new(Receiver::new(id, forward), Arc::clone(&traffic), given);
        let (connection, dialing) = match local {
            Local::Accepted(connection) => (Some(connection), None),
            Local::Dialing(dialing) => (None, Some(dialing)),
            Local::Debuggee(mut dial) => {
                let dialing = dial(None);
                downlink.redial = Some(Redial::new(dial));
                (None, Some(dialing))
            }
        };
        let mut driver = StreamDriver {
            id,
            uplink: Uplink::new(sender, Arc::clone(&traffic), written),
            downlink,
            copies: Copies::default(),
            traffic,
            program: Program::new(dialing, is_client),
            best,
            inbox,
            news: News {
                report,
                violation: None,
                reported: None,
                delivered: false,
            },
            ack_at: None,
            end_came_by: None,
        };
        if let Some(connection) = connection {
            driver.on_connected(connection);
        }
        driver.run().await;
        driver.tell(StreamEvent::Ended).await;
    }
}

/// What the session is told, each thing once.
struct News {
    report: mpsc::Sender<(StreamId, StreamEvent)>,
    /// What the peer has broken, and nobody was told of.
    violation: Option<Violation>,
    /// The state that was told last.
    reported: Option<StreamState>,
    /// Whether it was told that the peer has everything.
    delivered: bool,
}

struct StreamDriver {
    id: StreamId,
    uplink: Uplink,
    downlink: Downlink,
    copies: Copies,
    traffic: Arc<Traffic>,
    program: Program,
    best: BestTunnel,
    inbox: mpsc::Receiver<StreamInput>,
    news: News,
    /// When an acknowledgement is due that waits for more.
    ack_at: Option<Instant>,
    /// The tunnel by which the peer told the end, and on which it waits for the confirmation.
    end_came_by: Option<Tunnel>,
}

impl StreamDriver {
    async fn run(&mut self) {
        self.on_best_changed();
        // One timer for the whole stream: to make one for each message would cost as much as the message.
        let mut ack_timer = std::pin::pin!(tokio::time::sleep_until(Instant::now()));
        while !self.is_over() {
            if let Some(at) = self.ack_at
                && ack_timer.deadline() != at
            {
                ack_timer.as_mut().reset(at);
            }
            let reads = self.reads();
            let in_reach = self.best.borrow().is_some();
            tokio::select! {
                input = self.inbox.recv() => match input {
                    Some(input) => self.handle(input),
                    None => return self.break_off().await,
                },
                changed = self.best.changed() => match changed {
                    Ok(()) => self.on_best_changed(),
                    Err(_) => return self.break_off().await,
                },
                event = self.uplink.step(self.program.reader.as_mut().filter(|_| reads)) => {
                    self.on_uplink(event);
                }
                event = self.downlink.step(self.program.writer.as_mut()) => self.on_downlink(event),
                dialled = dialled(&mut self.program.dialing) => self.on_dialled(dialled),
                () = sleep_until(self.program.leaving.look_at()) => self.look_for_program(),
                () = sleep_until(self.program.last_words.until(in_reach)) => self.on_broken(),
                () = sleep_until(self.copies.next_at()) => self.send_copies(),
                () = &mut ack_timer, if self.ack_at.is_some() => {
                    self.ack_at = None;
                    self.send_frames(true);
                }
            }
            self.deliver_end().await;
            self.send_frames(false);
            let sender = &self.uplink.sender;
            self.traffic
                .set_held(sender.pushed() - sender.acknowledged());
            self.tell_news().await;
        }
    }

    fn is_over(&self) -> bool {
        self.uplink.sender.is_finished() && self.downlink.receiver.is_finished()
    }

    /// Whether the local program is read from.
    fn reads(&self) -> bool {
        !self.uplink.sender.is_closed() && !self.program.leaving.has_ended()
    }

    fn handle(&mut self, input: StreamInput) {
        match input {
            StreamInput::Carrier {
                epoch,
                header,
                stream,
            } => {
                if let Err(violation) = self.downlink.open(epoch, &header, stream) {
                    self.on_violation(violation);
                }
            }
            StreamInput::Frame { frame, via } => {
                if via.is_some() {
                    self.end_came_by = via;
                }
                self.handle_frame(frame);
            }
            StreamInput::Copy { offset, data } => {
                // Nothing else is to be done about it.
                return match self.downlink.on_copy(offset, data) {
                    Ok(()) => {}
                    Err(violation) => self.on_violation(violation),
                };
            }
            StreamInput::TunnelLost { epoch } => {
                self.uplink.on_tunnel_lost(epoch);
                self.downlink.on_tunnel_lost(epoch);
                self.reannounce();
            }
            StreamInput::TunnelSilent { epoch } => {
                self.uplink.on_tunnel_silent(epoch);
                self.reannounce();
            }
            StreamInput::Held(held) => {
                self.program.leaving.on_held(held, Instant::now());
                self.stop_dialling();
            }
            StreamInput::Abort(code) => self.abort(code),
        }
        self.route();
    }

    fn handle_frame(&mut self, frame: Frame) {
        let (sender, receiver) = (&mut self.uplink.sender, &mut self.downlink.receiver);
        let handled = match frame {
            Frame::Ack(ack) => sender.handle_ack(ack).map(drop),
            Frame::End(end) => {
                let handled = receiver.handle_end(end);
                if handled.is_ok() {
                    self.stop_dialling();
                }
                handled
            }
            Frame::Stop(stop) => {
                sender.handle_stop(stop);
                self.on_stopped(stop.code);
                Ok(())
            }
        };
        if let Frame::Ack(_) = frame {
            self.follow_path_window();
        }
        if let Err(violation) = handled {
            self.on_violation(violation);
        }
    }

    /// Dials no more if whoever waits at the other end has given up.
    fn stop_dialling(&mut self) {
        let has_given_up = match self.downlink.receiver.end() {
            Some((EndKind::Reset(_), _)) => true,
            // Without having said a word: the debuggee had better not be told, for a connection that ends at once may
            // be the only one that it takes. But whoever is no client of a debugger may have come only to listen.
            Some((EndKind::Fin, 0)) => {
                self.downlink.redial.is_some() || self.program.leaving.is_held()
            }
            _ => false,
        };
        if has_given_up && self.program.dialing.is_some() {
            self.abort(ResetCode::CONNECTION);
        }
    }

    /// The other end takes no more: what the local program writes, it writes to nobody.
    fn on_stopped(&mut self, code: ResetCode) {
        if self.program.dialing.is_some() {
            // Whoever waited here has left.
            return self.abort(code);
        }
        // A client that leaves before the debuggee has answered has given up, and nothing more of it may be delivered.
        let gave_up = self.downlink.redial.is_some();
        let comes_more = !self.downlink.receiver.is_stopped() && !self.program.fin_delivered;
        if code == ResetCode::CONNECTION && comes_more && !gave_up {
            self.program.last_words.begin(Instant::now());
        } else {
            self.stop_reading(code);
            self.program.break_off();
        }
    }

    fn on_best_changed(&mut self) {
        let in_reach = self.best.borrow().is_some();
        self.program.leaving.on_reach(in_reach);
        self.program.last_words.on_progress(Instant::now());
        self.reannounce();
        self.route();
    }

    fn reannounce(&mut self) {
        self.uplink.sender.reannounce();
        self.downlink.receiver.reannounce();
    }

    fn route(&mut self) {
        self.uplink.route(self.best.borrow().as_ref());
    }

    /// Lets the ledger hold about as much as the path has in flight.
    fn follow_path_window(&mut self) {
        if let Some(tunnel) = self.best.borrow().as_ref() {
            let window = tunnel.connection.stats().path.cwnd;
            self.uplink.sender.handle_path_window(window);
        }
    }

    fn on_uplink(&mut self, event: UplinkEvent) {
        if self.traffic.sent() > 0 {
            self.downlink.redial = None;
        }
        match event {
            UplinkEvent::Progress => {}
            UplinkEvent::Read(offset, read) => self.note_written(offset, read),
            UplinkEvent::Ended | UplinkEvent::Broken if self.dial_again() => {}
            // It takes no more, and all that it wrote before has been read.
            UplinkEvent::Ended if self.downlink.receiver.is_stopped() => self.on_broken(),
            UplinkEvent::Ended => {
                let answered = self.traffic.received() > 0;
                let verdict = self.program.on_ended(answered, Instant::now());
                self.on_verdict(verdict);
            }
            UplinkEvent::Broken => self.on_broken(),
        }
        if self.uplink.sender.wants_carrier() {
            self.route();
        }
    }

    /// What the local program wrote may be worth sending twice.
    fn note_written(&mut self, offset: u64, written: Bytes) {
        let best = self.best.borrow();
        let counted = || {
            let tunnel = best.as_ref()?;
            let path = tunnel.connection.stats().path;
            Some(Counted {
                epoch: tunnel.epoch,
                sent: path.sent_packets,
                lost: path.lost_packets,
                rtt: path.rtt,
            })
        };
        let heard = self.downlink.receiver.received();
        self.copies
            .on_written(Instant::now(), (offset, written), heard, counted);
    }

    /// Sends the copies that are due, of what a carrier has taken and the peer has not acknowledged.
    fn send_copies(&mut self) {
        let best = self.best.borrow();
        let Some(tunnel) = best.as_ref() else {
            // The next tunnel's carrier brings what is in them.
            return self.copies.clear();
        };
        let most = tunnel.connection.max_datagram_size().unwrap_or_default();
        let most = most.saturating_sub(CopyHeader::LEN);
        while let Some((mut offset, mut data)) = self.copies.pop_due(Instant::now()) {
            let end = offset + data.len() as u64;
            let sender = &self.uplink.sender;
            if most == 0 || sender.sent() < end || sender.acknowledged() >= end {
                continue;
            }
            while !data.is_empty() {
                let piece = data.split_to(data.len().min(most));
                let stream = self.id;
                let mut datagram = BytesMut::with_capacity(CopyHeader::LEN + piece.len());
                datagram.extend_from_slice(&CopyHeader { stream, offset }.encode());
                datagram.extend_from_slice(&piece);
                offset += piece.len() as u64;
                // One that cannot be sent is missed by nobody.
                if tunnel.connection.send_datagram(datagram.freeze()).is_ok() {
                    self.traffic.on_copied(piece.len());
                }
            }
        }
    }

    /// Looks whether a local program that writes no more is still there.
    fn look_for_program(&mut self) {
        let answered = self.traffic.received() > 0;
        let verdict = self.program.on_look(answered, Instant::now());
        self.on_verdict(verdict);
    }

    fn on_verdict(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Wait => {}
            Verdict::End => self.uplink.sender.close(EndKind::Fin),
            Verdict::Left => {
                self.program.gave_up = true;
                self.abort(ResetCode::CONNECTION);
            }
        }
    }

    /// Dials the debuggee again if it has closed the connection without a word; whether it does.
    fn dial_again(&mut self) -> bool {
        if self.program.fin_delivered || self.uplink.sender.is_closed() {
            return false;
        }
        let Some(redial) = &mut self.downlink.redial else {
            return false;
        };
        let (dialing, written) = redial.again();
        self.downlink.repeat(written);
        self.program.dialing = Some(dialing);
        self.news.reported = None;
        self.program.break_off();
        true
    }

    /// Wants nothing more of what the peer's program wrote.
    fn stop_reading(&mut self, code: ResetCode) {
        self.downlink.receiver.stop(code);
        self.downlink.stop();
    }

    fn on_downlink(&mut self, event: DownlinkEvent) {
        match event {
            DownlinkEvent::Progress => self.program.last_words.on_progress(Instant::now()),
            DownlinkEvent::Broken if self.dial_again() => {}
            // What the program wrote before it broke off is read first; then reading says that it has.
            DownlinkEvent::Broken if self.reads() => self.stop_reading(ResetCode::CONNECTION),
            DownlinkEvent::Broken => self.on_broken(),
            DownlinkEvent::Violation(violation) => self.on_violation(violation),
        }
    }

    /// The local connection has broken off.
    fn on_broken(&mut self) {
        let end = EndKind::Reset(ResetCode::CONNECTION);
        self.uplink.sender.close(end);
        self.stop_reading(ResetCode::CONNECTION);
        self.program.break_off();
    }

    /// Hands the end of the incoming direction to the local program when all before it has been written: not while it
    /// is dialled, nor before one that was dialled again has what an earlier connection took.
    async fn deliver_end(&mut self) {
        if self.program.dialing.is_some() || !self.downlink.is_written() {
            return;
        }
        match self.downlink.receiver.poll_end() {
            Some(EndKind::Fin) => {
                self.program.fin_delivered = true;
                if let Some(writer) = &mut self.program.writer {
                    // If the connection is gone, reading says so.
                    let _ = writer.finish().await;
                }
                if self.program.last_words.are_awaited() {
                    self.program.break_off();
                }
            }
            Some(EndKind::Reset(code)) => {
                self.uplink.sender.close(EndKind::Reset(code));
                self.program.break_off();
            }
            None => {}
        }
    }

    fn on_connected(&mut self, connection: Connection) {
        if self.program.connect(connection).is_err() {
            self.abort(ResetCode::CONNECTION);
        }
    }

    fn on_dialled(&mut self, dialled: Result<Connection, ResetCode>) {
        self.program.dialing = None;
        match dialled {
            Ok(connection) => self.on_connected(connection),
            Err(code) => self.abort(code),
        }
    }

    fn on_violation(&mut self, violation: Violation) {
        self.news.violation = Some(violation);
        self.abort(ResetCode::VIOLATION);
    }

    /// Ends both directions; the local program sees a RST.
    fn abort(&mut self, code: ResetCode) {
        self.program.dialing = None;
        self.downlink.redial = None;
        self.uplink.sender.close(EndKind::Reset(code));
        self.stop_reading(code);
        self.program.break_off();
    }

    /// The session is over: nobody is left to tell.
    async fn break_off(&mut self) {
        self.program.dialing = None;
        self.program.break_off();
        self.tell_news().await;
    }

    /// Sends the control frames that are due, on the best tunnel; without one they wait to be announced again.
    fn send_frames(&mut self, timer_fired: bool) {
        let best = self.best.borrow();
        let Some(tunnel) = best.as_ref() else {
            return;
        };
        self.uplink.retire();
        let receiver = &mut self.downlink.receiver;
        let end_came_by = self.end_came_by.as_ref().filter(|tunnel| tunnel.is_open());
        while let Some(frame) = receiver.poll_frame(timer_fired) {
            let confirms = matches!(&frame, Frame::Ack(ack) if ack.ended);
            let way = end_came_by.filter(|_| confirms).unwrap_or(tunnel);
            send_frame(way, frame);
        }
        while let Some(frame) = self.uplink.sender.poll_frame() {
            send_frame(tunnel, frame);
        }
        if !self.downlink.receiver.wants_timer() {
            self.ack_at = None;
        } else if self.ack_at.is_none() {
            self.ack_at = Some(Instant::now() + ACK_DELAY);
        }
    }

    /// Tells the session what has changed since it was told last.
    async fn tell_news(&mut self) {
        if let Some(violation) = self.news.violation.take() {
            self.tell(StreamEvent::Violation(violation)).await;
        }
        if self.uplink.sender.is_finished() && !self.news.delivered {
            self.news.delivered = true;
            self.tell(StreamEvent::Delivered).await;
        }
        let Some(state) = self.state() else {
            return;
        };
        if self.news.reported != Some(state) {
            self.news.reported = Some(state);
            self.tell(StreamEvent::State(state)).await;
        }
    }

    /// The state of the local connection; `None` while it is being dialled.
    fn state(&self) -> Option<StreamState> {
        let (sender, receiver) = (&self.uplink.sender, &self.downlink.receiver);
        // A connection that was closed before may be closed again; only an answer says that it is open.
        let doubtful = self
            .downlink
            .redial
            .as_ref()
            .is_some_and(Redial::is_repeated);
        if self.program.dialing.is_some() || doubtful {
            None
        } else if self.program.gave_up {
            Some(StreamState::GaveUp)
        } else if self.program.reader.is_none() {
            Some(StreamState::Reset)
        } else if self.is_over() {
            Some(StreamState::Closed)
        } else if sender.is_closed() || receiver.is_finished() {
            Some(StreamState::HalfClosed)
        } else {
            Some(StreamState::Open)
        }
    }

    async fn tell(&mut self, event: StreamEvent) {
        // The session that does not listen any more needs no telling.
        let _ = self.news.report.send((self.id, event)).await;
    }
}

/// Sends a frame of the ledger on a tunnel.
pub(crate) fn send_frame(tunnel: &Tunnel, frame: Frame) {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    tunnel.send(TunnelMessage::Ledger(bytes));
}

async fn dialled(dialing: &mut Option<Dialing>) -> Result<Connection, ResetCode> {
    match dialing {
        Some(dialing) => dialing.await,
        None => std::future::pending().await,
    }
}
