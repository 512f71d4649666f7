//! `p2pdbg pipe`: standard input and output, joined to a target at the debuggee over the session of a running
//! `p2pdbg listen`.
//!
//! Both directions end on their own: the end of standard input is told to the target, and standard output is closed
//! when the target has written its last; the program ends when both have. Standard output is not touched but for the
//! target's bytes, since a debugger reads it.

use p2pdbg_base::{ErrorCode, Failure};

use super::running_session;
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
    let client = running_session::open(args.peer.as_deref(), &Request::Open { to, peer }).await?;
    let (read, write) = client.into_stream();
    joined::run(read, write).await
}

/// Moves the bytes between standard input and output and the stream.
mod joined {
    use std::io;

    use p2pdbg_base::{ErrorCode, Failure};
    use tokio::{
        io::{AsyncRead, AsyncReadExt, AsyncWrite},
        sync::mpsc,
    };

    use super::super::running_session::lost;
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
