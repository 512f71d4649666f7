//! A gdbserver for each gdb that comes to a program that runs.
//!
//! It lets the program go when its gdb has ended or detached. Of a gdb that was killed, or whose host is gone, while
//! the program runs on, it takes note at the program's next stop alone, and fails at that (seen with gdbserver 13.1):
//! until then no other debugger gets in. So the program is made to stop for a moment at once, by a signal that does
//! nothing else. The breakpoints of that gdb stay in: gdbserver does not take them out, and one that is reached ends
//! the program.

use std::{io, net::TcpStream as StdStream, os::fd::OwnedFd, path::Path, time::Duration};

use p2pdbg_base::Descriptors;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use super::run::{command, last_words, start};
use crate::process::Process;

/// Between two attempts to have gdbserver take note that its gdb is gone.
const AGAIN: Duration = Duration::from_millis(100);

/// Starts a gdbserver for each gdb that comes, on its standard input and output: at a port of its own it would listen
/// on all addresses, whatever it is told (seen with gdbserver 13.1), and stop the program before anybody is there.
pub(super) async fn serve_gdbs(listener: TcpListener, process: Process, descriptors: Descriptors) {
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

async fn serve_gdb(gdb: TcpStream, process: &Process, descriptors: Descriptors) -> io::Result<()> {
    let gdb = gdb.into_std()?;
    // gdbserver reads as from a terminal: blocking.
    gdb.set_nonblocking(false)?;
    let input = OwnedFd::from(gdb.try_clone()?);
    let seen = gdb.try_clone()?;
    let mut command = command(Path::new("gdbserver"));
    // It ends by itself when its gdb has gone, and takes its breakpoints out before: so it is not killed.
    command.kill_on_drop(false);
    command.args(["--once", "--attach", "-", &process.pid().to_string()]);
    command.stdin(input).stdout(OwnedFd::from(gdb));
    let mut child = start(command, descriptors)?;
    let stderr = child.stderr.take();
    let traced = Traced {
        process,
        by: child.id(),
    };
    let ended = async { (last_words(stderr).await, child.wait().await) };
    let (said, status) = tokio::select! {
        ended = ended => ended,
        error = traced.let_go_without(seen) => return Err(error),
    };
    let status = status?;
    let pid = process.pid();
    match status.success() {
        true => tracing::info!(%status, said, "a gdbserver has ended"),
        // Beside the IDE nothing is seen but a connection that closes.
        false => tracing::error!(pid, said, "gdbserver could not attach"),
    }
    Ok(())
}

/// A program that a gdbserver traces. Dropped while it does, as at the end of the session, it is to be let go.
struct Traced<'a> {
    process: &'a Process,
    by: Option<u32>,
}

impl Traced<'_> {
    /// Sees to it that the program is let go once the connection to gdb has ended. It returns only if that cannot be
    /// seen.
    async fn let_go_without(&self, gdb: StdStream) -> io::Error {
        if let Err(error) = end_of(gdb).await {
            return error;
        }
        loop {
            self.stop_for_a_moment();
            sleep(AGAIN).await;
        }
    }

    /// Has the program stop under its gdbserver, unless it is stopped: SIGCONT does nothing to one that runs.
    fn stop_for_a_moment(&self) {
        let is_traced = self.by.is_some() && self.process.tracer() == self.by;
        let pid = i32::try_from(self.process.pid()).ok();
        if let Some(pid) = pid.and_then(Pid::from_raw)
            && is_traced
            && !self.process.is_stopped()
        {
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}

impl Drop for Traced<'_> {
    fn drop(&mut self) {
        self.stop_for_a_moment();
    }
}

/// Waits until the other end of a connection that another process reads has ended it.
async fn end_of(connection: StdStream) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for types that may close their descriptor early; this one does not"
    )]
    let connection = AsyncFd::with_interest(OwnedFd::from(connection), Interest::READABLE)?;
    loop {
        let mut seen = connection.readable().await?;
        if seen.ready().is_read_closed() {
            return Ok(());
        }
        seen.clear_ready();
    }
}
