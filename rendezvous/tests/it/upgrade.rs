//! What the program is told while another takes its place.

use std::{fs, path::Path, process::Command, time::Duration};

use p2pdbg_proto::rendezvous::{FromRendezvous, NameplateClaim, ToRendezvous};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    operator::command,
    program::{ANY, PROGRAM, Running},
    support::{soon, state_dir},
    tcp::Talker,
    written_programs::{copy_program, write_program},
};

/// A program in the place of one that runs, which begins as that one's successor and becomes the real one when it may:
/// as long as a process has executed a program that watches for no signal yet.
struct SlowSuccessor {
    home: TempDir,
    running: Running,
}

impl SlowSuccessor {
    async fn begin(state: &Path) -> Self {
        Self::begin_as(state, &format!("exec {PROGRAM} --version")).await
    }

    /// The same of one that says its version by this line of a shell.
    async fn begin_as(state: &Path, says_version: &str) -> Self {
        let home = state_dir();
        let (program, new) = (home.path().join("program"), home.path().join("new"));
        copy_program(Path::new(PROGRAM), &program);
        let running = Running::of_program(&program, state, &ANY);
        let home_path = home.path().display();
        let script = format!(
            "#!/bin/sh\n\
             if [ \"$1\" = --version ]; then {says_version}; exit; fi\n\
             : > {home_path}/begun\n\
             read go < {home_path}/go\n\
             exec {PROGRAM} \"$@\"\n"
        );
        // It waits by itself: a shell that waits for another program lets signals come.
        let made = Command::new("mkfifo").arg(home.path().join("go")).status();
        assert!(made.unwrap().success());
        write_program(&new, &script);
        fs::rename(&new, &program).unwrap();
        running.signal(Signal::USR2);
        let begun = home.path().join("begun");
        soon(async {
            while !begun.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        Self { home, running }
    }

    /// Which of these signals it does not let come, by a bit for each number.
    fn blocked(&self, of: &[Signal]) -> u64 {
        let status = format!("/proc/{}/status", self.running.child.id());
        let status = fs::read_to_string(status).unwrap();
        let mut lines = status.lines();
        let mask = lines.find_map(|line| line.strip_prefix("SigBlk:"));
        let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
        let bit = |signal: &Signal| 1 << (signal.as_raw() - 1);
        mask & of.iter().map(bit).sum::<u64>()
    }

    /// Lets it become the real one.
    fn go(self) -> Running {
        fs::write(self.home.path().join("go"), "go\n").unwrap();
        self.running
    }
}

#[tokio::test]
async fn a_signal_that_comes_before_a_successor_watches_for_any_is_heeded_by_it() {
    for signal in [Signal::TERM, Signal::INT] {
        let state = state_dir();
        let slow = SlowSuccessor::begin(state.path()).await;
        slow.running.signal(signal);
        assert_eq!(slow.go().end().0, Some(0), "{signal:?}");
    }
    for (signal, lines) in [(Signal::HUP, 1), (Signal::USR2, 2)] {
        let state = state_dir();
        let slow = SlowSuccessor::begin(state.path()).await;
        slow.running.signal(signal);
        let mut running = slow.go();
        for _ in 0..lines {
            assert_eq!(running.next_line(), running.first_line, "{signal:?}");
        }
        running.peer().await.listen(None).await;
        running.signal(Signal::TERM);
        assert_eq!(running.end().0, Some(0), "{signal:?}");
    }
}

#[tokio::test]
async fn an_older_program_that_reads_no_signal_that_waits_can_be_stopped() {
    let state = state_dir();
    let older = SlowSuccessor::begin_as(state.path(), "echo p2pdbg-rendezvous 0.0.9").await;
    let all = [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR2];
    assert_eq!(older.blocked(&all), 0);
    older.running.signal(Signal::TERM);
    assert_eq!(older.running.end().0, None, "it ends by the signal");
    let state = state_dir();
    let newer = SlowSuccessor::begin(state.path()).await;
    assert_ne!(newer.blocked(&all), 0);
}

/// What an operator may do in any order.
const WHATEVER: [&[&str]; 4] = [
    &["drain", "--for", "10m"],
    &["undrain"],
    &["reload"],
    &["keys", "add"],
];

#[tokio::test]
async fn drains_upgrades_and_reloads_in_any_order_leave_a_rendezvous_that_serves() {
    let state = state_dir();
    let mut running = Running::start(state.path(), &ANY);
    let claim = running.peer().await.listen(None).await;
    // The same order each time, without a pattern.
    let mut number = 20_u64;
    for round in 0..60 {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        match number >> 61 {
            what @ 0..=3 => {
                let words = WHATEVER[usize::try_from(what).unwrap()];
                let mut words: Vec<&str> = words.to_vec();
                let name = format!("key-{round}");
                if words[0] == "keys" {
                    words.push(&name);
                }
                // It may be between two programs, and says so then.
                let _ = command(state.path(), &words).output().unwrap();
            }
            4 => running.signal(Signal::HUP),
            5 | 6 => running.signal(Signal::USR2),
            _ => {
                running.signal(Signal::USR2);
                running.signal(Signal::HUP);
            }
        }
        tokio::time::sleep(Duration::from_millis(number >> 56)).await;
        assert!(running.child.try_wait().unwrap().is_none(), "round {round}");
    }
    let listening = FromRendezvous::Listening(claim.clone());
    soon(async {
        while !claims(&running, state.path(), &claim, &listening).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}

/// Whether the rendezvous takes a code back, once it has been told that it is in service after all.
async fn claims(
    running: &Running,
    state: &Path,
    claim: &NameplateClaim,
    listening: &FromRendezvous,
) -> bool {
    let undrained = command(state, &["undrain"]).output().unwrap();
    let ip = [127, 0, 0, 1].into();
    let Some(mut peer) = Talker::from(ip, &running.url(), running.key()).await else {
        return false;
    };
    let claim = Some(claim.clone());
    peer.say(&ToRendezvous::Listen { claim }).await;
    undrained.status.success() && peer.hear().await.as_ref() == Some(listening)
}
