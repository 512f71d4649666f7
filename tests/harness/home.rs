//! A user's directories, with nothing in them of whoever runs the tests.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use tempfile::TempDir;

/// A home directory that is removed with its last handle. A peer that is started in it again is the same peer.
#[derive(Clone, Debug)]
pub struct Home {
    directory: Arc<TempDir>,
}

impl Home {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            directory: Arc::new(tempfile::tempdir().unwrap()),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What is given as `--state`.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Lets a command live here, and takes from it what the tests were run with.
    pub fn settle(&self, command: &mut Command) {
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy().to_ascii_uppercase();
            if name.starts_with("P2PDBG_") || name.ends_with("_PROXY") {
                command.env_remove(variable);
            }
        }
        let home = self.path();
        command
            .env("HOME", home)
            .env("USERPROFILE", home)
            .env("APPDATA", home.join("config"))
            .env("LOCALAPPDATA", home.join("state"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("XDG_RUNTIME_DIR", home.join("run"));
    }
}
