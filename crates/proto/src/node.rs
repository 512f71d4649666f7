//! The nodes of a cluster: hosts that serve one URL, by number.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::url::HostAt;

/// The number of a node, of two digits. The codes that it gives begin with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct NodeNumber(u8);

/// A number that no node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number of a node is one from 10 to 99")]
pub struct NotANodeNumber;

impl NodeNumber {
    /// The lowest number: two digits, so that a nameplate shows which node has given it.
    pub const MIN: Self = Self(10);
    /// The highest number: two digits, so that a nameplate begins with it.
    pub const MAX: Self = Self(99);

    /// How many nodes a cluster may have. A peer may be told of so many hosts, and asks each how far it is.
    pub const MOST: usize = 16;

    /// That number, if a node may have it.
    pub fn new(number: u8) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0)
            .contains(&number)
            .then_some(Self(number))
    }

    /// As an integer, from 10 to 99.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for NodeNumber {
    type Error = NotANodeNumber;

    fn try_from(number: u8) -> Result<Self, NotANodeNumber> {
        Self::new(number).ok_or(NotANodeNumber)
    }
}

impl From<NodeNumber> for u8 {
    fn from(number: NodeNumber) -> Self {
        number.0
    }
}

impl FromStr for NodeNumber {
    type Err = NotANodeNumber;

    fn from_str(text: &str) -> Result<Self, NotANodeNumber> {
        let number: u8 = text.parse().map_err(|_| NotANodeNumber)?;
        number.try_into()
    }
}

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A node, and where peers reach it. Its text is `NUMBER=HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Node {
    /// With it begin the nameplates that the node gives.
    pub number: NodeNumber,
    /// Its host, which its certificate names, and the port.
    pub at: HostAt,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.number, self.at)
    }
}

/// A text that names no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected NUMBER=HOST[:PORT], with a number from 10 to 99, as in 17=rdv1.example.org")]
pub struct NotANode;

impl FromStr for Node {
    type Err = NotANode;

    fn from_str(text: &str) -> Result<Self, NotANode> {
        let (number, at) = text.split_once('=').ok_or(NotANode)?;
        Ok(Self {
            number: number.parse().map_err(|_| NotANode)?,
            at: at.parse().map_err(|_| NotANode)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_reads_back_as_it_was_written_and_what_is_none_is_refused() {
        let node: Node = "17=rdv1.example".parse().unwrap();
        assert_eq!(node.to_string(), "17=rdv1.example:3478");
        assert_eq!(node.to_string().parse(), Ok(node.clone()));
        let bytes = postcard::to_stdvec(&node).unwrap();
        assert_eq!(postcard::from_bytes(&bytes), Ok(node));
        for text in ["", "17", "9=a", "100=a", "17=", "17=a b", "a=17"] {
            assert_eq!(text.parse::<Node>(), Err(NotANode), "{text}");
        }
        // What comes over the wire is held to the same rules.
        assert!(postcard::from_bytes::<NodeNumber>(&[9]).is_err());
        let at = postcard::to_stdvec("a b").unwrap();
        assert!(postcard::from_bytes::<HostAt>(&at).is_err());
    }
}
