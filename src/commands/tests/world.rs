//! The world of these tests: a rendezvous on loopback, commands that run as tasks, and debuggees.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use p2pdbg_base::{Failure, HostPort, Outcome};
use p2pdbg_events::{Event, Of, PathReport, Reporter, Sink, Status, WarningCode};
use p2pdbg_rendezvous::{Server, ServerConfig, StartError};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cli::{
        Environment,
        args::{Cli, CliCommand},
        resolve_connect, resolve_listen,
    },
    config::Config,
    report::OutputLost,
};

/// A guard against a test that hangs, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it hangs")
}

/// A state directory, which is nobody else's.
pub(super) fn state() -> TempDir {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir().unwrap()
}

/// A rendezvous on loopback.
pub(super) struct Rendezvous {
    server: Option<Server>,
    url: String,
    public_url: String,
    at: SocketAddr,
    state: TempDir,
}

impl Rendezvous {
    pub(super) async fn start() -> Self {
        let state = state();
        let server = loop {
            match serve(&state, next_address()).await {
                Ok(server) => break server,
                // Another process of tests is there.
                Err(StartError::Bind { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };
        Self {
            url: server.url().to_string(),
            public_url: server.url().without_key().to_string(),
            at: server.addresses()[0],
            server: Some(server),
            state,
        }
    }

    /// Stops it. Whoever is connected is told.
    pub(super) async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown().await;
        }
    }

    /// Starts it again where it was, with what it has kept.
    pub(super) async fn start_again(&mut self) {
        self.server = Some(serve(&self.state, self.at).await.unwrap());
    }
}

/// A port of the loopback that is free, and stays so until it is opened.
pub(in crate::commands) fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many ports in a row that nobody has and no other test gets: for what takes the next ones too.
pub(in crate::commands) fn free_ports(count: u16) -> u16 {
    loop {
        let first = next_ports(count);
        let is_free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}

/// A socket that has its port, and refuses whoever comes until it listens.
pub(super) fn held_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

fn next_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], next_ports(1)))
}

/// The first of so many ports in a row that the operating system gives to no socket that asks for any: nobody else has
/// one while whoever had it is away.
fn next_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 10_000;
    let start = u16::try_from(std::process::id() % 500).unwrap() * 20;
    let offset = NEXT.fetch_add(count, Ordering::Relaxed).wrapping_add(start);
    FIRST + offset % COUNT
}

async fn serve(state: &TempDir, at: SocketAddr) -> Result<Server, StartError> {
    let config = ServerConfig {
        bind: vec![at],
        alt_port: 0,
        state: Some(state.path().to_owned()),
        relay_workers: 1,
        ..ServerConfig::default()
    };
    Server::start(config).await
}

/// Passes what is reported to the test.
#[derive(Debug)]
struct Reports(mpsc::UnboundedSender<(Of, Event)>);

impl Sink for Reports {
    fn event(&self, of: &Of, event: Event) {
        let _ = self.0.send((of.clone(), event));
    }

    fn status(&self, _: &Of, _: Option<Status>) {}

    fn release_terminal(&self) {}
}

/// A command that runs; dropped, it is as dead as a process that was killed.
pub(super) struct Peer {
    reports: mpsc::UnboundedReceiver<(Of, Event)>,
    task: AbortOnDropHandle<Result<Outcome, Failure>>,
    /// What was reported in vain so far, for the message of a test that fails.
    passed: Vec<Event>,
}

impl Peer {
    /// Starts `p2pdbg listen` with a state directory of its own, and further options.
    pub(super) fn listen(rendezvous: &Rendezvous, state: &Path, options: &[&str]) -> Self {
        let line = line("listen", &rendezvous.url, state, options);
        let (reporter, reports) = reporter();
        let CliCommand::Listen(args) = Cli::parse_from(line).command else {
            panic!("it is listen");
        };
        let options = resolve_listen(args, environment(&mut |_| None)).unwrap();
        Self::of(
            crate::commands::listen::run(options, reporter, OutputLost::never()),
            reports,
        )
    }

    /// The same with `p2pdbg connect`.
    pub(super) fn connect(rendezvous: &Rendezvous, state: &Path, options: &[&str]) -> Self {
        let line = line("connect", &rendezvous.public_url, state, options);
        let (reporter, reports) = reporter();
        let CliCommand::Connect(args) = Cli::parse_from(line).command else {
            panic!("it is connect");
        };
        let options = resolve_connect(args, environment(&mut |_| None)).unwrap();
        Self::of(
            crate::commands::connect::run(options, reporter, OutputLost::never()),
            reports,
        )
    }

    fn of(
        run: impl Future<Output = Result<Outcome, Failure>> + Send + 'static,
        reports: mpsc::UnboundedReceiver<(Of, Event)>,
    ) -> Self {
        Self {
            reports,
            task: AbortOnDropHandle::new(tokio::spawn(run)),
            passed: Vec::new(),
        }
    }

    /// The next report of which `pick` makes something, and of which session it is.
    pub(super) async fn report_of<T>(&mut self, pick: impl Fn(Event) -> Option<T>) -> (Of, T) {
        let next = async {
            while let Some((of, event)) = self.reports.recv().await {
                self.passed.push(event.clone());
                if let Some(picked) = pick(event) {
                    return Some((of, picked));
                }
            }
            None
        };
        let picked = tokio::time::timeout(PATIENCE, next).await;
        match picked {
            Ok(Some(picked)) => picked,
            Ok(None) => panic!("it has ended: {:?}", (&mut self.task).await),
            Err(_) => panic!("it does not come: {:#?}", self.passed),
        }
    }

    pub(super) async fn report<T>(&mut self, pick: impl Fn(Event) -> Option<T>) -> T {
        self.report_of(pick).await.1
    }

    /// The code that leads here now.
    pub(super) async fn code(&mut self) -> String {
        self.report(|event| match event {
            Event::Ready { code, .. } => Some(code?.to_string()),
            _ => None,
        })
        .await
    }

    /// What the peer is called here, and whether it was known.
    pub(super) async fn paired(&mut self) -> (String, bool) {
        self.report(|event| match event {
            Event::Paired { peer, known } => Some((peer.as_str().to_owned(), known)),
            _ => None,
        })
        .await
    }

    /// The port that was opened here, and for which peer.
    pub(super) async fn port_of(&mut self) -> (Of, HostPort) {
        self.report_of(|event| match event {
            Event::Forward { listen, .. } => listen.address().cloned(),
            _ => None,
        })
        .await
    }

    pub(super) async fn port(&mut self) -> HostPort {
        self.port_of().await.1
    }

    pub(super) async fn path(&mut self, is_it: impl Fn(&PathReport) -> bool) -> PathReport {
        self.report(|event| match event {
            Event::Path(path) if is_it(&path) => Some(path),
            _ => None,
        })
        .await
    }

    pub(super) async fn warned(&mut self, code: WarningCode) {
        let is_it = |event| matches!(event, Event::Warning(w) if w.code == code).then_some(());
        self.report(is_it).await;
    }

    /// Why the session is over.
    pub(super) async fn closed(&mut self) -> String {
        self.report(|event| match event {
            Event::Closed { why } => Some(why),
            _ => None,
        })
        .await
    }

    /// How it ends by itself.
    pub(super) async fn end(self) -> Result<Outcome, Failure> {
        in_time(self.task).await.unwrap()
    }

    /// Kills it.
    pub(super) async fn kill(self) {
        let task = self.task.detach();
        task.abort();
        assert!(in_time(task).await.is_err(), "it ran");
    }
}

fn reporter() -> (Reporter, mpsc::UnboundedReceiver<(Of, Event)>) {
    let (sink, reports) = mpsc::unbounded_channel();
    (Reporter::new(Arc::new(Reports(sink))), reports)
}

fn environment(ask_code: &mut dyn FnMut(Option<&str>) -> Option<String>) -> Environment<'_> {
    Environment {
        config: Config::default(),
        code: None,
        ask_code,
    }
}

fn line(command: &str, url: &str, state: &Path, options: &[&str]) -> Vec<String> {
    let state = state.to_str().expect("a path of ASCII");
    let common = ["--rendezvous", url, "--state", state];
    let apart: &[&str] = match options.contains(&"--sources") {
        true => &["--no-port-mapping"],
        false => &["--no-port-mapping", "--no-sources"],
    };
    ["p2pdbg", command]
        .iter()
        .chain(&common)
        .chain(apart)
        .chain(options)
        .map(|part| (*part).to_owned())
        .collect()
}

/// A program that waits for a debugger: says its name to whoever connects, and then whatever it is told.
pub(super) struct Debuggee {
    pub(super) forward: String,
    _task: AbortOnDropHandle<()>,
}

impl Debuggee {
    pub(super) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    to.write_all(name.as_bytes()).await?;
                    tokio::io::copy(&mut from, &mut to).await?;
                    to.shutdown().await
                });
            }
        });
        Self {
            forward: format!("0:localhost:{port}"),
            _task: AbortOnDropHandle::new(task),
        }
    }
}

/// Connects to a port as an IDE does.
pub(super) async fn dial(port: &HostPort) -> TcpStream {
    let connected = TcpStream::connect(("127.0.0.1", port.port));
    in_time(connected).await.unwrap()
}

/// The first bytes that the debuggee says.
pub(super) async fn name_of(ide: &mut TcpStream, length: usize) -> String {
    let mut name = vec![0; length];
    in_time(ide.read_exact(&mut name)).await.unwrap();
    String::from_utf8(name).unwrap()
}

/// Has the debuggee say all this, and gives what came of it.
pub(super) async fn echo(ide: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let (mut from, mut to) = ide.split();
    let mut back = vec![0; bytes.len()];
    let (written, read) =
        in_time(async { tokio::join!(to.write_all(bytes), from.read_exact(&mut back)) }).await;
    written.unwrap();
    read.unwrap();
    back
}
