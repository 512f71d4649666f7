//! ssh, scp and rsync through `p2pdbg pipe`, with the configuration that docs/use/ssh.md shows.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use crate::harness::{Home, Setting, eventually, skip};

/// The page whose configuration is used.
const PAGE: &str = include_str!("../../docs/use/ssh.md");

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("-V").stdin(Stdio::null());
    command.output().is_ok()
}

/// An ssh server of the user's own, on loopback.
struct Server {
    process: Child,
    port: u16,
    directory: PathBuf,
}

impl Server {
    fn start(directory: &Path, port: u16) -> Self {
        for key in ["host", "user"] {
            let file = directory.join(key);
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&file)
                .status();
            assert!(made.unwrap().success());
        }
        if rustix::process::geteuid().is_root() {
            // Where it confines itself; the package makes it at the boot.
            let mut builder = fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o755)
                .create("/run/sshd")
                .unwrap();
        }
        let shown = directory.display();
        let configuration = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/user.pub\n\
             StrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\nSubsystem sftp internal-sftp\n"
        );
        let file = directory.join("sshd_config");
        fs::write(&file, configuration).unwrap();
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(fs::File::create(directory.join("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Self {
            process,
            port,
            directory: directory.to_owned(),
        };
        eventually("ssh server", || {
            let log = fs::read_to_string(directory.join("log")).unwrap();
            log.contains("Server listening").then_some(())
        });
        server
    }

    /// The configuration of the page, for this server and the program under test.
    fn client_configuration(&self, peer: &str) -> PathBuf {
        let (_, shown) = PAGE.split_once("```\n   Host web-1").unwrap();
        let (shown, _) = shown.split_once("```").unwrap();
        let there = format!("--peer {peer} localhost:{}", self.port);
        let shown = shown.replace("--peer web-1 localhost:22", &there);
        let shown = shown.replace(
            "p2pdbg pipe",
            &format!("{} pipe", env!("CARGO_BIN_EXE_p2pdbg")),
        );
        assert!(shown.contains(&there), "{shown}");
        let directory = self.directory.display();
        let rest = format!(
            "    IdentityFile {directory}/user\n    UserKnownHostsFile {directory}/known_hosts\n    \
             StrictHostKeyChecking accept-new\n    BatchMode yes\n"
        );
        let file = self.directory.join("ssh_config");
        fs::write(&file, format!("Host web-1{}\n{rest}", shown.trim_end())).unwrap();
        file
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[track_caller]
fn run(home: &Home, command: &mut Command) -> Output {
    home.settle(command);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

#[test]
fn ssh_scp_and_rsync_reach_the_debuggees_host_by_the_configuration_of_the_page() {
    if !Path::new("/usr/sbin/sshd").exists() || !is_there("ssh") || !is_there("rsync") {
        return skip("there is no sshd, ssh or rsync");
    }
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let listener = setting.listener().args(["-L", &forward]).start();
    let _connector = setting.connector_with(&listener.code()).start();
    let (peer, _) = listener.paired();
    let home = listener.home();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), setting.port());
    let configuration = server.client_configuration(&peer);

    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(&configuration);
    let output = run(&home, ssh.args(["web-1", "echo over the tunnel"]));
    assert_eq!(output.stdout, b"over the tunnel\n");

    let from = directory.path().join("from");
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(&from, &bytes).unwrap();
    let to = directory.path().join("by-scp");
    let mut scp = Command::new("scp");
    scp.arg("-qF").arg(&configuration).arg(&from);
    run(&home, scp.arg(format!("web-1:{}", to.display())));
    assert!(fs::read(to).unwrap() == bytes);

    let to = directory.path().join("by-rsync");
    let mut rsync = Command::new("rsync");
    rsync.args(["-a", "-e", &format!("ssh -F {}", configuration.display())]);
    run(
        &home,
        rsync.arg(&from).arg(format!("web-1:{}", to.display())),
    );
    assert!(fs::read(to).unwrap() == bytes);
}
