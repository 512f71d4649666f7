//! The exchange by which two peers come to share a session key.
//!
//! The rendezvous has just introduced them and passes their signals on. Both send their first message at
//! once; each then has all it needs for the key, and the connector confirms first:
//!
//! ```text
//! connector                                listener
//!     Pake or Known   ───────╲ ╱───────  Pake or Known
//!                     ◀──────╱ ╲──────▶
//!     Confirm, sealed ────────────────▶  verifies: a wrong one burns the code
//!     verifies        ◀────────────────  Confirm, and has paired; sealed
//!     has paired
//! ```
//!
//! *By code* the messages are those of SPAKE2 (the scheme of RFC 9382 as the crate `spake2` does it, over
//! edwards25519, the connector on side A), with the words as the password. Whoever stands in the middle can
//! guess once at either side, and is seen to. The listener confirms only what it has verified: who does not
//! know the words learns nothing from it that helps to guess them.
//!
//! *By secret* the messages are nonces, and the key comes from the pair secret that both remember. The
//! fingerprints are masked under it: by code they must go in the clear, since there is no key yet, but hosts
//! that know each other need not tell the rendezvous who they are each time.
//!
//! Either way everything that both sides said (version, nameplate, both fingerprints, both messages, each in
//! the place of its role) goes into the key as the transcript, so sides that did not see the same do not
//! share a key, and a message sent back to its sender is in the wrong place.
//!
//! The bytes of it, with `‖` between fields of which each has its length before it as a big-endian `u64`:
//!
//! ```text
//! transcript = SHA-256("p2pdbg exchange by code" ‖ version, u16 ‖ nameplate, 6 digits
//!                      ‖ connector's fingerprint ‖ its message ‖ listener's fingerprint ‖ its message)
//!              SHA-256("p2pdbg exchange by secret" ‖ version, u16
//!                      ‖ connector's fingerprint ‖ its nonce ‖ listener's fingerprint ‖ its nonce)
//! PRK        = HKDF-Extract(salt: transcript, what SPAKE2 gave or the pair secret)
//! a key      = HKDF-Expand(PRK, "p2pdbg 1 " and its purpose, 32), see the module `keys`
//! hidden     = fingerprint XOR HKDF(salt: its nonce, pair secret, "p2pdbg 1 hide connector" or "… listener")
//! Confirm    = HMAC-SHA256(the key for "confirm connector" or "confirm listener", transcript)
//! ```
//!
//! SPAKE2's identities are `p2pdbg 1 connector NAMEPLATE` and `p2pdbg 1 listener NAMEPLATE`.
//!
//! Both sides may have the same fingerprint: they are two programs of one user on one host.
//!
//! An exchange has no clock: whoever runs it gives it up after a while, as [`Failure::PeerLeft`].

use std::fmt;

use p2pdbg_proto::{
    code::{Code, Nameplate},
    fingerprint::Fingerprint,
    frame,
    rendezvous::Role,
    secret::random_bytes,
    signal::{AbortReason, PeerMessage, Signal, VERSION},
};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use zeroize::Zeroizing;

use super::{
    Opener, PairSecret, Sealer, SessionKeys, TunnelKey,
    keys::{Schedule, Transcript},
};

/// An exchange that waits for the peer's next signal.
pub struct Exchange {
    role: Role,
    own: Fingerprint,
    phase: Phase,
}

/// What a signal led to.
#[derive(Debug)]
pub struct Step {
    /// To be sent to the peer, whatever comes next.
    pub reply: Option<Signal>,
    /// How the exchange goes on.
    pub next: Next,
}

/// How an exchange goes on.
#[derive(Debug)]
pub enum Next {
    /// It waits for another signal.
    Wait(Exchange),
    /// Both sides have the key.
    Paired(Box<Paired>),
    /// It is over; the peer has been told as far as that is allowed.
    Failed(Failure),
}

/// A peer that has shown to have the key. The next signal of either side is sealed; whatever else comes is
/// not the peer's.
#[derive(Debug)]
pub struct Paired {
    /// The peer's certificate: the only one to be accepted on a tunnel.
    pub peer: Fingerprint,
    /// Seals what is said to the peer. There is one for each session.
    pub sealer: Sealer,
    /// Opens what the peer says.
    pub opener: Opener,
    /// The keys for everything else.
    pub keys: SessionKeys,
    /// To be remembered for the next time; `None` where the two remembered one already.
    pub pair_secret: Option<PairSecret>,
}

/// Why an exchange failed. Nothing of it tells which word of a code was wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The confirmation of a code does not verify, here or, as it says, at the peer.
    #[error("a word of the code is wrong, or somebody stands between the two hosts")]
    WrongWord,
    /// The confirmation of a pair secret does not verify, here or, as it says, at the peer.
    #[error("the two hosts remember different secrets, or somebody stands between them")]
    WrongSecret,
    /// The peer has the pair secret, and another certificate than the one it paired with.
    #[error("the peer's certificate has changed since the two hosts paired")]
    IdentityChanged {
        /// The certificate that is remembered.
        known: Fingerprint,
        /// The certificate that the peer has now.
        presented: Fingerprint,
    },
    /// The peer speaks another version.
    #[error(
        "the peer speaks version {theirs} of the exchange between peers, this host version {VERSION}"
    )]
    Version {
        /// The version that the peer speaks.
        theirs: u16,
    },
    /// The peer, or the rendezvous in its name, ended the exchange.
    #[error("the peer ended the exchange: {}", told(*.0))]
    Aborted(AbortReason),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol of the exchange")]
    Protocol,
    /// The peer left, or said nothing for too long. The exchange itself never finds so.
    #[error("the peer left during the exchange")]
    PeerLeft,
}

enum Phase {
    /// By code, waiting for the peer's `Pake`.
    Code(ByCode),
    /// By secret, waiting for the peer's `Known`.
    Secret(BySecret),
    /// Waiting for the peer's `Confirm`.
    Confirm(Box<Unconfirmed>),
}

/// What an exchange by code has said.
struct ByCode {
    nameplate: Nameplate,
    spake: Box<Spake2<Ed25519Group>>,
    /// The half that the peer was sent.
    message: Vec<u8>,
}

/// What an exchange by secret has said.
struct BySecret {
    secret: PairSecret,
    /// The certificate that the peer had when the two paired.
    known: Fingerprint,
    /// What the peer was sent.
    nonce: [u8; 32],
}

/// A key that the peer has not shown to have.
struct Unconfirmed {
    schedule: Schedule,
    presented: Fingerprint,
    /// By secret, the fingerprint that is remembered.
    known: Option<Fingerprint>,
    /// Of a connector, who may seal before the peer has confirmed.
    sealer: Option<Sealer>,
}

impl Exchange {
    /// Begins an exchange between hosts that have one code. Gives the signal to send to the peer.
    ///
    /// Takes its randomness from the operating system.
    pub fn by_code(role: Role, code: &Code, own: Fingerprint) -> (Self, Signal) {
        let nameplate = code.nameplate;
        let identity =
            |role| Identity::new(format!("p2pdbg {VERSION} {role} {nameplate}").as_bytes());
        let (a, b) = (identity("connector"), identity("listener"));
        let password = Password::new(code.words.password());
        let (spake, message) = match role {
            Role::Connector => Spake2::<Ed25519Group>::start_a(&password, &a, &b),
            Role::Listener => Spake2::<Ed25519Group>::start_b(&password, &a, &b),
        };
        let signal = Signal::Pake {
            version: VERSION,
            fingerprint: own,
            message: message.clone(),
        };
        let phase = Phase::Code(ByCode {
            nameplate,
            spake: Box::new(spake),
            message,
        });
        (Self { role, own, phase }, signal)
    }

    /// Begins an exchange between hosts that have paired before. `known` is the certificate that the peer had
    /// then. Gives the signal to send to the peer.
    ///
    /// Takes its randomness from the operating system.
    pub fn by_secret(
        role: Role,
        secret: &PairSecret,
        own: Fingerprint,
        known: Fingerprint,
    ) -> (Self, Signal) {
        let nonce = random_bytes();
        let signal = Signal::Known {
            version: VERSION,
            nonce,
            hidden_fingerprint: secret.mask(role, &nonce, own.as_bytes()),
        };
        let phase = Phase::Secret(BySecret {
            secret: secret.clone(),
            known,
            nonce,
        });
        (Self { role, own, phase }, signal)
    }

    /// Takes a signal of the peer's as it came through the rendezvous.
    pub fn handle_payload(self, payload: &[u8]) -> Step {
        match frame::decode(payload) {
            Ok(signal) => self.handle(signal),
            Err(_) => match foreign_version(payload) {
                Some(theirs) => Step::fail(Failure::Version { theirs }, AbortReason::Version),
                None => Step::protocol(),
            },
        }
    }

    /// Takes a signal of the peer's.
    pub fn handle(self, signal: Signal) -> Step {
        if let Signal::Abort { reason } = signal {
            return Step {
                reply: None,
                next: Next::Failed(self.judge_abort(reason)),
            };
        }
        if let Signal::Pake { version, .. } | Signal::Known { version, .. } = signal
            && version != VERSION
        {
            return Step::fail(Failure::Version { theirs: version }, AbortReason::Version);
        }
        let Self { role, own, phase } = self;
        match (phase, signal) {
            (
                Phase::Code(said),
                Signal::Pake {
                    fingerprint,
                    message,
                    ..
                },
            ) => said.answered(role, own, fingerprint, &message),
            (
                Phase::Secret(said),
                Signal::Known {
                    nonce,
                    hidden_fingerprint,
                    ..
                },
            ) => said.answered(role, own, nonce, &hidden_fingerprint),
            (Phase::Confirm(unconfirmed), Signal::Confirm { mac }) => {
                unconfirmed.confirm(role, &mac)
            }
            _ => Step::protocol(),
        }
    }

    fn await_confirmation(
        role: Role,
        own: Fingerprint,
        schedule: Schedule,
        presented: Fingerprint,
        known: Option<Fingerprint>,
    ) -> Step {
        let reply = (role == Role::Connector).then(|| Signal::Confirm {
            mac: schedule.confirmation(role),
        });
        let fits = known.is_none_or(|known| known == presented);
        let sealer =
            (role == Role::Connector && fits).then(|| Sealer::new(role, &schedule.sealing(role)));
        let phase = Phase::Confirm(Box::new(Unconfirmed {
            schedule,
            presented,
            known,
            sealer,
        }));
        let next = Next::Wait(Self { role, own, phase });
        Step { reply, next }
    }

    /// The certificate that the peer claims to have, once it is known and may be the right one.
    pub fn claimed(&self) -> Option<Fingerprint> {
        match &self.phase {
            Phase::Confirm(unconfirmed) => {
                let presented = unconfirmed.presented;
                let fits = unconfirmed.known.is_none_or(|known| known == presented);
                fits.then_some(presented)
            }
            Phase::Code(_) | Phase::Secret(_) => None,
        }
    }

    /// The key of the tunnels to come, at a connector whose confirmation has left; the listener has not shown by then
    /// that it has it too.
    pub fn tunnel_key(&self) -> Option<TunnelKey> {
        match &self.phase {
            Phase::Confirm(unconfirmed) if self.role == Role::Connector => {
                Some(unconfirmed.schedule.session_keys().tunnel)
            }
            _ => None,
        }
    }

    /// Seals a message that follows the connector's confirmation without waiting for the listener's; `None` if it is
    /// too early for that, or the role is not the connector's.
    ///
    /// Only who has the key can open it, and that is the peer if anybody: somebody else in its place has guessed a word
    /// wrongly, and has another key. So this gives away no more than the confirmation itself does.
    pub fn seal(&mut self, message: &PeerMessage) -> Option<Signal> {
        match &mut self.phase {
            Phase::Confirm(unconfirmed) => unconfirmed.sealer.as_mut()?.seal(message).ok(),
            Phase::Code(_) | Phase::Secret(_) => None,
        }
    }

    /// What it means that the peer ends the exchange. Only a connector has confirmed by the time it waits, so
    /// only a connector can be told that its confirmation is wrong.
    fn judge_abort(&self, reason: AbortReason) -> Failure {
        match (self.role, reason, &self.phase) {
            (Role::Connector, AbortReason::Confirmation, Phase::Confirm(unconfirmed)) => {
                unconfirmed.wrong()
            }
            _ => Failure::Aborted(reason),
        }
    }
}

impl ByCode {
    /// The peer's half has come, from who claims to have the certificate `presented`.
    fn answered(self, role: Role, own: Fingerprint, presented: Fingerprint, theirs: &[u8]) -> Step {
        // Fails if the message is no point, or of our own side.
        let Ok(shared) = self.spake.finish(theirs).map(Zeroizing::new) else {
            return Step::protocol();
        };
        let transcript = Transcript::new("p2pdbg exchange by code")
            .field(&VERSION.to_be_bytes())
            .field(self.nameplate.to_string().as_bytes());
        let sides = [(own, &self.message[..]), (presented, theirs)];
        let schedule = Schedule::new(&shared, with_sides(transcript, role, sides));
        Exchange::await_confirmation(role, own, schedule, presented, None)
    }
}

impl BySecret {
    /// The peer's nonce has come, and what hides its certificate.
    fn answered(
        self,
        role: Role,
        own: Fingerprint,
        theirs: [u8; 32],
        hidden_fingerprint: &[u8; 32],
    ) -> Step {
        // Our own signal, sent back to us.
        if theirs == self.nonce {
            return Step::protocol();
        }
        let presented = self.secret.mask(role.other(), &theirs, hidden_fingerprint);
        let presented = Fingerprint::from_bytes(presented);
        let transcript = Transcript::new("p2pdbg exchange by secret").field(&VERSION.to_be_bytes());
        let sides = [(own, &self.nonce[..]), (presented, &theirs[..])];
        let schedule = Schedule::new(self.secret.expose(), with_sides(transcript, role, sides));
        Exchange::await_confirmation(role, own, schedule, presented, Some(self.known))
    }
}

impl Unconfirmed {
    fn confirm(mut self, role: Role, mac: &[u8; 32]) -> Step {
        if !self.schedule.confirms(role.other(), mac) {
            return Step::fail(self.wrong(), AbortReason::Confirmation);
        }
        // Not before the confirmation: until then it is anybody's claim.
        if let Some(known) = self.known
            && known != self.presented
        {
            let presented = self.presented;
            let failure = Failure::IdentityChanged { known, presented };
            return Step::fail(failure, AbortReason::Identity);
        }
        let reply = (role == Role::Listener).then(|| Signal::Confirm {
            mac: self.schedule.confirmation(role),
        });
        let (ours, theirs) = (role, role.other());
        let next = Next::Paired(Box::new(Paired {
            peer: self.presented,
            // The same that has sealed before, so that no counter comes twice.
            sealer: self
                .sealer
                .take()
                .unwrap_or_else(|| Sealer::new(ours, &self.schedule.sealing(ours))),
            opener: Opener::new(theirs, &self.schedule.sealing(theirs)),
            keys: self.schedule.session_keys(),
            pair_secret: self.known.is_none().then(|| self.schedule.pair_secret()),
        }));
        Step { reply, next }
    }

    fn wrong(&self) -> Failure {
        match self.known {
            None => Failure::WrongWord,
            Some(_) => Failure::WrongSecret,
        }
    }
}

impl Step {
    /// Ends the exchange, and tells the peer why.
    fn fail(failure: Failure, reason: AbortReason) -> Self {
        Self {
            reply: Some(Signal::Abort { reason }),
            next: Next::Failed(failure),
        }
    }

    fn protocol() -> Self {
        Self::fail(Failure::Protocol, AbortReason::Protocol)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Code(_) => "by code",
            Phase::Secret(_) => "by secret",
            Phase::Confirm(_) => "unconfirmed",
        };
        f.debug_struct("Exchange")
            .field("role", &self.role)
            .field("phase", &phase)
            .finish_non_exhaustive()
    }
}

/// Adds what each side says of itself, the connector's first; `sides` has our own first.
fn with_sides(
    transcript: Transcript,
    role: Role,
    mut sides: [(Fingerprint, &[u8]); 2],
) -> Transcript {
    if role == Role::Listener {
        sides.reverse();
    }
    sides.iter().fold(transcript, |transcript, side| {
        transcript.field(side.0.as_bytes()).field(side.1)
    })
}

/// The version in a first message that does not read as one of ours, if it is another than ours. Every
/// version begins with the variant and the version.
fn foreign_version(payload: &[u8]) -> Option<u16> {
    let ((variant, version), _) = postcard::take_from_bytes::<(u32, u16)>(payload).ok()?;
    (variant <= 1 && version != VERSION).then_some(version)
}

/// The reason for an abort, as the one who is told of it sees it.
fn told(reason: AbortReason) -> &'static str {
    match reason {
        AbortReason::Confirmation => "it did not accept the confirmation",
        AbortReason::Version => "it speaks another version",
        AbortReason::Protocol => "it did not understand this host",
        AbortReason::Busy => "it takes no more peers",
        AbortReason::Identity => {
            "this host's certificate has changed since the two paired; pair them again with a code"
        }
    }
}
