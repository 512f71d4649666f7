//! What a process costs, as the kernel says.

use std::fs;

use anyhow::{Context, Result};

/// A look at a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Vitals {
    /// Memory in use, in KiB.
    pub(crate) rss_kib: f64,
    /// Seconds on a processor so far.
    pub(crate) cpu_s: f64,
    /// How often its threads have gone to sleep so far, and so were woken.
    pub(crate) sleeps: f64,
}

impl Vitals {
    /// Of this process, now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut vitals = Self::default();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        vitals.rss_kib = field(&status, "VmRSS:").context("no VmRSS")?;
        for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let schedstat = fs::read_to_string(task.path().join("schedstat"))?;
            let on_cpu: f64 = schedstat
                .split_whitespace()
                .next()
                .context("no schedstat")?
                .parse()?;
            vitals.cpu_s += on_cpu / 1e9;
            let status = fs::read_to_string(task.path().join("status"))?;
            vitals.sleeps += field(&status, "voluntary_ctxt_switches:").unwrap_or_default();
        }
        Ok(vitals)
    }
}

fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
