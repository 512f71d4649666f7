//! Where the programs run: on three hosts with two NATs between them, or all on this host.

use std::{net::TcpListener, path::Path, process::Command};

use anyhow::{Result, ensure};
use p2pdbg_forward::Preset;

#[cfg(target_os = "linux")]
use {
    anyhow::Context,
    p2pdbg_natlab::{Lab, NatKind, TwoNats},
    std::time::Duration,
};

/// What each link to the internet delays, in each direction.
#[cfg(target_os = "linux")]
const DELAY: Duration = Duration::from_millis(10);

/// Where the programs run: behind two NATs of their own, or all on this host.
pub(crate) enum Stage {
    /// In network namespaces, with the kernel's NATs between them.
    #[cfg(target_os = "linux")]
    TwoNats(Box<TwoNats>),
    /// On this host alone, where no namespaces can be made.
    Loopback {
        /// Why there are no NATs.
        why: String,
    },
}

/// The forward that `listen` is to make.
pub(crate) struct Forward {
    pub(crate) arguments: Vec<String>,
    /// The port of the debuggee.
    pub(crate) port: u16,
}

impl Stage {
    /// Builds the lab if this host can hold one.
    pub(crate) fn set() -> Result<Self> {
        let why = match Self::two_nats()? {
            Ok(stage) => return Ok(stage),
            Err(why) => why,
        };
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        ensure!(
            !ci,
            "there are no NATs here ({why}), but CI may not go without"
        );
        Ok(Self::Loopback { why })
    }

    #[cfg(target_os = "linux")]
    fn two_nats() -> Result<Result<Self, String>> {
        if let Err(missing) = p2pdbg_natlab::requirements() {
            return Ok(Err(missing.to_string()));
        }
        let kind = NatKind::PORT_RESTRICTED;
        let lab = Lab::new("demo").and_then(|lab| TwoNats::new(lab, kind, kind, DELAY));
        let lab = lab.context("cannot build the lab of two NATs")?;
        Ok(Ok(Self::TwoNats(Box::new(lab))))
    }

    #[cfg(not(target_os = "linux"))]
    fn two_nats() -> Result<Result<Self, String>> {
        Ok(Err("the lab of NATs needs Linux".to_owned()))
    }

    /// `p2pdbg-rendezvous`, on its host and told how it is reached.
    pub(crate) fn rendezvous(&self, program: &Path) -> Command {
        match self {
            #[cfg(target_os = "linux")]
            Self::TwoNats(lab) => {
                let mut command = lab.rdv.command(program);
                command.args(["--public", &lab.rdv.ip().to_string()]);
                command
            }
            Self::Loopback { .. } => {
                let mut command = Command::new(program);
                command.args(["--bind", "127.0.0.1:0", "--alt-port", "0"]);
                command.args(["--public", "127.0.0.1"]);
                command
            }
        }
    }

    /// A program on the host with the IDE.
    pub(crate) fn beside_the_ide(&self, program: &Path) -> Command {
        match self {
            #[cfg(target_os = "linux")]
            Self::TwoNats(lab) => lab.ide.command(program),
            Self::Loopback { .. } => Command::new(program),
        }
    }

    /// A program on the host of the debuggee.
    pub(crate) fn at_the_debuggee(&self, program: &Path) -> Command {
        match self {
            #[cfg(target_os = "linux")]
            Self::TwoNats(lab) => lab.debuggee.command(program),
            Self::Loopback { .. } => Command::new(program),
        }
    }

    /// debugpy's preset; where both ends are one host, two ports that are free there instead.
    pub(crate) fn forward(&self) -> Result<Forward> {
        match self {
            #[cfg(target_os = "linux")]
            Self::TwoNats(_) => Ok(Forward {
                arguments: vec![Preset::Debugpy.name().to_owned()],
                port: Preset::Debugpy.default_port(),
            }),
            Self::Loopback { .. } => {
                let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
                Ok(Forward {
                    arguments: vec!["-L".to_owned(), format!("0:localhost:{port}")],
                    port,
                })
            }
        }
    }

    /// A picture of who is where, for the terminal.
    pub(crate) fn picture(&self) -> String {
        match self {
            #[cfg(target_os = "linux")]
            Self::TwoNats(lab) => picture_of_nats(lab),
            Self::Loopback { why } => format!(
                "   laptop (IDE, p2pdbg listen) ──┐              ┌── server (program, p2pdbg connect)\n\
                 \x20                                 └─ rendezvous ─┘\n\n\
                 \x20  All three are this host, and nothing but loopback is used: {why}.\n"
            ),
        }
    }
}

#[cfg(target_os = "linux")]
fn picture_of_nats(lab: &TwoNats) -> String {
    let row = |left: &str, right: &str| format!("   {left:<40}{right}\n");
    let nat =
        |nat: &p2pdbg_natlab::Nat| format!("NAT {} {}", nat.external_ip(), nat.kind().short_name());
    let ms = DELAY.as_millis();
    [
        row(
            &format!("laptop {}", lab.ide.ip()),
            &format!("server {}", lab.debuggee.ip()),
        ),
        row("the IDE, p2pdbg listen", "the program, p2pdbg connect"),
        row("   │", "   │"),
        row(&nat(&lab.nat_a), &nat(&lab.nat_b)),
        row("   │", "   │"),
        format!("      └──── {ms} ms ──── the internet ──── {ms} ms ────┘\n"),
        format!("                           │ {ms} ms\n"),
        format!("                      rendezvous {}\n", lab.rdv.ip()),
    ]
    .concat()
}
