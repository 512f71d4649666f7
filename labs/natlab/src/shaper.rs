//! The two TAP devices of a shaped link and the threads that carry frames between them.
//!
//! A thread waits for frames of its device or for the next one that is due, whichever is first,
//! so an idle link costs nothing. The devices belong to the threads and vanish with them.

use std::{
    io,
    num::NonZeroU64,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Instant,
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_current_timer_slack};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::{
    Error, Impairments, Node,
    lane::{Fate, Lane},
};

/// Frames read in one go before those that are due get their turn.
const BATCH: usize = 64;
/// The biggest frame that a TAP device may hand over.
const FRAME: usize = 65_536 + 14;
/// Frames that the kernel holds for a device while its thread is busy.
const TX_QUEUE: u32 = 4096;

/// What one direction of a shaped link has done so far, in frames. ARP and neighbour discovery
/// count as forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that the link took in.
    pub received: u64,
    /// Frames that it handed over, second copies included.
    pub forwarded: u64,
    /// Bytes of those, with Ethernet headers.
    pub forwarded_bytes: u64,
    /// Frames that were lost by chance.
    pub lost: u64,
    /// Frames that found the queue full.
    pub overflowed: u64,
    /// Frames that were bigger than the MTU.
    pub too_big: u64,
    /// Frames that were sent twice.
    pub duplicated: u64,
    /// Frames that met the cut link.
    pub cut: u64,
}

/// A running pair of lanes.
#[derive(Debug)]
pub(crate) struct Shaper {
    pub(crate) up: Arc<LaneState>,
    pub(crate) down: Arc<LaneState>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What a lane's thread and the test share.
#[derive(Debug)]
pub(crate) struct LaneState {
    impairments: Mutex<Impairments>,
    cut: AtomicBool,
    stop: AtomicBool,
    wake: OwnedFd,
    counters: [AtomicU64; 8],
}

/// What is counted: the indices of [`LaneState::counters`].
#[derive(Clone, Copy)]
enum Count {
    Received,
    Forwarded,
    ForwardedBytes,
    Lost,
    Overflowed,
    TooBig,
    Duplicated,
    Cut,
}

impl Shaper {
    /// Makes `near` on one node and `far` on another, joined by a link that impairs both
    /// directions alike.
    pub(crate) fn start(
        (node, near): (&Node, &str),
        (router, far): (&Node, &str),
        impairments: Impairments,
    ) -> Result<Self, Error> {
        let near = Arc::new(open(node, near)?);
        let far = Arc::new(open(router, far)?);
        let up = Arc::new(LaneState::new(impairments)?);
        let down = Arc::new(LaneState::new(impairments)?);
        let mut threads = Vec::new();
        for (state, from, to) in [(&up, &near, &far), (&down, &far, &near)] {
            let (number, seed) = node.lab().next_lane();
            let runner = Runner {
                cpu: nth_cpu(number as usize),
                lane: Lane::new(seed),
                state: state.clone(),
                from: from.clone(),
                to: to.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("link-{}", node.name()))
                .spawn(move || runner.run())
                .map_err(Error::io("start a thread"))?;
            threads.push(thread);
        }
        Ok(Self {
            up,
            down,
            threads: Mutex::new(threads),
        })
    }

    /// Ends the threads; the devices vanish.
    pub(crate) fn stop(&self) {
        for state in [&self.up, &self.down] {
            state.stop.store(true, Relaxed);
            state.wake();
        }
        let mut threads = lock(&self.threads);
        for thread in threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Shaper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl LaneState {
    fn new(impairments: Impairments) -> Result<Self, Error> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let wake = eventfd(0, flags)
            .map_err(io::Error::from)
            .map_err(Error::io("make an eventfd"))?;
        Ok(Self {
            impairments: Mutex::new(impairments),
            cut: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            wake,
            counters: Default::default(),
        })
    }

    pub(crate) fn impairments(&self) -> Impairments {
        *lock(&self.impairments)
    }

    pub(crate) fn impair(&self, impairments: Impairments) {
        *lock(&self.impairments) = impairments;
    }

    /// Loses everything from now on, also what is on its way; or ends that.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.store(cut, Relaxed);
        self.wake();
    }

    pub(crate) fn counters(&self) -> Counters {
        let of = |count: Count| self.counters[count as usize].load(Relaxed);
        Counters {
            received: of(Count::Received),
            forwarded: of(Count::Forwarded),
            forwarded_bytes: of(Count::ForwardedBytes),
            lost: of(Count::Lost),
            overflowed: of(Count::Overflowed),
            too_big: of(Count::TooBig),
            duplicated: of(Count::Duplicated),
            cut: of(Count::Cut),
        }
    }

    fn count(&self, count: Count, by: usize) {
        self.counters[count as usize].fetch_add(by as u64, Relaxed);
    }

    fn wake(&self) {
        // It can only fail where 2^64 wakes are pending.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

struct Runner {
    /// Where the thread stays. Beyond the device, the kernel queues packets per CPU: a thread that
    /// moved would let them overtake each other. Where staying is refused, they may.
    cpu: Option<usize>,
    lane: Lane,
    state: Arc<LaneState>,
    from: Arc<SyncDevice>,
    to: Arc<SyncDevice>,
}

impl Runner {
    fn run(mut self) {
        if let Some(cpu) = self.cpu {
            let mut here = CpuSet::new();
            here.set(cpu);
            let _ = sched_setaffinity(None, &here);
        }
        // The kernel may otherwise wake the thread 50 µs late, at each link of a path.
        let _ = set_current_timer_slack(NonZeroU64::new(1_000));
        let mut frame = vec![0; FRAME];
        while !self.state.stop.load(Relaxed) {
            if self.state.cut.load(Relaxed) {
                let lost = self.lane.clear();
                self.state.count(Count::Cut, lost);
            }
            while let Some(due) = self.lane.pop_due(Instant::now()) {
                self.send(&due);
            }
            if !self.wait() {
                return;
            }
            self.read_batch(&mut frame);
        }
    }

    /// Waits for frames, for the next one due or for a wake; false once the device is gone.
    fn wait(&self) -> bool {
        let timeout = self.lane.next_due().map(|due| {
            let wait = due.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: wait.as_secs() as i64,
                tv_nsec: wait.subsec_nanos().into(),
            }
        });
        let mut fds = [
            PollFd::new(&*self.from, PollFlags::IN),
            PollFd::new(&self.state.wake, PollFlags::IN),
        ];
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return true;
        }
        let [device, wake] = fds.map(|fd| fd.revents());
        if wake.contains(PollFlags::IN) {
            let _ = rustix::io::read(&self.state.wake, &mut [0; 8]);
        }
        !device.contains(PollFlags::ERR) || device.contains(PollFlags::IN)
    }

    fn read_batch(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            // Anything else than a frame means that there is none now.
            let Ok(length) = self.from.recv(buffer) else {
                return;
            };
            self.state.count(Count::Received, 1);
            if self.state.cut.load(Relaxed) {
                self.state.count(Count::Cut, 1);
                continue;
            }
            let frame = &mut buffer[..length];
            // Asked for each frame: one that was sent after a change must meet the change.
            let how = self.state.impairments();
            match self.lane.admit(Instant::now(), frame, &how) {
                Fate::Now => self.send(frame),
                Fate::Queued { twice } => self.state.count(Count::Duplicated, twice.into()),
                Fate::Lost => self.state.count(Count::Lost, 1),
                Fate::Overflowed => self.state.count(Count::Overflowed, 1),
                Fate::TooBig(reply) => {
                    self.state.count(Count::TooBig, 1);
                    if let Some(reply) = reply {
                        let _ = self.from.send(&reply);
                    }
                }
            }
        }
    }

    /// Hands a frame over. An interface that is down refuses it, as a real one would.
    fn send(&self, frame: &[u8]) {
        if self.to.send(frame).is_ok() {
            self.state.count(Count::Forwarded, 1);
            self.state.count(Count::ForwardedBytes, frame.len());
        }
    }
}

/// The CPUs that this process may use, in turns, so that the two directions of a link are on
/// different ones.
fn nth_cpu(number: usize) -> Option<usize> {
    let allowed = sched_getaffinity(None).ok()?;
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&cpu| allowed.is_set(cpu))
        .collect();
    cpus.get(number.checked_rem(cpus.len())?).copied()
}

/// Opens a TAP device that is on `node` from the beginning, so that its name is free.
fn open(node: &Node, name: &str) -> Result<SyncDevice, Error> {
    let device = node.enter(|| {
        let device = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L2)
            .enable(false)
            .build_sync()?;
        device.set_nonblocking(true)?;
        Ok(device)
    })?;
    let device = device.map_err(Error::io(format!("make {name} on {}", node.name())))?;
    // By netlink: the ioctl for it is for the machine's root alone, not for that of a user namespace.
    node.ip(&format!("link set {name} txqueuelen {TX_QUEUE}"))?;
    Ok(device)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
