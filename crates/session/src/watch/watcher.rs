//! The task that looks.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use p2pdbg_base::Room;
use p2pdbg_inspect::{Context, End, Inspector, Mapping};
use p2pdbg_ledger::StreamId;
use p2pdbg_net::deadline::sleep_until;
use p2pdbg_proto::rendezvous::Role;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    feed::{BYTES, Feed, PIECES, Shown},
    watched::{Report, Watched},
};

/// The most streams of a session that are looked at at once; more go unseen.
const STREAMS: usize = 64;

/// A session's watcher; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Watcher {
    role: Role,
    queue: mpsc::Sender<Shown>,
    queued: Arc<Room>,
    roots: Option<Mapping>,
    _task: AbortOnDropHandle<()>,
}

impl Watcher {
    /// Begins to look. What is learnt goes to `report`, as `wrap` makes it.
    pub(crate) fn start<T: Send + 'static>(
        role: Role,
        report: mpsc::Sender<T>,
        wrap: impl Fn(StreamId, Report) -> T + Send + 'static,
    ) -> Self {
        let (queue, shown) = mpsc::channel(PIECES);
        let queued = Arc::new(Room::new(BYTES));
        let looking = Looking {
            queued: Arc::clone(&queued),
            streams: HashMap::new(),
        };
        Self {
            role,
            queue,
            queued,
            roots: None,
            _task: AbortOnDropHandle::new(tokio::spawn(looking.run(shown, report, wrap))),
        }
    }

    /// Notes where the same sources are at both ends, for the streams that begin from now on.
    pub(crate) fn set_roots(&mut self, here: &str, there: &str) {
        let (ide, debuggee) = match self.role {
            Role::Listener => (here, there),
            Role::Connector => (there, here),
        };
        let (ide, debuggee) = (ide.to_owned(), debuggee.to_owned());
        self.roots = Some(Mapping { ide, debuggee });
    }

    /// Where a new stream shows what the local program writes, and what the peer's does. `ide_port` is the port of this
    /// host at which the IDE listens, if it does.
    pub(crate) fn watch(&self, stream: StreamId, ide_port: Option<u16>) -> Option<(Feed, Feed)> {
        let wanted = Arc::new(AtomicBool::new(true));
        let context = Context {
            ide_build: None,
            roots: self.roots.clone(),
        };
        let watched = Watched {
            inspector: Inspector::new(context),
            wanted: Arc::clone(&wanted),
            ide_port,
            ide_build: None,
            reported: 0,
            report_at: None,
            not_before: Instant::now(),
        };
        let begin = Shown::Begin(stream, Box::new(watched));
        self.queue.try_send(begin).ok()?;
        let (here, there) = match self.role {
            Role::Listener => (End::Ide, End::Debuggee),
            Role::Connector => (End::Debuggee, End::Ide),
        };
        let feed = |from| Feed {
            stream,
            from,
            queue: self.queue.clone(),
            queued: Arc::clone(&self.queued),
            wanted: Arc::clone(&wanted),
            missed: 0,
        };
        Some((feed(here), feed(there)))
    }
}

struct Looking {
    queued: Arc<Room>,
    streams: HashMap<StreamId, Watched>,
}

impl Looking {
    async fn run<T>(
        mut self,
        mut shown: mpsc::Receiver<Shown>,
        report: mpsc::Sender<T>,
        wrap: impl Fn(StreamId, Report) -> T,
    ) {
        loop {
            let due = self
                .streams
                .values()
                .filter_map(|watched| watched.report_at);
            let due = due.min();
            tokio::select! {
                next = shown.recv() => match next {
                    Some(next) => self.look(next),
                    None => return,
                },
                () = sleep_until(due) => {}
            }
            let now = Instant::now();
            for (stream, watched) in &mut self.streams {
                if let Some(learnt) = watched.poll_report(now)
                    && report.send(wrap(*stream, learnt)).await.is_err()
                {
                    return;
                }
            }
        }
    }

    fn look(&mut self, shown: Shown) {
        match shown {
            Shown::Begin(stream, watched) => {
                // Those whose feeds are gone, though their end could not be told.
                self.streams
                    .retain(|_, watched| Arc::strong_count(&watched.wanted) > 1);
                if self.streams.len() < STREAMS {
                    self.streams.insert(stream, *watched);
                } else {
                    watched.wanted.store(false, Ordering::Relaxed);
                }
            }
            Shown::Bytes(stream, from, bytes, at) => {
                self.queued.give_back(bytes.len());
                if let Some(watched) = self.streams.get_mut(&stream) {
                    watched.inspector.handle(at, from, &bytes);
                    watched.on_news();
                }
            }
            Shown::Gap(stream, from, length) => {
                if let Some(watched) = self.streams.get_mut(&stream) {
                    watched.inspector.handle_gap(from, length);
                    watched.on_news();
                }
            }
            Shown::End(stream) => drop(self.streams.remove(&stream)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use p2pdbg_inspect::Protocol;

    use super::*;

    fn watcher() -> (Watcher, mpsc::Receiver<(StreamId, Report)>) {
        let (report, reports) = mpsc::channel(16);
        let watcher = Watcher::start(Role::Listener, report, |stream, report| (stream, report));
        (watcher, reports)
    }

    const STREAM: StreamId = StreamId::from_u64(1);

    #[tokio::test]
    async fn what_is_shown_is_reported() {
        let (watcher, mut reports) = watcher();
        let (mut here, mut there) = watcher.watch(STREAM, None).unwrap();
        here.show(Bytes::from_static(b"501\t1\t0.1\tUNIX\n"));
        there.show(Bytes::from_static(b"501\t1\t263.7307.50\n"));
        loop {
            let (stream, report) = reports.recv().await.unwrap();
            assert_eq!(stream, STREAM);
            if report.debugger.version.as_deref() == Some("263.7307.50") {
                return;
            }
        }
    }

    #[tokio::test]
    async fn a_stream_that_cannot_be_understood_is_shown_no_more() {
        let (watcher, mut reports) = watcher();
        let (mut here, mut there) = watcher.watch(STREAM, None).unwrap();
        here.show(Bytes::from_static(b"hello"));
        there.show(Bytes::from_static(b"world"));
        let (_, report) = reports.recv().await.unwrap();
        assert_eq!(report.debugger.protocol, Protocol::Unknown);
        assert!(!here.is_wanted() && !there.is_wanted());
    }

    /// The task does not run while this test does not wait: everything has to fit into the queue.
    #[tokio::test]
    async fn what_does_not_fit_is_left_out_and_a_message_with_a_hole_is_passed_over() {
        let (watcher, mut reports) = watcher();
        let (mut here, mut there) = watcher.watch(STREAM, None).unwrap();
        let size = 64 << 20;
        there.show(Bytes::from(format!("Content-Length: {size}\r\n\r\n")));
        let chunk = Bytes::from(vec![b' '; 64 << 10]);
        for _ in 0..size / chunk.len() {
            there.show(chunk.clone());
        }
        assert!(there.missed > 0);
        assert!(watcher.queued.waiting() <= BYTES);
        // Once there is room, the rest is understood.
        while watcher.queued.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        let event = r#"{"type":"event","event":"process","body":{"systemProcessId":7}}"#;
        there.show(Bytes::from(format!(
            "Content-Length: {}\r\n\r\n{event}",
            event.len()
        )));
        here.show(Bytes::from_static(b"Content-Length: 2\r\n\r\n{}"));
        loop {
            let (_, report) = reports.recv().await.unwrap();
            if report.debugger.pid == Some(7) {
                return;
            }
        }
    }
}
