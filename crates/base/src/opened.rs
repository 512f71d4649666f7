//! Where programs of a host get into a forward.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{HostPort, NotAHostPort};

/// What is open for a forward's programs: a port, or a Unix socket. As text a socket is what begins with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// A TCP port of this host.
    Port(HostPort),
    /// A Unix socket, by its absolute path.
    Socket(PathBuf),
}

impl Opened {
    /// The address of the port, if it is one.
    pub fn address(&self) -> Option<&HostPort> {
        match self {
            Self::Port(address) => Some(address),
            Self::Socket(_) => None,
        }
    }
}

impl From<HostPort> for Opened {
    fn from(address: HostPort) -> Self {
        Self::Port(address)
    }
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(address) => address.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for Opened {
    type Err = NotAHostPort;

    fn from_str(text: &str) -> Result<Self, NotAHostPort> {
        match text.starts_with('/') {
            true => Ok(Self::Socket(text.into())),
            false => text.parse().map(Self::Port),
        }
    }
}

impl Serialize for Opened {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Opened {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_and_socket_are_told_apart_by_their_text() {
        for text in ["127.0.0.1:5678", "[::1]:9", "/run/user/1000/gdb.sock"] {
            let opened: Opened = text.parse().unwrap();
            assert_eq!(opened.to_string(), text);
            assert_eq!(opened.address().is_some(), !text.starts_with('/'));
        }
    }
}
