//! A program that runs on a node of the lab, and the lines that it prints.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use serde_json::Value;

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(40);

/// A running program; dropping it kills it and what it has started.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: mpsc::Receiver<(Instant, String)>,
    seen: Vec<(Instant, String)>,
}

impl Process {
    /// Starts it; both of its outputs are read.
    pub(crate) fn start(name: &str, mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        let (to, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            read(stdout, to.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            read(stderr, to);
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            lines,
            seen: Vec::new(),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line in which `look` finds something, among those before too; tells when it came.
    pub(crate) fn find<T>(
        &mut self,
        what: &str,
        look: impl FnMut(&str) -> Option<T>,
    ) -> Result<(Instant, T)> {
        self.find_within(PATIENCE, what, look)
    }

    /// Looks no more at the lines that have come so far.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
        while self.lines.try_recv().is_ok() {}
    }

    /// The same as `find` with a patience of its own.
    pub(crate) fn find_within<T>(
        &mut self,
        patience: Duration,
        what: &str,
        mut look: impl FnMut(&str) -> Option<T>,
    ) -> Result<(Instant, T)> {
        for (at, line) in &self.seen {
            if let Some(found) = look(line) {
                return Ok((*at, found));
            }
        }
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((at, line)) = self.lines.recv_timeout(left) else {
                let said: Vec<_> = self.seen.iter().map(|(_, line)| line.as_str()).collect();
                bail!("{}: no {what}; it said: {}", self.name, said.join(" | "));
            };
            let found = look(&line);
            self.seen.push((at, line));
            if let Some(found) = found {
                return Ok((at, found));
            }
        }
    }

    /// Waits for an event of `--json`.
    pub(crate) fn event(
        &mut self,
        name: &str,
        mut matches: impl FnMut(&Value) -> bool,
    ) -> Result<(Instant, Value)> {
        self.find(name, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == name && matches(&event)).then_some(event)
        })
    }

    /// Waits until it ends, and fails if it failed.
    pub(crate) fn wait(&mut self) -> Result<()> {
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

fn read(from: impl Read + Send + 'static, to: mpsc::Sender<(Instant, String)>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
}
