//! The process that a tunnel belongs to: when it ends, killed outright or otherwise, the tunnel is to end as well.
//!
//! Linux tells of the end of a process by a file descriptor (pidfd). Elsewhere, and where a sandbox forbids that, the
//! process is looked for once a second. A pipe that the owner holds open would tell too, but each process that inherits
//! it would hold it as well.

use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

/// How often the process is looked for where the system does not tell of its end.
const LOOK: Duration = Duration::from_secs(1);

/// The process that is watched.
pub(super) struct Owner {
    pid: Pid,
    /// Whether it started this one: then its end shows even while its own parent has not taken note of it.
    parent: bool,
    #[cfg(target_os = "linux")]
    end: Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>,
}

impl Owner {
    /// Begins to watch the process of this id. One that is not there any more has ended.
    pub(super) fn watch(pid: Pid) -> Self {
        Self {
            pid,
            parent: is_parent(pid),
            #[cfg(target_os = "linux")]
            end: linux::end_of(pid).ok(),
        }
    }

    /// Waits for its end. Cancelling it loses nothing.
    pub(super) async fn ended(&self) {
        #[cfg(target_os = "linux")]
        if let Some(end) = &self.end
            && end.readable().await.is_ok()
        {
            return;
        }
        while self.runs() {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn runs(&self) -> bool {
        if self.parent {
            is_parent(self.pid)
        } else {
            test_kill_process(self.pid) != Err(rustix::io::Errno::SRCH)
        }
    }
}

fn is_parent(pid: Pid) -> bool {
    u32::try_from(pid.as_raw_pid()) == Ok(std::os::unix::process::parent_id())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{io, os::fd::OwnedFd};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::io::{Interest, unix::AsyncFd};

    /// Becomes readable when the process ends.
    pub(super) fn end_of(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that may close their descriptor early; this one does not"
        )]
        AsyncFd::with_interest(fd, Interest::READABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child() -> (std::process::Child, Pid) {
        let child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        (child, pid)
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_told_before_anybody_has_taken_note_of_it() {
        let (mut child, pid) = child();
        let owner = Owner::watch(pid);
        assert!(
            tokio::time::timeout(Duration::ZERO, owner.ended())
                .await
                .is_err()
        );
        child.kill().unwrap();
        // Not waited for yet, so it is there still, as a zombie.
        owner.ended().await;
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn where_the_system_does_not_tell_the_process_is_looked_for() {
        let (mut child, pid) = child();
        let owner = Owner {
            #[cfg(target_os = "linux")]
            end: None,
            ..Owner::watch(pid)
        };
        assert!(
            tokio::time::timeout(Duration::ZERO, owner.ended())
                .await
                .is_err()
        );
        child.kill().unwrap();
        child.wait().unwrap();
        owner.ended().await;
    }

    #[test]
    fn a_parent_is_there_until_another_takes_its_place() {
        let parent = Pid::from_raw(std::os::unix::process::parent_id().cast_signed());
        let mut owner = Owner {
            #[cfg(target_os = "linux")]
            end: None,
            pid: parent.unwrap(),
            parent: true,
        };
        assert!(owner.runs());
        owner.pid = rustix::process::getpid();
        assert!(!owner.runs());
    }
}
