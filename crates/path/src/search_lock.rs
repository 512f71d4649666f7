//! One search at a time on a host.
//!
//! A search takes hundreds of mappings at the NAT, and two at once would take each other's ports away. So whoever
//! searches holds a lock on a file in the state directory: between the sessions of one process and between processes
//! alike. The kernel releases it when its holder dies. Nobody waits for it: a session that does not get it goes on with
//! plain checks and asks again soon.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::PathBuf,
    time::{Duration, Instant},
};

/// The lock's name in the state directory.
pub const SEARCH_LOCK: &str = "search.lock";

/// How often a permit that another holds is asked for again.
const RETRY: Duration = Duration::from_millis(200);

/// The longest that a permit is held in one piece: no attempt takes longer.
const LONGEST: Duration = Duration::from_secs(40);

/// The permit to search, as one session has it or not.
#[derive(Debug)]
pub(super) struct Permit {
    path: PathBuf,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is to be searched.
    Idle,
    /// Another process of this host searches; it is asked again then.
    Wanted { next: Instant },
    /// This session searches; the file is locked for as long as it is open. None where it cannot be opened: better two
    /// searches than none.
    Held { file: Option<File>, until: Instant },
}

impl Permit {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            state: State::Idle,
        }
    }

    /// Asks for the permit; whether it is held now.
    pub(super) fn want(&mut self, now: Instant) -> bool {
        if !matches!(self.state, State::Held { .. }) {
            self.state = match self.try_lock() {
                Ok(file) => State::Held {
                    file,
                    until: now + LONGEST,
                },
                Err(Taken) => State::Wanted { next: now + RETRY },
            };
        }
        matches!(self.state, State::Held { .. })
    }

    /// Gives it back, or asks for it no more.
    pub(super) fn release(&mut self) {
        if let State::Held {
            file: Some(file), ..
        } = std::mem::replace(&mut self.state, State::Idle)
        {
            // Closing does it too, but not while a process that is being started still has a copy.
            let _ = file.unlock();
        }
    }

    /// When [`Permit::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Idle => None,
            State::Wanted { next } => Some(next),
            State::Held { until, .. } => Some(until),
        }
    }

    /// Asks again, or gives back what was held for too long; whether it is held now, if that has changed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<bool> {
        match self.state {
            State::Wanted { next } if next <= now => self.want(now).then_some(true),
            State::Held { until, .. } if until <= now => {
                self.release();
                Some(false)
            }
            _ => None,
        }
    }

    fn try_lock(&self) -> Result<Option<File>, Taken> {
        let opened = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path);
        let locked = opened.and_then(|file| match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        });
        match locked {
            Ok(Some(file)) => Ok(Some(file)),
            Ok(None) => Err(Taken),
            Err(error) => {
                tracing::debug!(%error, "cannot tell whether another session searches");
                Ok(None)
            }
        }
    }
}

/// Another session of this host holds the lock.
struct Taken;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_it_and_the_next_gets_it_soon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SEARCH_LOCK);
        let now = Instant::now();
        let (mut one, mut two) = (Permit::new(path.clone()), Permit::new(path));
        assert!(one.want(now));
        assert!(one.want(now), "it is held already");
        assert!(!two.want(now));
        let next = two.poll_timeout().unwrap();
        assert_eq!(two.handle_timeout(next), None);
        one.release();
        assert_eq!(one.poll_timeout(), None);
        let next = two.poll_timeout().unwrap();
        assert_eq!(two.handle_timeout(next), Some(true));
        assert!(!one.want(next));
    }

    #[test]
    fn it_is_not_held_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SEARCH_LOCK);
        let now = Instant::now();
        let (mut one, mut two) = (Permit::new(path.clone()), Permit::new(path));
        assert!(one.want(now));
        let until = one.poll_timeout().unwrap();
        assert_eq!(one.handle_timeout(until), Some(false));
        assert!(two.want(until));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_that_is_killed_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SEARCH_LOCK);
        let mut permit = Permit::new(path.clone());
        // What it runs has the file not open, and ends with its standard input.
        let mut holder = std::process::Command::new("flock")
            .arg("--close")
            .arg(&path)
            .args(["sh", "-c", "echo; exec cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // It says something once it holds the lock.
        let mut said = [0];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
        assert!(!permit.want(Instant::now()));
        let next = permit.poll_timeout().unwrap();
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert_eq!(permit.handle_timeout(next), Some(true));
    }

    #[test]
    fn where_there_is_no_file_to_lock_everybody_may() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing").join(SEARCH_LOCK);
        assert!(Permit::new(path).want(Instant::now()));
    }
}
