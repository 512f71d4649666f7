//! Processes that have ended, and whose exit status this process has to take.
//!
//! Those that it started itself are awaited where they were started. Where it is the first process of a container, the
//! kernel also gives it those whose parents are gone, which stay as zombies until their status is taken.

use std::{collections::HashSet, fs, time::Duration};

use p2pdbg_base::Failure;
use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

use super::interrupt::not_caught;

/// Between two looks. What this process has started is awaited, and so gone within moments; whatever is a zombie at
/// both looks is nobody's. To take the status of a debugger's tool would have it fail.
const PAUSE: Duration = Duration::from_secs(1);

/// A process as it is known: its id, which may be used again, and its start in ticks.
type Known = (i32, u64);

/// Takes the exit status of orphans, as long as it lives.
pub(super) struct Reaper(Option<JoinHandle<()>>);

impl Reaper {
    /// Begins with it, if this is the first process of a container.
    ///
    /// Everywhere it sees to it that the exit status of what this process starts is kept, also where ended processes
    /// were ignored when it was started itself: there the system would take the status.
    ///
    /// # Errors
    /// If signals cannot be caught.
    pub(super) fn start() -> Result<Self, Failure> {
        let ended = signal(SignalKind::child()).map_err(not_caught)?;
        let is_first = std::process::id() == 1;
        Ok(Self(is_first.then(|| tokio::spawn(reap(ended)))))
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

async fn reap(mut ended: Signal) {
    // Some may have ended before this program took the first process' place.
    loop {
        let mut before = zombies();
        while !before.is_empty() {
            tokio::time::sleep(PAUSE).await;
            let mut now = zombies();
            now.retain(|zombie| !before.contains(zombie) || !take(*zombie));
            before = now;
        }
        if ended.recv().await.is_none() {
            return;
        }
    }
}

/// Takes the exit status of a zombie; whether it could.
fn take((pid, _): Known) -> bool {
    let taken = Pid::from_raw(pid).map(|pid| waitpid(Some(pid), WaitOptions::NOHANG));
    matches!(taken, Some(Ok(Some(_))))
}

/// The zombies whose parent is the first process.
fn zombies() -> HashSet<Known> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, zombie_of_the_first(&stat)?))
    })
    .collect()
}

/// When a process was started of which this is `/proc/PID/stat`, if it has ended and its parent is process 1 (proc(5)).
fn zombie_of_the_first(stat: &str) -> Option<u64> {
    // The name stands in brackets and may hold anything, brackets too.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    match fields[..] {
        ["Z", "1", ..] => fields.get(19)?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphan_is_a_zombie_whose_parent_is_the_first_process() {
        let rest = "5 5 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0";
        let stat = |head: &str| zombie_of_the_first(&format!("{head} {rest}"));
        assert_eq!(stat("7 (a) Z 3 b) Z 1"), Some(4711));
        assert_eq!(stat("7 (app) Z 12"), None);
        assert_eq!(stat("7 (app) S 1"), None);
        assert_eq!(zombie_of_the_first(""), None);
        assert_eq!(zombie_of_the_first("7 (app) Z 1"), None);
    }
}
