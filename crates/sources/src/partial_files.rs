//! Parts of files that have not come whole yet, each beside its place: hidden, and called after the file and what it is
//! to hold, so that an interrupted copy goes on.

use std::time::Duration;

use p2pdbg_proto::sources::Sha256 as Digest;
use sha2::{Digest as _, Sha256};

use super::directory::{Directory, Kind};

/// What the names of parts begin and end with.
const BEGINNING: &str = ".p2pdbg-";
const ENDING: &str = ".part";

/// After so long nobody goes on with a copy.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

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
pub(super) fn remove_useless(directory: &Directory, name: &str, sha256: Digest) {
    let (own, others) = (name_of(name, sha256), beginning_for(name));
    remove(directory, |part, age| {
        part != own && (part.starts_with(&others) || age > OLD)
    });
}

/// Removes the parts of all versions of a file.
pub(super) fn remove_all_of(directory: &Directory, name: &str) {
    let own = beginning_for(name);
    remove(directory, |part, _| part.starts_with(&own));
}

fn remove(directory: &Directory, is_useless: impl Fn(&str, Duration) -> bool) {
    let is_part = |name: &String| name.starts_with(BEGINNING) && name.ends_with(ENDING);
    for name in directory.names().filter(is_part) {
        let Ok(Some(entry)) = directory.entry(&name) else {
            continue;
        };
        let age = entry.modified.and_then(|at| at.elapsed().ok());
        let is_ours = entry.kind == Kind::File && entry.is_own;
        if is_ours && is_useless(&name, age.unwrap_or_default()) {
            // One that cannot be removed is in nobody's way.
            let _ = directory.remove(&name);
        }
    }
}
