//! The lab itself: what it owns, and how all of it is removed again.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use rustix::process::{Pid, Signal};

use crate::{Error, Network, requirements, requirements::require, shaper::Shaper, tool};

/// Holds a locked file for each lab that lives: what is here and not locked has died.
const LOCK_DIR: &str = "/run/p2pdbg-natlab";
/// Where `ip netns` keeps the namespaces.
const NETNS_DIR: &str = "/run/netns";

/// The internet's addresses: TEST-NET-3 (RFC 5737).
const DOCUMENTATION: [u8; 3] = [203, 0, 113];

/// Tells the labs of this process apart.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A set of network namespaces that lives as long as this value.
///
/// Labs are independent: any number runs at once, in one process or several. Everything made in a
/// lab (hosts, links, …) is a cheap handle; once the lab is dropped, handles only return errors.
#[derive(Debug)]
pub struct Lab {
    state: Arc<LabState>,
}

/// What the handles of one lab share; the last of them removes it.
#[derive(Debug)]
pub(crate) struct LabState {
    /// Begins the name of every namespace of this lab.
    id: String,
    seed: AtomicU64,
    lan: AtomicU32,
    lane: AtomicU32,
    shapers: Mutex<Vec<Arc<Shaper>>>,
    /// Held locked until the namespaces are gone.
    _lock: File,
}

impl Lab {
    /// Makes an empty lab, after sweeping what dead processes left behind.
    ///
    /// `name` is for people who look at `ip netns`; it need not be unique.
    pub fn new(name: &str) -> Result<Self, Error> {
        requirements()?;
        check_name(name)?;
        sweep();
        let (id, lock) = register(name)?;
        Ok(Self {
            state: Arc::new(LabState {
                id,
                seed: AtomicU64::new(0),
                lan: AtomicU32::new(0),
                lane: AtomicU32::new(0),
                shapers: Mutex::default(),
                _lock: lock,
            }),
        })
    }

    /// Makes a lab for a test, or says on stderr why the test is skipped.
    ///
    /// # Panics
    /// Where the environment has `CI=true`, nothing is skipped: a missing requirement panics. So
    /// does, everywhere, a lab that cannot be made although the requirements are met.
    pub fn new_or_skip(name: &str) -> Option<Self> {
        Self::new_with_or_skip(name, &[])
    }

    /// Like [`Lab::new_or_skip`], for a test that needs more programs: each with the Debian package that holds it.
    ///
    /// # Panics
    /// As [`Lab::new_or_skip`] does.
    pub fn new_with_or_skip(name: &str, tools: &[(&'static str, &'static str)]) -> Option<Self> {
        match require(tools)
            .map_err(Error::from)
            .and_then(|()| Self::new(name))
        {
            Ok(lab) => Some(lab),
            Err(Error::Missing(missing)) if !on_ci() => {
                eprintln!("skipped: {name}: {missing}");
                None
            }
            Err(error) => panic!("no lab for {name}: {error}"),
        }
    }

    /// The same lab with other random draws on the shaped links that are made from now on.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        self.state.seed.store(seed, Ordering::Relaxed);
        self
    }

    /// Makes the network that joins everything: a router of 203.0.113.0/24 with one link for each
    /// host or NAT box. Links are shaped unless [`Network::with_cable`] says otherwise.
    pub fn internet(&self) -> Result<Network, Error> {
        Network::internet(&self.state, DOCUMENTATION, false)
    }

    /// Like [`Lab::internet`], with the addresses of this /24: for programs that know which ones stand in documentation
    /// alone and take them for a mistake.
    pub fn internet_at(&self, prefix: [u8; 3]) -> Result<Network, Error> {
        Network::internet(&self.state, prefix, false)
    }

    /// Like [`Lab::internet`], with IPv6 (2001:db8::/32) everywhere beside IPv4.
    pub fn dual_stack_internet(&self) -> Result<Network, Error> {
        Network::internet(&self.state, DOCUMENTATION, true)
    }

    /// What the names of this lab's namespaces begin with.
    pub fn id(&self) -> &str {
        &self.state.id
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The devices of the shaped links hold on to their namespaces, so they go first.
        for shaper in self.state.shapers().drain(..) {
            shaper.stop();
        }
        remove(&self.state.id);
        let _ = fs::remove_file(lock_path(&self.state.id));
    }
}

impl LabState {
    /// The full name of a node's namespace.
    pub(crate) fn namespace(&self, node: &str) -> String {
        format!("{}-{node}", self.id)
    }

    /// A number for the next LAN: 1, 2, …
    pub(crate) fn next_lan(&self) -> u32 {
        self.lan.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A number for the next lane of a shaped link, and its seed.
    pub(crate) fn next_lane(&self) -> (u32, u64) {
        let number = self.lane.fetch_add(1, Ordering::Relaxed);
        let seed = self.seed.load(Ordering::Relaxed);
        // Seeds that differ little must not give courses that do: spread them by the golden ratio.
        let own = u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (number, seed.wrapping_add(own))
    }

    /// Keeps a shaped link running until the lab ends.
    pub(crate) fn keep(&self, shaper: &Arc<Shaper>) {
        self.shapers().push(shaper.clone());
    }

    /// Ends a shaped link, and its namespaces' ends of it.
    pub(crate) fn release(&self, shaper: &Arc<Shaper>) {
        self.shapers().retain(|kept| !Arc::ptr_eq(kept, shaper));
        shaper.stop();
    }

    fn shapers(&self) -> MutexGuard<'_, Vec<Arc<Shaper>>> {
        self.shapers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a name will do as a part of a namespace's.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let fits = (1..=24).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    fits.then_some(()).ok_or_else(|| Error::Name(name.into()))
}

/// The path of a namespace's file.
pub(crate) fn namespace_path(namespace: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(namespace)
}

fn on_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

fn lock_path(id: &str) -> PathBuf {
    Path::new(LOCK_DIR).join(id)
}

/// Takes an id that no living lab has, and the lock that says that it is taken.
fn register(name: &str) -> Result<(String, File), Error> {
    fs::create_dir_all(LOCK_DIR).map_err(Error::io(format!("create {LOCK_DIR}")))?;
    loop {
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let id = format!("natlab-{}-{count}-{name}", std::process::id());
        let path = lock_path(&id);
        let file = File::create(&path).map_err(Error::io(format!("create {}", path.display())))?;
        // A sweep may have taken the file between its creation and now; then it will remove it.
        let ours = file.try_lock().is_ok()
            && fs::metadata(&path)
                .is_ok_and(|now| file.metadata().is_ok_and(|then| then.ino() == now.ino()));
        if ours {
            return Ok((id, file));
        }
    }
}

/// Removes the labs whose processes have died.
fn sweep() {
    let Ok(entries) = fs::read_dir(LOCK_DIR) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(file) = File::open(entry.path()) else {
            continue;
        };
        if file.try_lock().is_ok() {
            remove(&entry.file_name().to_string_lossy());
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Kills what runs in the namespaces of a lab, and removes them.
fn remove(id: &str) {
    let prefix = format!("{id}-");
    let Ok(entries) = fs::read_dir(NETNS_DIR) else {
        return;
    };
    let names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect();
    let inodes: HashSet<u64> = names
        .iter()
        .filter_map(|name| fs::metadata(namespace_path(name)).ok())
        .map(|namespace| namespace.ino())
        .collect();
    // A process may fork while the list is read; whatever a killed one has just started is found
    // in the next round.
    for _ in 0..10 {
        let inside = processes_in(&inodes);
        if inside.is_empty() {
            break;
        }
        for pid in inside {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
    let script: String = names
        .iter()
        .map(|name| format!("netns del {name}\n"))
        .collect();
    if !script.is_empty() {
        let _ = tool::output(tool::command("ip").args(["-force", "-batch", "-"]), &script);
    }
}

/// The processes, other than this one and those already dead, in one of these namespaces.
fn processes_in(inodes: &HashSet<u64>) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|&pid| pid != std::process::id() as i32)
        .filter(|pid| {
            let namespace: io::Result<_> = fs::metadata(format!("/proc/{pid}/ns/net"));
            namespace.is_ok_and(|namespace| inodes.contains(&namespace.ino()))
        })
        .filter_map(Pid::from_raw)
        .collect()
}
