//! What a process costs, as the kernel says.

use std::{collections::HashMap, fs};

use anyhow::{Context, Result};

/// A look at a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vitals {
    /// Memory in use, in KiB.
    pub(crate) rss_kib: f64,
    threads: HashMap<String, Thread>,
}

/// What a thread has done so far.
#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    cpu_s: f64,
    /// How often it has gone to sleep, and so was woken.
    sleeps: f64,
}

impl Vitals {
    /// What this process has used up to now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut vitals = Self::default();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        vitals.rss_kib = field(&status, "VmRSS:").context("no VmRSS")?;
        for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let read = |name: &str| fs::read_to_string(task.path().join(name));
            // A thread may end between two of these lines.
            let (Ok(schedstat), Ok(status)) = (read("schedstat"), read("status")) else {
                continue;
            };
            let on_cpu: f64 = schedstat
                .split_whitespace()
                .next()
                .context("no schedstat")?
                .parse()?;
            let thread = Thread {
                cpu_s: on_cpu / 1e9,
                sleeps: field(&status, "voluntary_ctxt_switches:").unwrap_or_default(),
            };
            let name = task.file_name().to_string_lossy().into_owned();
            vitals.threads.insert(name, thread);
        }
        Ok(vitals)
    }

    /// Seconds on a processor so far, of the threads that are still there.
    pub(crate) fn cpu(&self) -> f64 {
        self.cpu_since(&Self::default())
    }

    /// Seconds on a processor since the look before, of the threads that are still there.
    pub(crate) fn cpu_since(&self, before: &Self) -> f64 {
        self.since(before, |thread| thread.cpu_s)
    }

    /// How often they have gone to sleep since then.
    pub(crate) fn sleeps_since(&self, before: &Self) -> f64 {
        self.since(before, |thread| thread.sleeps)
    }

    fn since(&self, before: &Self, of: impl Fn(&Thread) -> f64) -> f64 {
        let grown = |(name, thread): (&String, &Thread)| {
            of(thread) - before.threads.get(name).map_or(0.0, &of)
        };
        self.threads.iter().map(grown).sum()
    }
}

/// This process and those that it has started and that still run, and so on.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next) {
        let tasks = fs::read_dir(format!("/proc/{parent}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().flat_map(str::parse::<u32>));
        }
        next += 1;
    }
    family
}

fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
