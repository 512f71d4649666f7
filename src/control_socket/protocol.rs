//! What is said on a control socket: one JSON object a line, a [`Request`] and a [`Reply`] in turn.
//!
//! Each begins with the protocol's version, `"p2pdbg": 2`. A request of another version gets a refusal that names the
//! version spoken here; fields that are not known are passed over on both sides, so that a newer program may ask an
//! older one.

use p2pdbg_base::{Failure, HostPort};
use p2pdbg_events::snapshot::ProcessSnapshot;
use p2pdbg_forward::Preset;
use serde::{Deserialize, Serialize};

/// The version that is spoken here.
pub const VERSION: u32 = 2;

/// The longest request, in bytes.
pub(super) const MAX_REQUEST: usize = 4 << 10;

/// The longest reply, in bytes.
pub(super) const MAX_REPLY: usize = 1 << 20;

/// A line, with the version that it is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// The version of this protocol, [`VERSION`].
    pub p2pdbg: u32,
    /// The request or reply, its fields beside the version.
    #[serde(flatten)]
    pub body: T,
}

/// What is asked of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// What it is doing. Any number of these may follow each other on one connection.
    Status,
    /// A stream to whoever answers about source files at the other end of its session. After the reply it is as with
    /// `Open`.
    Sources {
        /// The peer whose session it is, if there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    /// A stream to whoever answers about programs that run at the other end of its session. After the reply it is as
    /// with `Open`.
    Programs {
        /// The peer whose session it is, if there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    /// A port here that leads to a debugger at the other end of its session.
    Forward {
        /// The port of the loopback there.
        port: u16,
        /// The debugger that listens there.
        debugger: Preset,
        /// The peer whose session it is, if there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    /// A stream to a target at the other end of its session. After the reply the connection belongs to the stream: what
    /// is written goes there as it is, and what comes back comes in frames.
    Open {
        /// What is dialled at the other end.
        to: HostPort,
        /// The peer whose session it is, if there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
}

/// What a process answers, one line to each request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// What it is doing at the moment.
    Status(Box<ProcessSnapshot>),
    /// The stream is open; what follows belongs to it.
    Opened,
    /// The port is open, and stays open as long as the session.
    Forwarded {
        /// Where it was opened, beside the IDE.
        listen: HostPort,
    },
    /// It cannot be done, for this reason.
    Refused(Failure),
}

/// A line with its line break.
pub fn line<T: Serialize>(body: T) -> Vec<u8> {
    let versioned = Versioned {
        p2pdbg: VERSION,
        body,
    };
    // None of the types has a key that JSON cannot have.
    let mut line = serde_json::to_vec(&versioned).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Reads a line.
///
/// # Errors
/// Says what it is instead: of another version, or nothing that is known here.
pub fn parse<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Result<T, NotUnderstood> {
    #[derive(Deserialize)]
    struct Version {
        p2pdbg: u32,
    }
    let malformed = |error: serde_json::Error| NotUnderstood::Malformed(error.to_string());
    let Version { p2pdbg } = serde_json::from_slice(line).map_err(malformed)?;
    if p2pdbg != VERSION {
        return Err(NotUnderstood::Version(p2pdbg));
    }
    let read: Versioned<T> = serde_json::from_slice(line).map_err(malformed)?;
    Ok(read.body)
}

/// Why a line is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotUnderstood {
    /// Another version of p2pdbg wrote it.
    #[error("it speaks version {0} of the control protocol, and this is version {VERSION}")]
    Version(u32),
    /// It is no such message.
    #[error("it is no message of the control protocol: {0}")]
    Malformed(String),
}

#[cfg(test)]
mod tests {
    use p2pdbg_base::ErrorCode;

    use super::*;

    #[test]
    fn requests_are_short_lines_of_json() {
        assert_eq!(
            line(Request::Status),
            b"{\"p2pdbg\":2,\"ask\":\"status\"}\n"
        );
        let open = Request::Open {
            to: "localhost:1234".parse().unwrap(),
            peer: None,
        };
        let text = line(open.clone());
        assert_eq!(
            text,
            b"{\"p2pdbg\":2,\"ask\":\"open\",\"to\":\"localhost:1234\"}\n"
        );
        assert_eq!(parse::<Request>(&text), Ok(open));
    }

    #[test]
    fn a_refusal_is_read_as_it_was_written() {
        let refused = Reply::Refused(Failure::new(ErrorCode::NoSession, "nobody is here"));
        assert_eq!(parse::<Reply>(&line(refused.clone())), Ok(refused));
        assert_eq!(parse::<Reply>(&line(Reply::Opened)), Ok(Reply::Opened));
    }

    #[test]
    fn another_version_is_told_from_nonsense() {
        let other = parse::<Request>(b"{\"p2pdbg\":1,\"ask\":\"dance\"}");
        assert_eq!(other, Err(NotUnderstood::Version(1)));
        for nonsense in ["", "GET / HTTP/1.1", "{}", "{\"p2pdbg\":2}", "[1,2"] {
            let read = parse::<Request>(nonsense.as_bytes());
            assert!(
                matches!(read, Err(NotUnderstood::Malformed(_))),
                "{nonsense}"
            );
        }
        let newer = b"{\"p2pdbg\":2,\"ask\":\"status\",\"more\":true}";
        assert_eq!(parse::<Request>(newer), Ok(Request::Status));
    }
}
