//! The task of a stream with no tunnel: what it makes of what the peer says, towards a local program in this process.
//! The peer's bytes come as copies, which need no carrier.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use p2pdbg_events::StreamState;
use p2pdbg_forward::Within;
use p2pdbg_ledger::{Budget, End, EndKind, Frame, ResetCode, Side, StreamId};
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
