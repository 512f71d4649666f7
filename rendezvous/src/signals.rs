//! What the operating system tells the process to do. SIGHUP, which has the keys read again by a task of its own in
//! `main.rs`, is watched from the same moment on: one that nobody watches ends the process.

use std::io;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM, SIGINT, ^C, or the console closes: stop.
    Stop,
    /// SIGUSR2: run the program anew, which may be a newer one, and give it everything.
    #[cfg_attr(not(unix), expect(dead_code, reason = "no such signal"))]
    Upgrade,
}

/// The signals by which the process ends or makes room for another.
#[cfg(unix)]
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    upgrade: tokio::signal::unix::Signal,
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    /// Watches from now on.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn watch() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            upgrade: signal(SignalKind::user_defined2())?,
            hangup: Some(signal(SignalKind::hangup())?),
        })
    }

    /// The SIGHUPs since this began to watch, for who heeds them; the first time it is asked.
    pub(crate) fn take_hangup(&mut self) -> Option<tokio::signal::unix::Signal> {
        self.hangup.take()
    }

    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.upgrade.recv() => Signal::Upgrade,
        }
    }

    /// The next one that stops the program.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}

/// What ends the process: there are no further signals.
#[cfg(windows)]
pub(crate) struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
    close: tokio::signal::windows::CtrlClose,
}

#[cfg(windows)]
impl Signals {
    /// Watches from now on.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn watch() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_c, ctrl_close};

        Ok(Self {
            interrupt: ctrl_c()?,
            close: ctrl_close()?,
        })
    }

    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.close.recv() => {}
        }
        Signal::Stop
    }

    /// The next one that stops the program.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}
