//! Several nodes that serve one URL.

use std::{ffi::OsString, net::IpAddr, process::Command};

use super::{Home, Place, Process, Rendezvous, RendezvousCommand, Transcript, rendezvous_program};

/// A node that is to be started: its number, where, and the address by which peers reach it.
#[derive(Clone, Debug)]
pub struct NodeAt {
    /// From 10 to 99.
    pub number: u8,
    /// Where it runs.
    pub place: Place,
    /// Its own address there.
    pub ip: IpAddr,
}

/// A host that relays for nodes and does nothing else.
#[derive(Debug)]
pub struct RelayAlone {
    process: Process,
    home: Home,
    place: Place,
}

impl RelayAlone {
    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// How many sessions of nodes it relays, as it says.
    #[track_caller]
    pub fn guests(&self) -> u64 {
        let mut command = self.place.command(rendezvous_program());
        self.home.settle(&mut command);
        let output = command
            .args(["status", "--json", "--state"])
            .arg(self.home.state())
            .output()
            .unwrap();
        assert!(output.status.success());
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        status["counters"]["guests"].as_u64().unwrap()
    }
}

/// What all nodes have in common, and with which they are started.
#[derive(Debug)]
pub struct Cluster {
    authority: Home,
    nodes: String,
    transcript: Transcript,
    arguments: Vec<OsString>,
}

impl Cluster {
    /// Of these nodes; none runs yet.
    #[track_caller]
    pub fn new<A: Into<OsString>>(
        nodes: &[NodeAt],
        arguments: impl IntoIterator<Item = A>,
        transcript: &Transcript,
    ) -> Self {
        let named: Vec<String> = nodes
            .iter()
            .map(|node| format!("{}={}", node.number, node.ip))
            .collect();
        let cluster = Self {
            authority: Home::new(),
            nodes: named.join(","),
            transcript: transcript.clone(),
            arguments: arguments.into_iter().map(Into::into).collect(),
        };
        cluster.authority(&["new"]);
        cluster
    }

    #[track_caller]
    fn authority(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(rendezvous_program());
        self.authority.settle(&mut command);
        command.arg("authority").args(arguments);
        let output = command
            .arg("--state")
            .arg(self.authority.state())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "authority {arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A state directory for a node, with a certificate of its own.
    #[track_caller]
    pub fn certify(&self, node: &NodeAt) -> Home {
        self.certify_for(node, "365d")
    }

    /// The same for so long.
    #[track_caller]
    pub fn certify_for(&self, node: &NodeAt, time: &str) -> Home {
        let home = Home::new();
        let (ip, into) = (node.ip.to_string(), home.state());
        let into = into.to_str().unwrap();
        self.authority(&["issue", &ip, "--into", into, "--for", time]);
        home
    }

    /// Starts a host that relays alone, as the one of this number in `--relays`.
    #[track_caller]
    pub fn start_relay(&self, relay: &NodeAt) -> RelayAlone {
        let home = Home::new();
        let (ip, into) = (relay.ip.to_string(), home.state());
        let (number, into) = (relay.number.to_string(), into.to_str().unwrap().to_owned());
        self.authority(&["issue", &ip, "--into", &into, "--relay", &number]);
        let mut command = relay.place.command(rendezvous_program());
        home.settle(&mut command);
        command
            .args(["--bind", &format!("{ip}:3478"), "--alt-port", "0"])
            .arg("--relays-alone")
            .arg("--state")
            .arg(home.state());
        let process = Process::start("relay", command, &self.transcript);
        process.line("relaying");
        let place = relay.place.clone();
        RelayAlone {
            process,
            home,
            place,
        }
    }

    /// Starts a node.
    #[track_caller]
    pub fn start(&self, node: &NodeAt) -> Rendezvous {
        self.start_in(node, self.certify(node))
    }

    /// Starts a node with this state directory.
    #[track_caller]
    pub fn start_in(&self, node: &NodeAt, home: Home) -> Rendezvous {
        let (bind, ip) = (format!("{}:3478", node.ip), node.ip.to_string());
        RendezvousCommand::new(&node.place, &bind, &ip, &self.transcript)
            .args(["--node", &node.number.to_string(), "--nodes", &self.nodes])
            .args(self.arguments.clone())
            .home(home)
            .start()
    }

    /// The same nodes under another authority.
    #[track_caller]
    pub fn foreign(&self) -> Self {
        let cluster = Self {
            authority: Home::new(),
            nodes: self.nodes.clone(),
            transcript: self.transcript.clone(),
            arguments: self.arguments.clone(),
        };
        cluster.authority(&["new"]);
        cluster
    }

    /// Has a node begin at another address, and waits until it has given up; gives what it says.
    #[track_caller]
    pub fn refused(&self, node: &NodeAt, home: Home, bind: &str) -> String {
        let mut command = node.place.command(rendezvous_program());
        home.settle(&mut command);
        command
            .args(["--bind", &format!("{bind}:3478"), "--alt-port", "0"])
            .args(["--node", &node.number.to_string(), "--nodes", &self.nodes])
            .args(&self.arguments)
            .arg("--state")
            .arg(home.state());
        let mut process = Process::start("refused node", command, &self.transcript);
        assert_eq!(process.exit_status(), 1);
        process.stderr().join("\n")
    }
}
