//! Any bytes as the file of known peers, which a person may have edited and a full disk cut short: nothing panics, and
//! a file that is damaged is said to be rather than taken for empty.

#![no_main]

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use p2pdbg_identity::StateDir;
use p2pdbg_pairing::{KNOWN_PEERS_FILE, KnownPeers};

/// One directory for each process that fuzzes.
static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let name = format!("p2pdbg-fuzz-known-peers-{}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(&dir).expect("a directory");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("its permissions");
    dir
});

fuzz_target!(|text: &[u8]| {
    let file = DIR.join(KNOWN_PEERS_FILE);
    fs::write(&file, text).expect("the file is written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its permissions");
    let dir = StateDir::open(Some(&DIR), "p2pdbg").expect("the directory is ours");
    if let Ok(known) = KnownPeers::load(&dir, 1) {
        for name in known.names() {
            assert!(known.get(name).is_some());
        }
    }
});
