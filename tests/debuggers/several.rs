//! Two debuggees of one `p2pdbg listen`, with a debugger each.

use p2pdbg_events::{Event, StreamState};

use crate::{
    harness::{Peer, Setting, skip},
    scenario::{DEBUGPY, GDB, Scenario, python},
    script::{Missing, Script},
};

/// A listener with two peers. Since they are on one host here, where a port can be open once only, each debuggee has a
/// forward of its own of the two that both peers have.
struct Two {
    setting: Setting,
    listener: Peer,
    peers: [Peer; 2],
    /// Beside the IDE.
    ports: [u16; 2],
    targets: [u16; 2],
}

impl Two {
    fn start(more: &[&str]) -> Self {
        let setting = Setting::loopback();
        let rows = [setting.ports(2), setting.ports(2)];
        let targets = [setting.port(), setting.port()];
        let forward = |n: usize| format!("{}:localhost:{}", rows[n], targets[n]);
        let listener = setting
            .listener()
            .args(["--peers", "2", "-L", &forward(0), "-L", &forward(1)])
            .args(more.iter().copied())
            .start();
        let come = |name: &str| {
            let command = setting.connector_with(&listener.code()).called(name);
            let peer = command.args(["--name", name]).start();
            listener.paired();
            peer
        };
        let peers = [come("web"), come("db")];
        for (peer, n) in [("web", 0), ("db", 1)] {
            for port in rows.map(|first| first + n) {
                listener.event_of(peer, "forward", |event| match event {
                    Event::Forward { listen, .. } if listen.address()?.port == port => Some(()),
                    _ => None,
                });
            }
        }
        // The first forward of the first place, the second of the second.
        let ports = [rows[0], rows[1] + 1];
        Self {
            setting,
            listener,
            peers,
            ports,
            targets,
        }
    }

    /// Starts both ends of a debugger, the debuggee first.
    fn debug(&self, scenario: &Scenario, which: usize) -> Result<[Script; 2], Missing> {
        let Some(python) = python() else {
            return Err(Missing("no Python".to_owned()));
        };
        let start = |script: &[&str], place, port: u16| {
            let port = port.to_string();
            let arguments = [&script[1..], &["--port", &port]].concat();
            Script::start(
                place,
                &python,
                script[0],
                &arguments,
                &self.setting.transcript,
            )
        };
        let debuggee = start(
            scenario.listens,
            &self.setting.debuggee,
            self.targets[which],
        );
        debuggee.port()?;
        let ide = start(scenario.connects, &self.setting.ide, self.ports[which]);
        Ok([ide, debuggee])
    }

    /// Waits until a debugger of that peer has come through.
    #[track_caller]
    fn is_debugged(&self, peer: &str) {
        self.listener.event_of(peer, "stream", |event| match event {
            Event::Stream {
                state: StreamState::Open,
                debugger: Some(_),
                ..
            } => Some(()),
            _ => None,
        });
    }
}

/// Both debuggees are debugged to their ends at once.
#[track_caller]
pub(crate) fn at_once(scenario: &Scenario) {
    let two = Two::start(&[]);
    let scripts = [two.debug(scenario, 0), two.debug(scenario, 1)];
    let scripts: Result<Vec<_>, _> = scripts.into_iter().collect();
    match scripts {
        Ok(scripts) => scripts
            .into_iter()
            .flatten()
            .for_each(|script| drop(script.seen().unwrap())),
        Err(Missing(why)) => skip(&why),
    }
}

#[test]
fn an_ide_debugs_two_debuggees_of_one_listener_at_once() {
    at_once(&DEBUGPY);
}

#[test]
fn gdb_debugs_two_debuggees_of_one_listener_at_once() {
    at_once(&GDB);
}

#[test]
fn a_debuggee_whose_host_is_killed_does_not_stop_the_other_from_stepping_on() {
    let mut two = Two::start(&[]);
    let (stepping, dying) = match (two.debug(&DEBUGPY, 0), two.debug(&DEBUGPY, 1)) {
        (Ok(stepping), Ok(dying)) => (stepping, dying),
        (Err(Missing(why)), _) | (_, Err(Missing(why))) => return skip(&why),
    };
    two.is_debugged("web");
    two.is_debugged("db");
    two.peers[1].kill();
    for script in stepping {
        script.seen().unwrap();
    }
    drop(dying);
}
