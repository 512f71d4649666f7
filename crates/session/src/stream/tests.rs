//! The task of a stream with no tunnel: what it makes of what the peer says, towards a local program in this process.
//! The peer's bytes come as copies, which need no carrier.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use p2pdbg_events::StreamState;
use p2pdbg_forward::Within;
use p2pdbg_ledger::{Budget, End, EndKind, Frame, ResetCode, Side, Stop, StreamId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot, watch},
};

use super::*;

/// A guard against a test that hangs, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn id() -> StreamId {
    StreamId::new(Side::Listener, 0)
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it hangs")
}

/// The task, and what it hears and tells.
struct Task {
    inbox: mpsc::Sender<StreamInput>,
    told: mpsc::Receiver<(StreamId, StreamEvent)>,
    traffic: Arc<Traffic>,
    _best: watch::Sender<Option<p2pdbg_tunnel::Tunnel>>,
}

impl Task {
    /// Starts it once it has these inputs.
    fn start(local: Local, inputs: impl IntoIterator<Item = StreamInput>) -> Self {
        let (inbox, from_session) = mpsc::channel(INBOX);
        let (report, told) = mpsc::channel(INBOX);
        let (best_is, best) = watch::channel(None);
        let traffic = Arc::<Traffic>::default();
        let stream = Stream {
            id: id(),
            forward: 0,
            budget: Budget::new(1 << 20),
            best,
            inbox: from_session,
            report,
            traffic: Arc::clone(&traffic),
            taps: Default::default(),
            is_client: false,
        };
        for input in inputs {
            inbox.try_send(input).unwrap();
        }
        tokio::spawn(stream.run(local));
        Self {
            inbox,
            told,
            traffic,
            _best: best_is,
        }
    }

    async fn hear(&self, input: StreamInput) {
        self.inbox.send(input).await.unwrap();
    }

    /// Waits until it has taken all that it was told.
    async fn heard_all(&self) {
        in_time(async {
            while self.inbox.capacity() < INBOX {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until it has told this state.
    async fn state(&mut self, wanted: StreamState) {
        in_time(async {
            loop {
                let told = self.told.recv().await.expect("it goes on");
                if matches!(told, (_, StreamEvent::State(state)) if state == wanted) {
                    return;
                }
            }
        })
        .await;
    }
}

fn wrote(offset: u64, data: &'static [u8]) -> StreamInput {
    StreamInput::Copy {
        offset,
        data: Bytes::from_static(data),
    }
}

fn ended(kind: EndKind, offset: u64) -> StreamInput {
    let end = End {
        stream: id(),
        forward: 0,
        kind,
        offset,
    };
    StreamInput::Frame {
        frame: Frame::End(end),
        via: None,
    }
}

fn stopped(code: ResetCode) -> StreamInput {
    let stop = Stop {
        stream: id(),
        forward: 0,
        code,
    };
    StreamInput::Frame {
        frame: Frame::Stop(stop),
        via: None,
    }
}

const RESET: EndKind = EndKind::Reset(ResetCode::CONNECTION);

/// A program, and its connection to the task.
fn accepted() -> (Within, Local) {
    let (program, connection) = Within::pair();
    (program, Local::Accepted(Connection::Within(connection)))
}

/// A debuggee; whenever it is dialled, the test is asked for the connection.
fn debuggee() -> (mpsc::UnboundedReceiver<oneshot::Sender<Connection>>, Local) {
    let (ask, dialled) = mpsc::unbounded_channel();
    let dial = move |_| -> Dialing {
        let (connects, connected) = oneshot::channel();
        let _ = ask.send(connects);
        Box::pin(async { connected.await.map_err(|_| ResetCode::CONNECTION) })
    };
    (dialled, Local::Debuggee(Box::new(dial)))
}

/// Has a connection that is dialled made; the program's end of it.
fn connect(dialled: oneshot::Sender<Connection>) -> Within {
    let (program, connection) = Within::pair();
    dialled.send(Connection::Within(connection)).unwrap();
    program
}

async fn all_of(mut program: Within) -> String {
    let mut all = String::new();
    in_time(program.read_to_string(&mut all)).await.unwrap();
    all
}

#[tokio::test]
async fn stop_that_comes_before_the_last_words_does_not_take_them() {
    for kind in [EndKind::Fin, RESET] {
        let (program, local) = accepted();
        let mut task = Task::start(local, [stopped(ResetCode::CONNECTION)]);
        task.state(StreamState::HalfClosed).await;
        task.hear(ended(kind, 10)).await;
        task.hear(wrote(0, b"last ")).await;
        task.hear(wrote(5, b"words")).await;
        assert_eq!(all_of(program).await, "last words", "{kind:?}");
        task.state(StreamState::Reset).await;
    }
}

#[tokio::test]
async fn stop_at_the_end_of_the_session_breaks_off_at_once() {
    for code in [ResetCode::SESSION, ResetCode::VIOLATION] {
        let (program, local) = accepted();
        let mut task = Task::start(local, [stopped(code), wrote(0, b"late")]);
        task.state(StreamState::Reset).await;
        assert_eq!(all_of(program).await, "");
    }
}

#[tokio::test]
async fn client_that_breaks_off_before_the_debuggee_has_answered_is_delivered_no_further() {
    let (mut dialled, local) = debuggee();
    let mut task = Task::start(local, []);
    let mut program = connect(in_time(dialled.recv()).await.unwrap());
    task.hear(wrote(0, b"initialize")).await;
    let mut first = [0; 10];
    in_time(program.read_exact(&mut first)).await.unwrap();
    task.hear(stopped(ResetCode::CONNECTION)).await;
    task.hear(wrote(10, b"disconnect")).await;
    task.state(StreamState::Reset).await;
    assert_eq!(all_of(program).await, "");
}

#[tokio::test]
async fn what_a_program_wrote_before_it_closed_is_read_though_it_takes_nothing_more() {
    // Which of the two the task comes to first is chance.
    for _ in 0..20 {
        let (mut program, local) = accepted();
        program.write_all(b"last words").await.unwrap();
        drop(program);
        let mut task = Task::start(local, [wrote(0, b"x")]);
        task.state(StreamState::Reset).await;
        assert_eq!(task.traffic.sent(), 10);
    }
}

#[tokio::test]
async fn end_that_comes_while_a_debuggee_is_dialled_again_is_told_behind_what_it_is_given_again() {
    let (mut dialled, local) = debuggee();
    let task = Task::start(local, []);
    let mut first = connect(in_time(dialled.recv()).await.unwrap());
    task.hear(wrote(0, b"hello")).await;
    let mut got = [0; 5];
    in_time(first.read_exact(&mut got)).await.unwrap();
    drop(first);
    let again = in_time(dialled.recv()).await.unwrap();
    task.hear(ended(EndKind::Fin, 5)).await;
    task.heard_all().await;
    let second = connect(again);
    assert_eq!(all_of(second).await, "hello");
}

#[tokio::test]
async fn client_that_says_nothing_and_only_listens_is_connected_and_its_end_told() {
    let (connects, connected) = oneshot::channel();
    let dialing: Dialing = Box::pin(async { connected.await.map_err(|_| ResetCode::CONNECTION) });
    let task = Task::start(Local::Dialing(dialing), [ended(EndKind::Fin, 0)]);
    task.heard_all().await;
    let mut program = connect(connects);
    assert_eq!(in_time(program.read(&mut [0])).await.unwrap(), 0);
    program.write_all(b"SSH-2.0").await.unwrap();
    in_time(async {
        while task.traffic.sent() < 7 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn silent_end_of_whoever_waits_ends_the_dialling_of_a_debuggee_and_of_what_is_absent() {
    let (_dialled, local) = debuggee();
    let mut task = Task::start(local, [ended(EndKind::Fin, 0)]);
    task.state(StreamState::Reset).await;
    let never = || Local::Dialing(Box::pin(std::future::pending()));
    let end = || ended(EndKind::Fin, 0);
    let held = || StreamInput::Held(true);
    for inputs in [[end(), held()], [held(), end()]] {
        let mut task = Task::start(never(), inputs);
        task.state(StreamState::Reset).await;
    }
}
