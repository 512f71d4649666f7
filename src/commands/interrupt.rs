//! ^C, and the system's request to stop.

use p2pdbg_base::{ErrorCode, Failure};

/// The signals that end the program. They are caught from its creation on.
pub(super) struct Interrupt {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 3],
    #[cfg(windows)]
    signals: tokio::signal::windows::CtrlC,
}

impl Interrupt {
    /// Begins to catch them.
    pub(super) fn new() -> Result<Self, Failure> {
        Self::catch().map_err(|error| {
            Failure::new(
                ErrorCode::Internal,
                format!("cannot catch signals: {error}"),
            )
        })
    }

    #[cfg(unix)]
    fn catch() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let signals = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        Ok(Self { signals })
    }

    #[cfg(windows)]
    fn catch() -> std::io::Result<Self> {
        let signals = tokio::signal::windows::ctrl_c()?;
        Ok(Self { signals })
    }

    /// Waits for one of them.
    #[cfg(unix)]
    pub(super) async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    /// Waits for it.
    #[cfg(windows)]
    pub(super) async fn wait(&mut self) {
        self.signals.recv().await;
    }
}
