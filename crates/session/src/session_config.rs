//! Everything that a session starts with.

use std::sync::Arc;

use p2pdbg_base::Untrusted;
use p2pdbg_events::Reporter;
use p2pdbg_facts::HostFacts;
use p2pdbg_forward::{Forward, OpenPort};
use p2pdbg_identity::Identity;
use p2pdbg_pairing::SessionKeys;
use p2pdbg_path::{Approach, PathContext};
use p2pdbg_proto::fingerprint::Fingerprint;

use super::session_policy::SessionPolicy;

/// Everything that a session starts with.
pub struct SessionConfig {
    /// This host's certificate, which the peer has pinned.
    pub identity: Arc<Identity>,
    /// The fingerprint of the peer's certificate: a tunnel with another one does not come up.
    pub peer: Fingerprint,
    /// The keys on which both agreed.
    pub keys: SessionKeys,
    /// Whether the peer is on this host, where one port cannot be opened twice.
    pub same_host: bool,
    /// Whether another process of this host does the same, so that a port may be open for that one.
    pub further: bool,
    /// The forwards; a connector learns them from the listener.
    pub forwards: Vec<Forward>,
    /// The listener's ports that are open already, in the order of the forwards.
    pub ports: Vec<Option<Arc<OpenPort>>>,
    /// What holds for the paths to all peers.
    pub paths: PathContext,
    /// What the user settled about it.
    pub policy: Arc<SessionPolicy>,
    /// What the peer is told of where this side runs.
    pub facts: HostFacts,
    /// What was made ready while the peers authenticated each other.
    pub approach: Option<Approach>,
    /// Where to report, under the name of the peer if there are several.
    pub reporter: Reporter,
    /// What the peer is called here.
    pub peer_name: Untrusted,
    /// Whether the two knew each other before.
    pub known: bool,
}
