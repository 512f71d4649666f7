//! What an engine is told at its birth, with defaults that are safe on any network.

use std::{fmt, net::SocketAddr, time::Duration};

use zeroize::Zeroizing;

use crate::{Budget, Role};

/// 32 secret bytes that both peers derived from their session key for this purpose alone.
///
/// The engine derives a key for each role from them, so that a check reflected to its sender verifies nowhere.
#[derive(Clone)]
pub struct PunchKey(Zeroizing<[u8; 32]>);

impl PunchKey {
    /// A key of these bytes, which are wiped when the last copy is dropped.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for PunchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PunchKey(..)")
    }
}

/// Everything that an engine is told at its birth.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether this side decides which pair is used (the connector does), or follows.
    pub role: Role,
    /// The key that authenticates the checks; both ends must have the same.
    pub key: PunchKey,
    /// Addresses that answer STUN, of both families, the rendezvous' main one first, then its alternative port, its
    /// other address, and others. At most eight of each family are asked.
    pub stun_servers: Vec<SocketAddr>,
    /// How many packets, sockets and flows the search may take.
    pub budget: Budget,
    /// Whether a path by TCP is looked for where UDP leads to none. Off by default: the driver has to be able to.
    pub tcp: bool,
    /// The pauses and the patience of all its parts.
    pub timing: Timing,
}

/// STUN servers of one family that are asked: the rendezvous' four, and as many that the user names.
pub(crate) const MAX_STUN_SERVERS: usize = 8;

impl Config {
    /// A configuration with the default budget and timing.
    #[must_use]
    pub fn new(role: Role, key: PunchKey, stun_servers: Vec<SocketAddr>) -> Self {
        Self {
            role,
            key,
            stun_servers,
            budget: Budget::default(),
            tcp: false,
            timing: Timing::default(),
        }
    }
}

/// When checks and their repetitions go out, and after what time something counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time to live of the first packet to each public address: enough to leave one's own NATs, too little to reach
    /// the peer's, some of which answer an unsolicited packet by blocking the port. `None` sends none.
    pub first_ttl: Option<u8>,
    /// From that first packet to the real one.
    pub first_ttl_lead: Duration,
    /// Between the first transmissions of a check; the later ones come further apart.
    pub check_interval: Duration,
    /// How long an attempt goes on with plain checks.
    pub attempt: Duration,
    /// The longest wait for a better pair once one is valid. There is none when the better pairs have had a round
    /// trip's time to answer.
    pub nomination_grace: Duration,
    /// How long gathering waits for the slowest STUN server before the first signal leaves.
    pub gathering: Duration,
    /// How often a mapping is refreshed while there is no direct path; halved, down to five seconds, each time that the
    /// mapping turns out to have expired before.
    pub keepalive: Duration,
    /// Between two consent checks (RFC 7675 section 5.1), varied by a fifth, where a NAT on the path forgets within
    /// [`Timing::consent_rest`]; half of it between those of which none has been answered.
    pub consent_interval: Duration,
    /// Between two consent checks otherwise, while no stream is active: Tr of RFC 8445 section 11.
    pub consent_rest: Duration,
    /// Without an answer for so long, consent has expired.
    pub consent_expiry: Duration,
    /// Between two checks of the nominated path while streams are active.
    pub liveness_interval: Duration,
    /// Without an answer for so long, the path is lost while streams are active.
    pub liveness_expiry: Duration,
    /// The pause after the first failed attempt with nothing else to try; doubled after each, up to
    /// [`Timing::longest_pause`].
    pub first_pause: Duration,
    /// The longest pause between attempts.
    pub longest_pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_ttl: Some(4),
            first_ttl_lead: Duration::from_millis(10),
            check_interval: Duration::from_millis(100),
            attempt: Duration::from_secs(4),
            nomination_grace: Duration::from_millis(50),
            gathering: Duration::from_millis(400),
            keepalive: Duration::from_secs(15),
            consent_interval: Duration::from_secs(5),
            consent_rest: Duration::from_secs(15),
            consent_expiry: Duration::from_secs(30),
            liveness_interval: Duration::from_secs(1),
            liveness_expiry: Duration::from_secs(4),
            first_pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(300),
        }
    }
}
