//! ^C, the system's request to stop, and the end of standard input where that stands for one.

use std::{io, thread};

use p2pdbg_base::{ErrorCode, Failure};

use tokio::sync::oneshot;

/// What ends the program from outside. It is caught from its creation on.
pub(super) struct Interrupt {
    signals: Signals,
    /// None where the end of standard input means nothing, or has been told.
    stdin_ended: Option<oneshot::Receiver<()>>,
}

impl Interrupt {
    /// Catches signals from now on, in place of what the system does on each.
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {
            signals: Signals::catch().map_err(not_caught)?,
            stdin_ended: None,
        })
    }

    /// Takes the end of standard input for one as well, if it is `wanted`: a program that started this one holds it
    /// open, and so ends this one also where there are no signals (Windows), or when it was killed itself.
    pub(super) fn or_end_of_stdin(mut self, wanted: bool) -> Result<Self, Failure> {
        if wanted {
            let (ended, stdin_ended) = oneshot::channel();
            // A thread that nobody waits for: what reads standard input cannot be called off.
            let reader = thread::Builder::new().name("stdin".to_owned());
            let read = move || {
                // An input that cannot be read has ended as well.
                let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
                let _ = ended.send(());
            };
            reader.spawn(read).map_err(not_caught)?;
            self.stdin_ended = Some(stdin_ended);
        }
        Ok(self)
    }

    /// Waits for one of them. Cancelling it loses nothing.
    pub(super) async fn wait(&mut self) {
        let stdin_ended = async {
            match &mut self.stdin_ended {
                Some(ended) => drop(ended.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.signals.wait() => return,
            () = stdin_ended => {}
        }
        self.stdin_ended = None;
    }
}

/// The signals that end the program.
struct Signals {
    /// None where it was ignored when the program started.
    #[cfg(unix)]
    signals: Vec<tokio::signal::unix::Signal>,
    #[cfg(windows)]
    keyboard: (
        tokio::signal::windows::CtrlC,
        tokio::signal::windows::CtrlBreak,
    ),
    /// The console's window is closed, the user logs off, or the system stops. Windows waits some seconds, in which the
    /// peer can be told.
    #[cfg(windows)]
    system: (
        tokio::signal::windows::CtrlClose,
        tokio::signal::windows::CtrlLogoff,
        tokio::signal::windows::CtrlShutdown,
    ),
}

/// What is told where signals cannot be caught.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn not_caught(error: std::io::Error) -> Failure {
    let message = format!("cannot catch signals: {error}");
    Failure::new(ErrorCode::Internal, message)
}

impl Signals {
    #[cfg(unix)]
    fn catch() -> std::io::Result<Self> {
        use rustix::process::Signal;
        let mut signals = Vec::new();
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            signals.extend(unless_ignored(signal)?);
        }
        // The system ends any other process on these, and drops them for the first of a container, which a STOPSIGNAL
        // is sent to. Not SIGWINCH, Apache's: `docker run` without `-t` passes it on whenever the window changes its
        // size.
        if std::process::id() == 1 {
            for signal in [Signal::QUIT, Signal::USR1, Signal::USR2] {
                signals.extend(unless_ignored(signal)?);
            }
        }
        Ok(Self { signals })
    }

    #[cfg(windows)]
    fn catch() -> std::io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_logoff, ctrl_shutdown};
        Ok(Self {
            keyboard: (ctrl_c()?, ctrl_break()?),
            system: (ctrl_close()?, ctrl_logoff()?, ctrl_shutdown()?),
        })
    }

    /// Waits for one of them.
    #[cfg(unix)]
    async fn wait(&mut self) {
        std::future::poll_fn(|context| {
            let mut signals = self.signals.iter_mut();
            match signals.any(|signal| signal.poll_recv(context).is_ready()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
    }

    /// Waits for one of them.
    #[cfg(windows)]
    async fn wait(&mut self) {
        let (interrupt, key_break) = &mut self.keyboard;
        let (close, logoff, shutdown) = &mut self.system;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = key_break.recv() => {}
            _ = close.recv() => {}
            _ = logoff.recv() => {}
            _ = shutdown.recv() => {}
        }
    }
}

/// Catches a signal, unless it was ignored when the program started: `nohup` asks for that, and a shell that runs a
/// script, for `^C` and `^\` at what stands before a `&`. To catch it would undo it, for a COMMAND too.
#[cfg(unix)]
pub(super) fn unless_ignored(
    which: rustix::process::Signal,
) -> std::io::Result<Option<tokio::signal::unix::Signal>> {
    use tokio::signal::unix::{SignalKind, signal};
    if is_ignored(which) {
        return Ok(None);
    }
    signal(SignalKind::from_raw(which.as_raw())).map(Some)
}

/// Waits for a signal that may not be caught at all. Cancelling it loses nothing.
#[cfg(unix)]
pub(super) async fn received(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether a signal is ignored, as far as that can be seen: `/proc` tells without the system call that needs `unsafe`.
/// Outside Linux nobody tells, so that `nohup` does nothing there, which docs/use/service.md says.
#[cfg(unix)]
pub(super) fn is_ignored(signal: rustix::process::Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}
