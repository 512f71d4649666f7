//! A running program whose output is read as it comes.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{PATIENCE, Transcript, eventually};

/// A program that runs until it ends by itself or is dropped; then it and the processes of its group are killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
    transcript: Transcript,
    mark: String,
}

/// The variable by which a process that a program has started is known for it.
const MARK: &str = "P2PDBG_TEST_PROCESS";

#[derive(Debug, Default)]
struct Output {
    streams: Mutex<Streams>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Streams {
    stdout: Vec<String>,
    stderr: Vec<String>,
    /// How many of the two have ended.
    ended: usize,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads lines to the end of a stream.
    fn read(&self, from: impl Read, mut keep: impl FnMut(&mut Streams, String)) {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(from.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line);
            let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
            keep(&mut self.lock(), text);
            self.more.notify_all();
            line.clear();
        }
        self.lock().ended += 1;
        self.more.notify_all();
    }
}

impl Process {
    /// Starts it, with nothing on its standard input.
    pub fn start(name: &str, mut command: Command, transcript: &Transcript) -> Self {
        let mark = mark();
        command
            .env(MARK, &mark)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {command:?}: {error}"));
        let output = Arc::new(Output::default());
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        let out = {
            let (output, transcript, who) = (output.clone(), transcript.clone(), name.to_owned());
            std::thread::spawn(move || {
                output.read(stdout, |streams, line| {
                    transcript.add(&who, &line);
                    streams.stdout.push(line);
                });
            })
        };
        let err = {
            let (output, transcript) = (output.clone(), transcript.clone());
            let who = format!("{name} (stderr)");
            std::thread::spawn(move || {
                output.read(stderr, |streams, line| {
                    transcript.add(&who, &line);
                    streams.stderr.push(line);
                });
            })
        };
        Self {
            name: name.to_owned(),
            child,
            output,
            readers: vec![out, err],
            transcript: transcript.clone(),
            mark,
        }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `look` finds something in the lines of standard output.
    ///
    /// # Panics
    /// When patience or the output ends first.
    #[track_caller]
    pub fn find<T>(&self, what: &str, mut look: impl FnMut(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut streams = self.output.lock();
        loop {
            if let Some(found) = look(&streams.stdout) {
                return found;
            }
            assert!(streams.ended < 2, "{} ended without {what}", self.name);
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{}: still no {what}", self.name);
            streams = self
                .output
                .more
                .wait_timeout(streams, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for a line on standard output with this text in it.
    #[track_caller]
    pub fn line(&self, part: &str) -> String {
        self.find(&format!("line with {part:?}"), |lines| {
            lines.iter().find(|line| line.contains(part)).cloned()
        })
    }

    /// Standard output so far, in lines.
    pub fn stdout(&self) -> Vec<String> {
        self.output.lock().stdout.clone()
    }

    /// Standard error so far, in lines.
    pub fn stderr(&self) -> Vec<String> {
        self.output.lock().stderr.clone()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, and for all of its output.
    ///
    /// # Panics
    /// When patience ends first.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("end of {}", self.name);
        let status = eventually(&what, || self.child.try_wait().unwrap());
        self.transcript.add(&self.name, &format!("ended: {status}"));
        let deadline = Instant::now() + PATIENCE;
        let mut streams = self.output.lock();
        while streams.ended < 2 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "somebody keeps the output of {}",
                self.name
            );
            streams = self
                .output
                .more
                .wait_timeout(streams, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        status
    }

    /// Waits for its end and gives its exit status.
    #[track_caller]
    pub fn exit_status(&mut self) -> i32 {
        let status = self.wait();
        status
            .code()
            .unwrap_or_else(|| panic!("{} was killed: {status}", self.name))
    }

    /// Sends it a signal.
    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        self.transcript.add(&self.name, &format!("gets {signal:?}"));
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Presses ^C.
    #[cfg(unix)]
    pub fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    /// Ends it without a chance to say goodbye.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    /// Kills it and all that it has started, and waits for the rest of its output, within patience.
    fn drop(&mut self) {
        #[cfg(unix)]
        if matches!(self.child.try_wait(), Ok(None)) || self.output.lock().ended < 2 {
            // What it has started is in its group, also after its own end.
            let group = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        self.kill();
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A daemon, such as debugpy's adapter, has left the group and would keep its port and the output.
            #[cfg(unix)]
            for process in marked(&self.mark) {
                let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
            }
            if self.readers.iter().all(JoinHandle::is_finished) {
                return;
            }
            // A test that waited for whoever got away with the output would hang for good.
            if Instant::now() > deadline {
                eprintln!("somebody keeps the output of {}", self.name);
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A value of its own for each program that is started.
fn mark() -> String {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let started = STARTED.fetch_add(1, Ordering::Relaxed);
    format!("{}-{started}", std::process::id())
}

/// The processes that have this mark in their environment. None where the host has no /proc.
#[cfg(unix)]
fn marked(mark: &str) -> Vec<rustix::process::Pid> {
    let variable = format!("{MARK}={mark}");
    let is_marked = |environment: &[u8]| {
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|one| one == variable.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|process| {
            std::fs::read(process.path().join("environ")).is_ok_and(|read| is_marked(&read))
        })
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter_map(rustix::process::Pid::from_raw)
        .collect()
}
