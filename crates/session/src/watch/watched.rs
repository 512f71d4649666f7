//! One stream that is looked at: what was learnt of it, and when that is to be reported.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use p2pdbg_inspect::{Advice, Debugger, Inspector, Protocol};
use tokio::{sync::oneshot, time::Instant};

/// What has been learnt of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// The debugger, as far as it is known.
    pub(crate) debugger: Debugger,
    /// What a person should know besides.
    pub(crate) advice: Vec<Advice>,
}

/// The shortest time between two reports of one stream.
const PAUSE: Duration = Duration::from_millis(100);

/// One stream that is looked at.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) inspector: Inspector,
    pub(super) wanted: Arc<AtomicBool>,
    pub(super) ide_port: Option<u16>,
    /// The build of the IDE, while it is being found out.
    pub(super) ide_build: Option<oneshot::Receiver<Option<String>>>,
    /// The revision that was reported last.
    pub(super) reported: u64,
    /// When the next report is due.
    pub(super) report_at: Option<Instant>,
    pub(super) not_before: Instant,
}

impl Watched {
    pub(super) fn on_news(&mut self) {
        if self.inspector.is_done() {
            self.wanted.store(false, Ordering::Relaxed);
        }
        if self.inspector.revision() != self.reported && self.report_at.is_none() {
            self.report_at = Some(self.not_before);
            self.look_for_ide();
        }
    }

    /// Finds out which PyCharm listens, when it is PyCharm's protocol.
    pub(super) fn look_for_ide(&mut self) {
        let protocol = self.inspector.debugger().map(|debugger| debugger.protocol);
        if protocol == Some(Protocol::Pydevd)
            && let Some(port) = self.ide_port.take()
        {
            let (found, finding) = oneshot::channel();
            self.ide_build = Some(finding);
            tokio::task::spawn_blocking(move || drop(found.send(ide_build_at(port))));
        }
    }

    pub(super) fn poll_report(&mut self, now: Instant) -> Option<Report> {
        if let Some(finding) = &mut self.ide_build {
            match finding.try_recv() {
                Ok(build) => {
                    self.ide_build = None;
                    if let Some(build) = build {
                        self.inspector.on_ide_build(&build);
                    }
                }
                Err(oneshot::error::TryRecvError::Closed) => self.ide_build = None,
                // Looked at again soon.
                Err(oneshot::error::TryRecvError::Empty) => {
                    self.report_at.get_or_insert(now + PAUSE);
                }
            }
        }
        let advice: Vec<_> = std::iter::from_fn(|| self.inspector.poll_advice()).collect();
        let due = self.report_at.is_some_and(|at| at <= now);
        if !due && advice.is_empty() {
            return None;
        }
        let looking = self.ide_build.is_some();
        self.report_at = looking.then(|| now + PAUSE);
        self.not_before = now + PAUSE;
        let news = self.inspector.revision() != self.reported;
        self.reported = self.inspector.revision();
        let debugger = self.inspector.debugger()?.clone();
        (news || !advice.is_empty()).then_some(Report { debugger, advice })
    }
}

/// The build of the PyCharm that listens at a port of this host; may take a while.
#[cfg(target_os = "linux")]
fn ide_build_at(port: u16) -> Option<String> {
    super::ide_build::at(port)
}

/// Which program listens at a port cannot be seen here.
#[cfg(not(target_os = "linux"))]
fn ide_build_at(_port: u16) -> Option<String> {
    None
}
