//! The nodes of a rendezvous as one of them has told, kept for the next start: then a URL with one dead host still
//! leads there. What is kept was said by a host that the authority of the URL has certified, and whoever is found by
//! it must be certified too.
//!
//! The file has a line for each URL, the one used last first: its fingerprint, `inside` if who has told them was in a
//! network that others do not reach, else `outside`, and the nodes. A line that is damaged,
//! or of another version, counts as none.

use p2pdbg_identity::StateDir;
use p2pdbg_proto::{
    fingerprint::Fingerprint,
    node::{Node, NodeNumber},
};

/// The file in the state directory, a line for each URL.
const FILE: &str = "nodes";

/// Of so many URLs the nodes are kept.
const MOST: usize = 8;

const INSIDE: &str = "inside";
const OUTSIDE: &str = "outside";

/// The longest line that is read, in bytes: sixteen hosts with the longest names.
const LINE: usize = 8 * 1024;

/// What is kept of the nodes for the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remembered {
    /// All that the rendezvous named last, in the order of their numbers.
    pub(super) nodes: Vec<Node>,
    /// Whether the host that has told them was in a network that others do not reach, so that they may be too.
    pub(super) told_inside: bool,
}

/// What is kept in a state directory.
#[derive(Clone, Debug)]
pub struct NodeMemory(StateDir);

impl NodeMemory {
    /// What this state directory keeps; it is read when it is asked for.
    pub fn new(state: StateDir) -> Self {
        Self(state)
    }

    /// The nodes below this fingerprint, as they were told last; none if none were.
    pub(super) fn read(&self, authority: Fingerprint) -> Remembered {
        let lines = self.lines();
        let line = lines.iter().find_map(|line| parse(line, authority));
        line.unwrap_or_default()
    }

    /// Keeps them, if they are others than before. What cannot be written is not kept, which harms nobody now.
    pub(super) fn write(&self, authority: Fingerprint, nodes: &Remembered) {
        if self.read(authority) == *nodes {
            return;
        }
        let own = nodes.nodes.iter().map(|node| format!(" {node}"));
        let told = if nodes.told_inside { INSIDE } else { OUTSIDE };
        let mut text = format!("{authority} {told}{}\n", own.collect::<String>());
        let prefix = authority.to_string();
        let others = self.lines();
        let others = others.iter().filter(|line| !line.starts_with(&prefix));
        for line in others.take(MOST - 1) {
            text.push_str(line);
            text.push('\n');
        }
        if let Err(error) = self.0.write_atomically(FILE, text.as_bytes()) {
            tracing::debug!(%error, "the nodes of the rendezvous are not kept");
        }
    }

    fn lines(&self) -> Vec<String> {
        let bytes = self.0.read(FILE).ok().flatten().unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap_or_default();
        let lines = text.lines().filter(|line| line.len() <= LINE);
        lines.take(MOST).map(str::to_owned).collect()
    }
}

fn parse(line: &str, authority: Fingerprint) -> Option<Remembered> {
    let mut words = line.split(' ');
    if words.next()?.parse() != Ok(authority) {
        return None;
    }
    let told_inside = match words.next()? {
        INSIDE => true,
        OUTSIDE => false,
        _ => return None,
    };
    let nodes = words.take(NodeNumber::MOST).map(|word| word.parse().ok());
    let nodes: Option<Vec<Node>> = nodes.collect();
    Some(Remembered {
        nodes: nodes?,
        told_inside,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(name: &str) -> Fingerprint {
        Fingerprint::of_certificate(name.as_bytes())
    }

    fn nodes(names: &[&str]) -> Remembered {
        Remembered {
            nodes: names.iter().map(|name| name.parse().unwrap()).collect(),
            told_inside: names.len() > 1,
        }
    }

    #[test]
    fn nodes_are_kept_for_each_authority_and_the_oldest_make_room() {
        let memory = NodeMemory::new(StateDir::in_memory());
        assert_eq!(memory.read(print("a")), Remembered::default());
        let first = nodes(&["17=rdv1.example", "18=[2001:db8::1]:4000"]);
        memory.write(print("a"), &first);
        assert_eq!(memory.read(print("a")), first);
        let later = nodes(&["17=rdv1.example"]);
        memory.write(print("a"), &later);
        assert_eq!(memory.read(print("a")), later);
        for other in 1..MOST {
            memory.write(print(&other.to_string()), &first);
        }
        assert_eq!(memory.read(print("a")), later);
        memory.write(print("one more"), &first);
        assert_eq!(memory.read(print("a")), Remembered::default());
        assert_eq!(memory.lines().len(), MOST);
    }

    #[test]
    fn file_that_is_damaged_counts_as_none_and_is_written_anew() {
        let state = StateDir::in_memory();
        let memory = NodeMemory::new(state.clone());
        let print = print("a");
        for damaged in [
            b"\xff\xfe".to_vec(),
            format!("{print} 17=a").into_bytes(),
            format!("{print} outside 17=a b").into_bytes(),
            format!("{print} inside 9=a").into_bytes(),
            format!("{print} inside {}", "17=a ".repeat(5_000)).into_bytes(),
        ] {
            state.write_atomically(FILE, &damaged).unwrap();
            assert_eq!(memory.read(print), Remembered::default());
        }
        memory.write(print, &nodes(&["17=a"]));
        assert_eq!(memory.read(print), nodes(&["17=a"]));
    }
}
