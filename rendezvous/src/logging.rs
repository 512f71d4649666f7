//! The log on stderr: without colours in files, as JSON for collectors, never more than a few lines of one kind, and
//! one line for each event, whatever a stranger has put into it.

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{Event, Level, Metadata, callsite::Identifier};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    layer::{Context, Filter, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::cli::LogForm;

/// Warnings of one kind that are written in one [`PERIOD`].
const MOST: u64 = 10;

/// How long a period is, after which the log says what was left out.
const PERIOD: Duration = Duration::from_secs(60);

/// Begins to log; what it gives counts what is left out.
pub(crate) fn begin(verbose: u8, form: LogForm) -> Quiet {
    let filter = match verbose {
        // quinn_udp's warnings show where a datagram was to go, which is for those who ask for it.
        0 => "warn,quinn_udp=error",
        1 => "warn,quinn_udp=error,p2pdbg_rendezvous=info",
        2 => "warn,p2pdbg_rendezvous=debug",
        _ => "debug",
    };
    let quiet = Quiet::default();
    let colours = p2pdbg_base::shows_colours(&io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_ansi(colours);
    let one_line = move || OneLine {
        inner: io::stderr(),
        colours,
    };
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match form {
        LogForm::Text => layer.with_writer(one_line).boxed(),
        // Text in it has no line breaks anyway, and escapes of another kind.
        LogForm::Json => layer.json().with_writer(io::stderr).boxed(),
    };
    let layer = layer
        .with_filter(quiet.clone())
        .with_filter(EnvFilter::new(filter));
    tracing_subscriber::registry().with(layer).init();
    quiet
}

/// Writes each event as one line. Errors quote what strangers have said, the reason with which they close a connection
/// say: with a line break in it that could pass for a line of this program's own.
struct OneLine<W> {
    inner: W,
    /// Whether escapes are our own colours; those of others are replaced before they come here.
    colours: bool,
}

impl<W: Write> Write for OneLine<W> {
    /// Takes one event with the end of its line, which is how they are written.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut safe = String::with_capacity(text.len());
        for c in line.chars() {
            match c {
                '\x1b' if self.colours => safe.push(c),
                _ if c.is_control() => safe.extend(c.escape_default()),
                _ => safe.push(c),
            }
        }
        safe.push('\n');
        self.inner.write_all(safe.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Leaves out warnings that come too often, and counts them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quiet(Arc<Mutex<HashMap<Identifier, Kind>>>);

/// What is said at one place of the program. There are as many as the program has places.
#[derive(Debug)]
struct Kind {
    place: &'static Metadata<'static>,
    since: Instant,
    said: u64,
    left_out: u64,
}

impl Quiet {
    /// Whether one more is written.
    fn admits(&self, place: &'static Metadata<'static>, now: Instant) -> bool {
        // Less than a warning was asked for.
        if *place.level() > Level::WARN {
            return true;
        }
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(place.callsite()).or_insert(Kind {
            place,
            since: now,
            said: 0,
            left_out: 0,
        });
        if now.saturating_duration_since(kind.since) >= PERIOD {
            kind.since = now;
            kind.said = 0;
        }
        kind.said += 1;
        let admitted = kind.said <= MOST;
        kind.left_out += u64::from(!admitted);
        admitted
    }

    /// What was left out since this was asked last, and where it is said.
    fn take_left_out(&self) -> Vec<(&'static Metadata<'static>, u64)> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = kinds
            .values_mut()
            .map(|kind| (kind.place, std::mem::take(&mut kind.left_out)));
        taken.filter(|(_, count)| *count > 0).collect()
    }

    /// Says now and then what was left out, for as long as it is polled.
    pub(crate) async fn confess(self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            self.say_what_was_left_out();
        }
    }

    /// Says how many lines were left out, without waiting for the next one that is not.
    pub(crate) fn say_what_was_left_out(&self) {
        for (place, left_out) in self.take_left_out() {
            let (file, line) = (
                place.file().unwrap_or_default(),
                place.line().unwrap_or_default(),
            );
            tracing::warn!(left_out, file, line, "warnings of one kind were left out");
        }
    }
}

impl<S> Filter<S> for Quiet {
    fn enabled(&self, _place: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _context: &Context<'_, S>) -> bool {
        self.admits(event.metadata(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_is_one_line_whatever_is_in_it() {
        let written = |colours, event: &str| {
            let mut line = OneLine {
                inner: Vec::new(),
                colours,
            };
            line.write_all(event.as_bytes()).unwrap();
            String::from_utf8(line.inner).unwrap()
        };
        let event = "WARN a: \u{1b}[2Jno\r\nWARN b: ü\t\u{9b}\n";
        let plain = "WARN a: \\u{1b}[2Jno\\r\\nWARN b: ü\\t\\u{9b}\n";
        assert_eq!(written(false, event), plain);
        assert_eq!(written(true, event), plain.replace("\\u{1b}", "\u{1b}"));
    }

    #[test]
    fn a_flood_of_one_warning_is_counted_and_others_are_written() {
        static PLACES: Mutex<Vec<&'static Metadata<'static>>> = Mutex::new(Vec::new());
        struct Keep;
        impl<S: tracing::Subscriber> Layer<S> for Keep {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                PLACES.lock().unwrap().push(event.metadata());
            }
        }
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Keep), || {
            tracing::warn!("one");
            tracing::warn!("another");
            tracing::info!("less");
        });
        let places = PLACES.lock().unwrap().clone();
        let (quiet, now) = (Quiet::default(), Instant::now());
        let said = |place, now| (0..100).filter(|_| quiet.admits(place, now)).count();
        assert_eq!(said(places[0], now), 10);
        assert_eq!(said(places[1], now), 10);
        assert_eq!(said(places[2], now), 100);
        let counts: Vec<u64> = quiet
            .take_left_out()
            .iter()
            .map(|(_, count)| *count)
            .collect();
        assert_eq!(counts, [90, 90]);
        assert!(quiet.take_left_out().is_empty());
        assert_eq!(said(places[0], now + PERIOD), 10);
    }
}
