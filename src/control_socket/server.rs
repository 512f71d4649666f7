//! The end of a control socket that answers.

use std::{io, time::Duration};

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_events::snapshot::ProcessSnapshot;
use p2pdbg_forward::Preset;
use p2pdbg_session::{ForwardRequest, PipeRequest, PipeTarget};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, BufReader},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    bridge,
    local_socket::{self, Listener},
    protocol::{self, MAX_REQUEST, Reply, Request},
    reply, run_directory,
};

/// Connections that are served at once; more are closed at once.
const CONNECTIONS: usize = 32;

/// Connections at once that have not shown yet to be this user's; more are closed at once. They have places of their
/// own, so that others on this host, who may dial a named pipe, keep nobody from being served.
const STRANGERS: usize = 8;

/// Questions that may wait for the owner of the state.
const QUESTIONS: usize = 8;

/// How long a connection may be silent between two requests.
const IDLE: Duration = Duration::from_secs(60);

/// How long the owner of the state may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How long whoever connects may take to show that it is this user.
const ADMISSION: Duration = Duration::from_secs(2);

/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(250);

/// What the owner of the state is asked.
#[derive(Debug)]
pub enum Inquiry {
    /// What it is doing at the moment; all that it says goes to whoever asked.
    Status(oneshot::Sender<ProcessSnapshot>),
    /// A stream, over the session with the peer of this name, if several could be meant.
    Pipe(Option<String>, PipeRequest),
    /// A port, over the session with the peer of this name, if several could be meant.
    Forward(Option<String>, ForwardRequest),
}

/// A control socket that serves; dropped, it is removed.
#[derive(Debug)]
pub struct ControlSocket {
    _task: AbortOnDropHandle<()>,
}

impl ControlSocket {
    /// Opens one in the directory of this user's running processes. What is asked comes out of the queue.
    ///
    /// # Errors
    /// If there is no such directory and none can be made, or it is open to others.
    pub fn open() -> io::Result<(Self, mpsc::Receiver<Inquiry>)> {
        let none = || io::Error::new(io::ErrorKind::NotFound, "there is no home directory");
        let directory = run_directory::directory().ok_or_else(none)?;
        run_directory::open(&directory).map_err(io::Error::other)?;
        // Those of processes that were killed.
        let _ = local_socket::live(&directory)?;
        let listener = Listener::open(&directory)?;
        let (ask, inquiries) = mpsc::channel(QUESTIONS);
        let task = AbortOnDropHandle::new(tokio::spawn(accept(listener, ask)));
        Ok((Self { _task: task }, inquiries))
    }
}

async fn accept(mut listener: Listener, ask: mpsc::Sender<Inquiry>) {
    let mut places = Clients::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stranger) => places.on_stranger(stranger.admit()),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the control socket");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            admitted = places.next() => places.on_admitted(admitted, |connection| serve(connection, ask.clone())),
        }
    }
}

/// Who is connected: those who are not known yet, and those who are served.
struct Clients<C> {
    strangers: JoinSet<Option<C>>,
    served: JoinSet<()>,
}

impl<C: Send + 'static> Clients<C> {
    fn new() -> Self {
        Self {
            strangers: JoinSet::new(),
            served: JoinSet::new(),
        }
    }

    /// Has a connection show whose it is, if there is a place.
    fn on_stranger(&mut self, admission: impl Future<Output = io::Result<C>> + Send + 'static) {
        if self.strangers.len() >= STRANGERS {
            tracing::info!("a connection to the control socket was turned away");
            return;
        }
        self.strangers.spawn(async {
            match timeout(ADMISSION, admission).await {
                Ok(Ok(connection)) => Some(connection),
                _ => {
                    tracing::info!("somebody else was turned away from the control socket");
                    None
                }
            }
        });
    }

    /// The next connection that was let in. Cancelling it loses none.
    async fn next(&mut self) -> C {
        loop {
            tokio::select! {
                Some(admitted) = self.strangers.join_next() => {
                    if let Ok(Some(connection)) = admitted {
                        return connection;
                    }
                }
                Some(_) = self.served.join_next() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Serves a connection that was let in, if there is a place.
    fn on_admitted<S>(&mut self, connection: C, serve: impl FnOnce(C) -> S)
    where
        S: Future<Output = ()> + Send + 'static,
    {
        if self.served.len() < CONNECTIONS {
            self.served.spawn(serve(connection));
        } else {
            tracing::info!("a connection to the control socket was turned away");
        }
    }
}

async fn serve(connection: impl AsyncRead + AsyncWrite, ask: mpsc::Sender<Inquiry>) {
    let (read, mut write) = tokio::io::split(connection);
    let mut read = BufReader::new(read);
    while let Ok(Some(line)) = timeout(IDLE, next_line(&mut read))
        .await
        .unwrap_or(Ok(None))
    {
        let reply = match protocol::parse(&line) {
            Ok(Request::Status) => status(&ask).await,
            Ok(Request::Forward {
                port,
                debugger,
                peer,
            }) => forward(&ask, peer, port, debugger).await,
            Ok(
                request @ (Request::Open { .. }
                | Request::Sources { .. }
                | Request::Programs { .. }),
            ) => {
                let (to, peer) = match request {
                    Request::Open { to, peer } => (PipeTarget::Port(to), peer),
                    Request::Sources { peer } => (PipeTarget::Sources, peer),
                    Request::Programs { peer } => (PipeTarget::Programs, peer),
                    Request::Status | Request::Forward { .. } => continue,
                };
                let (request, ends) = bridge::request(to);
                if ask.try_send(Inquiry::Pipe(peer, request)).is_ok() {
                    return ends.serve(read, write).await;
                }
                Reply::Refused(busy())
            }
            Err(error) => {
                let failure = Failure::new(ErrorCode::ControlSocket, error.to_string());
                Reply::Refused(failure)
            }
        };
        if reply::send(&mut write, &reply).await.is_err() {
            return;
        }
    }
}

/// The next request; `None` at the end of the connection.
async fn next_line(read: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
    read.take(limit).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() + 1 >= MAX_REQUEST => Err(io::ErrorKind::InvalidData.into()),
        _ => Ok(None),
    }
}

async fn status(ask: &mpsc::Sender<Inquiry>) -> Reply {
    let (answer, answered) = oneshot::channel();
    if ask.try_send(Inquiry::Status(answer)).is_err() {
        return Reply::Refused(busy());
    }
    match timeout(ANSWER, answered).await {
        Ok(Ok(snapshot)) => Reply::Status(Box::new(snapshot)),
        _ => Reply::Refused(busy()),
    }
}

/// Has a port opened, which takes as long as the other end does to agree.
async fn forward(
    ask: &mpsc::Sender<Inquiry>,
    peer: Option<String>,
    port: u16,
    debugger: Preset,
) -> Reply {
    let (opened, settled) = oneshot::channel();
    let request = ForwardRequest {
        port,
        debugger,
        opened,
    };
    if ask.try_send(Inquiry::Forward(peer, request)).is_err() {
        return Reply::Refused(busy());
    }
    match settled.await {
        Ok(Ok(listen)) => Reply::Forwarded { listen },
        Ok(Err(failure)) => Reply::Refused(failure),
        Err(_) => Reply::Refused(busy()),
    }
}

fn busy() -> Failure {
    Failure::new(
        ErrorCode::ControlSocket,
        "the process is ending, or too busy to answer",
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;

    /// A server whose owner answers nothing by itself.
    fn served() -> (DuplexStream, mpsc::Receiver<Inquiry>) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (ask, inquiries) = mpsc::channel(QUESTIONS);
        tokio::spawn(serve(theirs, ask));
        (ours, inquiries)
    }

    #[tokio::test]
    async fn a_request_that_is_not_understood_is_refused_and_the_next_is_served() {
        let (mut ours, mut inquiries) = served();
        ours.write_all(b"hello\n{\"p2pdbg\":2,\"ask\":\"status\"}\n")
            .await
            .unwrap();
        assert!(matches!(inquiries.recv().await, Some(Inquiry::Status(_))));
        let mut lines = BufReader::new(ours).lines();
        let first = lines.next_line().await.unwrap().unwrap();
        assert!(first.contains("\"refused\""), "{first}");
        // The owner has dropped the question.
        let second = lines.next_line().await.unwrap().unwrap();
        assert!(second.contains("too busy"), "{second}");
    }

    #[tokio::test]
    async fn strangers_who_show_nothing_take_no_place_of_those_who_are_served() {
        let mut places = Clients::new();
        for number in 0..CONNECTIONS {
            places.on_stranger(std::future::ready(Ok(number)));
            let admitted = places.next().await;
            places.on_admitted(admitted, |_| std::future::pending());
        }
        // A further one is let in and finds no place.
        places.on_stranger(std::future::ready(Ok(CONNECTIONS)));
        let admitted = places.next().await;
        places.on_admitted(admitted, |_| async { panic!("served beyond all places") });
        assert_eq!(places.served.len(), CONNECTIONS);
        for _ in 0..CONNECTIONS {
            places.on_stranger(std::future::pending());
        }
        assert_eq!(places.strangers.len(), STRANGERS);
        places.served.abort_all();
        while places.served.join_next().await.is_some() {}
        assert!(places.served.is_empty() && places.strangers.len() == STRANGERS);
    }

    #[tokio::test]
    async fn a_line_without_end_is_read_no_further() {
        let (mut ours, _inquiries) = served();
        let flood = vec![b'x'; MAX_REQUEST * 64];
        // Either the end of the connection stops the flood, or the end is read after it.
        let _ = ours.write_all(&flood).await;
        let mut rest = Vec::new();
        let _ = ours.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }
}
