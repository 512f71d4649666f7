//! Parts of files that have not come whole yet, each beside its place: hidden, and called after the file and what it is
//! to hold, so that an interrupted copy goes on.

use std::{os::fd::OwnedFd, time::SystemTime};

use p2pdbg_proto::sources::Sha256 as Digest;
use rustix::fs::{AtFlags, Dir, FileType};
use sha2::{Digest as _, Sha256};

/// What the names of parts begin and end with.
const BEGINNING: &str = ".p2pdbg-";
const ENDING: &str = ".part";

/// After so many seconds nobody goes on with a copy.
const OLD: u64 = 24 * 60 * 60;

/// The name of the part of a file that is to hold this.
pub(super) fn name_of(name: &str, sha256: Digest) -> String {
    let tag = data_encoding::HEXLOWER.encode(&sha256[..8]);
    format!("{}{tag}{ENDING}", beginning_for(name))
}

fn beginning_for(name: &str) -> String {
    let of_file: Digest = Sha256::digest(name).into();
    let of_file = data_encoding::HEXLOWER.encode(&of_file[..8]);
    format!("{BEGINNING}{of_file}-")
}

/// Removes the parts of other versions of a file, and those of any file that are old.
pub(super) fn remove_useless(directory: &OwnedFd, name: &str, sha256: Digest) {
    let (own, others) = (name_of(name, sha256), beginning_for(name));
    remove(directory, |part, age| {
        part != own && (part.starts_with(&others) || age > OLD)
    });
}

/// Removes the parts of all versions of a file.
pub(super) fn remove_all_of(directory: &OwnedFd, name: &str) {
    let own = beginning_for(name);
    remove(directory, |part, _| part.starts_with(&own));
}

fn remove(directory: &OwnedFd, is_useless: impl Fn(&str, u64) -> bool) {
    let Ok(entries) = Dir::read_from(directory) else {
        return;
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let user = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if !(name.starts_with(BEGINNING) && name.ends_with(ENDING)) {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let age = now.saturating_sub(u64::try_from(stat.st_mtime).unwrap_or(0));
        if is_file && stat.st_uid == user && is_useless(name, age) {
            // One that cannot be removed is in nobody's way.
            let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
        }
    }
}
