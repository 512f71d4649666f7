//! The debuggers' side: what listens on their ports, seen without touching them, and what each is known to stumble
//! over.
//!
//! Nothing is connected to and nothing is run: a bare connection ends some debuggers and starts a session with others.

use std::{collections::BTreeMap, net::SocketAddr};

use p2pdbg_forward::{Direction, ForwardSpec, Preset};
use p2pdbg_net::listening;
use serde::Serialize;

/// A port that a debugger uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DebugPort {
    /// The port's number.
    pub port: u16,
    /// The debuggers that use it, as p2pdbg names them.
    pub debuggers: Vec<&'static str>,
    /// Who has to listen there: `debuggee` or `ide`; none if that depends on the debugger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<&'static str>,
    /// The addresses on which something listens; none if it cannot be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listening: Option<Vec<SocketAddr>>,
    /// Whether one of them is reachable from other hosts.
    pub open_to_network: bool,
    /// Whether the user asked about this port by name.
    pub asked: bool,
    /// What these debuggers are known to stumble over.
    pub traps: Vec<Trap>,
}

/// Something that goes wrong with a debugger, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Trap {
    /// The debugger's name, as p2pdbg has it.
    pub debugger: &'static str,
    /// What one sees, as the beginning of a sentence.
    pub symptom: &'static str,
    /// What helps, as a command or as its end.
    pub fix: &'static str,
}

/// Looks at the ports of these forwards, or, without any, at the usual ports of all debuggers, of which only those are
/// told on which something listens.
pub(super) fn look(asked: &[ForwardSpec]) -> Vec<DebugPort> {
    let mut ports: BTreeMap<u16, Vec<Preset>> = BTreeMap::new();
    for spec in asked {
        match spec {
            ForwardSpec::Fixed(forward) => {
                let port = ports.entry(forward.target.port).or_default();
                port.extend(forward.preset());
            }
            ForwardSpec::Auto { port } => {
                let port = ports.entry(*port).or_default();
                port.extend([Preset::Debugpy, Preset::Pydevd]);
            }
        }
    }
    if asked.is_empty() {
        for preset in Preset::ALL {
            ports.entry(preset.default_port()).or_default().push(preset);
        }
    }
    let mut found: Vec<DebugPort> = ports
        .into_iter()
        .map(|(port, presets)| debug_port(port, &presets, !asked.is_empty()))
        .collect();
    if asked.is_empty() {
        found.retain(|port| port.listening.as_ref().is_some_and(|all| !all.is_empty()));
    }
    found
}

fn debug_port(port: u16, presets: &[Preset], asked: bool) -> DebugPort {
    let listening = listening::on_port(port);
    let open_to_network = listening
        .iter()
        .flatten()
        .any(|address| !address.ip().to_canonical().is_loopback());
    DebugPort {
        port,
        debuggers: presets.iter().map(|preset| preset.name()).collect(),
        listener: listener(presets),
        open_to_network,
        traps: match asked {
            true => presets.iter().copied().flat_map(traps).collect(),
            false => Vec::new(),
        },
        listening,
        asked,
    }
}

fn listener(presets: &[Preset]) -> Option<&'static str> {
    let end = |preset: &Preset| match preset.direction() {
        Direction::ToDebuggee => "debuggee",
        Direction::ToIde => "ide",
    };
    let first = end(presets.first()?);
    presets
        .iter()
        .all(|preset| end(preset) == first)
        .then_some(first)
}

/// What to say about an open port, if it is one.
pub(super) fn warning(port: &DebugPort) -> Option<String> {
    if !port.open_to_network {
        return None;
    }
    let open = port.listening.iter().flatten();
    let open = open
        .filter(|address| !address.ip().to_canonical().is_loopback())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" and ");
    let whose = match port.debuggers[..] {
        [] => String::new(),
        _ => format!(" ({})", port.debuggers.join(", ")),
    };
    let fix = if port.debuggers.contains(&"gdbserver") {
        "gdbserver listens on every address, whichever it is told: close the port in this host's firewall"
    } else {
        "let it listen on 127.0.0.1, or close the port in this host's firewall"
    };
    Some(format!(
        "{open}{whose} is open to the network, and whoever reaches a debug port can run code here: {fix}"
    ))
}

/// What a debugger is known to stumble over.
fn traps(preset: Preset) -> impl Iterator<Item = Trap> {
    let debugger = preset.debugger();
    debugger.traps.iter().map(|trap| Trap {
        debugger: debugger.name,
        symptom: trap.symptom,
        fix: trap.fix,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn asked(specs: &[String]) -> Vec<DebugPort> {
        let specs: Vec<ForwardSpec> = specs.iter().map(|spec| spec.parse().unwrap()).collect();
        look(&specs)
    }

    #[test]
    fn an_open_debug_port_is_seen_untouched_and_warned_of_loudly() {
        let open = TcpListener::bind("0.0.0.0:0").unwrap();
        open.set_nonblocking(true).unwrap();
        let port = open.local_addr().unwrap().port();
        let found = asked(&[format!("gdbserver:{port}")]).remove(0);
        assert_eq!(found.debuggers, ["gdbserver"]);
        assert_eq!(found.listener, Some("debuggee"));
        assert!(found.open_to_network);
        let warning = warning(&found).unwrap();
        assert!(warning.contains(&format!("0.0.0.0:{port}")), "{warning}");
        assert!(warning.contains("every address"), "{warning}");
        assert!(open.accept().is_err(), "nobody has connected");
        assert!(
            found
                .traps
                .iter()
                .any(|trap| trap.fix.contains("remotetimeout"))
        );
        assert!(found.traps.iter().any(|trap| trap.fix.contains("sysroot")));
    }

    #[test]
    fn a_debug_port_on_loopback_is_no_reason_to_worry() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = asked(&[format!("debugpy:{}", address.port())]).remove(0);
        assert_eq!(found.listening, Some(vec![address]));
        assert!(!found.open_to_network && warning(&found).is_none());
        drop(listener);
        let found = asked(&[format!("debugpy:{}", address.port())]).remove(0);
        assert_eq!(found.listening, Some(Vec::new()), "asked for, so told");
    }
}
