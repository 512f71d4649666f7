//! The programs on stage: started, listened to, and ended with the demo.

use std::{
    collections::HashMap,
    fmt,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{moment::Moment, seen::Seen, story::Story};

/// One of the programs of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// `p2pdbg-rendezvous`, on the public host.
    Rendezvous,
    /// `p2pdbg listen`, on the laptop.
    Listen,
    /// `p2pdbg connect`, on the server.
    Connect,
    /// The debugger of the IDE, on the laptop.
    Debugger,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rendezvous => "rendezvous",
            Self::Listen => "laptop",
            Self::Connect => "server",
            Self::Debugger => "IDE",
        })
    }
}

/// What comes out of a program.
enum Output {
    /// A line on standard output.
    Line(String),
    /// A line on standard error.
    Complaint(String),
    /// Both have ended, so the program has, or is about to.
    End,
}

/// The programs that run, and what they have done so far.
pub(crate) struct Cast {
    story: Story,
    seen: Seen,
    deadline: Instant,
    running: HashMap<Who, Child>,
    ended: HashMap<Who, ExitStatus>,
    stopping: Option<Who>,
    sender: Sender<(Who, Output)>,
    outputs: Receiver<(Who, Output)>,
}

impl Cast {
    /// Nobody on stage yet. All is to be over within `limit`.
    pub(crate) fn new(story: Story, limit: Duration) -> Self {
        let (sender, outputs) = mpsc::channel();
        Self {
            story,
            seen: Seen::default(),
            deadline: Instant::now() + limit,
            running: HashMap::new(),
            ended: HashMap::new(),
            stopping: None,
            sender,
            outputs,
        }
    }

    /// What has happened so far.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Starts a program, which people are told as `shown`.
    pub(crate) fn start(&mut self, who: Who, command: &mut Command, shown: &str) -> Result<()> {
        self.story.starts(who, shown);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {shown}"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        self.running.insert(who, child);
        let sender = self.sender.clone();
        thread::spawn(move || {
            thread::scope(|scope| {
                scope.spawn(|| forward(stderr, |line| sender.send((who, Output::Complaint(line)))));
                forward(stdout, |line| sender.send((who, Output::Line(line))));
            });
            // Nobody listens any more when the demo is over.
            let _ = sender.send((who, Output::End));
        });
        Ok(())
    }

    /// Lets things happen until `found` finds what it looks for among them.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&Seen) -> Option<T>,
    ) -> Result<T> {
        self.wait(what, |cast| found(&cast.seen))
    }

    /// Lets things happen until a program has ended by itself, with status 0.
    pub(crate) fn until_ended(&mut self, who: Who) -> Result<()> {
        let status = self.wait(&format!("the end of the program on the {who}"), |cast| {
            cast.ended.get(&who).copied()
        })?;
        self.story.ends(who, status);
        Ok(())
    }

    /// Tells a program to end, and waits until it has.
    pub(crate) fn stop(&mut self, who: Who) -> Result<()> {
        self.stopping = Some(who);
        if let Some(child) = self.running.get_mut(&who) {
            interrupt(child)?;
        }
        self.until_ended(who)
    }

    /// The end of the story.
    pub(crate) fn close(self) {
        self.story.close(&self.seen);
    }

    fn wait<T>(&mut self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> Result<T> {
        loop {
            if let Some(found) = found(self) {
                return Ok(found);
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            let output = self.outputs.recv_timeout(left);
            let (who, output) = output.with_context(|| format!("waited in vain for {what}"))?;
            self.hear(who, output)?;
            if let Some(failure) = &self.seen.failure {
                bail!("{failure}");
            }
        }
    }

    fn hear(&mut self, who: Who, output: Output) -> Result<()> {
        match output {
            Output::Line(line) => {
                let moment = Moment::parse(who, line)?;
                self.story.tell(who, &moment);
                self.seen.note(who, moment);
            }
            Output::Complaint(line) => self.story.complains(who, &line),
            Output::End => {
                let mut child = self.running.remove(&who).context("it ended twice")?;
                let status = child.wait()?;
                let as_told = status.success() || self.stopping == Some(who);
                ensure!(as_told, "the program on the {who} ended with {status}");
                self.ended.insert(who, status);
            }
        }
        Ok(())
    }
}

impl Drop for Cast {
    /// Nobody stays on stage when the demo ends before its time.
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Hands each line on, up to a line that nobody takes.
fn forward<E>(output: impl Read, mut take: impl FnMut(String) -> Result<(), E>) {
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { return };
        if take(line).is_err() {
            return;
        }
    }
}

/// Asks a program to end. Not as ^C would, which is ignored there if this one was started so.
#[cfg(unix)]
fn interrupt(child: &mut Child) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    Ok(kill_process(Pid::from_child(child), Signal::TERM)?)
}

#[cfg(not(unix))]
fn interrupt(child: &mut Child) -> Result<()> {
    Ok(child.kill()?)
}
