//! ^C, and the system's request to stop.

use p2pdbg_base::{ErrorCode, Failure};

/// The signals that end the program. They are caught from its creation on.
pub(super) struct Interrupt {
    /// None where it was ignored when the program started.
    #[cfg(unix)]
    signals: [Option<tokio::signal::unix::Signal>; 3],
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

impl Interrupt {
    /// Catches them from now on, in place of what the system does on each.
    pub(super) fn new() -> Result<Self, Failure> {
        Self::catch().map_err(not_caught)
    }

    #[cfg(unix)]
    fn catch() -> std::io::Result<Self> {
        use rustix::process::Signal;
        let signals = [
            unless_ignored(Signal::INT)?,
            unless_ignored(Signal::TERM)?,
            unless_ignored(Signal::HUP)?,
        ];
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
    pub(super) async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            () = received(interrupt) => {}
            () = received(terminate) => {}
            () = received(hangup) => {}
        }
    }

    /// Waits for one of them.
    #[cfg(windows)]
    pub(super) async fn wait(&mut self) {
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
#[cfg(unix)]
pub(super) fn is_ignored(signal: rustix::process::Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}
