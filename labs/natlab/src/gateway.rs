//! A gateway daemon on a NAT box: the real `miniupnpd`, which maps ports by UPnP, NAT-PMP and PCP.
//!
//! It takes no address for an external one that only stands in documentation, so the box must be on a network made with
//! [`crate::Lab::internet_at`].

use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    process::{Child, Stdio},
};

use crate::{Error, Nat, Network, ruleset};

/// The nftables table that the daemon's rules stand in.
const TABLE: &str = "miniupnpd";

/// By what a gateway maps ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// Whether the gateway speaks PCP.
    pub pcp: bool,
    /// Whether it speaks NAT-PMP.
    pub nat_pmp: bool,
    /// Whether it speaks UPnP.
    pub upnp: bool,
}

impl PortMapping {
    /// A gateway that speaks all three.
    pub const ALL: Self = Self {
        pcp: true,
        nat_pmp: true,
        upnp: true,
    };
    /// By nothing; to be changed with the syntax for updating structs.
    pub const NONE: Self = Self {
        pcp: false,
        nat_pmp: false,
        upnp: false,
    };
}

/// A running daemon; it ends when this is dropped, and its mappings with it.
#[derive(Debug)]
pub struct Gateway {
    nat: Nat,
    daemon: Child,
    configuration: PathBuf,
}

impl Gateway {
    /// What [`crate::Lab::new_with_or_skip`] must be asked for.
    pub const TOOLS: [(&'static str, &'static str); 1] = [("miniupnpd", "miniupnpd-nftables")];

    pub(crate) fn start(nat: &Nat, by: PortMapping) -> Result<Self, Error> {
        let wan = ruleset::WAN;
        let lan = Network::BRIDGE;
        // What the daemon's configuration cannot tell apart is told apart here: both have a version in the first byte.
        let mut refused = String::new();
        for (version, served) in [("2", by.pcp), ("0", by.nat_pmp)] {
            if !served {
                refused.push_str(&format!("udp dport 5351 @th,64,8 {version} drop\n"));
            }
        }
        nat.nft(&format!(
            "table inet {TABLE} {{
                chain refused {{ type filter hook input priority raw; {refused} }}
                chain forward {{ type filter hook forward priority filter - 5; }}
                chain prerouting {{ type nat hook prerouting priority dstnat - 5; }}
                chain postrouting {{ type nat hook postrouting priority srcnat - 5; }}
            }}"
        ))?;
        let yes_no = |yes| if yes { "yes" } else { "no" };
        let (pmp, upnp) = (yes_no(by.pcp || by.nat_pmp), yes_no(by.upnp));
        let text = format!(
            "ext_ifname={wan}\nlistening_ip={lan}\nport=0\nenable_upnp={upnp}\nenable_natpmp={pmp}\n\
             secure_mode=yes\nmin_lifetime=10\nmax_lifetime=86400\n\
             upnp_table_name={TABLE}\nupnp_nat_table_name={TABLE}\nupnp_forward_chain=forward\n\
             upnp_nat_chain=prerouting\nupnp_nat_postrouting_chain=postrouting\n\
             uuid=5f2a6ea4-8a4f-4c0e-9d53-0123456789ab\n\
             allow 443 0.0.0.0/0 0-65535\nallow 1024-65535 0.0.0.0/0 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n"
        );
        let directory = std::env::temp_dir();
        let configuration = directory.join(format!("{}-miniupnpd.conf", nat.namespace()));
        fs::write(&configuration, text).map_err(Error::io("write miniupnpd's configuration"))?;
        let pid = configuration.with_extension("pid");
        let mut daemon = nat
            .command("miniupnpd")
            .arg("-d")
            .arg("-f")
            .arg(&configuration)
            .arg("-P")
            .arg(&pid)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io("start miniupnpd"))?;
        let said = daemon.stderr.take();
        let gateway = Self {
            nat: nat.clone(),
            daemon,
            configuration,
        };
        let ready = if by.pcp || by.nat_pmp {
            "Listening for NAT-PMP/PCP"
        } else {
            "HTTP listening on port"
        };
        gateway.await_line(said, ready)?;
        Ok(gateway)
    }

    /// Waits until the daemon says that it listens, and has the rest of what it says read by somebody.
    fn await_line(
        &self,
        said: Option<std::process::ChildStderr>,
        ready: &str,
    ) -> Result<(), Error> {
        let silent = || Error::Io {
            what: "wait for miniupnpd to listen".to_owned(),
            source: io::ErrorKind::UnexpectedEof.into(),
        };
        let mut lines = BufReader::new(said.ok_or_else(silent)?).lines();
        let found = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains(ready));
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        found.then_some(()).ok_or_else(silent)
    }

    /// How many ports are mapped now.
    pub fn mappings(&self) -> Result<usize, Error> {
        let rules = self
            .nat
            .run("nft", &["list", "chain", "inet", TABLE, "prerouting"], "")?;
        Ok(rules.lines().filter(|line| line.contains("dnat")).count())
    }

    /// Has the gateway forget its mappings, as when it is started anew.
    pub fn forget(&self) -> Result<(), Error> {
        self.nat.nft(&format!(
            "flush chain inet {TABLE} prerouting; flush chain inet {TABLE} forward"
        ))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = self.nat.nft(&format!("delete table inet {TABLE}"));
        let _ = fs::remove_file(&self.configuration);
        let _ = fs::remove_file(self.configuration.with_extension("pid"));
    }
}
