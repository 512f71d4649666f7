//! What happens in a session, as it is reported: the schema of `--json`.
//!
//! Stable: fields are added, never renamed or removed. Optional fields are left out rather than null. Text of
//! the peer's choosing is [`Untrusted`]; everything else is this program's own words or a parsed type.

use std::net::SocketAddr;

use p2pdbg_base::{Failure, HostPort, Opened, Untrusted};
use p2pdbg_facts::HostFacts;
use p2pdbg_forward::{Direction, Preset};
use p2pdbg_proto::code::Code;
use serde::{Deserialize, Serialize};

use super::DebuggerReport;

/// One line of `--json`; the field `event` holds the variant's name in snake case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// `listen` can be found by its peer. Comes again with a new code when the old one burned.
    Ready {
        /// What to give to the peer; none while waiting for a known peer.
        #[serde(default, with = "code_text", skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// What to run on the debuggee's host.
        command: String,
        /// What to run there in a shell of Linux if p2pdbg is not installed; none if the rendezvous does not hand it
        /// out, or hands out what this end cannot vouch for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        without_install: Option<String>,
        /// The same with the program that is debugged behind it, if the first debugger's is started there: `app.py`
        /// and the like stand for it. Started so, debugpy steps faster.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with_program: Option<String>,
    },
    /// The peers have authenticated each other.
    Paired {
        /// What the peer calls itself, or the name under which it is known here.
        peer: Untrusted,
        /// Whether the two knew each other, so that no code was used.
        known: bool,
    },
    /// Where the peer runs, as it says.
    Facts(HostFacts),
    /// Whether the source files are the same at both ends.
    Sources(SourcesReport),
    /// A file was copied to here from the peer.
    Received {
        /// Its path below the directory for copies.
        name: Untrusted,
    },
    /// A forward stands: its port is open.
    Forward {
        /// Which end opens the port and which dials.
        direction: Direction,
        /// The open port or Unix socket: beside the IDE for `to_debuggee`, at the debuggee for `to_ide`.
        listen: Opened,
        /// What is dialled at the other end.
        to: HostPort,
        /// The debugger that was named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        debugger: Option<Preset>,
        /// The command that starts the debuggee for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start: Option<String>,
    },
    /// The peer wants a debugger to attach to a program here, and the user at this terminal is asked.
    AttachAsked {
        /// Its process id on this host.
        pid: u32,
        /// Its command line, cut; the program may have written what it likes there.
        command: Untrusted,
        /// The debugger that would attach.
        debugger: Preset,
    },
    /// The peer has had a debugger attach to a program here.
    Attached {
        /// Its process id on this host.
        pid: u32,
        /// Its command line, cut; the program may have written what it likes there.
        command: Untrusted,
        /// The debugger that has attached, or will when its IDE connects.
        debugger: Preset,
        /// The port of the loopback at which it awaits its IDE.
        port: u16,
    },
    /// Streams travel another way than before.
    Path(PathReport),
    /// A debugger's connection changed its state.
    Stream {
        /// Names the stream in this session.
        id: u64,
        /// Its state from now on.
        state: StreamState,
        /// What is dialled for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<HostPort>,
        /// What was seen of the debugger.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        debugger: Option<Box<DebuggerReport>>,
    },
    /// Nothing can go on until something comes.
    Waiting(Waiting),
    /// No path to the peer is left; its streams are held.
    PeerLost {
        /// How many streams are held.
        streams: usize,
    },
    /// The peer is back, and the streams go on where they were.
    Resumed {
        /// For how long nothing got through, in milliseconds.
        gap_ms: u64,
        /// How many streams go on.
        streams: usize,
    },
    /// Something that a person should know and that ends nothing.
    Warning(Warning),
    /// Why the program ends with a status other than 0.
    Error(Failure),
    /// The session is over, and no more events of it follow.
    Closed {
        /// Why, in words for a person.
        why: String,
    },
}

/// Whether the source files are the same at both ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcesReport {
    /// The files that are at both ends and not the same, by their paths below the roots.
    pub differ: Vec<Untrusted>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
    /// How many files are the same.
    pub same: usize,
    /// How many are here alone.
    pub only_here: usize,
    /// How many are at the peer alone.
    pub only_there: usize,
    /// Files that are at both ends and differ in their line ends alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line_ends: Vec<Untrusted>,
    /// How many were left out at either end: beyond a limit, too long, or of a name that cannot be said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
    /// Whether `left_out` is not 0: what is told of the files holds for the others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// The directory here whose files are those of `there`, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<Untrusted>,
    /// The directory at the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub there: Option<Untrusted>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// How the peers are connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathReport {
    /// Directly or through the rendezvous.
    pub kind: PathKind,
    /// UDP, TCP, or TCP in a WebSocket, on this end's side of the path.
    pub via: Via,
    /// This end's address of the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<SocketAddr>,
    /// The other end's address: the peer's, or the relay's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<SocketAddr>,
    /// The traversal technique that found it, in the words of docs/TRAVERSAL.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub technique: Option<String>,
    /// The round-trip time in milliseconds; none before the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Milliseconds since the program started: see [`Reporter::after_ms`](crate::Reporter::after_ms).
    pub after_ms: u64,
    /// Why this path and not a better one, or why it changed, in words.
    pub why: String,
}

/// Directly or through the rendezvous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// From peer to peer, without the rendezvous.
    Direct,
    /// Through the rendezvous, which can read nothing of it.
    Relay,
}

/// What carries a path's datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// UDP: what is lost holds up nothing else.
    Udp,
    /// TCP, where UDP does not pass, or not well; TLS over it to a relay.
    Tcp,
    /// The same inside a WebSocket.
    #[serde(rename = "websocket")]
    WebSocket,
}

/// The state of one debugger's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// Accepted at one end and held until something listens at the other.
    Waiting,
    /// Connected at both ends, and bytes go in both directions.
    Open,
    /// One direction has ended and the other goes on.
    HalfClosed,
    /// Both directions have ended, every byte delivered.
    Closed,
    /// One end broke the connection, or the peer's process is gone.
    Reset,
    /// The program that connected left before anything came back for it; nothing of it is delivered.
    GaveUp,
}

/// What is awaited, and what a person can do so that it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Who, or what, must come.
    #[serde(rename = "for")]
    pub awaited: WaitingFor,
    /// Where it must listen, for `debuggee` and `ide`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<HostPort>,
    /// The command that makes it come, to be run on its host, where there is one to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// What must come before things can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    /// The peer: nobody has used the code yet, or the known peer is not there.
    Peer,
    /// The rendezvous, which does not answer.
    Rendezvous,
    /// Something that listens at the debuggee.
    Debuggee,
    /// Something that listens beside the IDE.
    Ide,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The stable name of it.
    pub code: WarningCode,
    /// What is the matter; the peer's text in it must be escaped.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Warning {
    /// A warning without advice; `hint` adds some.
    pub fn new(code: WarningCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// That whoever reaches this host can connect to the debug port at `address`.
    pub fn open_debug_port(address: SocketAddr) -> Self {
        let message = format!(
            "{address} is open to other hosts, and whoever connects to a debug port can run code"
        );
        Self::new(WarningCode::OpenDebugPort, message)
            .hint("let the debuggee listen on 127.0.0.1, or close the port in the firewall")
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The stable names of warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// Somebody tried the code with a wrong word; it is worth nothing now.
    CodeBurned,
    /// A debug port is open to other hosts than this one.
    OpenDebugPort,
    /// The peer asked for an address that this end does not allow.
    TargetNotAllowed,
    /// A client at a debugger's port says nothing, and nothing was dialled for it.
    SilentClient,
    /// A forward could not be set up at one of the ends.
    ForwardFailed,
    /// Another process of this host has the port, so the next one that is free is open in its place.
    PortMoved,
    /// A forwarded port is reached over one address family only.
    OneFamily,
    /// The rendezvous is lost; what is connected goes on.
    RendezvousLost,
    /// The rendezvous goes out of service soon: nobody new is introduced, and what is relayed ends with it.
    RendezvousDraining,
    /// Another peer has the name that this one calls itself; it got another one here.
    NameTaken,
    /// A peer came for whom there is no place, or that is not what it should be.
    PeerTurnedAway,
    /// Ports were given by `--map` to a name that no peer has.
    MapUnused,
    /// The peer could not be noted in the state directory.
    PeerNotRemembered,
    /// There is no directory for state, so nobody is known here from one run to the next.
    NothingKept,
    /// The configuration file holds the access key and is not closed to other users.
    ConfigurationOpen,
    /// The system's firewall may ask about this program, which runs for the first time.
    Firewall,
    /// The peer's streams are gone, because its process is.
    PeerRestarted,
    /// Tunnels or messages were refused: somebody knocks at the session's port, or the peer breaks the protocol.
    Refused,
    /// The debuggee does not have a file in which the IDE set a breakpoint.
    FileMissing,
    /// The directories that are compared have no file in common.
    NothingInCommon,
    /// The program has stopped in a file that no path mapping of the IDE covers.
    StopUnmapped,
    /// The debugger on the debuggee's host is not of the version that the IDE needs.
    DebuggerVersion,
    /// A forward carries another debugger than the one it was asked for.
    DebuggerMismatch,
    /// A debugger listens where no forward leads: on another port or address, or one more than the forwards are for.
    DebuggerElsewhere,
    /// What listens at a forward's target takes connections and closes them without a word.
    TargetHangsUp,
    /// A program of another user of this host tried a port, and `--same-user` was given.
    OtherUser,
    /// A web page, or another client that speaks HTTP, tried a port that is for a debugger.
    WebPage,
    /// More happened than could be written; that many events are missing here.
    EventsDropped,
}

/// A [`Code`] is serialised as the text that people read to each other.
mod code_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Code;

    pub(super) fn serialize<S: Serializer>(code: &Option<Code>, s: S) -> Result<S::Ok, S::Error> {
        match code {
            Some(code) => s.collect_str(code),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Code>, D::Error> {
        let text = Option::<String>::deserialize(d)?;
        text.map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_base::ErrorCode;
    use serde_json::{Value, json};

    use super::*;

    fn json_of(event: &Event) -> Value {
        let value = serde_json::to_value(event).unwrap();
        let text = serde_json::to_string(event).unwrap();
        assert_eq!(&serde_json::from_str::<Event>(&text).unwrap(), event);
        value
    }

    #[test]
    fn events_are_flat_objects_named_by_their_field_event() {
        let ready = Event::Ready {
            code: Some("482913-orbit-lemon-tiger".parse().unwrap()),
            command: "p2pdbg connect".into(),
            without_install: None,
            with_program: None,
        };
        assert_eq!(
            json_of(&ready),
            json!({"event": "ready", "code": "482913-orbit-lemon-tiger", "command": "p2pdbg connect"})
        );
        let path = Event::Path(PathReport {
            kind: PathKind::Direct,
            via: Via::Udp,
            local: Some("192.0.2.1:4000".parse().unwrap()),
            remote: Some("[2001:db8::1]:5".parse().unwrap()),
            technique: None,
            rtt_ms: Some(40.5),
            after_ms: 301,
            why: "punched".into(),
        });
        assert_eq!(
            json_of(&path),
            json!({
                "event": "path", "kind": "direct", "via": "udp", "local": "192.0.2.1:4000",
                "remote": "[2001:db8::1]:5", "rtt_ms": 40.5, "after_ms": 301, "why": "punched"
            })
        );
        let waiting = Event::Waiting(Waiting {
            awaited: WaitingFor::Debuggee,
            at: Some("localhost:5678".parse().unwrap()),
            run: None,
        });
        assert_eq!(
            json_of(&waiting),
            json!({"event": "waiting", "for": "debuggee", "at": "localhost:5678"})
        );
        let error = Event::Error(Failure::new(ErrorCode::CodeRefused, "no").hint("ask again"));
        assert_eq!(
            json_of(&error),
            json!({"event": "error", "code": "code_refused", "message": "no", "hint": "ask again"})
        );
    }

    #[test]
    fn a_peers_name_is_escaped_in_json_too() {
        let event = Event::Paired {
            peer: Untrusted::new("\u{1b}[2Jweb\u{202e}"),
            known: false,
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"event":"paired","peer":"\\u{1b}[2Jweb\\u{202e}","known":false}"#
        );
    }

    #[test]
    fn debug_does_not_show_the_words_of_a_code() {
        let ready = Event::Ready {
            code: Some("482913-orbit-lemon-tiger".parse().unwrap()),
            command: String::new(),
            without_install: None,
            with_program: None,
        };
        assert!(!format!("{ready:?}").contains("orbit"));
    }

    #[test]
    fn the_warning_of_an_open_port_is_the_documented_one() {
        let warning = Warning::open_debug_port("0.0.0.0:5678".parse().unwrap());
        let line = serde_json::to_string(&Event::Warning(warning)).unwrap();
        assert!(DOCS.contains(&line), "{line}");
    }

    const DOCS: &str = include_str!("../../../docs/JSON.md");

    /// The names of the variants of `T`, out of serde's message about one that is not among them.
    fn names<T: serde::de::DeserializeOwned>(unknown: &str) -> Vec<String> {
        let error = serde_json::from_str::<T>(unknown)
            .err()
            .unwrap()
            .to_string();
        let (_, expected) = error.split_once("expected one of ").unwrap();
        expected
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_examples_of_the_documentation_parse_and_leave_nothing_out() {
        let examples = DOCS.lines().filter(|line| line.starts_with("{\"event\""));
        let mut seen = std::collections::BTreeSet::new();
        for line in examples {
            let mut example: Value = serde_json::from_str(line).unwrap();
            // Of several sessions, a line says which it is of, whatever the event.
            example.as_object_mut().unwrap().remove("session");
            let event: Event = serde_json::from_str(line).unwrap();
            assert_eq!(json_of(&event), example);
            seen.insert(example["event"].as_str().unwrap().to_owned());
        }
        let all = names::<Event>(r#"{"event": "?"}"#);
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), {
            let mut all = all;
            all.sort();
            all
        });
    }

    #[test]
    fn every_name_of_the_schema_is_documented() {
        let mut all = names::<Event>(r#"{"event": "?"}"#);
        all.extend(names::<ErrorCode>("\"?\""));
        all.extend(names::<WarningCode>("\"?\""));
        all.extend(names::<StreamState>("\"?\""));
        all.extend(names::<WaitingFor>("\"?\""));
        assert!(all.len() > 50);
        for name in all {
            assert!(DOCS.contains(&format!("`{name}`")), "{name}");
        }
    }
}
