//! A gdbserver for each gdb that comes to a program that runs.
//!
//! It lets the program go when its gdb detaches. Of a gdb that was killed, or whose host is gone, while the program
//! runs on, it takes note at the program's next stop alone, and leaves the breakpoints in it, the first of which ends
//! the program (seen with gdbserver 13.1). So p2pdbg stands between the two, and does then what gdb would have done: it
//! has the program stop, takes the breakpoints out, and detaches.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use p2pdbg_base::Descriptors;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::oneshot,
    time::sleep,
};

use super::{
    gdb_packets::Conversation,
    run::{command, last_words, start},
};
use crate::process::Process;

/// How long it may take to have the program stop and let it go.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same at the end of the session, which waits meanwhile.
const PATIENCE_AT_THE_END: Duration = Duration::from_millis(500);

/// Between two attempts to have the program stop.
const AGAIN: Duration = Duration::from_millis(100);

/// Starts a gdbserver for each gdb that comes, on its standard input and output: at a port of its own it would listen
/// on all addresses, whatever it is told (seen with gdbserver 13.1), and stop the program before anybody is there.
pub(super) async fn serve_gdbs(listener: TcpListener, process: Process, descriptors: Descriptors) {
    let process = Arc::new(process);
    loop {
        match listener.accept().await {
            Ok((gdb, _)) => {
                if !process.is_still_there() {
                    return;
                }
                if let Err(error) = serve_gdb(gdb, &process, descriptors).await {
                    tracing::error!(%error, "cannot start a gdbserver");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a gdb");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn serve_gdb(
    gdb: TcpStream,
    process: &Arc<Process>,
    descriptors: Descriptors,
) -> io::Result<()> {
    gdb.set_nodelay(true)?;
    // gdbserver reads as from a terminal: blocking.
    let (here, there) = StdStream::pair()?;
    let mut command = command(Path::new("gdbserver"));
    // It ends by itself when it has let the program go: so it is not killed.
    command.kill_on_drop(false);
    command.args(["--once", "--attach", "-", &process.pid().to_string()]);
    command.stdin(OwnedFd::from(there.try_clone()?));
    command.stdout(OwnedFd::from(there));
    let mut child = start(command, descriptors)?;
    let stderr = child.stderr.take();
    let mut traced = Traced(Some(Tracing {
        process: process.clone(),
        by: child.id(),
        gdbserver: here.try_clone()?,
        conversation: Conversation::of(process.pid()),
    }));
    here.set_nonblocking(true)?;
    let here = UnixStream::from_std(here)?;
    let served = async {
        traced.pass_on(gdb, here).await;
        traced.let_go().await;
        child.wait().await
    };
    let (said, status) = tokio::join!(last_words(stderr), served);
    let status = status?;
    let pid = process.pid();
    match status.success() {
        true => tracing::info!(%status, said, "a gdbserver has ended"),
        // Beside the IDE nothing is seen but a connection that closes.
        false => tracing::error!(pid, said, "gdbserver could not attach"),
    }
    Ok(())
}

/// A program that a gdbserver traces. Dropped while it does, as at the end of the session, it is let go.
struct Traced(Option<Tracing>);

impl Traced {
    /// Passes on what gdb and its gdbserver say until one of them has ended.
    async fn pass_on(&mut self, mut gdb: TcpStream, mut gdbserver: UnixStream) {
        if let Some(tracing) = &mut self.0 {
            // Either may end it at any moment.
            let _ = pass_on(&mut gdb, &mut gdbserver, &mut tracing.conversation).await;
        }
    }

    /// Lets the program go, apart from what else goes on.
    async fn let_go(&mut self) {
        if let Some(tracing) = self.0.take() {
            let mut going = tracing.let_go(PATIENCE);
            let _ = (&mut going.told).await;
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if let Some(tracing) = self.0.take() {
            drop(tracing.let_go(PATIENCE_AT_THE_END));
        }
    }
}

async fn pass_on(
    gdb: &mut TcpStream,
    gdbserver: &mut UnixStream,
    conversation: &mut Conversation,
) -> io::Result<()> {
    let (mut question, mut answer) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    loop {
        tokio::select! {
            read = gdb.read(&mut question) => {
                let said = &question[..read?];
                if said.is_empty() {
                    return Ok(());
                }
                conversation.on_said(said);
                gdbserver.write_all(said).await?;
            }
            read = gdbserver.read(&mut answer) => {
                let answered = &answer[..read?];
                if answered.is_empty() {
                    return Ok(());
                }
                conversation.on_answered(answered);
                gdb.write_all(answered).await?;
            }
        }
    }
}

/// A program that is being let go. Dropped before it is, as at the end of the session, it is waited for a moment: what
/// does it would end with this process.
struct Going {
    told: oneshot::Receiver<()>,
    done: mpsc::Receiver<()>,
}

impl Drop for Going {
    fn drop(&mut self) {
        // An error once it has been done.
        let _ = self.done.recv_timeout(PATIENCE_AT_THE_END);
    }
}

/// A program with the gdbserver that traces it, and the connection to that.
struct Tracing {
    process: Arc<Process>,
    by: Option<u32>,
    gdbserver: StdStream,
    conversation: Conversation,
}

impl Tracing {
    fn let_go(mut self, patience: Duration) -> Going {
        let (tell, told) = oneshot::channel();
        let (finish, done) = mpsc::channel();
        let thread = thread::Builder::new().spawn(move || {
            self.try_to_let_go(Instant::now() + patience);
            // Both are told by the end of this.
            drop((self, tell, finish));
        });
        if let Err(error) = thread {
            tracing::error!(%error, "cannot have a program let go");
        }
        Going { told, done }
    }

    fn try_to_let_go(&mut self, until: Instant) {
        // One that has not attached yet lets the program go by itself.
        if !self.is_traced() {
            return;
        }
        let result = self.take_out_and_detach(until);
        if self.is_traced() {
            let why = result.err().map(|error| error.to_string());
            let (pid, why) = (self.process.pid(), why.unwrap_or_default());
            tracing::error!(
                pid,
                why,
                "gdbserver has not let the program go: its breakpoints may stay in"
            );
        }
    }

    fn is_traced(&self) -> bool {
        self.by.is_some() && self.process.tracer() == self.by
    }

    fn take_out_and_detach(&mut self, until: Instant) -> io::Result<()> {
        // What follows half a packet would be taken as the rest of it. gdb sends one while the program is stopped, and
        // has the breakpoints out then.
        if self.conversation.is_within_packet() {
            return self.gdbserver.shutdown(Shutdown::Both);
        }
        self.gdbserver.set_nonblocking(false)?;
        self.gdbserver.set_write_timeout(Some(AGAIN))?;
        while self.conversation.awaits_a_stop() {
            self.stop_for_a_moment();
            if self.hear(until)? == Some(0) {
                return Ok(());
            }
        }
        let end = self.conversation.end();
        self.gdbserver.write_all(end.as_bytes())?;
        self.gdbserver.shutdown(Shutdown::Write)?;
        while self.hear(until)? != Some(0) {}
        Ok(())
    }

    /// How much gdbserver has said; none if that was nothing for some time.
    fn hear(&mut self, until: Instant) -> io::Result<Option<usize>> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.gdbserver.set_read_timeout(Some(left.min(AGAIN)))?;
        let mut answer = [0; 4096];
        match self.gdbserver.read(&mut answer) {
            Ok(length) => {
                self.conversation.on_answered(&answer[..length]);
                Ok(Some(length))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// SIGCONT does nothing to a program that runs. For gdb's ^C gdbserver sends SIGINT to the program's whole group.
    fn stop_for_a_moment(&self) {
        let pid = i32::try_from(self.process.pid()).ok();
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}
