//! How many descriptors this process may have: each connection and each socket takes one, and service managers and
//! shells start programs with 1,024 of them unless told otherwise, though the program may have more.
//!
//! What this process starts gets as many as it was started with itself: a program that waits by select(2) breaks at
//! descriptors beyond 1,023, which is what the usual limit is for. What it leaves out: systems without such a limit.

use std::io;

#[cfg(unix)]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No more are looked for where the system refuses what it says itself may be had.
#[cfg(unix)]
const MOST_LOOKED_FOR: u64 = 1 << 20;

/// The descriptors that this process was started with, for what it starts; by default those that it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Descriptors {
    #[cfg(unix)]
    before: Option<Rlimit>,
}

/// Whether an error says that there is no descriptor left, for this process or for the whole system: nothing is known
/// then of what it was to be for.
pub fn are_used_up(error: &io::Error) -> bool {
    #[cfg(unix)]
    let errors = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(|e| e.raw_os_error());
    // WSAEMFILE.
    #[cfg(not(unix))]
    let errors = [10_024];
    error.raw_os_error().is_some_and(|of| errors.contains(&of))
}

impl Descriptors {
    /// Takes all that this process may have. Where the system refuses, it does with what it has.
    #[cfg(unix)]
    pub fn take_all() -> Self {
        let before = getrlimit(Resource::Nofile);
        let take = |current| setrlimit(Resource::Nofile, Rlimit { current, ..before }).is_ok();
        let taken = take(before.maximum) || {
            let refused = before.maximum.unwrap_or(MOST_LOOKED_FOR);
            before.current.is_some_and(|current| {
                take_most(current, refused.min(MOST_LOOKED_FOR), |n| take(Some(n)))
            })
        };
        Self {
            before: taken.then_some(before),
        }
    }

    /// Takes all that this process may have: there is no limit.
    #[cfg(not(unix))]
    pub fn take_all() -> Self {
        Self {}
    }

    /// Starts a program by `spawn`, with the limit that this process was started with.
    ///
    /// # Errors
    /// If `spawn` fails.
    #[cfg(unix)]
    pub fn start<C>(
        self,
        mut spawn: impl FnMut() -> io::Result<C>,
        pid: impl Fn(&C) -> Option<u32>,
    ) -> io::Result<C> {
        let Some(before) = self.before else {
            return spawn();
        };
        // A limit that is inherited holds from the program's first instruction on; one that is set for it once it runs
        // comes later than its first look at it. Meanwhile this process has the lower one too: what is open stays so,
        // and nothing else happens on this thread.
        let own = getrlimit(Resource::Nofile);
        if setrlimit(Resource::Nofile, at(before, own)).is_err() {
            return spawn();
        }
        let started = spawn();
        let _ = setrlimit(Resource::Nofile, own);
        match started {
            // More is open here than the program may have, and starting it took another one, a pipe to it say.
            Err(error) if are_used_up(&error) => {
                let child = spawn()?;
                set(pid(&child), at(before, own));
                Ok(child)
            }
            started => started,
        }
    }

    /// Starts a program by `spawn`: there is no limit.
    ///
    /// # Errors
    /// If `spawn` fails.
    #[cfg(not(unix))]
    pub fn start<C>(
        self,
        mut spawn: impl FnMut() -> io::Result<C>,
        _pid: impl Fn(&C) -> Option<u32>,
    ) -> io::Result<C> {
        spawn()
    }
}

/// How many descriptors this process may have now.
pub fn limit() -> usize {
    #[cfg(unix)]
    let current = getrlimit(Resource::Nofile).current;
    #[cfg(not(unix))]
    let current: Option<u64> = None;
    current
        .and_then(|current| usize::try_from(current).ok())
        .unwrap_or(usize::MAX)
}

/// Takes as many as the system gives, above `had` and below `refused`; whether that is more than before. macOS says
/// that there is no limit, as a rule, and refuses every number above one that it does not tell here, "no limit" too.
#[cfg(unix)]
fn take_most(had: u64, refused: u64, take: impl Fn(u64) -> bool) -> bool {
    let (mut taken, mut refused) = (had, refused);
    while refused.saturating_sub(taken) > 1 {
        let middle = taken.midpoint(refused);
        if take(middle) {
            taken = middle;
        } else {
            refused = middle;
        }
    }
    taken > had
}

/// The limit of before, with what may be had at the most as it is.
#[cfg(unix)]
fn at(before: Rlimit, own: Rlimit) -> Rlimit {
    Rlimit {
        current: before.current,
        ..own
    }
}

/// Gives a child another limit, where the system can; one that has ended needs none.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn set(pid: Option<u32>, limit: Rlimit) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::prlimit(Some(pid), Resource::Nofile, limit);
    }
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn set(_pid: Option<u32>, _limit: Rlimit) {}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        cell::Cell,
        fs::File,
        io::{Read, Write},
        process::{Child, Command, Stdio},
    };

    use super::*;

    /// By which a test knows that it runs in a process of its own, whose limit it may change.
    const WITHIN: &str = "P2PDBG_TEST_DESCRIPTORS";

    /// The limit with which that process is started, so to speak.
    const BEFORE: u64 = 64;

    /// Runs this test in a process of its own; false if this is that process.
    fn runs_alone(test: &str) -> bool {
        if std::env::var_os(WITHIN).is_some() {
            return false;
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                &format!("descriptors::tests::{test}"),
                "--nocapture",
            ])
            .env(WITHIN, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        true
    }

    /// A shell that says its limit when it is told to go on.
    fn shell() -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", "read -r _; ulimit -Sn"]);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        shell
    }

    fn says(mut child: Child) -> String {
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut said = String::new();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        said.trim().to_owned()
    }

    fn begin() -> Descriptors {
        let own = getrlimit(Resource::Nofile);
        let before = Rlimit {
            current: Some(BEFORE),
            ..own
        };
        setrlimit(Resource::Nofile, before).unwrap();
        Descriptors::take_all()
    }

    #[test]
    fn program_gets_the_limit_of_before_and_this_process_all_that_it_may_have() {
        if runs_alone("program_gets_the_limit_of_before_and_this_process_all_that_it_may_have") {
            return;
        }
        let descriptors = begin();
        let raised = getrlimit(Resource::Nofile);
        assert_eq!(raised.current, raised.maximum);
        let child = descriptors.start(|| shell().spawn(), |child| Some(child.id()));
        assert_eq!(says(child.unwrap()), BEFORE.to_string());
        assert_eq!(getrlimit(Resource::Nofile), raised);
        // Which limit it would get otherwise.
        let child = Descriptors::default().start(|| shell().spawn(), |child| Some(child.id()));
        assert_ne!(says(child.unwrap()), BEFORE.to_string());
    }

    #[test]
    fn system_that_gives_fewer_than_it_says_is_asked_for_as_many_as_it_gives() {
        for (had, gives) in [(256, 10_240), (256, 257), (1_024, 61_440), (256, 256)] {
            let has = Cell::new(had);
            let take = |wanted| {
                let given = wanted <= gives;
                if given {
                    has.set(wanted);
                }
                given
            };
            let more = take_most(had, MOST_LOOKED_FOR, take);
            assert_eq!((has.get(), more), (gives, gives > had));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn program_is_started_while_more_is_open_than_it_may_have() {
        if runs_alone("program_is_started_while_more_is_open_than_it_may_have") {
            return;
        }
        let descriptors = begin();
        let raised = getrlimit(Resource::Nofile);
        let open: Vec<File> = (0..BEFORE)
            .map(|_| File::open("/dev/null").unwrap())
            .collect();
        let child = descriptors.start(|| shell().spawn(), |child| Some(child.id()));
        assert_eq!(says(child.unwrap()), BEFORE.to_string());
        assert_eq!(getrlimit(Resource::Nofile), raised);
        drop(open);
    }
}
