//! The thread that writes what is reported.
//!
//! Whoever reports only takes a lock for the time of a push, so no session ever waits for a terminal or a
//! pipe. The queue between the two is bounded: if its reader stalls for so long that it fills, what does not
//! fit is counted, and a warning tells the number as soon as writing goes on. Of the [`Status`] only the
//! latest is kept.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use p2pdbg_base::{Failure, say, takes_escapes};
use p2pdbg_events::{Event, Of, Reporter, Sink, Status, Warning, WarningCode};
use p2pdbg_proto::rendezvous::Role;
use tracing_subscriber::fmt::MakeWriter;

use super::{
    Statuses,
    human::{Human, Screen},
    json_lines::JsonLines,
    output::{Output, OutputLost},
};

/// How many reports may wait to be written.
const QUEUE: usize = 4096;

/// How many of them may be streams and log lines, whose number others decide.
const QUEUE_FOR_CHATTER: usize = 1024;

/// The shortest time between two drawings of the status line.
const FRAME: Duration = Duration::from_millis(100);

/// How long the end of the program waits for the last reports to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// For whom reports are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For programs: one JSON object a line on standard output.
    Json,
    /// For people: the code on standard output, everything else on standard error.
    Human,
}

/// Owns the end of reporting: dropped, it waits until everything is written, though not for ever.
#[must_use = "dropping it ends the reports"]
#[derive(Debug)]
pub struct Printer {
    shared: Arc<Shared>,
    format: Format,
}

impl Printer {
    /// Begins to report on standard output and standard error.
    ///
    /// The role decides which end the lines for people call "here".
    pub fn start(format: Format, role: Role) -> (Reporter, Self) {
        let backend = match format {
            Format::Json => Backend::Json(JsonLines::new(io::stdout())),
            Format::Human => {
                let human = Human::new(role, io::stdout(), Screen::of_stderr());
                Backend::Human(Box::new(human))
            }
        };
        let (reporter, printer) = Self::spawn(format, backend);
        let is_terminal = io::stdout().is_terminal();
        printer.shared.lock().output.set_terminal(is_terminal);
        (reporter, printer)
    }

    fn spawn(format: Format, backend: Backend) -> (Reporter, Self) {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        // Without a thread there is nobody to report to, and nothing better to do than to go on in silence.
        let spawned = thread::Builder::new()
            .name("report".to_owned())
            .spawn(move || writer.run(backend));
        if spawned.is_err() {
            shared.lock().finished = true;
        }
        let reporter = Reporter::new(Arc::clone(&shared) as Arc<dyn Sink>);
        (reporter, Self { shared, format })
    }

    /// Where logs go so that they do not tear the status line: above it on a terminal, else straight to
    /// standard error.
    pub fn log_writer(&self) -> LogWriter {
        let above_status = self.format == Format::Human && takes_escapes(&io::stderr());
        LogWriter(above_status.then(|| Arc::clone(&self.shared)))
    }

    /// Tells when standard output is lost, and with it what the program is for.
    pub fn output_lost(&self) -> OutputLost {
        self.shared.lock().output.lost()
    }

    /// Writes what is left and ends; returns why something is missing on standard output that should have been kept.
    pub fn finish(self) -> Option<Failure> {
        let shared = Arc::clone(&self.shared);
        drop(self);
        shared.lock().output.fault()
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.news.notify_one();
        let deadline = Instant::now() + LAST_WORDS;
        while !state.finished {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = match self.shared.done.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// A writer for tracing's subscriber. Each `write` is one whole log line.
#[derive(Debug, Clone)]
pub struct LogWriter(Option<Arc<Shared>>);

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(shared) => {
                shared.push(Item::Log(line.to_vec()));
                Ok(line.len())
            }
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// One thing to write, in the order in which it was handed over.
#[derive(Debug)]
enum Item {
    Event(Of, Box<Event>),
    Log(Vec<u8>),
    ReleaseTerminal,
}

impl Item {
    /// Whether it is of the kind of which there may be any number.
    fn is_chatter(&self) -> bool {
        match self {
            Self::Event(_, event) => matches!(**event, Event::Stream { .. }),
            Self::Log(_) => true,
            Self::ReleaseTerminal => false,
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when there is something for the thread to do.
    news: Condvar,
    /// Told when the thread has ended.
    done: Condvar,
}

impl Sink for Shared {
    fn event(&self, of: &Of, event: Event) {
        self.push(Item::Event(of.clone(), Box::new(event)));
    }

    fn status(&self, of: &Of, status: Option<Status>) {
        self.lock().statuses.insert(of.clone(), status);
        self.news.notify_one();
    }

    fn release_terminal(&self) {
        self.push(Item::ReleaseTerminal);
    }
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Item>,
    statuses: Statuses,
    output: Output,
    dropped: u64,
    closing: bool,
    finished: bool,
}

/// What the thread does next.
enum Work {
    Items(VecDeque<Item>),
    Dropped(u64),
    Draw(Statuses),
    Stop,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: Item) {
        let mut state = self.lock();
        let room = if item.is_chatter() {
            QUEUE_FOR_CHATTER
        } else {
            QUEUE
        };
        if state.finished || state.queue.len() >= room {
            state.dropped += 1;
        } else {
            state.queue.push_back(item);
        }
        drop(state);
        self.news.notify_one();
    }

    fn run(&self, mut backend: Backend) {
        let mut last_drawn = None;
        loop {
            match self.next_work(last_drawn, backend.redraw_every()) {
                Work::Items(items) => {
                    for item in items {
                        self.write(&mut backend, item);
                    }
                }
                Work::Dropped(count) => {
                    let missing = format!(
                        "{count} reports are missing here: they came faster than they could be written"
                    );
                    let warning = Warning::new(WarningCode::EventsDropped, missing);
                    let event = Box::new(Event::Warning(warning));
                    self.write(&mut backend, Item::Event(None, event));
                }
                Work::Draw(statuses) => {
                    backend.draw(statuses);
                    last_drawn = Some(Instant::now());
                }
                Work::Stop => break,
            }
        }
        backend.clear();
        self.lock().finished = true;
        self.done.notify_all();
    }

    fn write(&self, backend: &mut Backend, item: Item) {
        if let Item::Event(of, event) = &item {
            self.lock().output.on_event(of, event);
        }
        if let Err(error) = backend.write(item) {
            // Not under the lock, which those who report wait for.
            let warning = self.lock().output.on_fault(&error);
            if let Some(warning) = warning {
                backend.warn(warning);
            }
        }
    }

    /// Waits for something to do. Events come before the status, so that the line never runs ahead of them.
    fn next_work(&self, last_drawn: Option<Instant>, redraw_every: Option<Duration>) -> Work {
        let mut state = self.lock();
        loop {
            if !state.queue.is_empty() {
                return Work::Items(std::mem::take(&mut state.queue));
            }
            if state.dropped > 0 {
                return Work::Dropped(std::mem::take(&mut state.dropped));
            }
            if state.closing {
                return Work::Stop;
            }
            let pause = match state.statuses.is_empty() {
                false => Some(FRAME),
                true => redraw_every,
            };
            // The first status is drawn at once.
            let wait = pause.map(|pause| match last_drawn {
                Some(last) => (last + pause).saturating_duration_since(Instant::now()),
                None => Duration::ZERO,
            });
            state = match wait {
                Some(Duration::ZERO) => return Work::Draw(std::mem::take(&mut state.statuses)),
                Some(wait) => match self.news.wait_timeout(state, wait) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                },
                None => self
                    .news
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// What writes the reports, for programs or for people.
enum Backend {
    Json(JsonLines),
    Human(Box<Human>),
}

impl Backend {
    /// Writes one; what standard error does not take is nobody's loss.
    ///
    /// # Errors
    /// When standard output does not take what belongs there.
    fn write(&mut self, item: Item) -> io::Result<()> {
        match (self, item) {
            (Self::Json(json), Item::Event(of, event)) => {
                return json.write(of.as_deref(), &event);
            }
            (Self::Human(human), Item::Event(of, event)) => return human.event(of, &event),
            (Self::Json(_), _) => {}
            (Self::Human(human), Item::Log(line)) => human.log(&line),
            (Self::Human(human), Item::ReleaseTerminal) => human.release_terminal(),
        }
        Ok(())
    }

    /// Warns of what befell standard output.
    fn warn(&mut self, warning: String) {
        match self {
            Self::Json(_) => say!("warning: {warning}"),
            Self::Human(human) => human.warn(warning),
        }
    }

    fn draw(&mut self, statuses: Statuses) {
        if let Self::Human(human) = self {
            human.draw(statuses);
        }
    }

    fn redraw_every(&self) -> Option<Duration> {
        match self {
            Self::Json(_) => None,
            Self::Human(human) => human.redraw_every(),
        }
    }

    fn clear(&mut self) {
        if let Self::Human(human) = self {
            human.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::mpsc,
        task::{Context, Poll, Waker},
    };

    use p2pdbg_events::StreamState;

    use super::*;

    fn json_to(out: impl Write + Send + 'static) -> (Reporter, Printer) {
        Printer::spawn(Format::Json, Backend::Json(JsonLines::new(out)))
    }

    /// Hands each write to a channel, and waits for leave before it returns.
    struct Slow {
        written: mpsc::Sender<Vec<u8>>,
        leave: mpsc::Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.written.send(bytes.to_vec());
            let _ = self.leave.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Slow, mpsc::Receiver<Vec<u8>>, mpsc::Sender<()>) {
        let (written, lines) = mpsc::channel();
        let (go, leave) = mpsc::channel();
        (Slow { written, leave }, lines, go)
    }

    fn stream(id: u64) -> Event {
        Event::Stream {
            id,
            state: StreamState::Open,
            to: None,
            debugger: None,
        }
    }

    fn closed() -> Event {
        Event::Closed { why: "done".into() }
    }

    fn parse(line: &[u8]) -> Event {
        assert_eq!(line.last(), Some(&b'\n'));
        serde_json::from_slice(line).unwrap()
    }

    #[test]
    fn every_event_is_written_before_the_printer_ends() {
        let (written, lines) = mpsc::channel();
        let (go, leave) = mpsc::channel();
        drop(go);
        let (reporter, printer) = json_to(Slow { written, leave });
        for id in 0..100 {
            reporter.emit(stream(id));
        }
        reporter.emit(closed());
        printer.finish();
        let mut events: Vec<Event> = lines.try_iter().map(|line| parse(&line)).collect();
        assert_eq!(events.pop(), Some(closed()));
        assert_eq!(events, (0..100).map(stream).collect::<Vec<_>>());
    }

    #[test]
    fn an_event_does_not_stay_in_a_buffer_until_the_next_one() {
        let (out, lines, go) = slow();
        drop(go);
        let (reporter, printer) = json_to(io::BufWriter::new(out));
        reporter.emit(closed());
        // Comes while the program still runs, or never.
        let line = lines.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(parse(&line), closed());
        printer.finish();
    }

    #[test]
    fn a_reader_that_stalls_holds_nobody_up_and_learns_how_much_it_missed() {
        let (out, lines, go) = slow();
        let (reporter, printer) = json_to(out);
        reporter.emit(stream(0));
        // The thread is inside `write` now, and stays there.
        lines.recv().unwrap();
        let extra = 10;
        for id in 0..QUEUE_FOR_CHATTER as u64 + extra {
            reporter.emit(stream(id));
        }
        // What is not chatter still has room.
        reporter.emit(closed());
        drop(go);
        printer.finish();
        let events: Vec<Event> = lines.try_iter().map(|line| parse(&line)).collect();
        assert_eq!(events.len(), QUEUE_FOR_CHATTER + 2);
        assert_eq!(events[QUEUE_FOR_CHATTER], closed());
        match events.last().unwrap() {
            Event::Warning(warning) => {
                assert_eq!(warning.code, WarningCode::EventsDropped);
                assert!(warning.message.starts_with("10 "), "{}", warning.message);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reader_that_is_gone_ends_the_reports_and_nothing_else() {
        struct Gone(mpsc::Sender<()>);
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                let _ = self.0.send(());
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (tell, tried) = mpsc::channel();
        let (reporter, printer) = json_to(Gone(tell));
        let mut lost = printer.output_lost();
        reporter.emit(stream(1));
        reporter.emit(stream(2));
        assert_eq!(printer.finish(), None);
        assert_eq!(tried.try_iter().count(), 1);
        assert_eq!(now(&mut lost), None);
    }

    fn now(lost: &mut OutputLost) -> Option<Failure> {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(lost.wait()).poll(&mut context) {
            Poll::Ready(failure) => Some(failure),
            Poll::Pending => None,
        }
    }

    /// Takes so many writes, and has no room for more.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_that_is_full_ends_the_program_once_no_peer_is_there() {
        let paired = || Event::Paired {
            peer: p2pdbg_base::Untrusted::new("web-1"),
            known: false,
        };
        for (room, events, is_lost) in [
            (1, vec![stream(1)], false),
            (0, vec![stream(1)], true),
            (0, vec![paired(), stream(1)], false),
            (1, vec![paired(), stream(1)], false),
            (1, vec![paired(), stream(1), closed()], true),
            (2, vec![paired(), closed(), stream(1)], true),
        ] {
            let (reporter, printer) = json_to(Full(room));
            let mut lost = printer.output_lost();
            let is_full = events.len() > room;
            events.into_iter().for_each(|event| reporter.emit(event));
            let fault = printer.finish();
            let code = fault.as_ref().map(|failure| failure.code);
            assert_eq!(code, is_full.then_some(p2pdbg_base::ErrorCode::Output));
            assert_eq!(now(&mut lost), fault.filter(|_| is_lost), "{room}");
        }
    }

    #[test]
    fn a_status_does_not_reach_the_json_reader() {
        let (written, lines) = mpsc::channel();
        let (go, leave) = mpsc::channel();
        drop(go);
        let (reporter, printer) = json_to(Slow { written, leave });
        reporter.status(Status::new(p2pdbg_events::Activity::Pairing));
        reporter.emit(closed());
        printer.finish();
        assert_eq!(lines.try_iter().count(), 1);
    }

    #[test]
    fn what_is_told_of_one_session_of_several_names_its_peer() {
        let (written, lines) = mpsc::channel();
        let (go, leave) = mpsc::channel();
        drop(go);
        let (reporter, printer) = json_to(Slow { written, leave });
        reporter
            .of_session(&"web-1".parse().unwrap())
            .emit(closed());
        printer.finish();
        let line = String::from_utf8(lines.recv().unwrap()).unwrap();
        assert_eq!(
            line,
            "{\"event\":\"closed\",\"why\":\"done\",\"session\":\"web-1\"}\n"
        );
    }
}
