//! The script that dpkg and rpm run once the server's new files lie there.

use std::{fs, process::Command};

const SCRIPT: &str = include_str!("../../packaging/nfpm/after-install");
const SYSTEMD: &str = "/run/systemd/system";
const SIGUSR2: &str = "kill --kill-who=main --signal=USR2 p2pdbg-rendezvous.service";
const RESTART: &str = "try-restart p2pdbg-rendezvous.service";

/// What systemctl is asked for on a host where some of its commands fail.
fn asked(runs_systemd: bool, failing: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let fails = if failing.is_empty() {
        "''".to_owned()
    } else {
        failing.join(" | ")
    };
    // A function in place of the program, so that nothing of this host is asked for anything.
    let systemctl = format!(
        "systemctl() {{ echo \"$*\" >>{}; case $1 in {fails}) return 3 ;; esac; }}\n",
        log.display()
    );
    let systemd = dir.path().join("system");
    if runs_systemd {
        fs::create_dir(&systemd).unwrap();
    }
    assert!(SCRIPT.contains(SYSTEMD));
    let script = systemctl + &SCRIPT.replace(SYSTEMD, systemd.to_str().unwrap());
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{status}");
    let log = fs::read_to_string(log).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

#[test]
fn upgraded_package_has_the_running_server_become_the_new_program() {
    let asked = asked(true, &[]);
    assert_eq!(asked.last().unwrap(), SIGUSR2, "{asked:?}");
    assert_eq!(asked[0], "daemon-reload");
    assert!(!asked.contains(&RESTART.to_owned()), "{asked:?}");
}

#[test]
fn upgraded_package_starts_a_server_again_that_cannot_be_told() {
    let asked = asked(true, &["kill"]);
    assert_eq!(asked[asked.len() - 2..], [SIGUSR2, RESTART]);
}

#[test]
fn package_leaves_a_server_alone_that_does_not_run() {
    // That command does nothing to such a one.
    let told = asked(true, &["is-active"]);
    assert_eq!(told.last().unwrap(), RESTART);
    assert!(!told.contains(&SIGUSR2.to_owned()), "{told:?}");
    assert_eq!(asked(true, &["is-active", "try-restart"]), told);
    assert_eq!(asked(false, &[]), [""; 0]);
}
