//! What a user may choose about a session as a whole, in words that the command line and the session share.

use clap::ValueEnum;

/// Which paths a session may use: `--path`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PathPolicy {
    /// The best there is: the relay at once, a direct path as soon as it stands.
    #[default]
    #[value(skip)]
    Any,
    /// From peer to peer, never through the relay
    Direct,
    /// Through the relay alone
    Relay,
    /// Through the relay alone, and over TCP: this end sends no UDP at all
    RelayTcp,
}

impl PathPolicy {
    /// Whether a direct path may be looked for.
    pub fn allows_direct(self) -> bool {
        matches!(self, Self::Any | Self::Direct)
    }

    /// Whether the relay may be used.
    pub fn allows_relay(self) -> bool {
        self != Self::Direct
    }
}

/// What a forward does while nothing listens at its far end: `--absent`.
///
/// Either way a connection is never accepted and then closed, which hangs some debuggers for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HoldPolicy {
    /// Accept connections and hold them until something listens
    Hold,
    /// Listen only while the far end listens: a program that comes early is refused at once
    Refuse,
    /// Hold connections until the far end was reached once, and refuse them while it is absent from then on
    HoldOnce,
}
