//! `p2pdbg pipe`: standard input and output, joined to a target at the debuggee over the session of a running
//! `p2pdbg listen`.
//!
//! Both directions end on their own: the end of standard input is told to the target, and standard output is closed
//! when the target has written its last; the program ends when both have. Standard output is not touched but for the
//! target's bytes, since a debugger reads it.

use p2pdbg_base::{ErrorCode, Failure};

use crate::cli::args::PipeArgs;

/// Runs until both directions have ended.
///
/// # Errors
/// If there is no session, the other end refuses, or the stream breaks.
pub async fn run(args: PipeArgs) -> Result<(), Failure> {
    use p2pdbg_base::HostPort;

    use crate::control_socket::protocol::Request;

    let to: HostPort = args.target.parse().map_err(|fault| {
        let message = format!("{:?}: {fault}", args.target);
        Failure::new(ErrorCode::Usage, message).hint(instead_of_target(&args.target))
    })?;
    let peer = args.peer.clone();
    let client = session::open(args.peer.as_deref(), &Request::Open { to, peer }).await?;
    let (read, write) = client.into_stream();
    joined::run(read, write).await
}

/// Finding the process whose session it is.
pub(super) mod session {
    use std::fmt::Display;

    use p2pdbg_base::{ErrorCode, Failure, HostPort};
    use p2pdbg_events::snapshot::{
        ForwardSnapshot, ForwardStanding, SessionCommand, SessionSnapshot,
    };
    use p2pdbg_forward::{Direction, Preset};

    use crate::control_socket::{self, Client, protocol};

    /// Connects to the one listener that has a session, with that peer if one is named.
    pub(in crate::commands) async fn find(peer: Option<&str>) -> Result<Client, Failure> {
        look(peer).await.map(|(client, _)| client)
    }

    /// Connects to it, and has it open a stream of that session, which then goes on where its answers came.
    pub(in crate::commands) async fn open(
        peer: Option<&str>,
        request: &protocol::Request,
    ) -> Result<Client, Failure> {
        match ask(peer, request).await? {
            (client, protocol::Reply::Opened) => Ok(client),
            _ => Err(lost(&"it answers what was not asked")),
        }
    }

    /// Connects to it and asks it something that may take its time; a refusal is an error.
    async fn ask(
        peer: Option<&str>,
        request: &protocol::Request,
    ) -> Result<(Client, protocol::Reply), Failure> {
        let mut client = find(peer).await?;
        let reply = client.ask_at_length(request).await;
        match reply.map_err(|error| lost(&error))? {
            protocol::Reply::Refused(failure) => Err(failure),
            reply => Ok((client, reply)),
        }
    }

    /// Has the listener open a port for a debugger that listens on this port of the debuggee's loopback.
    pub(in crate::commands) async fn forward(
        peer: Option<&str>,
        port: u16,
        debugger: Preset,
    ) -> Result<HostPort, Failure> {
        let request = protocol::Request::Forward {
            port,
            debugger,
            peer: peer.map(str::to_owned),
        };
        match ask(peer, &request).await? {
            (_, protocol::Reply::Forwarded { listen }) => Ok(listen),
            _ => Err(lost(&"it answers what was not asked")),
        }
    }

    /// Where a forward to this port of the debuggee's loopback is open here.
    pub(in crate::commands) fn leading_to(
        session: &SessionSnapshot,
        port: u16,
    ) -> Option<HostPort> {
        let mut forwards = forwards(session).filter(|forward| forward.to.port == port);
        forwards.find_map(|forward| forward.listen.as_ref()?.address().cloned())
    }

    /// The forwards that stand and lead from a port here to the debuggee's loopback.
    pub(in crate::commands) fn forwards(
        session: &SessionSnapshot,
    ) -> impl Iterator<Item = &ForwardSnapshot> {
        session.forwards.iter().filter(|forward| {
            forward.direction == Direction::ToDebuggee
                && matches!(forward.state, ForwardStanding::Up | ForwardStanding::Closed)
                && forward.listen.is_some()
                && forward.to.is_loopback()
        })
    }

    /// The same as [`find`], with how the session is.
    pub(in crate::commands) async fn look(
        peer: Option<&str>,
    ) -> Result<(Client, SessionSnapshot), Failure> {
        let mut found: Vec<(Client, Vec<SessionSnapshot>)> = Vec::new();
        let (mut listens, mut connects) = (false, false);
        for socket in control_socket::running()? {
            let Ok(mut client) = Client::connect(&socket).await else {
                continue;
            };
            let Ok(protocol::Reply::Status(process)) = client.ask(&protocol::Request::Status).await
            else {
                continue;
            };
            if process.command != SessionCommand::Listen {
                connects = true;
                continue;
            }
            listens = true;
            let is_meant = |s: &SessionSnapshot| peer.is_none_or(|peer| peer == s.peer.to_string());
            let sessions: Vec<_> = process.sessions.into_iter().filter(is_meant).collect();
            if !sessions.is_empty() {
                found.push((client, sessions));
            }
        }
        if found
            .iter()
            .map(|(_, sessions)| sessions.len())
            .sum::<usize>()
            > 1
        {
            let sessions = found.iter().flat_map(|(_, sessions)| sessions);
            let names: Vec<String> = sessions.map(|s| s.peer.to_string()).collect();
            let message = format!(
                "there are sessions with several peers: {}",
                names.join(", ")
            );
            return Err(Failure::new(ErrorCode::Usage, message).hint("choose one by --peer NAME"));
        }
        let found = found
            .pop()
            .and_then(|(client, mut s)| Some((client, s.pop()?)));
        found.ok_or_else(|| {
            if connects && !listens {
                let message = "p2pdbg connect runs here: this command is for the IDE's host";
                return Failure::new(ErrorCode::NoSession, message)
                    .hint("run it there, beside p2pdbg listen");
            }
            let message = match (listens, peer) {
                (false, _) => "no p2pdbg listen of yours runs on this host".to_owned(),
                (true, None) => "the p2pdbg listen that runs here has no session yet".to_owned(),
                (true, Some(peer)) => format!("there is no session with {peer:?}"),
            };
            Failure::new(ErrorCode::NoSession, message)
                .hint("start p2pdbg listen here and p2pdbg connect on the debuggee's host first")
        })
    }

    pub(in crate::commands) fn lost(error: &dyn Display) -> Failure {
        let message = format!("lost the p2pdbg listen that runs here: {error}");
        Failure::new(ErrorCode::ControlSocket, message)
    }
}

/// Moves the bytes between standard input and output and the stream.
mod joined {
    use std::io;

    use p2pdbg_base::{ErrorCode, Failure};
    use tokio::{
        io::{AsyncRead, AsyncReadExt, AsyncWrite},
        sync::mpsc,
    };

    use super::session::lost;
    use crate::control_socket::{CHUNK, Frame, read_frame, write_data, write_frame};

    pub(super) async fn run(
        mut from: impl AsyncRead + Unpin,
        to: impl AsyncWrite + Unpin + Send + 'static,
    ) -> Result<(), Failure> {
        let up = tokio::spawn(up(to));
        let (queue, chunks) = mpsc::channel(4);
        // A thread of its own, so that closing standard output is what the reader sees.
        let writer = std::thread::spawn(move || write_out(chunks));
        let mut queue = Some(queue);
        let result = loop {
            match read_frame(&mut from).await {
                Ok(Frame::Data(bytes)) => {
                    let gone = match &queue {
                        Some(queue) => queue.send(bytes).await.is_err(),
                        None => false,
                    };
                    if gone {
                        // Whoever read this reads no more, as a debugger that was ended.
                        break Ok(());
                    }
                }
                Ok(Frame::Fin) => queue = None,
                Ok(Frame::Closed) => break Ok(()),
                Ok(Frame::Reset) => {
                    let message = "the connection was broken off at the other end";
                    break Err(Failure::new(ErrorCode::PipeBroken, message));
                }
                Err(error) => break Err(lost(&error)),
            }
        };
        drop(queue);
        up.abort();
        let _ = writer.join();
        result
    }

    /// Standard input, to its end.
    async fn up(mut to: impl AsyncWrite + Unpin) {
        let mut input = tokio::io::stdin();
        let mut buffer = vec![0; CHUNK];
        loop {
            match input.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    if write_data(&mut to, &buffer[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
        let _ = write_frame(&mut to, &Frame::Fin).await;
    }

    /// Writes to standard output, and closes it after the last chunk.
    fn write_out(mut chunks: mpsc::Receiver<Vec<u8>>) {
        use std::io::Write;

        let mut out = io::stdout();
        while let Some(chunk) = chunks.blocking_recv() {
            if out.write_all(&chunk).and_then(|()| out.flush()).is_err() {
                return;
            }
        }
        close_stdout();
    }

    /// Puts nothing in the place of standard output, so that its reader sees the end.
    fn close_stdout() {
        #[cfg(unix)]
        if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(null);
        }
        // What it gives back is the old standard output, which is closed by being dropped.
        #[cfg(windows)]
        if let Ok(null) = std::fs::OpenOptions::new().write(true).open("NUL") {
            use filedescriptor::{FileDescriptor, StdioDescriptor};
            let _ = FileDescriptor::redirect_stdio(&null, StdioDescriptor::Stdout);
        }
    }
}

/// What to write in place of a target that is a port alone, or a debugger.
fn instead_of_target(target: &str) -> String {
    let debugger = target.split(':').next().and_then(|name| name.parse().ok());
    let port = match (target.parse::<u16>(), debugger) {
        (Ok(port), _) if port != 0 => port,
        (_, Some(debugger)) => p2pdbg_forward::Preset::default_port(debugger),
        _ => return "write HOST:PORT, such as localhost:1234".to_owned(),
    };
    format!("write p2pdbg pipe localhost:{port}")
}
