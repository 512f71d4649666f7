//! What scripts/release packs, as far as it can be tried without building a release.
#![cfg(target_os = "linux")]

mod after_install;
mod container;
mod launcher;
mod parts;
