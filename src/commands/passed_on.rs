//! Signals that are passed on to the COMMAND.
//!
//! A terminal sends ^C, ^\ and its new size to every process of the group that it has in the foreground, so to the
//! COMMAND itself too; whoever else sends a signal sends it to p2pdbg alone. The kernel tells the two apart, for each
//! signal.

use std::io;

use rustix::process::{Pid, Signal, getpgid, getpgrp, kill_process};
use signal_hook::{
    iterator::{backend::SignalDelivery, exfiltrator::WithOrigin},
    low_level::siginfo::{Cause, Origin},
};
use tokio::{net::UnixStream, signal::unix};

use super::interrupt::{is_ignored, received, unless_ignored};

/// Those that no terminal sends to a COMMAND which goes on.
const BY_OTHERS: [Signal; 4] = [Signal::TERM, Signal::HUP, Signal::USR1, Signal::USR2];

/// Those that a terminal sends, on a key or when it is given another size; the last is also how Apache is told to stop.
const BY_TERMINAL: [Signal; 3] = [Signal::INT, Signal::QUIT, Signal::WINCH];

/// The signals that were sent to p2pdbg and are meant for the COMMAND.
pub(super) struct Signals {
    /// None of one that is ignored: then it is so for the COMMAND too.
    by_others: [Option<unix::Signal>; BY_OTHERS.len()],
    by_terminal: ByTerminal,
}

impl Signals {
    /// Catches them from now on.
    pub(super) fn catch() -> io::Result<Self> {
        let mut by_others = [const { None }; BY_OTHERS.len()];
        for (caught, signal) in by_others.iter_mut().zip(BY_OTHERS) {
            *caught = unless_ignored(signal)?;
        }
        Ok(Self {
            by_others,
            by_terminal: ByTerminal::catch()?,
        })
    }

    /// The next signal to pass on to the COMMAND with this process id. Cancelling it loses nothing.
    pub(super) async fn next(&mut self, pid: Option<u32>) -> Signal {
        loop {
            let [terminate, hangup, user1, user2] = &mut self.by_others;
            // In the order in which they are asked for here: what came by a terminal is not overtaken.
            let which = tokio::select! {
                biased;
                (signal, is_from_terminal) = self.by_terminal.next() => {
                    if is_from_terminal && pid.is_some_and(is_in_own_group) {
                        continue;
                    }
                    return signal;
                }
                () = received(terminate) => 0,
                () = received(hangup) => 1,
                () = received(user1) => 2,
                () = received(user2) => 3,
            };
            return BY_OTHERS[which];
        }
    }
}

/// Sends a signal; a process that has just ended needs none.
pub(super) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = of(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Whether a terminal that sends to this process sends to that one too.
fn is_in_own_group(pid: u32) -> bool {
    of(pid).is_some_and(|pid| getpgid(Some(pid)) == Ok(getpgrp()))
}

fn of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// The signals of terminals, with who sent each: `tokio` does not tell.
struct ByTerminal(SignalDelivery<UnixStream, WithOrigin>);

impl ByTerminal {
    fn catch() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let caught = BY_TERMINAL
            .into_iter()
            .filter(|signal| !is_ignored(*signal));
        let caught = caught.map(Signal::as_raw);
        SignalDelivery::with_pipe(read, write, WithOrigin::default(), caught).map(Self)
    }

    /// The next one, and whether it is from a terminal. Cancelling it loses nothing.
    async fn next(&mut self) -> (Signal, bool) {
        loop {
            if let Some(origin) = self.0.pending().next() {
                let mut signals = BY_TERMINAL.into_iter();
                if let Some(signal) = signals.find(|signal| signal.as_raw() == origin.signal) {
                    return (signal, is_from_terminal(&origin));
                }
            }
            // The handler writes behind what it keeps: what comes now is seen here, or has the other end readable.
            match self.0.get_read().try_read(&mut [0; 64]) {
                Ok(1..) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Neither can happen while the handler has the other end.
                Ok(0) | Err(_) => return std::future::pending().await,
            }
            if self.0.get_read().readable().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Whether the kernel itself has sent a signal, as it does for a terminal alone. Linux says so; where the kernel says
/// nothing of a signal, no process has sent it.
fn is_from_terminal(origin: &Origin) -> bool {
    match origin.cause {
        Cause::Kernel => true,
        Cause::Unknown => origin.process.is_none(),
        _ => false,
    }
}
