//! Numbered bytes in both directions of a connection, for as long as a test wants, and when they arrived.

use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{harness::traffic::Numbered, outages::longest_outage};

/// How long a reader waits for the next byte besides the longest outage.
const SILENCE: Duration = Duration::from_secs(60);

/// How much is written, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) bytes: usize,
    pub(crate) every: Duration,
}

impl Pace {
    /// What a debugger does: little, often. It shows when the service is away.
    pub(crate) const STEPS: Self = Self {
        bytes: 64,
        every: Duration::from_millis(10),
    };

    /// As much as is taken.
    pub(crate) const FLOOD: Self = Self {
        bytes: 64 * 1024,
        every: Duration::from_millis(1),
    };

    /// A transfer that is never done: 400 kB/s.
    pub(crate) const BULK: Self = Self {
        bytes: 8192,
        every: Duration::from_millis(20),
    };
}

/// A connection with a writer and a reader at each end.
#[derive(Debug)]
pub(crate) struct Flow {
    pace: Pace,
    ends: [TcpStream; 2],
    stop: Arc<AtomicBool>,
    rest: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Result<u64, String>>>,
    readers: Vec<JoinHandle<Result<u64, String>>>,
    arrivals: [Arrivals; 2],
    written: Arc<AtomicU64>,
    arrived: Arc<AtomicU64>,
}

/// When bytes arrived at one end.
type Arrivals = Arc<Mutex<Vec<Instant>>>;

impl Flow {
    /// Begins to write and to read at both ends.
    pub(crate) fn begin(ends: [TcpStream; 2], pace: Pace, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let rest = Arc::new(AtomicBool::new(false));
        let (written, arrived) = (Arc::default(), Arc::<AtomicU64>::default());
        let arrivals = [Arrivals::default(), Arrivals::default()];
        let (mut writers, mut readers) = (Vec::new(), Vec::new());
        for (index, end) in (0_u64..).zip(&ends) {
            end.set_nodelay(true).unwrap();
            end.set_read_timeout(Some(longest_outage() + SILENCE))
                .unwrap();
            let writer = Writer {
                to: end.try_clone().unwrap(),
                pace,
                stop: stop.clone(),
                rest: rest.clone(),
                written: Arc::clone(&written),
            };
            writers.push(std::thread::spawn(move || writer.run(seed + index)));
        }
        for (index, end) in (0_u64..).zip(&ends) {
            let from = end.try_clone().unwrap();
            let arrivals = arrivals[usize::from(index == 1)].clone();
            let arrived = Arc::clone(&arrived);
            // What arrives at one end was written at the other.
            readers.push(std::thread::spawn(move || {
                read(&from, seed + 1 - index, &arrivals, &arrived)
            }));
        }
        Self {
            pace,
            ends,
            stop,
            rest,
            writers,
            readers,
            arrivals,
            written,
            arrived,
        }
    }

    /// How many bytes have been written so far, at both ends together.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether everything that was written has arrived; while nothing rests there is always something on its way.
    pub(crate) fn has_arrived(&self) -> bool {
        self.arrived.load(Ordering::Relaxed) == self.written()
    }

    /// Has nothing written, or writes again.
    pub(crate) fn rest(&self, rest: bool) {
        self.rest.store(rest, Ordering::Relaxed);
    }

    /// When the last byte came, at the end that has waited longer.
    pub(crate) fn last_arrival(&self) -> Option<Instant> {
        let last = |arrivals: &Arrivals| arrivals.lock().unwrap().last().copied();
        let ends = [last(&self.arrivals[0])?, last(&self.arrivals[1])?];
        ends.into_iter().min()
    }

    /// How the service was from `fault` on, when packets could pass again from `mended` on.
    pub(crate) fn gap(&self, fault: Instant, mended: Instant) -> Gap {
        let ends = self.arrivals.each_ref();
        let silences = ends.map(|arrivals| self.longest_silence(arrivals, fault));
        let returns = ends.map(|arrivals| {
            let arrivals = arrivals.lock().unwrap();
            let after = arrivals.iter().find(|at| **at >= mended);
            after.map_or_else(|| mended.elapsed(), |at| at.duration_since(mended))
        });
        Gap {
            longest: silences.into_iter().max().unwrap(),
            after_mending: returns.into_iter().max().unwrap(),
        }
    }

    /// The longest time without a byte at one end, less what there is between two anyway.
    fn longest_silence(&self, arrivals: &Arrivals, fault: Instant) -> Duration {
        let arrivals = arrivals.lock().unwrap();
        let pairs = arrivals.windows(2).filter(|pair| pair[1] >= fault);
        let longest = pairs.map(|pair| pair[1].duration_since(pair[0])).max();
        longest.unwrap_or_default().saturating_sub(self.pace.every)
    }

    /// Ends both directions, and holds what was read against what was written.
    ///
    /// # Panics
    /// If a byte is missing, repeated or wrong, or the connection did not end well.
    #[track_caller]
    pub(crate) fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let join = |threads: Vec<JoinHandle<_>>| {
            let join = |thread: JoinHandle<Result<u64, String>>| thread.join().unwrap().unwrap();
            threads.into_iter().map(join).collect::<Vec<_>>()
        };
        let written = join(std::mem::take(&mut self.writers));
        let mut read = join(std::mem::take(&mut self.readers));
        read.reverse();
        assert_eq!(written, read, "bytes written and read, of each direction");
        written.iter().sum()
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for end in &self.ends {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

/// For how long nothing arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    /// The longest silence since the fault.
    longest: Duration,
    /// From the moment when packets could pass again.
    after_mending: Duration,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "longest silence {:.2} s, first byte {:.2} s after mending",
            self.longest.as_secs_f64(),
            self.after_mending.as_secs_f64()
        )
    }
}

struct Writer {
    to: TcpStream,
    pace: Pace,
    stop: Arc<AtomicBool>,
    rest: Arc<AtomicBool>,
    /// Shared by both ends.
    written: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, seed: u64) -> Result<u64, String> {
        let mut numbers = Numbered::new(seed);
        let mut block = numbers.next().to_vec();
        let (mut at, mut written) = (0, 0);
        while !self.stop.load(Ordering::Relaxed) {
            if self.rest.load(Ordering::Relaxed) {
                std::thread::sleep(self.pace.every);
                continue;
            }
            if at == block.len() {
                block = numbers.next().to_vec();
                at = 0;
            }
            let piece = &block[at..(at + self.pace.bytes).min(block.len())];
            self.to
                .write_all(piece)
                .map_err(|error| format!("cannot write after {written} bytes: {error}"))?;
            at += piece.len();
            written += piece.len() as u64;
            self.written
                .fetch_add(piece.len() as u64, Ordering::Relaxed);
            std::thread::sleep(self.pace.every);
        }
        self.to
            .shutdown(Shutdown::Write)
            .map_err(|error| format!("cannot end after {written} bytes: {error}"))?;
        Ok(written)
    }
}

fn read(
    mut from: &TcpStream,
    seed: u64,
    arrivals: &Arrivals,
    arrived: &AtomicU64,
) -> Result<u64, String> {
    let mut numbers = Numbered::new(seed);
    let mut block = numbers.next().to_vec();
    let mut buffer = vec![0; 64 * 1024];
    let (mut at, mut read) = (0, 0);
    loop {
        let limit = buffer.len().min(block.len() - at);
        let length = match from.read(&mut buffer[..limit]) {
            Ok(0) => return Ok(read),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("cannot read after {read} bytes: {error}")),
        };
        arrivals.lock().unwrap().push(Instant::now());
        if buffer[..length] != block[at..at + length] {
            return Err(format!("wrong bytes at {read}"));
        }
        at += length;
        read += length as u64;
        arrived.fetch_add(length as u64, Ordering::Relaxed);
        if at == block.len() {
            block = numbers.next().to_vec();
            at = 0;
        }
    }
}

/// That what a test trusts in is to be trusted.
mod checked {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::harness::eventually;

    /// Where the stream is tampered with.
    const AT: usize = 5_000;

    /// Streams through somebody who does something to the bytes of one direction.
    fn through(tamper: impl Fn(&mut Vec<u8>, usize) + Send + 'static) -> Flow {
        let pair = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (there, listener.accept().unwrap().0)
        };
        let ((ide, near), (far, debuggee)) = (pair(), pair());
        let (back, home) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        std::thread::spawn(move || pass(&near, &far, tamper));
        std::thread::spawn(move || pass(&back, &home, |_, _| {}));
        Flow::begin([ide, debuggee], Pace::BULK, 1)
    }

    fn pass(mut from: &TcpStream, mut to: &TcpStream, tamper: impl Fn(&mut Vec<u8>, usize)) {
        let (mut buffer, mut at) = ([0; 4096], 0);
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let mut bytes = buffer[..length].to_vec();
            if (at..at + length).contains(&AT) {
                tamper(&mut bytes, AT - at);
            }
            at += length;
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    fn run(flow: Flow) {
        eventually("bytes", || (flow.written() > 10 * AT as u64).then_some(()));
        flow.finish();
    }

    #[test]
    fn bytes_as_they_were_written_pass() {
        run(through(|_, _| {}));
    }

    #[test]
    #[should_panic(expected = "wrong bytes")]
    fn a_lost_byte_is_seen() {
        run(through(|bytes, at| _ = bytes.remove(at)));
    }

    #[test]
    #[should_panic(expected = "wrong bytes")]
    fn a_doubled_byte_is_seen() {
        run(through(|bytes, at| bytes.insert(at, bytes[at])));
    }

    #[test]
    #[should_panic(expected = "wrong bytes")]
    fn a_changed_bit_is_seen() {
        run(through(|bytes, at| bytes[at] ^= 1));
    }
}
