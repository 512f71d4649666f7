//! The notation of forwards: `-L`, `-R`, presets and `auto`.
//!
//! `-L [BIND:]PORT:HOST:PORT` and `-R` mean what ssh users expect, seen from the IDE's side: `-L` opens a
//! port beside the IDE and dials at the debuggee, `-R` opens it at the debuggee and dials beside the IDE. In place of
//! the port beside the IDE, `-L` takes the path of a Unix socket, as ssh does, and both take one in place of what is
//! dialled.

use std::{fmt, path::PathBuf, str::FromStr};

use p2pdbg_base::{
    Bind, BindScope, HostPort, NotAHostPort, Untrusted,
    host_port::{Host, LONGEST_SOCKET, parse_port},
};
use p2pdbg_proto::tunnel::{Direction, ForwardOffer, WhileAbsent};

use super::{
    Preset,
    misspelt_forward::{instead_of, instead_of_port, instead_of_spec, is_code},
};

/// The port of `auto`, and of a session for which no forward was given: debugpy's.
pub const DEFAULT_PORT: u16 = 5678;

/// What stands in place of a debugger's name where none is named, on the command line and to the peer.
const AUTO: &str = "auto";

/// The option that asks for a forward of this direction.
fn option(direction: Direction) -> &'static str {
    match direction {
        Direction::ToDebuggee => "-L",
        Direction::ToIde => "-R",
    }
}

/// A port that is opened at one end, and what is dialled at the other for each connection to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Which end opens and which dials.
    pub direction: Direction,
    /// Where the port is opened.
    pub bind: Bind,
    /// The Unix socket that is opened beside the IDE in place of the port, which then is 0: an absolute path.
    pub socket: Option<PathBuf>,
    /// What the far end dials for each connection to the port.
    pub target: HostPort,
    /// Who is meant to connect.
    pub purpose: Purpose,
}

/// For whom a forward is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Whatever connects: `-L` and `-R`.
    Anything,
    /// A debugger that was not named: `auto`.
    SomeDebugger,
    /// This debugger.
    Debugger(Preset),
}

impl Purpose {
    /// As the peer is told of it.
    fn word(self) -> &'static str {
        match self {
            Self::Anything => "",
            Self::SomeDebugger => AUTO,
            Self::Debugger(preset) => preset.name(),
        }
    }

    /// What the peer has told. A debugger that this version does not know is one that was not named.
    fn from_word(word: &str) -> Self {
        match word {
            "" => Self::Anything,
            word => word.parse().map_or(Self::SomeDebugger, Self::Debugger),
        }
    }
}

impl Forward {
    /// The debugger it is meant for, where one was named.
    pub fn preset(&self) -> Option<Preset> {
        match self.purpose {
            Purpose::Debugger(preset) => Some(preset),
            Purpose::Anything | Purpose::SomeDebugger => None,
        }
    }

    /// Reads the argument of `-L` or `-R`: `[BIND:]PORT:HOST:PORT`, or for `-L` also `PATH:HOST:PORT`; the path of a
    /// Unix socket at the end that dials may stand in place of `HOST:PORT`.
    ///
    /// # Errors
    /// Says which part does not parse; the message carries the whole argument.
    pub fn parse(direction: Direction, spec: &str) -> Result<Self, NotAForward> {
        let fail = |fault| NotAForward::Spec {
            option: option(direction),
            spec: spec.to_owned(),
            fault,
        };
        let fields = split_outside_brackets(spec);
        if let Some(place) = fields.iter().position(|field| field.contains('/')) {
            let dialled = |path: &str| path.parse().map_err(|e| fail(SpecFault::Target(e)));
            return match (direction, place, &fields[..]) {
                (Direction::ToDebuggee, 0, [path, host, port]) => {
                    Self::of_socket(path, tcp(host, port).map_err(fail)?).map_err(fail)
                }
                (Direction::ToDebuggee, 0, [path, there]) if there.starts_with('/') => {
                    Self::of_socket(path, dialled(there)?).map_err(fail)
                }
                (Direction::ToIde, 0, [_, _] | [_, _, _]) => Err(fail(SpecFault::SocketThere)),
                (_, 1, [port, path]) if path.starts_with('/') => {
                    Self::to_socket(direction, BindScope::Loopback, port, dialled(path)?)
                        .map_err(fail)
                }
                (_, 2, [bind, port, path]) if path.starts_with('/') => {
                    let scope = Bind::parse_scope(bind).map_err(|e| fail(SpecFault::Bind(e)))?;
                    Self::to_socket(direction, scope, port, dialled(path)?).map_err(fail)
                }
                (_, 1 | 2, [.., path]) if path.contains('/') && !path.starts_with('/') => {
                    Err(fail(SpecFault::RelativeDialled))
                }
                _ => Err(fail(SpecFault::Shape)),
            };
        }
        let (scope, port, host, target_port) = match fields[..] {
            [port, host, target_port] => (BindScope::Loopback, port, host, target_port),
            [bind, port, host, target_port] => {
                let scope = Bind::parse_scope(bind).map_err(|e| fail(SpecFault::Bind(e)))?;
                (scope, port, host, target_port)
            }
            _ => return Err(fail(SpecFault::Shape)),
        };
        let port = parse_port(port).map_err(|e| fail(SpecFault::Bind(e)))?;
        Ok(Self {
            direction,
            bind: Bind { scope, port },
            socket: None,
            target: tcp(host, target_port).map_err(fail)?,
            purpose: Purpose::Anything,
        })
    }

    /// From a port to a Unix socket.
    fn to_socket(
        direction: Direction,
        scope: BindScope,
        port: &str,
        target: HostPort,
    ) -> Result<Self, SpecFault> {
        let port = parse_port(port).map_err(SpecFault::Bind)?;
        Ok(Self {
            direction,
            bind: Bind { scope, port },
            socket: None,
            target,
            purpose: Purpose::Anything,
        })
    }

    /// From a Unix socket beside the IDE.
    fn of_socket(path: &str, target: HostPort) -> Result<Self, SpecFault> {
        if !cfg!(unix) {
            return Err(SpecFault::NoSockets);
        }
        let path = std::path::absolute(path).map_err(|_| SpecFault::Path)?;
        if path.as_os_str().len() > LONGEST_SOCKET || path.file_name().is_none() {
            return Err(SpecFault::Path);
        }
        Ok(Self {
            direction: Direction::ToDebuggee,
            bind: Bind::loopback(0),
            socket: Some(path),
            target,
            purpose: Purpose::Anything,
        })
    }

    /// The forward of a preset: one port for both ends.
    pub fn of_preset(preset: Preset, port: u16) -> Self {
        Self {
            purpose: Purpose::Debugger(preset),
            ..Self::same_port(preset.direction(), port)
        }
    }

    /// Whether each of the two dials the port that the other one opens: a connection would go round without end.
    pub fn leads_round_with(&self, other: &Self) -> bool {
        let leads_to = |one: &Self, other: &Self| {
            other.socket.is_none() && other.bind.is_dialled_at(&one.target)
        };
        self.direction != other.direction && leads_to(self, other) && leads_to(other, self)
    }

    /// The command that starts the debuggee, where the debugger is known and its port is settled.
    pub fn start_debuggee(&self) -> Option<String> {
        let port = match self.direction {
            Direction::ToDebuggee => self.target.port,
            Direction::ToIde => self.bind.port,
        };
        let preset = self.preset().filter(|_| port != 0)?;
        Some(preset.start_debuggee(port))
    }

    /// What the listener tells the connector of it, as number `forward` of the session.
    pub fn to_offer(&self, forward: u16, while_absent: WhileAbsent) -> ForwardOffer {
        ForwardOffer {
            forward,
            direction: self.direction,
            bind: match (&self.socket, self.bind.scope) {
                (Some(path), _) => path.to_string_lossy().into_owned(),
                (None, BindScope::Loopback) => String::new(),
                (None, BindScope::Everywhere) => "*".to_owned(),
                (None, BindScope::Address(ip)) => ip.to_string(),
            },
            port: self.bind.port,
            target_host: self.target.host.to_string(),
            target_port: self.target.port,
            preset: self.purpose.word().to_owned(),
            while_absent,
        }
    }

    /// What the listener has told. A preset that this version does not know counts as a debugger that was not named.
    ///
    /// # Errors
    /// If one of the addresses does not parse, as for `-L` and `-R`.
    pub fn from_offer(offer: &ForwardOffer) -> Result<Self, SpecFault> {
        let (scope, socket) = match offer.bind.as_str() {
            "" => (BindScope::Loopback, None),
            // It is opened at the other end, and only shown here.
            path if path.starts_with('/') && offer.direction == Direction::ToDebuggee => {
                let shown = Untrusted::limited(path, LONGEST_SOCKET).to_string();
                (BindScope::Loopback, Some(PathBuf::from(shown)))
            }
            bind => (Bind::parse_scope(bind).map_err(SpecFault::Bind)?, None),
        };
        let target = match offer.target_host.starts_with('/') && offer.target_port == 0 {
            true => offer.target_host.parse().map_err(SpecFault::Target)?,
            false => target(
                offer.target_host.parse().map_err(SpecFault::Target)?,
                offer.target_port,
            )?,
        };
        Ok(Self {
            direction: offer.direction,
            bind: Bind {
                scope,
                port: offer.port,
            },
            socket,
            target,
            purpose: Purpose::from_word(&offer.preset),
        })
    }

    fn same_port(direction: Direction, port: u16) -> Self {
        Self {
            direction,
            bind: Bind::loopback(port),
            socket: None,
            target: HostPort {
                host: Host::Localhost,
                port,
            },
            purpose: Purpose::SomeDebugger,
        }
    }
}

/// As it is written on the command line: `-L localhost:5678:localhost:5678`.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", option(self.direction))?;
        match &self.socket {
            Some(path) => write!(f, "{}:", path.display())?,
            None => write!(f, "{}:", self.bind)?,
        }
        self.target.fmt(f)
    }
}

/// A forward as asked for, before this host was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardSpec {
    /// A forward of which nothing is left to find out.
    Fixed(Forward),
    /// `auto`: the direction follows from whether something beside the IDE listens on `port`.
    Auto {
        /// The port at both ends.
        port: u16,
    },
}

impl ForwardSpec {
    /// Settles `auto`: `ToIde` if `listens_here(port)`, else `ToDebuggee`.
    ///
    /// `listens_here` must look without connecting; see [`listening`](p2pdbg_net::listening).
    pub fn resolve(self, listens_here: impl FnOnce(u16) -> bool) -> Forward {
        match self {
            Self::Fixed(forward) => forward,
            Self::Auto { port } if listens_here(port) => Forward::same_port(Direction::ToIde, port),
            Self::Auto { port } => Forward::same_port(Direction::ToDebuggee, port),
        }
    }
}

impl Default for ForwardSpec {
    fn default() -> Self {
        Self::Auto { port: DEFAULT_PORT }
    }
}

impl FromStr for ForwardSpec {
    type Err = NotAForward;

    /// Reads `PRESET[:PORT]` or `auto[:PORT]`.
    fn from_str(text: &str) -> Result<Self, NotAForward> {
        if is_code(text) {
            return Err(NotAForward::Code);
        }
        let (name, port) = match text.split_once(':') {
            None => (text, None),
            Some((name, port)) => (name, Some(port)),
        };
        let preset: Option<Preset> = match name {
            AUTO => None,
            name => Some(
                name.parse()
                    .map_err(|_| NotAForward::UnknownPreset(text.to_owned()))?,
            ),
        };
        let port = match port.map(parse_port) {
            None => preset.map_or(DEFAULT_PORT, Preset::default_port),
            Some(Ok(port)) if port != 0 => port,
            Some(_) => return Err(NotAForward::PresetPort(text.to_owned())),
        };
        Ok(match preset {
            Some(preset) => Self::Fixed(Forward::of_preset(preset, port)),
            None => Self::Auto { port },
        })
    }
}

/// Why a text is not a forward.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAForward {
    /// The argument of `-L` or `-R` does not parse.
    #[error("{option} {spec}: {fault}")]
    Spec {
        /// The option it belongs to: `-L` or `-R`.
        option: &'static str,
        /// The argument, as it was written.
        spec: String,
        /// What is wrong with it.
        fault: SpecFault,
    },
    /// It is a code. The message does not repeat it, since its words are a secret.
    #[error("a code is for the other end")]
    Code,
    /// No debugger of that name is known.
    #[error("no debugger preset is called {0:?}")]
    UnknownPreset(String),
    /// The port after a preset is not one.
    #[error("{0:?}: what follows the preset is not a port from 1 to 65535")]
    PresetPort(String),
}

impl NotAForward {
    /// What to write instead, as a sentence of advice without a full stop.
    pub fn hint(&self) -> String {
        match self {
            Self::Spec { option, spec, .. } => instead_of_spec(option, spec),
            Self::Code => "run p2pdbg connect CODE on the debuggee's host; p2pdbg listen makes a code of its own"
                .to_owned(),
            Self::UnknownPreset(text) => instead_of(text),
            Self::PresetPort(text) => instead_of_port(text),
        }
    }
}

/// What is wrong with the argument of `-L` or `-R`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpecFault {
    /// It has not three or four fields.
    #[error("it must have three or four parts between colons (an IPv6 address goes in brackets)")]
    Shape,
    /// The port to open, or the address to open it on.
    #[error("the port to open: {0}")]
    Bind(NotAHostPort),
    /// The address to dial is no `HOST:PORT`.
    #[error("the address to dial: {0}")]
    Target(NotAHostPort),
    /// The path of a Unix socket is none, or is too long.
    #[error("the socket to open: its path must name a file, in 103 bytes at the most")]
    Path,
    /// A Unix socket after `-R`.
    #[error("a Unix socket can be opened beside the IDE alone, by -L")]
    SocketThere,
    /// A Unix socket as what is dialled, by a path that depends on where a program was started.
    #[error("the address to dial: the path of a Unix socket at the other end begins with /")]
    RelativeDialled,
    /// A Unix socket, which p2pdbg does not open on Windows.
    #[error("Unix sockets are not there on Windows")]
    NoSockets,
    /// `0.0.0.0` or `::` as an address to dial.
    #[error("the address to dial: 0.0.0.0 and :: are for listening; dial localhost instead")]
    Unspecified,
}

/// The address to dial, as its two parts are written.
fn tcp(host: &str, port: &str) -> Result<HostPort, SpecFault> {
    let host: Host = host.parse().map_err(SpecFault::Target)?;
    target(host, parse_port(port).map_err(SpecFault::Target)?)
}

/// The address to dial, if it can be one.
fn target(host: Host, port: u16) -> Result<HostPort, SpecFault> {
    if port == 0 {
        return Err(SpecFault::Target(NotAHostPort::Port));
    }
    if matches!(&host, Host::Ip(ip) if ip.is_unspecified()) {
        return Err(SpecFault::Unspecified);
    }
    Ok(HostPort { host, port })
}

/// The parts of `text` between colons, where colons in `[…]` do not count.
fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ => {}
        }
        c == ':' && !inside
    })
    .collect()
}

#[cfg(test)]
mod tests;
