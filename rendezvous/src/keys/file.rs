//! `keys.toml`: the keys as they are written down, and what may be done to them.

use std::{collections::HashSet, fmt::Write};

use p2pdbg_proto::{secret::random_bytes, url::AccessKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{KeyId, KeyLimits, KeyName};

/// The version of the file that is written, and the only one that is read.
const VERSION: u32 = 1;

/// Keys that nodes share, at the most: what has ended stays, so that no node brings it back.
const MOST_SHARED: usize = 2_048;

const HEAD: &str = "\
# The keys of this rendezvous. Written by `p2pdbg-rendezvous keys`; a secret is in here as its SHA-256 alone.
# Times are in Unix seconds. After a change by hand: `p2pdbg-rendezvous reload`, or SIGHUP.
";

/// The keys, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFile {
    /// How often they were changed, if several nodes share them.
    pub(super) shared: Option<u64>,
    pub(super) keys: Vec<NamedKey>,
}

/// One key as the file has it: its secret is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    /// What stands for it wherever it is counted.
    pub id: KeyId,
    /// What people call it. Of keys that are not revoked no two have one name.
    pub name: KeyName,
    /// When it was made, in Unix seconds.
    pub created: u64,
    /// When it ends by itself.
    pub expires: Option<u64>,
    /// When it was revoked, in Unix seconds; none while it holds.
    pub revoked: Option<u64>,
    /// What its holders may take.
    pub limits: KeyLimits,
    /// The version of the shared keys in which it was changed last; 0 where they are not shared.
    pub(super) changed: u64,
    /// The SHA-256 of the secret, which is random and long enough not to be guessed from it.
    pub(super) sha256: [u8; 32],
    /// That of the secret before it, and until when that one is taken too.
    pub(super) previous: Option<([u8; 32], u64)>,
}

/// Why a file is not one of keys, or cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It is no TOML, or has what does not belong there.
    #[error("{0}")]
    Syntax(String),
    /// Another version of this program wrote it.
    #[error("it is of version {0}, and this program reads version 1")]
    Version(u32),
    /// Two keys have one name, id or secret.
    #[error("two keys have the same {0}")]
    Twice(&'static str),
    /// There is a key of that name already.
    #[error(
        "there is a key {0} already: choose another name, or have `keys rotate {0}` give it another secret"
    )]
    Exists(KeyName),
    /// There is no key of that name that is not revoked.
    #[error("there is no key {0} that is good: `keys list` shows those that there are")]
    Unknown(KeyName),
    /// Nodes share no more keys than that, those that have ended among them.
    #[error("nodes share {MOST_SHARED} keys at the most, and those that have ended count")]
    TooMany,
}

impl NamedKey {
    /// Whether it lets anybody in at this time.
    pub fn is_live(&self, unix_s: u64) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| unix_s < expires)
    }

    /// Until when the secret before the present one is taken, if it is.
    pub fn grace_until(&self, unix_s: u64) -> Option<u64> {
        self.previous
            .map(|(_, until)| until)
            .filter(|until| unix_s < *until)
    }
}

impl KeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        // First, so that a newer file is told from a damaged one.
        let head: Head = toml::from_str(text).map_err(syntax)?;
        if head.version != VERSION {
            return Err(KeyFault::Version(head.version));
        }
        let written: Written = toml::from_str(text).map_err(syntax)?;
        let keys = written.key.into_iter().map(NamedKey::try_from);
        let file = Self {
            shared: written.shared,
            keys: keys.collect::<Result<_, _>>()?,
        };
        file.check()?;
        Ok(file)
    }

    /// The file's text, as it is to be written.
    pub fn text(&self) -> String {
        let written = Written {
            version: VERSION,
            shared: self.shared,
            key: self.keys.iter().map(WrittenKey::from).collect(),
        };
        // Numbers, names and hexadecimal digits always make TOML.
        let text = toml::to_string(&written).unwrap_or_default();
        format!("{HEAD}{text}")
    }

    /// All of them, those that have ended too.
    pub fn keys(&self) -> &[NamedKey] {
        &self.keys
    }

    /// The key of that name that is not revoked.
    pub fn find(&self, name: &KeyName) -> Option<&NamedKey> {
        self.keys
            .iter()
            .find(|key| key.name == *name && key.revoked.is_none())
    }

    /// Adds a key. A revoked one of the same name makes room for it, unless the keys are shared.
    ///
    /// # Errors
    /// If there is one of that name.
    pub fn add(
        &mut self,
        name: KeyName,
        secret: &AccessKey,
        limits: KeyLimits,
        created: u64,
        expires: Option<u64>,
    ) -> Result<(), KeyFault> {
        if self.find(&name).is_some() {
            return Err(KeyFault::Exists(name));
        }
        match self.shared {
            // Another node may not have heard of its end.
            Some(_) if self.keys.len() >= MOST_SHARED => return Err(KeyFault::TooMany),
            Some(_) => {}
            None => self.keys.retain(|key| key.name != name),
        }
        let changed = self.advance();
        self.keys.push(NamedKey {
            id: KeyId(random_bytes()),
            name,
            created,
            expires,
            revoked: None,
            limits,
            changed,
            sha256: digest(secret),
            previous: None,
        });
        Ok(())
    }

    /// Ends a key for good. It stays in the file, so that people see what became of it.
    ///
    /// # Errors
    /// If there is none.
    pub fn revoke(&mut self, name: &KeyName, unix_s: u64) -> Result<(), KeyFault> {
        self.live(name)?;
        let changed = self.advance();
        let key = self.live(name)?;
        key.revoked = Some(unix_s);
        key.previous = None;
        key.changed = changed;
        Ok(())
    }

    /// Gives a key another secret; the one before is taken until `grace_until`.
    ///
    /// # Errors
    /// If there is none.
    pub fn rotate(
        &mut self,
        name: &KeyName,
        secret: &AccessKey,
        grace_until: Option<u64>,
    ) -> Result<(), KeyFault> {
        self.live(name)?;
        let changed = self.advance();
        let key = self.live(name)?;
        key.changed = changed;
        let before = std::mem::replace(&mut key.sha256, digest(secret));
        key.previous = grace_until.map(|until| (before, until));
        Ok(())
    }

    fn live(&mut self, name: &KeyName) -> Result<&mut NamedKey, KeyFault> {
        let found = self
            .keys
            .iter_mut()
            .find(|key| key.name == *name && key.revoked.is_none());
        found.ok_or_else(|| KeyFault::Unknown(name.clone()))
    }

    pub(super) fn check(&self) -> Result<(), KeyFault> {
        let (mut names, mut ids, mut secrets) = (HashSet::new(), HashSet::new(), HashSet::new());
        for key in &self.keys {
            if key.id == KeyId::NOBODY || !ids.insert(key.id) {
                return Err(KeyFault::Twice("id"));
            }
            if key.revoked.is_none() && !names.insert(&key.name) {
                return Err(KeyFault::Twice("name"));
            }
            let previous = key.previous.map(|(sha256, _)| sha256);
            if [Some(key.sha256), previous]
                .into_iter()
                .flatten()
                .any(|sha256| !secrets.insert(sha256))
            {
                return Err(KeyFault::Twice("secret"));
            }
        }
        Ok(())
    }
}

/// What of a secret is kept.
pub(super) fn digest(secret: &AccessKey) -> [u8; 32] {
    Sha256::digest(secret.expose()).into()
}

fn syntax(error: toml::de::Error) -> KeyFault {
    // The message alone, on one line: the excerpt that the parser adds may be long.
    let at = error
        .span()
        .map(|span| format!(" (at byte {})", span.start));
    KeyFault::Syntax(format!("{}{}", error.message(), at.unwrap_or_default()))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<u64>,
    #[serde(default)]
    key: Vec<WrittenKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    id: String,
    name: String,
    sha256: String,
    created: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    changed: u64,
    #[serde(default, skip_serializing_if = "KeyLimits::is_none")]
    limits: KeyLimits,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<WrittenPrevious>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPrevious {
    sha256: String,
    until: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl From<&NamedKey> for WrittenKey {
    fn from(key: &NamedKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.to_string(),
            sha256: hex(&key.sha256),
            created: key.created,
            expires: key.expires,
            revoked: key.revoked,
            changed: key.changed,
            limits: key.limits,
            previous: key.previous.map(|(sha256, until)| WrittenPrevious {
                sha256: hex(&sha256),
                until,
            }),
        }
    }
}

impl TryFrom<WrittenKey> for NamedKey {
    type Error = KeyFault;

    fn try_from(key: WrittenKey) -> Result<Self, KeyFault> {
        let sha256 = |text: &str| {
            let wrong = || KeyFault::Syntax("a sha256 is 64 hexadecimal digits".into());
            unhex(text).ok_or_else(wrong)
        };
        let previous = key.previous.map(|p| Ok((sha256(&p.sha256)?, p.until)));
        Ok(Self {
            id: key
                .id
                .parse()
                .map_err(|e: super::NotAKeyId| KeyFault::Syntax(e.to_string()))?,
            name: key
                .name
                .parse()
                .map_err(|e: super::NotAKeyName| KeyFault::Syntax(e.to_string()))?,
            created: key.created,
            expires: key.expires,
            revoked: key.revoked,
            limits: key.limits,
            changed: key.changed,
            sha256: sha256(&key.sha256)?,
            previous: previous.transpose()?,
        })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes whatever it is given.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.bytes().all(|b| b.is_ascii_hexdigit());
    if !digits || text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> KeyName {
        text.parse().unwrap()
    }

    fn file(names: &[&str]) -> KeyFile {
        let mut file = KeyFile::default();
        for each in names {
            let limits = KeyLimits {
                sessions: Some(4),
                relay_mbit: Some(10),
                ..KeyLimits::default()
            };
            let secret = AccessKey::random();
            file.add(name(each), &secret, limits, 100, Some(200))
                .unwrap();
        }
        file
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut file = file(&["a", "b", "c"]);
        file.revoke(&name("a"), 120).unwrap();
        file.rotate(&name("b"), &AccessKey::random(), Some(150))
            .unwrap();
        file.add(
            name("d"),
            &AccessKey::random(),
            KeyLimits::default(),
            130,
            None,
        )
        .unwrap();
        assert_eq!(KeyFile::parse(&file.text()), Ok(file));
    }

    #[test]
    fn no_secret_is_written() {
        let mut file = KeyFile::default();
        let secret = AccessKey::random();
        file.add(name("a"), &secret, KeyLimits::default(), 0, None)
            .unwrap();
        assert!(!file.text().contains(&hex(secret.expose())));
        assert!(file.text().contains(&hex(&digest(&secret))));
    }

    #[test]
    fn a_name_is_given_once_and_again_after_it_was_revoked() {
        let mut file = file(&["a"]);
        let before = file.find(&name("a")).unwrap().id;
        let secret = AccessKey::random();
        let again =
            |file: &mut KeyFile| file.add(name("a"), &secret, KeyLimits::default(), 0, None);
        assert_eq!(again(&mut file), Err(KeyFault::Exists(name("a"))));
        file.revoke(&name("a"), 1).unwrap();
        assert_eq!(
            file.revoke(&name("a"), 1),
            Err(KeyFault::Unknown(name("a")))
        );
        again(&mut file).unwrap();
        assert_eq!(file.keys().len(), 1);
        // What was granted under the old one is not granted under the new one.
        assert_ne!(file.find(&name("a")).unwrap().id, before);
    }

    #[test]
    fn a_key_ends_when_it_expires_or_is_revoked() {
        let mut file = file(&["a"]);
        let live = |file: &KeyFile, at| file.keys()[0].is_live(at);
        assert!(live(&file, 199) && !live(&file, 200));
        file.revoke(&name("a"), 120).unwrap();
        assert!(!live(&file, 130));
    }

    #[test]
    fn what_is_no_file_of_keys_is_refused_with_what_is_wrong() {
        let good = file(&["a"]).text();
        let twice = format!(
            "{good}{}",
            good.split_once("[[key]]")
                .map(|(_, k)| format!("[[key]]{k}"))
                .unwrap()
        );
        for (text, expected) in [
            ("version = 2\nfuture = true".to_owned(), "version 2"),
            (String::new(), "version"),
            ("version = 1\nkeys = []".into(), "unknown field"),
            (good.replace("name = \"a\"", "name = \"a b\""), "name"),
            (
                good.replace("sha256 = \"", "sha256 = \"0"),
                "64 hexadecimal",
            ),
            (
                good.replace("sessions = 4", "sessions = -4"),
                "invalid value",
            ),
            (good.replace("sessions", "session"), "unknown field"),
            (twice, "same id"),
            ("version = 1\n\u{1b}[31m".into(), "byte"),
        ] {
            let fault = KeyFile::parse(&text).unwrap_err().to_string();
            assert!(fault.contains(expected), "{fault}");
            assert!(!fault.contains(['\n', '\u{1b}']), "{fault:?}");
        }
    }
}
