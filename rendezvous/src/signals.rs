//! What the operating system tells the process to do. SIGHUP, which has the keys read again by a task of its own in
//! `main.rs`, is watched from the same moment on: one that nobody watches ends the process.
//!
//! Linux keeps them waiting until somebody reads them, from before the first thread is there, and so does the program
//! that this process executes: whatever comes in an upgrade, between the last look of the one and the first of the
//! other, is heeded by the other. A program from before that, to which somebody steps back, would wait for ever: its
//! signals come to it at once, as they did then.

use std::io;

#[cfg(target_os = "linux")]
use nix::sys::{
    signal::{SigSet, Signal as Kind},
    signalfd::{SfdFlags, SignalFd},
};
#[cfg(target_os = "linux")]
use tokio::io::unix::AsyncFd;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM, SIGINT, ^C, or the console closes: stop.
    Stop,
    /// SIGUSR2: run the program anew, which may be a newer one, and give it everything.
    #[cfg_attr(not(unix), expect(dead_code, reason = "no such signal"))]
    Upgrade,
}

/// Has signals wait until they are read, in this thread and in those that it begins. To be called before it begins any.
///
/// # Errors
/// The operating system's.
#[cfg(target_os = "linux")]
pub(crate) fn hold() -> io::Result<()> {
    for of in [ENDS, HANGUP] {
        set(of).thread_block()?;
    }
    Ok(())
}

/// Does nothing: there is no upgrade on this platform.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub(crate) fn hold() -> io::Result<()> {
    Ok(())
}

/// Lets them come to this thread again, and to the program that it executes next, which does not read what waits.
///
/// # Errors
/// The operating system's.
#[cfg(target_os = "linux")]
pub(crate) fn release() -> io::Result<()> {
    for of in [ENDS, HANGUP] {
        set(of).thread_unblock()?;
    }
    Ok(())
}

/// Does nothing: there is no upgrade on this platform.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub(crate) fn release() -> io::Result<()> {
    Ok(())
}

/// The signals by which the process ends or makes room for another.
#[cfg(target_os = "linux")]
pub(crate) struct Signals {
    waiting: Waiting,
    hangups: Option<Hangups>,
}

/// The SIGHUPs.
#[cfg(target_os = "linux")]
pub(crate) struct Hangups(Waiting);

/// Reads what waits of some signals.
#[cfg(target_os = "linux")]
struct Waiting(AsyncFd<SignalFd>);

#[cfg(target_os = "linux")]
const ENDS: &[Kind] = &[Kind::SIGTERM, Kind::SIGINT, Kind::SIGUSR2];

#[cfg(target_os = "linux")]
const HANGUP: &[Kind] = &[Kind::SIGHUP];

#[cfg(target_os = "linux")]
fn set(of: &[Kind]) -> SigSet {
    of.iter().copied().collect()
}

#[cfg(target_os = "linux")]
impl Waiting {
    fn new(of: &[Kind]) -> io::Result<Self> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let queue = SignalFd::with_flags(&set(of), flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that may close their descriptor early; this one does not"
        )]
        let queue = AsyncFd::new(queue)?;
        Ok(Self(queue))
    }

    /// The number of the next one.
    async fn next(&self) -> io::Result<u32> {
        loop {
            let mut ready = self.0.readable().await?;
            match self.0.get_ref().read_signal()? {
                Some(signal) => return Ok(signal.ssi_signo),
                None => ready.clear_ready(),
            }
        }
    }
}

#[cfg(target_os = "linux")]
impl Signals {
    /// Reads them from now on, those first that wait already.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn watch() -> io::Result<Self> {
        Ok(Self {
            waiting: Waiting::new(ENDS)?,
            hangups: Some(Hangups(Waiting::new(HANGUP)?)),
        })
    }

    /// The SIGHUPs since they wait, for who heeds them; the first time it is asked.
    pub(crate) fn take_hangups(&mut self) -> Option<Hangups> {
        self.hangups.take()
    }

    pub(crate) async fn next(&mut self) -> Signal {
        match self.waiting.next().await {
            Ok(number) if number == Kind::SIGUSR2 as u32 => Signal::Upgrade,
            // One that cannot be read any more could not be stopped either.
            Ok(_) | Err(_) => Signal::Stop,
        }
    }

    /// The next one that stops the program.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}

#[cfg(target_os = "linux")]
impl Hangups {
    /// Waits for the next one; `None` if there will be none.
    pub(crate) async fn next(&mut self) -> Option<()> {
        self.0.next().await.ok().map(drop)
    }
}

/// The signals by which the process ends.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    upgrade: tokio::signal::unix::Signal,
    hangups: Option<Hangups>,
}

/// The SIGHUPs.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) struct Hangups(tokio::signal::unix::Signal);

#[cfg(all(unix, not(target_os = "linux")))]
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
            hangups: Some(Hangups(signal(SignalKind::hangup())?)),
        })
    }

    /// The SIGHUPs since this began to watch, for who heeds them; the first time it is asked.
    pub(crate) fn take_hangups(&mut self) -> Option<Hangups> {
        self.hangups.take()
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

#[cfg(all(unix, not(target_os = "linux")))]
impl Hangups {
    /// Waits for the next one; `None` if there will be none.
    pub(crate) async fn next(&mut self) -> Option<()> {
        self.0.recv().await
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
