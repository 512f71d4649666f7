//! Where the programs are, ours and those that they are compared with, and which versions they have.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value};

/// The programs of a run; those that are not here are left out of the tables.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) p2pdbg: PathBuf,
    pub(crate) rendezvous: PathBuf,
    /// Another build of p2pdbg, to be compared with this one.
    pub(crate) other: Option<PathBuf>,
    /// Another build of this bench, for its rendezvous.
    pub(crate) other_rendezvous: Option<PathBuf>,
    pub(crate) bore: Option<PathBuf>,
    pub(crate) dumbpipe: Option<PathBuf>,
    pub(crate) iroh_relay: Option<PathBuf>,
    /// Ours: a TCP connection over iroh's relay.
    pub(crate) iroh_pipe: Option<PathBuf>,
    pub(crate) ssh: Option<PathBuf>,
    pub(crate) sshd: Option<PathBuf>,
    /// A Python that has debugpy and pydevd-pycharm.
    pub(crate) python: Option<PathBuf>,
}

impl Tools {
    /// Ours are in `own`; those that were installed for this in `installed`, the others where the system has them.
    pub(crate) fn find(own: &Path, installed: &Path, other: Option<PathBuf>) -> Self {
        let bin = |name: &str| Some(installed.join("bin").join(name)).filter(|path| path.is_file());
        let system = |path: &str| Some(PathBuf::from(path)).filter(|path| path.is_file());
        let venv = std::env::var_os("P2PDBG_TEST_VENV")
            .map_or_else(|| PathBuf::from("target/test-venv"), PathBuf::from);
        Self {
            other,
            other_rendezvous: None,
            p2pdbg: own.join("p2pdbg"),
            rendezvous: own.join("p2pdbg-rendezvous"),
            bore: bin("bore"),
            dumbpipe: bin("dumbpipe"),
            iroh_relay: bin("iroh-relay"),
            iroh_pipe: bin("iroh-pipe"),
            ssh: system("/usr/bin/ssh"),
            sshd: system("/usr/sbin/sshd"),
            python: Some(venv.join("bin/python")).filter(|path| path.is_file()),
        }
    }

    /// What each says of its version.
    pub(crate) fn versions(&self) -> Map<String, Value> {
        let mut versions = Map::new();
        let mut add = |name: &str, path: Option<&Path>, flag: &str| {
            let said = path.and_then(|path| said(path, flag));
            versions.insert(name.to_owned(), said.map_or(Value::Null, Value::from));
        };
        add("p2pdbg", Some(&self.p2pdbg), "--version");
        add("ssh", self.ssh.as_deref(), "-V");
        add("bore", self.bore.as_deref(), "--version");
        add("dumbpipe", self.dumbpipe.as_deref(), "--version");
        add("iroh-relay", self.iroh_relay.as_deref(), "--version");
        add("rustc", Some(Path::new("rustc")), "--version");
        add("gdb", Some(Path::new("gdb")), "--version");
        versions
    }
}

fn said(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().map(|line| line.trim().to_owned())
}

/// The machine, as far as it matters.
pub(crate) fn machine() -> Map<String, Value> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    let memory = read("/proc/meminfo");
    let memory = memory
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let mut machine = Map::new();
    machine.insert("processor".into(), model.unwrap_or_default().into());
    machine.insert(
        "cores".into(),
        std::thread::available_parallelism()
            .map_or(0, usize::from)
            .into(),
    );
    machine.insert(
        "memory_mib".into(),
        (memory.unwrap_or_default() / 1024).into(),
    );
    machine.insert(
        "kernel".into(),
        read("/proc/sys/kernel/osrelease").trim().into(),
    );
    machine.insert(
        "tcp".into(),
        read("/proc/sys/net/ipv4/tcp_available_congestion_control")
            .trim()
            .into(),
    );
    machine.insert("load_before".into(), read("/proc/loadavg").trim().into());
    machine
}
