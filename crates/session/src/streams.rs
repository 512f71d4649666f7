//! The streams of a session: their tasks, and who hears of what.

use std::{collections::HashMap, sync::Arc, time::Instant};

use bytes::Bytes;
use p2pdbg_base::HostPort;
use p2pdbg_events::{
    DebuggerReport, Event as Report, ProgramState, Reporter, StreamState, Waiting, WaitingFor,
    snapshot::StreamSnapshot,
};
use p2pdbg_ledger::{
    Admission, Budget, CarrierHeader, CopyHeader, Frame, Openings, ResetCode, Side, StreamId,
    Violation,
};
use p2pdbg_proto::{rendezvous::Role, tunnel::TunnelMessage};
use p2pdbg_tunnel::Tunnel;
use quinn::RecvStream;
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    task::JoinSet,
};

use super::decisions::{Flow, whole_milliseconds};
use crate::{
    latest::Latest,
    stream::{
        BestTunnel, Connection, INBOX, Local, Stream, StreamEvent, StreamInput, Tap, Traffic,
        UNWANTED,
    },
    watch::Watcher,
};

/// What the streams of a session may hold unacknowledged, besides each one's guaranteed share, in bytes.
const BUDGET: usize = 64 << 20;

/// How many events of streams may wait for the session.
const EVENTS: usize = 256;

/// The most streams that are described to whoever asks.
pub(super) const MOST_DESCRIBED: usize = 200;

pub(super) struct Streams {
    openings: Openings,
    budget: Budget,
    best: BestTunnel,
    live: HashMap<StreamId, Live>,
    report: mpsc::Sender<(StreamId, StreamEvent)>,
    events: mpsc::Receiver<(StreamId, StreamEvent)>,
    reporter: Reporter,
    /// Looks at what the debuggers say.
    watcher: Option<Watcher>,
}

/// A plain forward, or none.
impl From<u16> for Opened {
    fn from(forward: u16) -> Self {
        Self {
            forward,
            is_client: false,
        }
    }
}

/// The forward of a connection that was accepted here.
pub(super) struct Opened {
    pub(super) forward: u16,
    /// Whether those who connect are a debugger's clients, which wait for an answer before they end.
    pub(super) is_client: bool,
}

struct Live {
    forward: u16,
    inbox: mpsc::Sender<StreamInput>,
    delivered: bool,
    /// Whether the local program has seen the end of its connection.
    over: bool,
    waiting: Option<Waiting>,
    /// Of what was said to the other end about its waiting here, if this end dials.
    waiting_said: Latest,
    /// Of what the other end said, if that one dials.
    waiting_heard: Latest,
    /// The state that was reported last.
    state: Option<StreamState>,
    since: Instant,
    traffic: Arc<Traffic>,
    /// What was seen of the debugger.
    debugger: Option<DebuggerReport>,
    /// Whether it was told that this is not the debugger that was asked for.
    mismatch_told: bool,
    /// Whoever opened it in this process, and wants to know how it ended.
    ended: Option<oneshot::Sender<StreamState>>,
}

impl Live {
    /// Tells the stream's task whether the other end holds it. A
    /// task that is far behind hears of it when it has room.
    fn tell_held(&self, held: bool) {
        let inbox = self.inbox.clone();
        if let Err(TrySendError::Full(input)) = inbox.try_send(StreamInput::Held(held)) {
            tokio::spawn(async move { inbox.send(input).await });
        }
    }

    fn waits_at(&self, role: Role) -> bool {
        let awaited = self.waiting.as_ref().map(|waiting| waiting.awaited);
        awaited == Some(awaited_by(role))
    }
}

/// What the dialling end of that role waits for.
fn awaited_by(dialler: Role) -> WaitingFor {
    match dialler {
        Role::Connector => WaitingFor::Debuggee,
        Role::Listener => WaitingFor::Ide,
    }
}

impl Streams {
    pub(super) fn new(
        role: Role,
        best: BestTunnel,
        reporter: Reporter,
        watcher: Option<Watcher>,
    ) -> Self {
        let side = match role {
            Role::Connector => Side::Connector,
            Role::Listener => Side::Listener,
        };
        let (report, events) = mpsc::channel(EVENTS);
        Self {
            openings: Openings::new(side),
            budget: Budget::new(BUDGET),
            best,
            live: HashMap::new(),
            report,
            events,
            reporter,
            watcher,
        }
    }

    /// How many streams of programs live.
    pub(super) fn count(&self) -> usize {
        self.of_programs().count()
    }

    /// The streams that belong to forwards, and not to conversations about sources.
    fn of_programs(&self) -> impl Iterator<Item = (&StreamId, &Live)> {
        let live = self.live.iter();
        live.filter(|(_, live)| !is_conversation(live.forward))
    }

    /// The streams as they are, the oldest first, and no more than [`MOST_DESCRIBED`].
    pub(super) fn describe<'a>(
        &self,
        target: impl Fn(u16) -> Option<&'a HostPort>,
    ) -> Vec<StreamSnapshot> {
        let mut live: Vec<_> = self.of_programs().collect();
        live.sort_by_key(|(stream, _)| stream.to_u64());
        live.truncate(MOST_DESCRIBED);
        let describe = |(stream, live): (&StreamId, &Live)| StreamSnapshot {
            id: stream.to_u64(),
            state: match live.waiting {
                Some(_) => Some(StreamState::Waiting),
                None => live.state,
            },
            to: target(live.forward).cloned(),
            age_ms: whole_milliseconds(live.since.elapsed()),
            sent: live.traffic.sent(),
            received: live.traffic.received(),
            copied: live.traffic.copied(),
            debugger: live.debugger.clone(),
        };
        live.into_iter().map(describe).collect()
    }

    /// What the streams wait for.
    pub(super) fn waiting(&self) -> Vec<Waiting> {
        let mut waiting: Vec<Waiting> = Vec::new();
        for wait in self.live.values().filter_map(|live| live.waiting.as_ref()) {
            if !waiting.contains(wait) {
                waiting.push(wait.clone());
            }
        }
        waiting
    }

    /// What the streams want to send, and have.
    pub(super) fn flow(&self) -> Flow {
        let mut flow = Flow::default();
        for live in self.live.values() {
            let held = live.traffic.held();
            flow.held += held;
            flow.delivered += live.traffic.sent().saturating_sub(held);
        }
        flow
    }

    /// Whether the peer has everything that the local programs wrote, and they will write no more.
    pub(super) fn all_delivered(&self) -> bool {
        self.of_programs().all(|(_, live)| live.delivered)
    }

    /// The forward of a live stream.
    pub(super) fn forward_of(&self, stream: StreamId) -> Option<u16> {
        self.live.get(&stream).map(|live| live.forward)
    }

    /// The next thing that a stream tells.
    pub(super) async fn event(&mut self) -> Option<(StreamId, StreamEvent)> {
        self.events.recv().await
    }

    /// Opens a stream for a connection that was accepted here.
    pub(super) fn open(
        &mut self,
        forward: impl Into<Opened>,
        connection: Connection,
        ended: Option<oneshot::Sender<StreamState>>,
        tasks: &mut JoinSet<()>,
    ) {
        let Some(stream) = self.openings.draw() else {
            // Better refused by name than held without end.
            tracing::warn!("too many connections are forwarded: one more is reset");
            connection.reset_when_dropped();
            return;
        };
        let Opened { forward, is_client } = forward.into();
        let local = Local::Accepted(connection);
        self.begin(stream, forward, local, None, is_client, tasks);
        if let Some(live) = self.live.get_mut(&stream) {
            live.ended = ended;
        }
    }

    /// Starts the task of a stream that the peer opened.
    pub(super) fn start(
        &mut self,
        stream: StreamId,
        forward: u16,
        local: Local,
        ide_port: Option<u16>,
        tasks: &mut JoinSet<()>,
    ) {
        self.begin(stream, forward, local, ide_port, false, tasks);
    }

    fn begin(
        &mut self,
        stream: StreamId,
        forward: u16,
        local: Local,
        ide_port: Option<u16>,
        is_client: bool,
        tasks: &mut JoinSet<()>,
    ) {
        let (inbox, inputs) = mpsc::channel(INBOX);
        let traffic = Arc::<Traffic>::default();
        let task = Stream {
            id: stream,
            forward,
            budget: self.budget.clone(),
            best: self.best.clone(),
            inbox: inputs,
            report: self.report.clone(),
            traffic: Arc::clone(&traffic),
            taps: self.taps(stream, forward, ide_port),
            is_client,
        };
        let live = Live {
            forward,
            inbox,
            delivered: false,
            over: false,
            waiting: None,
            waiting_said: Latest::default(),
            waiting_heard: Latest::default(),
            state: None,
            since: Instant::now(),
            traffic,
            debugger: None,
            mismatch_told: false,
            ended: None,
        };
        self.live.insert(stream, live);
        tasks.spawn(task.run(local));
    }

    /// Says what an id of the peer's belongs to.
    pub(super) fn admit(&mut self, stream: StreamId, opens: bool) -> Result<Admission, Violation> {
        self.openings.admit(stream, opens)
    }

    fn taps(&self, stream: StreamId, forward: u16, ide_port: Option<u16>) -> (Tap, Tap) {
        let watcher = self.watcher.as_ref();
        let watcher = watcher.filter(|_| !is_conversation(forward));
        let feeds = watcher.and_then(|watcher| watcher.watch(stream, ide_port));
        match feeds {
            Some((here, there)) => (Tap(Some(here)), Tap(Some(there))),
            None => (Tap::default(), Tap::default()),
        }
    }

    /// Tells the watcher where the same sources are at both ends.
    pub(super) fn set_roots(&mut self, here: &str, there: &str) {
        if let Some(watcher) = &mut self.watcher {
            watcher.set_roots(here, there);
        }
    }

    /// Notes what was seen of a stream's debugger, and reports it.
    pub(super) fn on_debugger(
        &mut self,
        stream: StreamId,
        debugger: DebuggerReport,
        target: Option<HostPort>,
    ) {
        let Some(live) = self.live.get_mut(&stream) else {
            return;
        };
        live.debugger = Some(debugger);
        if let (Some(state), None) = (live.state, &live.waiting) {
            self.report_stream(stream, state, target);
        }
    }

    /// What was seen of a stream's debugger.
    pub(super) fn debugger_of(&self, stream: StreamId) -> Option<&DebuggerReport> {
        self.live.get(&stream)?.debugger.as_ref()
    }

    /// Notes that a stream's debugger is not the one that was asked for; whether that is news.
    pub(super) fn note_mismatch(&mut self, stream: StreamId) -> bool {
        let live = self.live.get_mut(&stream);
        live.is_some_and(|live| !std::mem::replace(&mut live.mismatch_told, true))
    }

    /// The debugger that a person would look at: one that has stopped, or else the one that came last.
    pub(super) fn debugger(&self) -> Option<Box<DebuggerReport>> {
        let seen = self
            .live
            .iter()
            .filter_map(|(stream, live)| Some((live.debugger.as_ref()?, stream.to_u64())));
        let foremost = seen.max_by_key(|(debugger, stream)| {
            (debugger.program == Some(ProgramState::Stopped), *stream)
        });
        foremost.map(|(debugger, _)| Box::new(debugger.clone()))
    }

    pub(super) fn emit(&self, event: Report) {
        self.reporter.emit(event);
    }

    fn report_stream(&self, stream: StreamId, state: StreamState, to: Option<HostPort>) {
        let live = self.live.get(&stream);
        let debugger = live.and_then(|live| live.debugger.clone()).map(Box::new);
        self.emit(Report::Stream {
            id: stream.to_u64(),
            state,
            to,
            debugger,
        });
    }

    /// Passes a frame on; whether that worked. It only fails when a stream's task is far behind.
    #[must_use]
    pub(super) fn handle_frame(
        &mut self,
        stream: StreamId,
        frame: Frame,
        via: Option<Tunnel>,
    ) -> bool {
        let Some(live) = self.live.get(&stream) else {
            return true;
        };
        // The next acknowledgement says all that this one would have.
        let dispensable = matches!(&frame, Frame::Ack(ack) if !ack.ended);
        match live.inbox.try_send(StreamInput::Frame { frame, via }) {
            Ok(()) | Err(TrySendError::Closed(_)) => true,
            Err(TrySendError::Full(_)) => dispensable,
        }
    }

    /// Passes a carrier on. One that cannot be is stopped, and its sender begins another.
    pub(super) fn handle_carrier(
        &mut self,
        epoch: u64,
        header: &CarrierHeader,
        stream: RecvStream,
    ) {
        let Some(live) = self.live.get(&header.stream) else {
            return;
        };
        let input = StreamInput::Carrier {
            epoch,
            header: *header,
            stream,
        };
        if let Err(TrySendError::Full(StreamInput::Carrier { mut stream, .. })) =
            live.inbox.try_send(input)
        {
            let _ = stream.stop(UNWANTED);
        }
    }

    /// Passes a copy on; without the stream, or with a task far behind, it is of no use.
    pub(super) fn handle_copy(&self, header: CopyHeader, data: Bytes) {
        // Half of the room is for what must not be dropped.
        let live = self.live.get(&header.stream);
        if let Some(live) = live.filter(|live| live.inbox.capacity() > INBOX / 2) {
            let offset = header.offset;
            let _ = live.inbox.try_send(StreamInput::Copy { offset, data });
        }
    }

    /// Tells every stream that a tunnel is gone.
    pub(super) fn on_tunnel_lost(&mut self, epoch: u64) {
        self.tell_all(|| StreamInput::TunnelLost { epoch });
    }

    /// Has what went out on a tunnel that does not answer go again on the one in use.
    pub(super) fn on_tunnel_silent(&mut self, epoch: u64) {
        self.tell_all(|| StreamInput::TunnelSilent { epoch });
    }

    /// Ends every stream; their local programs see a RST.
    pub(super) fn abort_all(&mut self, code: ResetCode) {
        self.tell_all(|| StreamInput::Abort(code));
    }

    fn tell_all(&mut self, input: impl Fn() -> StreamInput) {
        for live in self.live.values() {
            if let Err(TrySendError::Full(input)) = live.inbox.try_send(input()) {
                // Must not be missed: a task of its own waits until there is room.
                let inbox = live.inbox.clone();
                tokio::spawn(async move { inbox.send(input).await });
            }
        }
    }

    /// Notes that a stream waits, at the end of that role, until its target listens; whether that is news.
    pub(super) fn on_waiting(
        &mut self,
        stream: StreamId,
        target: &HostPort,
        dialler: Role,
    ) -> bool {
        let Some(live) = self.live.get_mut(&stream) else {
            return false;
        };
        let waiting = Waiting {
            run: None,
            awaited: awaited_by(dialler),
            at: Some(target.clone()),
        };
        if live.waiting.as_ref() == Some(&waiting) {
            return false;
        }
        live.waiting = Some(waiting.clone());
        live.tell_held(true);
        self.report_stream(stream, StreamState::Waiting, Some(target.clone()));
        self.reporter.emit(Report::Waiting(waiting));
        true
    }

    /// Notes that the other end waits no longer for the target of a stream.
    pub(super) fn on_waited(&mut self, stream: StreamId) {
        let Some(live) = self.live.get_mut(&stream) else {
            return;
        };
        if let Some(Waiting { at, .. }) = live.waiting.take() {
            live.tell_held(false);
            self.report_stream(stream, StreamState::Open, at);
        }
    }

    /// Whether a stream waits at the end of that role.
    pub(super) fn waits_here(&self, stream: StreamId, role: Role) -> bool {
        let live = self.live.get(&stream);
        live.is_some_and(|live| live.waits_at(role))
    }

    /// Numbers what is now said of a stream's waiting here.
    pub(super) fn count_waiting(&mut self, stream: StreamId) -> Option<u32> {
        let live = self.live.get_mut(&stream)?;
        Some(live.waiting_said.count_up())
    }

    /// Whether what the other end says of a stream's waiting there counts: nothing later has been heard.
    pub(super) fn hear_of_waiting(&mut self, stream: StreamId, number: u32) -> bool {
        let live = self.live.get_mut(&stream);
        live.is_some_and(|live| live.waiting_heard.hear(number))
    }

    /// What the other end must hear on each new tunnel: which streams wait at this one, that of the given role, and
    /// which of those that did wait no longer. That may have been said when there was no tunnel.
    pub(super) fn announcements(&self, role: Role) -> Vec<TunnelMessage> {
        let said = self.live.iter().filter_map(|(stream, live)| {
            Some(TunnelMessage::StreamWaiting {
                stream: stream.to_u64(),
                waiting: live.waits_at(role),
                number: live.waiting_said.said()?,
            })
        });
        said.collect()
    }

    /// Notes what a stream tells, and reports it.
    pub(super) fn on_event(
        &mut self,
        stream: StreamId,
        event: StreamEvent,
        target: Option<HostPort>,
    ) {
        match event {
            StreamEvent::State(state) => {
                if let Some(live) = self.live.get_mut(&stream) {
                    live.waiting = None;
                    live.state = Some(state);
                    live.over = matches!(
                        state,
                        StreamState::Closed | StreamState::Reset | StreamState::GaveUp
                    );
                    if let Some(ended) = live.ended.take_if(|_| live.over) {
                        let _ = ended.send(state);
                    }
                }
                if !self.forward_of(stream).is_some_and(is_conversation) {
                    self.report_stream(stream, state, target);
                }
            }
            StreamEvent::Delivered => {
                if let Some(live) = self.live.get_mut(&stream) {
                    live.delivered = true;
                }
            }
            StreamEvent::Ended => {
                self.live.remove(&stream);
                self.openings.close(stream);
            }
            StreamEvent::Violation(_) => {}
        }
    }

    /// Waits until every local program has seen the end of its connection.
    pub(super) async fn broken_off(&mut self) {
        while self.live.values().any(|live| !live.over) {
            let Some((stream, event)) = self.events.recv().await else {
                return;
            };
            self.on_event(stream, event, None);
        }
    }
}

/// Whether a forward stands for conversations of the two ends themselves, of which no debugger is a part.
fn is_conversation(forward: u16) -> bool {
    [
        p2pdbg_proto::sources::FORWARD,
        p2pdbg_proto::attach::FORWARD,
    ]
    .contains(&forward)
}
