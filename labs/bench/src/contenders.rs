//! What is compared: each brings a port beside the IDE to the service at the debuggee's.

use std::{
    ffi::OsString,
    fs,
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use p2pdbg_natlab::Host;

use crate::{
    process::Process,
    site::{Site, code_of, is_path},
    vitals::{Vitals, family},
};

/// A way from the IDE's host to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A TCP connection to the service, with nothing between.
    Raw,
    /// ssh with `-L`.
    Ssh,
    /// `bore`, whose server is on the public host.
    Bore,
    /// dumbpipe, on a direct path.
    Dumbpipe,
    /// p2pdbg, on a direct path.
    Direct,
    /// p2pdbg, through its rendezvous.
    Relay,
    /// iroh, by its relay and nothing else.
    Iroh,
    /// Another build of p2pdbg, directly.
    Other,
}

impl Kind {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 7] = [
        Self::Raw,
        Self::Ssh,
        Self::Bore,
        Self::Dumbpipe,
        Self::Direct,
        Self::Relay,
        Self::Iroh,
    ];

    /// What is compared where one build of p2pdbg is held against another.
    pub(crate) const BUILDS: [Self; 4] = [Self::Raw, Self::Ssh, Self::Direct, Self::Other];

    /// What the tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw TCP",
            Self::Ssh => "ssh -L",
            Self::Bore => "bore",
            Self::Dumbpipe => "dumbpipe",
            Self::Direct => "p2pdbg, direct",
            Self::Relay => "p2pdbg, relay",
            Self::Iroh => "iroh, relay",
            Self::Other => "p2pdbg, the other build",
        }
    }
}

/// A way to the service that stands until it is dropped.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    ip: Ipv4Addr,
    /// The port beside the IDE.
    pub(crate) port: u16,
    programs: Vec<Process>,
}

impl Contender {
    /// Sets those up whose programs are here, to this port of the debuggee's loopback; says which are not.
    pub(crate) fn all(site: &Site, kinds: &[Kind], target: u16) -> Vec<Self> {
        let mut contenders = Vec::new();
        for (port, kind) in (7_001..).zip(kinds) {
            match Self::set_up(site, *kind, port, target, false) {
                Ok(contender) => contenders.push(contender),
                Err(error) => eprintln!("left out: {}: {error:#}", kind.name()),
            }
        }
        contenders
    }

    /// Sets up one of raw TCP, `ssh` and p2pdbg. With `reverse`, it brings a port beside the debuggee to the IDE's end.
    pub(crate) fn one(site: &Site, kind: Kind, target: u16, reverse: bool) -> Result<Self> {
        Self::set_up(site, kind, 7_001, target, reverse)
    }

    fn set_up(site: &Site, kind: Kind, port: u16, target: u16, reverse: bool) -> Result<Self> {
        let mut ip = Ipv4Addr::LOCALHOST;
        let (port, programs) = match kind {
            Kind::Raw => {
                ip = if reverse {
                    site.ide.ip()
                } else {
                    site.debuggee.ip()
                };
                (target, Vec::new())
            }
            Kind::Ssh => (port, ssh(site, port, target, reverse)?),
            Kind::Bore => {
                ip = site.public.ip();
                (port, bore(site, port, target)?)
            }
            Kind::Dumbpipe => (port, dumbpipe(site, port, target)?),
            Kind::Direct => (
                port,
                p2pdbg(site, "direct", "direct", port, target, reverse, &[])?,
            ),
            Kind::Relay => (
                port,
                p2pdbg(site, "relay", "relay", port, target, reverse, &[])?,
            ),
            Kind::Iroh => (port, iroh(site, port, target)?),
            Kind::Other => (
                port,
                p2pdbg(site, "other", "direct", port, target, reverse, &[])?,
            ),
        };
        Ok(Self {
            kind,
            ip,
            port,
            programs,
        })
    }

    /// p2pdbg, directly, whose `connect` runs this command; and that process, which prints what the command does.
    pub(crate) fn with_command(
        site: &Site,
        target: u16,
        command: &[OsString],
    ) -> Result<(Self, Process)> {
        let port = 7_001;
        let mut programs = p2pdbg(site, "direct", "direct", port, target, false, command)?;
        let connect = programs.pop().context("connect was not started")?;
        let contender = Self {
            kind: Kind::Direct,
            ip: Ipv4Addr::LOCALHOST,
            port,
            programs,
        };
        Ok((contender, connect))
    }

    /// A connection to the service through it.
    pub(crate) fn connect(&self, site: &Site) -> Result<TcpStream> {
        site.connect_soon(self.ip, self.port)
    }

    /// Seconds of processor time that its programs have used, at both ends and between; 0 where there are none.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let mut seconds = 0.0;
        for program in &self.programs {
            for pid in family(program.id()) {
                seconds += Vitals::of(pid)?.cpu();
            }
        }
        Ok(seconds)
    }

    /// Where the IDE connects to.
    pub(crate) fn host(&self) -> String {
        self.ip.to_string()
    }
}

fn ssh(site: &Site, port: u16, target: u16, reverse: bool) -> Result<Vec<Process>> {
    let (Some(ssh), Some(sshd)) = (&site.tools.ssh, &site.tools.sshd) else {
        anyhow::bail!("openssh-server is not installed");
    };
    let dir = site.scratch.path();
    let key = |name: &str| -> Result<PathBuf> {
        let path = dir.join(name);
        if !path.exists() {
            let done = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&path)
                .status()?;
            ensure!(done.success(), "ssh-keygen failed");
        }
        Ok(path)
    };
    let (host, user) = (key("host")?, key("user")?);
    fs::create_dir_all("/run/sshd")?;
    let config = dir.join("sshd_config");
    let text = format!(
        "Port 2222\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n",
        host.display(),
        user.with_extension("pub").display(),
    );
    fs::write(&config, text)?;
    let mut programs = Vec::new();
    let mut command = site.debuggee.command(sshd);
    command.args(["-D", "-e", "-f"]).arg(&config);
    programs.push(Process::start("sshd", command)?);
    let address = site.debuggee.ip();
    // It does not wait for a server that is not up yet.
    drop(site.connect_soon(address, 2222)?);
    let mut command = site.ide.command(ssh);
    command
        .args(["-N", "-F", "none", "-p", "2222"])
        .args(["-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"])
        .args(["-o", "UserKnownHostsFile=/dev/null"])
        .arg("-i")
        .arg(&user)
        .args([
            if reverse { "-R" } else { "-L" },
            &format!("127.0.0.1:{port}:127.0.0.1:{target}"),
        ])
        .arg(format!("root@{address}"));
    programs.push(Process::start("ssh", command)?);
    // Not by connecting: a debugger would take that for its client.
    await_listener(if reverse { &site.debuggee } else { &site.ide }, port)?;
    Ok(programs)
}

fn bore(site: &Site, port: u16, target: u16) -> Result<Vec<Process>> {
    let bore = site.tools.bore.as_ref().context("it is not installed")?;
    let mut command = site.public.command(bore);
    command.arg("server");
    let mut server = Process::start("bore server", command)?;
    let listens = |line: &str| line.contains("listening").then_some(());
    server.find("server listening", listens)?;
    let public = site.public.ip().to_string();
    let (port, target) = (port.to_string(), target.to_string());
    let mut command = site.debuggee.command(bore);
    command.args(["local", &target, "--to", &public, "--port", &port]);
    command.args(["--local-host", "127.0.0.1"]);
    let mut local = Process::start("bore local", command)?;
    local.find("tunnel", listens)?;
    Ok(vec![server, local])
}

fn dumbpipe(site: &Site, port: u16, target: u16) -> Result<Vec<Process>> {
    let dumbpipe = site
        .tools
        .dumbpipe
        .as_ref()
        .context("it is not installed")?;
    let mut command = site.debuggee.command(dumbpipe);
    command.args(["listen-tcp", "--host", &format!("127.0.0.1:{target}")]);
    let mut listen = Process::start("dumbpipe listen-tcp", command)?;
    let (_, ticket) = listen.find("ticket", |line| {
        let mut words = line.split_whitespace();
        words
            .find(|word| word.starts_with("endpoint") && word.len() > 40)
            .map(str::to_owned)
    })?;
    let mut command = site.ide.command(dumbpipe);
    command.args([
        "connect-tcp",
        "--addr",
        &format!("127.0.0.1:{port}"),
        &ticket,
    ]);
    let connect = Process::start("dumbpipe connect-tcp", command)?;
    // The first connection finds the path.
    let mut stream = site.connect_soon(Ipv4Addr::LOCALHOST, port)?;
    crate::traffic::ping(&mut stream, 200, 1)?;
    Ok(vec![listen, connect])
}

/// iroh's relay on the public host, and at either end a program that has no other path.
fn iroh(site: &Site, port: u16, target: u16) -> Result<Vec<Process>> {
    let (Some(relay), Some(pipe)) = (&site.tools.iroh_relay, &site.tools.iroh_pipe) else {
        anyhow::bail!("it is not installed");
    };
    let public = site.public.ip();
    let config = site.scratch.path().join("iroh-relay.toml");
    let text = format!("http_bind_addr = \"{public}:3340\"\nenable_metrics = false\n");
    fs::write(&config, text)?;
    let mut command = site.public.command(relay);
    command.args(["--dev", "--config-path"]).arg(&config);
    let relay = Process::start("iroh-relay", command)?;
    // Its clients would only try again a second later.
    drop(site.connect_soon(public, 3340)?);
    let url = format!("http://{public}:3340");
    let mut command = site.debuggee.command(pipe);
    command.args(["listen", &url, &format!("127.0.0.1:{target}")]);
    let mut listen = Process::start("iroh-pipe listen", command)?;
    let (_, id) = listen.find("id", |line| Some(line.strip_prefix("id ")?.to_owned()))?;
    let mut command = site.ide.command(pipe);
    command.args(["connect", &url, &id, &format!("127.0.0.1:{port}")]);
    let mut connect = Process::start("iroh-pipe connect", command)?;
    connect.find("listening", |line| (line == "listening").then_some(()))?;
    Ok(vec![relay, listen, connect])
}

/// Waits until somebody listens on a TCP port of a host, as its kernel says.
fn await_listener(host: &Host, port: u16) -> Result<()> {
    let wanted = format!(":{port:04X} 00000000:0000 0A");
    for _ in 0..1_000 {
        let table = host.enter(|| fs::read_to_string("/proc/thread-self/net/tcp"))??;
        if table.contains(&wanted) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("nobody listens on port {port}")
}

fn p2pdbg(
    site: &Site,
    name: &str,
    path: &str,
    port: u16,
    target: u16,
    reverse: bool,
    command: &[OsString],
) -> Result<Vec<Process>> {
    // Everybody has a rendezvous of his own, so that none carries what is not its own.
    let (rendezvous, url) = site.rendezvous_at(name, port - 3_000)?;
    let forward = format!("127.0.0.1:{port}:localhost:{target}");
    let peer = |what: &str| match (&site.tools.other, name) {
        (Some(other), "other") => site.peer_of(other, what, &format!("{what}-{name}"), &url),
        _ => site.peer(what, &format!("{what}-{name}"), &url),
    };
    let mut listen = peer("listen")?;
    let direction = if reverse { "-R" } else { "-L" };
    listen.args([direction, &forward, "--path", path]);
    let mut listen = Process::start("p2pdbg listen", listen)?;
    let code = code_of(&mut listen)?;
    let mut connect = peer("connect")?;
    connect.args(["--path", path]).env("P2PDBG_CODE", code);
    if !command.is_empty() {
        connect.arg("--").args(command);
    }
    let connect = Process::start("p2pdbg connect", connect)?;
    listen.event("path", is_path(path))?;
    await_listener(if reverse { &site.debuggee } else { &site.ide }, port)?;
    Ok(vec![rendezvous, listen, connect])
}
