//! Keys with names: who may register, within which limits, until when.
//!
//! [`KeyFile`] is `keys.toml` as people read it and `p2pdbg-rendezvous keys` changes it; [`KeyDirectory`] is where it
//! lies. [`KeyRing`] is what a running rendezvous asks. A secret is in neither, only its SHA-256: it is shown once,
//! when it is made. The one exception is the key `default`, whose secret lies in the file `access-key` beside, because
//! the URL that the program prints at each start holds it.
//!
//! Several nodes may share their keys by a store: [`SharedKeys`] is what a node makes of its own copy and the store's,
//! [`KeySeal`] what keeps the store from reading or changing them.

mod authentication;
mod file;
mod join;
mod key_directory;
mod name;
mod seal;
mod shared;
mod usage;

use std::{
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

#[cfg(feature = "cluster")]
pub(crate) use self::seal::LONGEST;
pub(crate) use self::{
    authentication::{Basis, KeyRing},
    key_directory::SERVER_SECRET,
    seal::KeySeal,
    shared::SharedKeys,
    usage::{OfMonth, UsageFile},
};
pub use self::{
    file::{KeyFault, KeyFile, NamedKey},
    key_directory::{DEFAULT, KEY_FILES, KeyDirectory, KeyError},
    name::{KeyName, NotAKeyName},
};

/// Bytes a second in a megabit a second.
pub(crate) const MBIT: u64 = 125_000;

/// The time by which keys and vouchers end. A clock before 1970 makes everything fresh, which is the lesser evil.
pub(crate) fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// What a key is known by in vouchers and in accounts, whatever its name and secret become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId(pub(crate) [u8; 8]);

impl KeyId {
    /// Whose account it is if a rendezvous asks for no key.
    pub(crate) const NOBODY: Self = Self([0; 8]);
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&file::hex(&self.0))
    }
}

/// A text that is no key's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key's id is 16 hexadecimal digits")]
pub struct NotAKeyId;

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        file::unhex(text).map(Self).ok_or(NotAKeyId)
    }
}

/// What one key may take, below what the rendezvous gives to all together. Nothing means no limit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyLimits {
    /// Peers connected at once that have it, or a voucher under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<usize>,
    /// Sessions at once on its account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<usize>,
    /// Codes that wait at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codes: Option<usize>,
    /// What its sessions may send through the relay, in megabits a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay_mbit: Option<u64>,
    /// What they may send through it in a calendar month (UTC), in GiB, before new ones are slowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay_gib_month: Option<u64>,
}

impl KeyLimits {
    /// Whether it has no limit of its own at all.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What its sessions may send through the relay, in bytes a second.
    pub(crate) fn relay_bytes_per_second(&self) -> Option<u64> {
        self.relay_mbit.map(|mbit| mbit.saturating_mul(MBIT))
    }
}
