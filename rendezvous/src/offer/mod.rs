//! The program for hosts where it is not installed: `--offer DIR`, over plain HTTP at the TCP ports (`web`).
//!
//! `p2pdbg listen` shows a line that fetches the script `run.sh` from here, which fetches the program. It is plain HTTP
//! on purpose. What is fetched is public, and is trusted for its SHA-256 alone: the line holds that of the script,
//! which `listen` knows from its own package, and the script those of the programs. So neither this host nor anybody on
//! the way can put in something else, and busybox' wget, which knows neither TLS 1.3 nor pins, serves as well as curl.
//!
//! Strangers may fetch: no key is asked for. An address may do it so often a minute, few at once in all
//! ([`download_slots`]), each has its time, and a download is an attempt that never gets through for
//! [`Admission`](crate::connections::handshake_limits::Admission): it counts for its address, and gives way to peers
//! when there is a crowd.

mod download_slots;
mod http;

use std::{
    fs::File,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use sha2::{Digest, Sha256};

use self::download_slots::{DownloadSlot, DownloadSlots};
pub(crate) use self::http::{Body, answer, plain};
use crate::limits::{AddressBuckets, Limits, Rate};

/// The script that the line of `p2pdbg listen` fetches.
pub(crate) const SCRIPT: &str = "run.sh";

/// What is handed out, if it is there: nothing else of the directory.
const FILES: [&str; 3] = [SCRIPT, "p2pdbg-x86_64-linux", "p2pdbg-aarch64-linux"];

/// The longest script, in bytes.
const MAX_SCRIPT: u64 = 64 * 1024;

/// Addresses whose rate is remembered.
const ADDRESSES: usize = 4_096;

/// What is offered, and who may have it.
#[derive(Debug)]
pub(crate) struct Offer {
    directory: PathBuf,
    script: [u8; 32],
    rate: Rate,
    asked: Mutex<AddressBuckets>,
    slots: DownloadSlots,
}

/// A file that is about to be sent.
#[derive(Debug)]
pub(crate) struct Download {
    file: File,
    length: u64,
    slot: DownloadSlot,
}

/// Why a request gets no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// Nothing of this name is offered.
    NotFound,
    /// This address has asked too often.
    TooMany,
    /// As much is being fetched as may be.
    Busy,
}

impl Offer {
    /// Reads what there is in `directory`.
    ///
    /// # Errors
    /// If there is no script in it that can be read.
    pub(crate) fn open(directory: &Path, limits: &Limits) -> io::Result<Self> {
        let path = directory.join(SCRIPT);
        let length = path.metadata()?.len();
        if length > MAX_SCRIPT {
            return Err(io::Error::other(format!("{SCRIPT} has {length} bytes")));
        }
        Ok(Self {
            directory: directory.to_owned(),
            script: Sha256::digest(std::fs::read(path)?).into(),
            rate: limits.downloads,
            asked: Mutex::new(AddressBuckets::new(ADDRESSES)),
            slots: DownloadSlots::new(limits),
        })
    }

    /// The SHA-256 of the script.
    pub(crate) fn script(&self) -> [u8; 32] {
        self.script
    }

    /// Judges a request for `/offer/NAME`.
    fn download(&self, now: Instant, from: IpAddr, path: &str) -> Result<Download, Denial> {
        let name = path.strip_prefix("/offer/").ok_or(Denial::NotFound)?;
        let name = FILES.into_iter().find(|file| *file == name);
        let name = name.ok_or(Denial::NotFound)?;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = asked.take(from, self.rate, now, 1);
        drop(asked);
        taken.map_err(|_| Denial::TooMany)?;
        let slot = self.slots.take(now, from).ok_or(Denial::Busy)?;
        let file = File::open(self.directory.join(name)).map_err(|_| Denial::NotFound)?;
        let length = file.metadata().map_err(|_| Denial::NotFound)?.len();
        Ok(Download { file, length, slot })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OFFICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn offer(downloads_at_once: usize) -> (Offer, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(SCRIPT), "echo\n").unwrap();
        std::fs::write(directory.path().join("secret"), "secret").unwrap();
        let limits = Limits {
            downloads: Rate {
                burst: 2,
                per_minute: 60,
            },
            downloads_at_once,
            ..Limits::default()
        };
        let offer = Offer::open(directory.path(), &limits).unwrap();
        (offer, directory)
    }

    #[test]
    fn offer_hands_out_the_named_files_and_nothing_else_of_the_directory() {
        let (offer, _directory) = offer(8);
        let ask = |path| offer.download(Instant::now(), HOME, path).err();
        assert_eq!(ask("/offer/run.sh"), None);
        for path in [
            "/",
            "/offer/",
            "/offer/secret",
            "/offer/../offer/run.sh",
            "/offer//run.sh",
            "/offer/p2pdbg-aarch64-linux",
        ] {
            assert_eq!(ask(path), Some(Denial::NotFound), "{path}");
        }
    }

    #[test]
    fn offer_to_an_address_that_asks_too_often_waits_and_another_does_not() {
        let (offer, _directory) = offer(8);
        let now = Instant::now();
        let ask = |from, now| offer.download(now, from, "/offer/run.sh").err();
        assert_eq!([ask(HOME, now), ask(HOME, now)], [None, None]);
        assert_eq!(ask(HOME, now), Some(Denial::TooMany));
        assert_eq!(ask(OFFICE, now), None);
        assert_eq!(ask(HOME, now + Duration::from_secs(1)), None);
    }

    #[test]
    fn offer_is_busy_while_as_many_download_as_may() {
        let (offer, _directory) = offer(1);
        let now = Instant::now();
        let held = offer.download(now, HOME, "/offer/run.sh").unwrap();
        let denial = offer.download(now, OFFICE, "/offer/run.sh").unwrap_err();
        assert_eq!(denial, Denial::Busy);
        drop(held);
        assert!(offer.download(now, OFFICE, "/offer/run.sh").is_ok());
    }

    #[test]
    fn directory_without_the_script_is_no_offer() {
        let empty = tempfile::tempdir().unwrap();
        assert!(Offer::open(empty.path(), &Limits::default()).is_err());
    }
}
