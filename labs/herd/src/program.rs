//! The rendezvous as a process: started, ended, started again, and its processor time.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use p2pdbg_proto::url::RendezvousUrl;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tempfile::TempDir;

/// A rendezvous with a state directory of its own, killed when it is dropped.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    state: TempDir,
    url: RendezvousUrl,
    child: Child,
}

impl Program {
    /// Starts the program at that path, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If it does not serve.
    pub fn start(path: &Path) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;

        let private = std::fs::Permissions::from_mode(0o700);
        let state = tempfile::Builder::new().permissions(private).tempdir()?;
        let (child, url) = serve(path, &state, "127.0.0.1:0")?;
        Ok(Self {
            path: path.to_owned(),
            state,
            url,
            child,
        })
    }

    /// Where it is, with the access key.
    pub fn url(&self) -> &RendezvousUrl {
        &self.url
    }

    /// Ends it by this signal and starts it again at the same port as soon as it has ended, as a supervisor would.
    ///
    /// # Errors
    /// If it does not serve again.
    pub fn restart(&mut self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)?;
        self.child.wait()?;
        let address = self.url.authority();
        let (child, url) = serve(&self.path, &self.state, &address)?;
        ensure!(url == self.url, "it has another URL than before");
        self.child = child;
        Ok(())
    }

    /// The processor time that it has used.
    ///
    /// # Errors
    /// If it has ended.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name may hold anything; the numbers begin behind it, with the third field.
        let (_, fields) = stat.rsplit_once(')').context("no stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(
            ticks * 1_000 / rustix::param::clock_ticks_per_second(),
        ))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(path: &Path, state: &TempDir, bind: &str) -> Result<(Child, RendezvousUrl)> {
    let mut child = Command::new(path)
        .args(["--bind", bind, "--alt-port", "0", "--max-peers", "20000"])
        .arg("--state")
        .arg(state.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", path.display()))?;
    let stdout = child.stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let url = line.trim().parse().context("it does not serve")?;
    Ok((child, url))
}

/// Lets this process have as many descriptors as it may: each peer has a socket.
///
/// # Errors
/// The operating system's.
pub fn raise_descriptors() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}
