//! One network namespace: a host, a NAT box or the internet's router.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use crate::{Error, Flow, firewall, lab::LabState, lab::check_name, lab::namespace_path, tool};

/// One network namespace of a lab. Hosts, NAT boxes and the internet dereference to it.
#[derive(Clone, Debug)]
pub struct Node {
    state: Arc<NodeState>,
}

#[derive(Debug)]
struct NodeState {
    name: String,
    namespace: String,
    lab: Arc<LabState>,
    blocked: Mutex<Vec<Flow>>,
}

impl Node {
    pub(crate) fn new(lab: &Arc<LabState>, name: &str, ipv6: bool) -> Result<Self, Error> {
        check_name(name)?;
        let node = Self {
            state: Arc::new(NodeState {
                name: name.to_owned(),
                namespace: lab.namespace(name),
                lab: lab.clone(),
                blocked: Mutex::default(),
            }),
        };
        tool::run("ip", ["netns", "add", &node.state.namespace])?;
        // Settings of `default` go to the interfaces made later. No duplicate address detection:
        // addresses are unique here, and it would hold each back for a second.
        let without_ipv6 = if ipv6 { "0" } else { "1" };
        for (key, value) in [
            ("ipv4/conf/_/rp_filter", "0"),
            ("ipv6/conf/_/disable_ipv6", without_ipv6),
            ("ipv6/conf/_/accept_dad", "0"),
            ("ipv6/conf/_/accept_ra", "0"),
            ("ipv6/conf/_/keep_addr_on_down", "1"),
        ] {
            node.sysctl(&key.replacen("_", "all", 1), value)?;
            node.sysctl(&key.replacen("_", "default", 1), value)?;
        }
        node.ip("link set lo up")?;
        Ok(node)
    }

    /// The name that the node was given.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// The name of its namespace, as `ip netns` lists it.
    pub fn namespace(&self) -> &str {
        &self.state.namespace
    }

    pub(crate) fn lab(&self) -> &Arc<LabState> {
        &self.state.lab
    }

    /// A command that runs `program` on this node.
    ///
    /// The child's process id is the program's own, so signals reach it. What still runs when the
    /// lab is dropped is killed.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = tool::command("ip");
        command
            .args(["netns", "exec", self.namespace()])
            .arg(program);
        command
    }

    /// Runs `work` on a thread of its own that is on this node: the sockets that it opens, and the
    /// processes that it starts, stay there when they are handed out.
    ///
    /// # Panics
    /// Where `work` panics.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let path = namespace_path(self.namespace());
        let what = format!("enter {}", self.namespace());
        let namespace = File::open(path).map_err(Error::io(&what))?;
        let result = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let kind = rustix::thread::LinkNameSpaceType::Network;
                    rustix::thread::move_into_link_name_space(
                        std::os::fd::AsFd::as_fd(&namespace),
                        Some(kind),
                    )?;
                    Ok(work())
                })
                .join()
        });
        match result {
            Ok(result) => result.map_err(|errno: rustix::io::Errno| Error::Io {
                what,
                source: errno.into(),
            }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A blocking UDP socket on this node.
    pub fn udp_socket(&self, bind: impl Into<SocketAddr>) -> Result<UdpSocket, Error> {
        let bind = bind.into();
        self.enter(|| UdpSocket::bind(bind))?
            .map_err(Error::io(format!("bind {bind} on {}", self.name())))
    }

    /// A TCP listener on this node.
    pub fn tcp_listener(&self, bind: impl Into<SocketAddr>) -> Result<TcpListener, Error> {
        let bind = bind.into();
        self.enter(|| TcpListener::bind(bind))?
            .map_err(Error::io(format!("listen at {bind} on {}", self.name())))
    }

    /// A TCP connection from this node.
    pub fn tcp_connect(&self, to: impl Into<SocketAddr>) -> Result<TcpStream, Error> {
        let to = to.into();
        self.enter(|| TcpStream::connect(to))?
            .map_err(Error::io(format!("connect {} to {to}", self.name())))
    }

    /// Drops the packets of `flow` on their way into, through or out of this node, silently and
    /// ahead of connection tracking, until [`Node::unblock`].
    ///
    /// On a NAT box a packet is seen as it arrives: from inside with the inside source, from
    /// outside with the external destination.
    pub fn block(&self, flow: Flow) -> Result<(), Error> {
        self.change_blocked(|blocked| {
            if !blocked.contains(&flow) {
                blocked.push(flow);
            }
        })
    }

    /// Ends a [`Node::block`] of the same flow.
    pub fn unblock(&self, flow: Flow) -> Result<(), Error> {
        self.change_blocked(|blocked| blocked.retain(|other| *other != flow))
    }

    fn change_blocked(&self, change: impl FnOnce(&mut Vec<Flow>)) -> Result<(), Error> {
        let mut blocked = self
            .state
            .blocked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut blocked);
        self.nft(&firewall::ruleset(&blocked))
    }

    /// Runs lines of `ip` commands on this node, each without the leading `ip`.
    pub fn ip(&self, script: &str) -> Result<(), Error> {
        let mut command = tool::command("ip");
        command.args(["-n", self.namespace(), "-batch", "-"]);
        tool::output(&mut command, script).map(drop)
    }

    /// Loads an nftables script on this node, as one transaction.
    pub fn nft(&self, script: &str) -> Result<(), Error> {
        self.run("nft", &["-f", "-"], script).map(drop)
    }

    /// Sets a value below `/proc/sys/net` of this node, for instance `ipv4/ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), Error> {
        let path = format!("/proc/sys/net/{key}");
        let result: io::Result<()> = self.enter(|| fs::write(&path, value))?;
        result.map_err(Error::io(format!("set {path} to {value}")))
    }

    /// Runs a system tool on this node with `input` on its standard input.
    pub(crate) fn run(&self, tool: &str, args: &[&str], input: &str) -> Result<String, Error> {
        let program = tool::find(tool).unwrap_or_else(|| tool.into());
        // Started from a thread that is on the node, which costs less than `ip netns exec`.
        let mut command = Command::new(program);
        command.args(args);
        self.enter(|| tool::output(&mut command, input))?
    }
}
