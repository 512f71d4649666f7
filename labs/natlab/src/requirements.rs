//! Whether this machine can hold a lab.

use std::fs::OpenOptions;

use crate::{Missing, tool};

/// The programs that the lab runs, with the Debian packages that hold them.
const TOOLS: [(&str, &str); 3] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
];

/// Tells whether this machine can hold a lab, or else the first thing that it lacks.
pub fn requirements() -> Result<(), Missing> {
    if !rustix::process::geteuid().is_root() {
        return Err(Missing::Root);
    }
    require(&TOOLS)?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .map_err(Missing::Tun)?;
    Ok(())
}

/// Tells whether these programs are there, or else the first that is missing.
pub(crate) fn require(tools: &[(&'static str, &'static str)]) -> Result<(), Missing> {
    let missing = tools.iter().find(|(tool, _)| tool::find(tool).is_none());
    match missing {
        Some(&(tool, package)) => Err(Missing::Tool { tool, package }),
        None => Ok(()),
    }
}
