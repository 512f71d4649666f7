//! The hosts of a measurement: one with the IDE, one with the debuggee, and the public one.

use std::{net::TcpStream, process::Command, time::Duration};

use anyhow::{Context, Result};
use p2pdbg_natlab::{Cable, Host, Impairments, Lab, NatKind, Network, TwoNats};
use serde_json::Value;
use tempfile::TempDir;

use crate::{process::Process, tools::Tools, traffic};

/// Three hosts, a service on the debuggee's, and what programs need to be started there.
pub(crate) struct Site {
    pub(crate) ide: Host,
    pub(crate) debuggee: Host,
    pub(crate) public: Host,
    /// The port of the service at the debuggee's.
    pub(crate) service: u16,
    pub(crate) tools: Tools,
    /// Where the programs keep their state, removed in the end.
    pub(crate) scratch: TempDir,
    _lab: Lab,
}

impl Site {
    /// On veth pairs, without any delay.
    pub(crate) fn near(tools: &Tools) -> Result<Self> {
        let lab = Lab::new("bench")?;
        let net = lab.internet()?.with_cable(Cable::Veth);
        Self::on(lab, net, tools)
    }

    /// On shaped links. The public host's own link only delays.
    pub(crate) fn far(tools: &Tools, peer: Impairments, public: Duration) -> Result<Self> {
        let lab = Lab::new("bench")?;
        let net = lab.internet()?;
        let hosts = net.with_cable(Cable::Shaped(peer));
        let (ide, debuggee) = (hosts.host("ide")?, hosts.host("debuggee")?);
        let public = net.with_delay(public).host("rdv")?;
        Self::of(lab, [ide, debuggee, public], tools)
    }

    /// Behind port-restricted NATs, with links that delay by so much each way.
    pub(crate) fn behind_nats(tools: &Tools, delay: Duration, public: Duration) -> Result<Self> {
        let lab = Lab::new("bench")?;
        let nat = NatKind::PORT_RESTRICTED;
        if public == delay {
            let lab = TwoNats::new(lab, nat, nat, delay)?;
            let hosts = [lab.ide, lab.debuggee, lab.rdv];
            return Self::of(lab.lab, hosts, tools);
        }
        let net = lab.internet()?;
        let far = net.with_delay(delay);
        let ide = far.nat("nat-a", nat)?.host("ide")?;
        let debuggee = far.nat("nat-b", nat)?.host("debuggee")?;
        let public = net.with_delay(public).host("rdv")?;
        Self::of(lab, [ide, debuggee, public], tools)
    }

    fn on(lab: Lab, net: Network, tools: &Tools) -> Result<Self> {
        let hosts = [net.host("ide")?, net.host("debuggee")?, net.host("rdv")?];
        Self::of(lab, hosts, tools)
    }

    fn of(lab: Lab, hosts: [Host; 3], tools: &Tools) -> Result<Self> {
        let [ide, debuggee, public] = hosts;
        let service = traffic::serve(&debuggee, None)?;
        Ok(Self {
            service,
            ide,
            debuggee,
            public,
            tools: tools.clone(),
            scratch: tempfile::tempdir()?,
            _lab: lab,
        })
    }

    /// A connection from the IDE's host.
    pub(crate) fn connect(&self, ip: std::net::Ipv4Addr, port: u16) -> Result<TcpStream> {
        let stream = self.ide.tcp_connect((ip, port))?;
        stream.set_nodelay(true)?;
        // What hangs is found out.
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(stream)
    }

    /// The same as soon as somebody listens.
    pub(crate) fn connect_soon(&self, ip: std::net::Ipv4Addr, port: u16) -> Result<TcpStream> {
        let mut last = None;
        for _ in 0..1_000 {
            match self.connect(ip, port) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(last.context("never tried")?)
    }

    /// A rendezvous on the public host, and its URL.
    pub(crate) fn rendezvous(&self) -> Result<(Process, String)> {
        self.rendezvous_at("rendezvous", 3478)
    }

    /// The same at another port and with a state of its own.
    pub(crate) fn rendezvous_at(&self, state: &str, port: u16) -> Result<(Process, String)> {
        let mut command = self.public.command(&self.tools.rendezvous);
        let public = self.public.ip();
        command
            .args(["--bind", &format!("{public}:{port}"), "--alt-port", "0"])
            .args(["--public", &format!("{public}:{port}"), "--state"])
            .arg(self.private_dir(state)?);
        let mut process = Process::start("p2pdbg-rendezvous", command)?;
        let url = |line: &str| line.starts_with("p2pdbg://").then(|| line.to_owned());
        let (_, url) = process.find("URL", url)?;
        Ok((process, url))
    }

    /// The rendezvous of a bench, without its limits for strangers, and its URL.
    pub(crate) fn bench_rendezvous(
        &self,
        bench: &std::path::Path,
        state: &str,
        port: u16,
    ) -> Result<(Process, String)> {
        let mut command = self.public.command(bench);
        command
            .args([
                "serve",
                "--bind",
                &format!("{}:{port}", self.public.ip()),
                "--state",
            ])
            .arg(self.private_dir(state)?);
        let mut process = Process::start("rendezvous", command)?;
        let url = |line: &str| line.starts_with("p2pdbg://").then(|| line.to_owned());
        let (_, url) = process.find("URL", url)?;
        Ok((process, url))
    }

    /// `p2pdbg listen` or `p2pdbg connect`.
    pub(crate) fn peer(&self, what: &str, state: &str, url: &str) -> Result<Command> {
        self.peer_of(&self.tools.p2pdbg, what, state, url)
    }

    /// The same of another build.
    pub(crate) fn peer_of(
        &self,
        program: &std::path::Path,
        what: &str,
        state: &str,
        url: &str,
    ) -> Result<Command> {
        let host = if what == "listen" {
            &self.ide
        } else {
            &self.debuggee
        };
        let mut command = host.command(program);
        command
            .args([what, "--json"])
            .env("P2PDBG_STATE", self.private_dir(state)?)
            .env("P2PDBG_RENDEZVOUS", url)
            .env_remove("P2PDBG_LOG");
        Ok(command)
    }

    fn private_dir(&self, name: &str) -> Result<std::path::PathBuf> {
        use std::os::unix::fs::DirBuilderExt;
        let path = self.scratch.path().join(name);
        if !path.is_dir() {
            std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        }
        Ok(path)
    }
}

/// The code in the first `ready` of a listener.
pub(crate) fn code_of(listener: &mut Process) -> Result<String> {
    let (_, ready) = listener.event("ready", |_| true)?;
    let code = ready["code"].as_str().context("no code in ready")?;
    Ok(code.to_owned())
}

/// Whether an event says that the streams go by this kind of path.
pub(crate) fn is_path<'a>(kind: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |event| event["kind"] == kind
}
