//! The rendezvous protocol: what a peer and the rendezvous say on the peer's control connection.
//!
//! A peer opens one QUIC connection with ALPN [`ALPN`] and on it one bidirectional stream; each direction
//! carries [`crate::frame`]s, the peer's of type [`ToRendezvous`], the rendezvous' of type
//! [`FromRendezvous`]. The protocol's version is the ALPN's: ends that have none in common do not get past
//! the TLS handshake. Behind a message its frame may carry additions that one end does not know
//! ([`crate::frame::decode_extensible`]).
//!
//! The rendezvous *introduces* a listener and a connector to each other, either because the connector knows
//! the listener's nameplate or because both name the same [`Handle`]; from then on they share a *session*
//! through which it passes their signals, unread, and for which it grants each a leg of the relay.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use crate::{
    code::Nameplate,
    node::{Node, NodeNumber},
    relay::LegGrant,
    secret::Secret,
    url::AccessKey,
};

/// The ALPN of the rendezvous protocol, version 2.
pub const ALPN: &[u8] = b"p2pdbg-rdv/2";

/// The longest payload of a signal, in bytes.
pub const MAX_SIGNAL: usize = 16 * 1024;

/// The longest message that may be prepared for a place, in bytes: the first one of an exchange has about 70.
pub const MAX_PREPARED: usize = 256;

/// Places for which a connection may have prepared something; the oldest makes room at the rendezvous.
pub const MAX_PREPARED_PLACES: usize = 16;

/// Names one session at the rendezvous: random, and of no meaning elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session-{:02x}{:02x}", self.0[0], self.0[1])
    }
}

/// Where two peers that know each other meet: derived by both from a secret that they share, so that it tells
/// the rendezvous nothing about them.
pub type Handle = Secret<32>;

/// Proof that the rendezvous granted something earlier; opaque to peers, made and checked by the rendezvous
/// alone, and valid across its restarts.
pub type Voucher = Vec<u8>;

/// The longest [`Voucher`] that a peer need keep, in bytes.
pub const MAX_VOUCHER: usize = 128;

/// The part that a peer plays in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Beside the IDE: `p2pdbg listen`.
    Listener,
    /// On the debuggee's host: `p2pdbg connect`. Controls the checks and dials the tunnels.
    Connector,
}

impl Role {
    /// The part that the other peer plays.
    pub fn other(self) -> Self {
        match self {
            Role::Listener => Role::Connector,
            Role::Connector => Role::Listener,
        }
    }
}

/// What lets a peer in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// Nothing: enough to join by nameplate, and for everything at an open rendezvous.
    None,
    /// An access key of the rendezvous: with it a peer may do all that the key's limits allow.
    AccessKey(AccessKey),
    /// From a `Vouched` in the past: lets its bearer wait at handles for a peer that has the access key.
    Voucher(Voucher),
}

/// What a peer says to the rendezvous.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToRendezvous {
    /// The first message, and never again on the connection.
    Hello {
        /// What lets this peer in.
        credential: Credential,
        /// Program and version, for the operator's log: at most 64 bytes of printable ASCII.
        agent: String,
    },
    /// Ask for a nameplate. The answer is `Listening`.
    Listen {
        /// From an earlier `Listening`, to have the same nameplate again.
        claim: Option<NameplateClaim>,
    },
    /// Give the nameplate back: it has been used, or burned.
    Unlisten {
        /// One that this peer has; another's is left alone.
        nameplate: Nameplate,
        /// What became of it, so that later joins can be told.
        fate: Fate,
    },
    /// Join the listener at a nameplate. The answer is `Introduced`.
    Join {
        /// The public half of the code that a person typed.
        nameplate: Nameplate,
    },
    /// Wait at a handle, from now on: whenever a peer of the other role comes there, both are `Introduced`. One that
    /// waits there already is introduced at once, unless the two share the session `already`.
    Meet {
        /// What the two derive from their pair secret, or from the session that they have lost.
        handle: Handle,
        /// The part in which this peer waits: it meets those of the other one.
        role: Role,
        /// The session that this peer has with the one it would meet, if they have not lost each other.
        already: Option<SessionId>,
    },
    /// Wait at a handle no longer.
    Unmeet {
        /// As it was in `Meet`.
        handle: Handle,
        /// As it was in `Meet`; the two together name who waits.
        role: Role,
    },
    /// A message for the session's other member, at most [`MAX_SIGNAL`] bytes.
    Signal {
        /// One that this peer is a member of; else the answer is a refusal.
        session: SessionId,
        /// Opaque to the rendezvous.
        payload: Vec<u8>,
    },
    /// Leave a session: its other member is told and the relay's legs close.
    Leave {
        /// One that this peer is a member of; else nothing happens.
        session: SessionId,
    },
    /// Is the connection alive? The answer is `Pong`. Over QUIC, which asks by itself, it is not needed.
    Ping,
    /// Say this to the next peer whom this one is introduced to at a place, if that peer has prepared something too:
    /// both get the other's as a `Signal` right behind `Introduced`. It is said once, and replaced by another for the
    /// place.
    Prepare {
        /// Where the two are to meet: one payload waits for each place.
        place: MeetingPoint,
        /// Opaque to the rendezvous, at most 256 bytes.
        payload: Vec<u8>,
    },
    /// The session's other member is the one whom this peer would meet: the exchange has shown it. When both have said
    /// so the session lasts, each is told where the other is seen, and a member without the access key gets a voucher
    /// on the account of the other's.
    Confirmed {
        /// The one in which the exchange was.
        session: SessionId,
    },
    /// What this peer's clock shows; there is no answer. Those who have the access key say it, since the rendezvous has
    /// no other clock to hold its own against.
    Clock {
        /// Seconds since 1970, UTC, as this peer's clock shows them.
        unix_s: u64,
    },
    /// Have this session, which both members have confirmed, relayed by another node: both are told so by `RelayAt`.
    /// That it goes out of service is refused, so that another one is asked for; what else cannot be is not answered,
    /// since the session has the relay that it has.
    Relay {
        /// One that both members have confirmed.
        session: SessionId,
        /// Which node; not the one that is asked.
        node: NodeNumber,
    },
}

impl ToRendezvous {
    /// What a refusal of this message names.
    pub fn request(&self) -> Request {
        match self {
            Self::Hello { .. } => Request::Hello,
            Self::Listen { claim } => Request::Listen(claim.as_ref().map(|c| c.nameplate)),
            Self::Join { nameplate } => Request::Join(*nameplate),
            Self::Meet { handle, role, .. } => Request::Meet(handle.clone(), *role),
            Self::Signal { session, .. }
            | Self::Leave { session }
            | Self::Confirmed { session } => Request::Session(*session),
            Self::Prepare { place, .. } => Request::Prepare(place.clone()),
            Self::Unlisten { .. } | Self::Unmeet { .. } | Self::Ping | Self::Clock { .. } => {
                Request::Other
            }
            Self::Relay { session, node } => Request::Relay(*session, *node),
        }
    }
}

/// Which request a refusal answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// None of those below, or what was no message at all.
    Other,
    /// `Hello`: the connection is closed.
    Hello,
    /// `Listen`, for this nameplate or any. It comes unasked when the nameplate expires.
    Listen(Option<Nameplate>),
    /// `Join` at this nameplate.
    Join(Nameplate),
    /// `Meet` at this handle, in this part.
    Meet(Handle, Role),
    /// What was to be said or done in this session.
    Session(SessionId),
    /// `Prepare` for this place.
    Prepare(MeetingPoint),
    /// `Relay` of this session, by this node.
    Relay(SessionId, NodeNumber),
}

/// What became of a nameplate that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// Two peers paired with it.
    Used,
    /// A wrong word was tried, and the code burned.
    Burned,
    /// The listener went away before anybody paired with it.
    Withdrawn,
}

/// A nameplate with the proof that it was this peer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameplateClaim {
    /// The number that codes begin with.
    pub nameplate: Nameplate,
    /// Proves to the rendezvous, started anew or not, that it gave the nameplate to this peer.
    pub voucher: Voucher,
}

/// What the rendezvous says to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromRendezvous {
    /// The answer to `Hello`: the peer is let in.
    Welcome {
        /// The peer's address as the rendezvous sees it.
        observed: SocketAddr,
        /// Addresses at which the rendezvous answers STUN, the main one first, then its alternative port. An
        /// unspecified address (0.0.0.0 or ::) stands for the one by which the peer reached the rendezvous. Both
        /// ports of its other address follow, if it has one.
        stun: Vec<SocketAddr>,
        /// For how many seconds this process has served. While that is less than a listener needs to notice that the
        /// one before it is gone, a nameplate that nobody has may still come back. `u32::MAX` if there was none before
        /// it.
        up_s: u32,
    },
    /// The answer to `Listen`: a code may begin with this nameplate now.
    Listening(NameplateClaim),
    /// The answer to `Join` and `Meet`; to a listener it comes unasked.
    Introduced(Introduction),
    /// The rendezvous sees the session's other member at these addresses too, besides those of the introduction. Of one
    /// that has been met at a nameplate it says none until both have confirmed.
    PeerSeen {
        /// The session whose other member it is.
        session: SessionId,
        /// Those that it reaches the rendezvous and the relay from; none where nothing may be told yet.
        addresses: Vec<IpAddr>,
        /// Whether it is said because that member has bound its leg of the relay.
        bound: bool,
    },
    /// A message from the session's other member.
    Signal {
        /// The session to which it belongs.
        session: SessionId,
        /// Opaque to the rendezvous.
        payload: Vec<u8>,
    },
    /// The session's other member left, or was lost. The session is over at the rendezvous.
    PeerLeft {
        /// The session that is over.
        session: SessionId,
        /// Whether it said so, rather than being lost.
        on_purpose: bool,
    },
    /// A request was refused. The connection stays open unless [`Refusal::is_final`], or it was the `Hello`.
    Refused {
        /// What was asked for, so that an answer that comes late is not taken for another.
        request: Request,
        /// Why, which also says whether to try again.
        refusal: Refusal,
    },
    /// The rendezvous is about to stop, to be started again perhaps. Direct paths go on without it.
    Stopping {
        /// When this peer may dial again, in milliseconds from now. Different for each peer, so that they do not all
        /// come at once: those in a session first, the others spread over as long as the rendezvous needs for them.
        after_ms: u32,
    },
    /// The answer to `Ping`: the connection is alive.
    Pong,
    /// Both members of a session have confirmed, and the other one has the access key: this lets the receiver wait at
    /// handles from now on without it, for peers that have it.
    Vouched {
        /// To be shown as [`Credential::Voucher`] at later connections.
        voucher: Voucher,
    },
    /// Right before `Listening`, from a rendezvous that hands out the program: a host where it is not installed can
    /// fetch `/offer/run.sh` over HTTP at the TCP port. It is worth something only to a listener that knows the script
    /// from elsewhere, since the rendezvous could offer anything.
    Offer {
        /// The SHA-256 of the script.
        script: [u8; 32],
    },
    /// The rendezvous goes out of service: it gives no new codes and sessions, and those that there are may go on for a
    /// while. Its end is announced by `Stopping`. Said when it begins, to whoever comes meanwhile, and when it changes.
    Draining {
        /// For how many seconds at the most; `None` if it stays in service after all.
        left_s: Option<u32>,
    },
    /// Right after `Welcome`, from a node of a cluster: which one it is, and which there are.
    Nodes {
        /// The number of the node that says it.
        own: NodeNumber,
        /// All, its own among them.
        nodes: Vec<Node>,
        /// Those that relay and do nothing else, by numbers of their own.
        relays: Vec<Node>,
    },
    /// What this peer looks for is at another node, where it should go: the nameplate is that node's, the listener at
    /// the handle waits there, or this node goes out of service. A peer goes only to a host that proves to be of the
    /// rendezvous that its URL names, and not without end.
    GoTo {
        /// The node to dial; one that [`FromRendezvous::Nodes`] has named.
        node: Node,
    },
    /// A session may be relayed by another node too: said to both members, as one of them has asked by `Relay`. The
    /// legs that they have here go on.
    RelayAt {
        /// The session that may be relayed there.
        session: SessionId,
        /// The number of the node, as [`FromRendezvous::Nodes`] has it.
        node: NodeNumber,
        /// The leg that this peer may bind there; the other member has another one.
        leg: LegGrant,
        /// What lets that node know of it: to be sent with each BIND. At most [`MAX_TICKET`](crate::relay::MAX_TICKET)
        /// bytes, which only nodes can read.
        ticket: Vec<u8>,
    },
}

/// Two peers made known to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Names the session in what follows.
    pub session: SessionId,
    /// What brought the two together.
    pub place: MeetingPoint,
    /// This peer's part in the session.
    pub role: Role,
    /// Addresses that the rendezvous sees the other member use: the only ones at which many ports may be
    /// searched. Empty at a nameplate: whoever joined has shown nothing yet.
    pub peer_seen: Vec<IpAddr>,
    /// This peer's leg of the relay.
    pub leg: LegGrant,
    /// What this peer had prepared for the place, if the other member has been given it; a signal with what that one
    /// had prepared follows.
    pub prepared: Option<Vec<u8>>,
}

/// What brought two peers together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MeetingPoint {
    /// The nameplate at which one listened and the other joined.
    Nameplate(Nameplate),
    /// A handle that both named.
    Handle(Handle),
}

/// Why the rendezvous refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The access key is wrong, or missing where one is needed.
    #[error("the access key is wrong or missing")]
    AccessKey,
    /// Nobody listens at this nameplate, and nobody did lately.
    #[error("nobody listens with this code")]
    NameplateUnknown,
    /// The code of this nameplate was used already.
    #[error("this code was used already")]
    NameplateUsed,
    /// The code of this nameplate burned after a wrong word.
    #[error("this code is burned: a wrong word was tried with it")]
    NameplateBurned,
    /// The listener went away, or waited longer than a code is valid.
    #[error("this code has expired")]
    NameplateExpired,
    /// Somebody else is pairing at this nameplate right now.
    #[error("somebody else is using this code right now")]
    NameplateBusy,
    /// Too many requests or registrations from this address or with this key.
    #[error("too many requests: try again in {retry_after_s} s")]
    Limit {
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
    /// The rendezvous serves as many peers as it may.
    #[error("the rendezvous is full")]
    Full,
    /// The session is over, or never was.
    #[error("the session is over")]
    NoSuchSession,
    /// The peer broke the protocol.
    #[error("the rendezvous did not understand this peer")]
    Protocol,
    /// Nobody is there yet: the rendezvous has just started, and the listener of the nameplate may be on its way back;
    /// or nobody who has the access key waits at the handle, and this peer has neither that nor a voucher.
    #[error("the peer is not there")]
    NobodyThere,
    /// The rendezvous goes out of service, and gives no new codes and sessions.
    #[error("the rendezvous is going out of service")]
    Draining,
    /// This host relays for other hosts of the rendezvous, and does nothing else.
    #[error("this host of the rendezvous relays and does nothing else")]
    RelaysAlone,
    /// This node does not know the key, and cannot ask the store of its cluster for it at the moment.
    #[error(
        "the rendezvous cannot look the access key up at the moment: try again in {retry_after_s} s"
    )]
    KeysAway {
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
}

impl Refusal {
    /// Whether the rendezvous closes the connection after saying so.
    pub fn is_final(self) -> bool {
        matches!(self, Refusal::AccessKey | Refusal::Protocol)
    }
}

/// Codes with which either end closes the QUIC control connection. Over TCP there are none: what matters was said
/// before the end.
pub mod close {
    /// The connection is of no more use; nothing is wrong.
    pub const DONE: u32 = 0;
    /// The other end broke the protocol.
    pub const PROTOCOL: u32 = 1;
    /// The rendezvous is stopping, and `Stopping` came before: dial again when it said.
    pub const STOPPING: u32 = 2;
    /// Refused; a `Refused` message came before.
    pub const REFUSED: u32 = 3;
    /// Nothing was said for too long. Of a peer: it takes the connection for lost, and may come back.
    pub const IDLE: u32 = 4;
}
