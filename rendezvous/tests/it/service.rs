//! The program as systemd runs it, with a test in systemd's place, and the units held against systemd's own judgement.
#![cfg(target_os = "linux")]

use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, UdpSocket},
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt, net::UnixDatagram},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use p2pdbg_proto::{rendezvous::Credential, url::RendezvousUrl};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Peer, free, state_dir};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2pdbg-rendezvous");

/// Killed when the test is over.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    line
}

/// What stands in systemd's place, and its socket.
struct Manager {
    hears: UnixDatagram,
    socket: PathBuf,
}

impl Manager {
    fn beside(state: &Path) -> Self {
        let socket = state.join("notify");
        let hears = UnixDatagram::bind(&socket).unwrap();
        let minute = Duration::from_secs(60);
        hears.set_read_timeout(Some(minute)).unwrap();
        Self { hears, socket }
    }

    fn start(&self, state: &Path) -> Service {
        let child = Command::new(PROGRAM)
            .args(["--bind", "127.0.0.1:0", "--alt-port", "0", "--state"])
            .arg(state)
            .env("NOTIFY_SOCKET", &self.socket)
            .env("WATCHDOG_USEC", "200000")
            .stdout(Stdio::piped())
            .spawn();
        Service(child.unwrap())
    }

    /// Waits for one of these words; gives the one that was said.
    fn hears<'a>(&self, words: &[&'a str]) -> &'a str {
        let mut buffer = [0; 512];
        loop {
            let length = self.hears.recv(&mut buffer).unwrap();
            let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let heard = words
                .iter()
                .find(|word| told.lines().any(|line| line == **word));
            if let Some(heard) = heard {
                return heard;
            }
        }
    }
}

#[test]
fn service_manager_hears_of_readiness_life_upgrade_and_end() {
    let state = state_dir();
    let manager = Manager::beside(state.path());
    let service = manager.start(state.path());
    manager.hears(&["READY=1"]);
    manager.hears(&["WATCHDOG=1"]);
    let pid = Pid::from_child(&service.0);
    kill_process(pid, Signal::USR2).unwrap();
    manager.hears(&["RELOADING=1"]);
    manager.hears(&["READY=1"]);
    manager.hears(&["WATCHDOG=1"]);
    kill_process(pid, Signal::TERM).unwrap();
    manager.hears(&["STOPPING=1"]);
}

#[tokio::test]
async fn service_that_is_stopped_while_its_peers_take_leave_for_an_upgrade_ends() {
    let state = state_dir();
    let manager = Manager::beside(state.path());
    let mut service = manager.start(state.path());
    let url: RendezvousUrl = first_line(&mut service.0).trim_end().parse().unwrap();
    let address = url.authority().parse().unwrap();
    let mut peer = Peer::connect(address, url.fingerprint.unwrap()).await;
    peer.hello(Credential::None).await;
    peer.hear().await;
    manager.hears(&["READY=1"]);
    // From here on this test waits without its runtime, so its peer acknowledges nothing.
    let pid = Pid::from_child(&service.0);
    kill_process(pid, Signal::USR2).unwrap();
    manager.hears(&["RELOADING=1"]);
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(manager.hears(&["STOPPING=1", "READY=1"]), "STOPPING=1");
    assert_eq!(service.0.wait().unwrap().code(), Some(0));
}

#[test]
fn service_takes_a_state_directory_as_systemd_makes_it() {
    let state = state_dir();
    std::fs::set_permissions(state.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let child = Command::new(PROGRAM)
        .args(["--bind", "127.0.0.1:0", "--alt-port", "0"])
        .env("STATE_DIRECTORY", state.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut service = Service(child);
    let url = first_line(&mut service.0);
    assert!(url.starts_with("p2pdbg://"));
    // What is asked beside it, in the same unit, means the same one.
    let beside = Command::new(PROGRAM)
        .arg("url")
        .env("STATE_DIRECTORY", state.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(beside.stdout).unwrap(), url);
    let mode = std::fs::metadata(state.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn service_uses_the_sockets_that_systemd_opened() {
    let state = state_dir();
    let address = free();
    let udp = UdpSocket::bind(address).unwrap();
    let tcp = TcpListener::bind(address).unwrap();
    let address = address.to_string();
    let [udp, tcp]: [OwnedFd; 2] = [udp.into(), tcp.into()];
    // Only a shell can say which descriptor is which, and what its process id will be.
    let child = Command::new("sh")
        .args([
            "-c",
            "exec 3<&0 4<&2 2>/dev/null </dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"",
            "sh",
        ])
        .args([PROGRAM, "--bind", &address, "--alt-port", "0", "--state"])
        .arg(state.path())
        .stdin(udp)
        .stderr(tcp)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut service = Service(child);
    // The test's own are closed: had the program opened ports itself, they would be in use.
    assert!(first_line(&mut service.0).contains(&address));
}

/// The units with a program that is there.
fn units() -> Option<tempfile::TempDir> {
    let version = Command::new("systemd-analyze").arg("--version").output();
    if version.is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "systemd-analyze is not installed"
        );
        println!("skipped: systemd-analyze is not installed (Debian package systemd)");
        return None;
    }
    let units = tempfile::tempdir().unwrap();
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    for entry in std::fs::read_dir(packaging).unwrap() {
        let entry = entry.unwrap();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let text = text.replace("/usr/local/bin/p2pdbg-rendezvous", PROGRAM);
        std::fs::write(units.path().join(entry.file_name()), text).unwrap();
    }
    Some(units)
}

#[test]
fn units_are_understood_by_systemd() {
    let Some(units) = units() else { return };
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(units.path().join("p2pdbg-rendezvous.service"))
        .arg(units.path().join("p2pdbg-rendezvous.socket"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !said.contains("p2pdbg-rendezvous"),
        "{said}"
    );
}

#[test]
fn units_leave_the_service_next_to_no_privileges() {
    let Some(units) = units() else { return };
    // Tenths; 1.3 as it is, and above 2 something was opened.
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(units.path().join("p2pdbg-rendezvous.service"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}
