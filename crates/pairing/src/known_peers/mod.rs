//! The hosts that this one has paired with, by name: `known_peers.toml` in the state directory.
//!
//! A peer is what its certificate says it is. The name is for people: the peer proposed it when it paired, and
//! a second host that proposes the same name is kept under another, so that nobody steps into the place of
//! a host that is known. Who pairs again keeps the name it has here.
//!
//! Several processes may read and change the file at once. Each works on what it read at the start, and changes the
//! file under its lock, on top of what the others wrote. Of several `listen` or several `connect` that run at once,
//! those beyond the first write to files of their own, `known_peers-2.toml` and so on: what one of them shares with a
//! peer must not take the place of what another shares with it. All of them are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use hmac::Mac;
use p2pdbg_base::PeerName;
use p2pdbg_identity::{StateDir, StateError};
use p2pdbg_proto::{code::Code, fingerprint::Fingerprint, rendezvous::Handle, secret::Secret};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{PairSecret, mac::hmac, process_number};

/// The file in the state directory, of the first process.
pub const KNOWN_PEERS_FILE: &str = "known_peers.toml";

/// How many peers are remembered; the one that was not seen for the longest time makes room. A mebibyte, the
/// longest file that is read, holds them several times.
const MAX_PEERS: usize = 1000;

const HEADER: &str = "\
# Hosts that this one has paired with. p2pdbg writes this file.
# Whoever has a pair_secret can meet that host in this one's place up to the point where it asks for this
# one's certificate: keep the file to yourself.

";

/// What is known of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeer {
    /// What the peer is called here.
    pub name: PeerName,
    /// The certificate it had when it paired.
    pub fingerprint: Fingerprint,
    /// Which of its processes it was, from 1.
    pub process: u16,
    /// The secret by which the two meet and authenticate each other.
    pub secret: PairSecret,
    /// When it was last paired or met, to the second.
    pub last_seen: SystemTime,
}

/// Tells a peer from all others: its certificate, and which of the processes that have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerId {
    /// The certificate that all processes of its host and user have.
    pub fingerprint: Fingerprint,
    /// Which of those processes it is, from 1.
    pub process: u16,
}

impl KnownPeer {
    /// By what it is told from all others.
    pub fn id(&self) -> PeerId {
        PeerId {
            fingerprint: self.fingerprint,
            process: self.process,
        }
    }

    /// Where to meet it at the rendezvous.
    pub fn meeting_handle(&self) -> Handle {
        self.secret.meeting_handle()
    }
}

/// Under which name a peer was remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// What the peer is called here from now on.
    pub name: PeerName,
    /// Whether it is another name than the peer proposed because that one belongs to a different host.
    pub name_was_taken: bool,
}

/// The known peers, as they were read or last changed by this process.
#[derive(Debug, Clone)]
pub struct KnownPeers {
    dir: StateDir,
    /// The name of the file of this process' own number; it changes no other.
    file: String,
    book: Book,
    /// What the other processes of this host know, in the order of their numbers.
    others: Vec<Book>,
}

#[derive(Debug, Clone)]
struct Book {
    /// Keys the tags of codes.
    salt: Secret<32>,
    peers: BTreeMap<PeerName, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    fingerprint: Fingerprint,
    process: u16,
    secret: PairSecret,
    last_seen: u64,
    /// Tells the code with which the two paired, but not which one it is.
    code: Option<Secret<32>>,
}

impl KnownPeers {
    /// Reads the known peers, for the process of that number; there are none if there is no file.
    ///
    /// # Errors
    /// When a file cannot be read, is open to others, or is damaged.
    pub fn load(dir: &StateDir, process: u16) -> Result<Self, StateError> {
        let file = file_of(process);
        let mut others = Vec::new();
        for other in (1..=process_number::MOST).filter(|other| *other != process) {
            others.extend(Book::read_if_there(dir, &file_of(other))?);
        }
        Ok(Self {
            dir: dir.clone(),
            book: Book::read(dir, &file)?,
            file,
            others,
        })
    }

    /// The peer of that name, as this process knows it or else another one of this host.
    pub fn get(&self, name: &PeerName) -> Option<KnownPeer> {
        let mut books = self.books();
        let entry = books.find_map(|book| book.peers.get(name))?;
        Some(entry.describe(name))
    }

    /// The names of all known peers, in alphabetical order, each once.
    pub fn names(&self) -> impl Iterator<Item = &PeerName> {
        let names: BTreeSet<&PeerName> = self.books().flat_map(|book| book.peers.keys()).collect();
        names.into_iter()
    }

    /// The peers that each process of this host knows, this process' own first.
    fn books(&self) -> impl Iterator<Item = &Book> {
        std::iter::once(&self.book).chain(&self.others)
    }

    /// The peer that was last paired with this very code, so that the code goes on leading to it after it is
    /// used up.
    pub fn find_by_code(&self, code: &Code) -> Option<KnownPeer> {
        self.books().find_map(|book| {
            let tag = book.tag(code);
            let mut peers = book.peers.iter();
            let (name, entry) = peers.find(|(_, entry)| entry.code.as_ref() == Some(&tag))?;
            Some(entry.describe(name))
        })
    }

    /// Keeps a peer that has just paired, under the name it has here, or `proposed`, or the nearest to that
    /// which is free.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn remember(
        &mut self,
        proposed: &PeerName,
        peer: PeerId,
        secret: &PairSecret,
        code: Option<&Code>,
        now: SystemTime,
    ) -> Result<Remembered, StateError> {
        self.update(|book| {
            let PeerId {
                fingerprint,
                process,
            } = peer;
            let known = book.name_of(peer);
            let proposed = match process {
                0 | 1 => proposed.clone(),
                further => proposed.numbered(further.into()),
            };
            let holder = book.peers.get(&proposed);
            let of_another = holder.is_some_and(|holder| holder.fingerprint != fingerprint);
            let name_was_taken = known.is_none() && of_another;
            let name =
                known.unwrap_or_else(|| proposed.first_free(|name| book.peers.contains_key(name)));
            let entry = Entry {
                fingerprint,
                process,
                secret: secret.clone(),
                last_seen: seconds(now),
                code: code.map(|code| book.tag(code)),
            };
            if !book.peers.contains_key(&name) {
                book.make_room();
            }
            book.peers.insert(name.clone(), entry);
            Remembered {
                name,
                name_was_taken,
            }
        })
    }

    /// Notes that a known peer was met. Does nothing if it was forgotten meanwhile.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn seen(&mut self, name: &PeerName, now: SystemTime) -> Result<(), StateError> {
        self.update(|book| {
            if let Some(entry) = book.peers.get_mut(name) {
                entry.last_seen = entry.last_seen.max(seconds(now));
            }
        })
    }

    /// Forgets a peer, and tells whether there was one.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn forget(&mut self, name: &PeerName) -> Result<bool, StateError> {
        self.update(|book| book.peers.remove(name).is_some())
    }

    /// Changes the file under its lock, on top of what other processes wrote since it was read.
    fn update<T>(&mut self, change: impl FnOnce(&mut Book) -> T) -> Result<T, StateError> {
        let _lock = self.dir.lock(&self.file)?;
        let mut book = Book::read(&self.dir, &self.file)?;
        let result = change(&mut book);
        self.dir
            .write_atomically(&self.file, book.to_text().as_bytes())?;
        self.book = book;
        Ok(result)
    }
}

impl Book {
    fn read(dir: &StateDir, file: &str) -> Result<Self, StateError> {
        let empty = || Self {
            salt: Secret::random(),
            peers: BTreeMap::new(),
        };
        Ok(Self::read_if_there(dir, file)?.unwrap_or_else(empty))
    }

    fn read_if_there(dir: &StateDir, file: &str) -> Result<Option<Self>, StateError> {
        let Some(bytes) = dir.read(file)? else {
            return Ok(None);
        };
        let bytes = Zeroizing::new(bytes);
        let read = Self::from_text(&bytes).map_err(|why| StateError::Damaged {
            path: dir.path().join(file),
            why,
            remedy: "put it right, or delete it and pair again",
        });
        read.map(Some)
    }

    fn from_text(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
        // The whole error of the parser would quote the line, and with it a secret.
        let form: BookForm = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            format!("line {line}: {}", error.message())
        })?;
        let salt = bytes_from_text(&form.salt).ok_or("salt is not 32 bytes of base64url")?;
        let mut peers = BTreeMap::new();
        for (name, form) in &form.peers {
            let parsed: PeerName = name
                .parse()
                .map_err(|error| format!("a peer's name is not one: {error}"))?;
            let entry = Entry::from_form(form)
                .ok_or_else(|| format!("the entry of {parsed} has a value that does not parse"))?;
            peers.insert(parsed, entry);
        }
        let salt = Secret::from_bytes(salt);
        Ok(Self { salt, peers })
    }

    fn to_text(&self) -> Zeroizing<String> {
        let form = BookForm {
            salt: bytes_to_text(self.salt.expose()),
            peers: self
                .peers
                .iter()
                .map(|(name, entry)| (name.to_string(), entry.to_form()))
                .collect(),
        };
        let body = toml::to_string(&form).expect("tables of strings and numbers are TOML");
        Zeroizing::new([HEADER, &Zeroizing::new(body)].concat())
    }

    fn name_of(&self, peer: PeerId) -> Option<PeerName> {
        let mut peers = self.peers.iter();
        let is_it =
            |entry: &Entry| entry.fingerprint == peer.fingerprint && entry.process == peer.process;
        let (name, _) = peers.find(|(_, entry)| is_it(entry))?;
        Some(name.clone())
    }

    fn make_room(&mut self) {
        while self.peers.len() >= MAX_PEERS {
            let oldest = self.peers.iter().min_by_key(|(_, entry)| entry.last_seen);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else {
                return;
            };
            self.peers.remove(&name);
        }
    }

    /// What is kept of a code: the words cannot be told from it without trying them all.
    fn tag(&self, code: &Code) -> Secret<32> {
        let text = Zeroizing::new(code.to_string());
        let mac = hmac(self.salt.expose())
            .chain_update(b"p2pdbg 1 code ")
            .chain_update(text.as_bytes());
        Secret::from_bytes(mac.finalize().into_bytes().into())
    }
}

impl Entry {
    fn describe(&self, name: &PeerName) -> KnownPeer {
        KnownPeer {
            name: name.clone(),
            fingerprint: self.fingerprint,
            process: self.process,
            secret: self.secret.clone(),
            last_seen: UNIX_EPOCH
                .checked_add(Duration::from_secs(self.last_seen))
                .unwrap_or(UNIX_EPOCH),
        }
    }

    fn from_form(form: &EntryForm) -> Option<Self> {
        let code = match &form.code_tag {
            Some(text) => Some(Secret::from_bytes(bytes_from_text(text)?)),
            None => None,
        };
        Some(Self {
            fingerprint: form.fingerprint.parse().ok()?,
            process: form.process,
            secret: PairSecret::from_bytes(bytes_from_text(&form.pair_secret)?),
            last_seen: form.last_seen,
            code,
        })
    }

    fn to_form(&self) -> EntryForm {
        EntryForm {
            fingerprint: self.fingerprint.to_string(),
            process: self.process,
            pair_secret: bytes_to_text(self.secret.expose()),
            last_seen: self.last_seen,
            code_tag: self.code.as_ref().map(|tag| bytes_to_text(tag.expose())),
        }
    }
}

/// The file as TOML has it.
#[derive(Serialize, Deserialize)]
struct BookForm {
    salt: Zeroizing<String>,
    #[serde(default)]
    peers: BTreeMap<String, EntryForm>,
}

#[derive(Serialize, Deserialize)]
struct EntryForm {
    fingerprint: String,
    #[serde(default = "first", skip_serializing_if = "is_first")]
    process: u16,
    pair_secret: Zeroizing<String>,
    /// When the peer was last paired or met, in seconds since 1970.
    last_seen: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code_tag: Option<Zeroizing<String>>,
}

fn first() -> u16 {
    1
}

fn is_first(process: &u16) -> bool {
    *process == first()
}

/// The file of the process of that number.
fn file_of(process: u16) -> String {
    match process {
        0 | 1 => KNOWN_PEERS_FILE.to_owned(),
        further => format!("known_peers-{further}.toml"),
    }
}

fn bytes_to_text(bytes: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(BASE64URL_NOPAD.encode(bytes))
}

fn bytes_from_text(text: &str) -> Option<[u8; 32]> {
    let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?);
    bytes.as_slice().try_into().ok()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
