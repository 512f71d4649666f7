//! What a file in the directory for copies holds.

use std::io::Read;

use sha1::{Digest as _, Sha1};

use crate::{
    content::{Content, ContentHash},
    directory::Directory,
};

/// The longest file that is offered and taken, in bytes.
pub(crate) const MAX_FILE: u64 = 256 << 20;

/// What a file holds, and its name as a blob of Git.
pub(super) fn look(directory: &Directory, name: &str) -> Option<(Content, [u8; 20])> {
    let file = directory.read(name).ok()?;
    let length = file.metadata().ok()?.len();
    let (mut content, mut blob) = (ContentHash::new(), Sha1::new());
    blob.update(format!("blob {length}\0"));
    let mut file = file.take(MAX_FILE);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut buffer).ok()?;
        if read == 0 {
            return Some((content.finish(), blob.finalize().into()));
        }
        content.update(&buffer[..read]);
        blob.update(&buffer[..read]);
    }
}
