//! Composes what `--version` prints; Cargo tells the target to build scripts alone.
//!
//! The commit is in it where whoever builds says so in `P2PDBG_COMMIT`, as `scripts/release` does. Git is not asked: a
//! checkout with changes in it would claim to be a commit that it is not, and each commit would build the crate anew.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=P2PDBG_COMMIT");
    // Cargo sets both for every build script.
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let target = env::var("TARGET").unwrap_or_default();
    let full = match env::var("P2PDBG_COMMIT") {
        Ok(commit) if !commit.is_empty() => format!("{version} ({commit}, {target})"),
        _ => format!("{version} ({target})"),
    };
    println!("cargo::rustc-env=P2PDBG_TARGET={target}");
    println!("cargo::rustc-env=P2PDBG_FULL_VERSION={full}");
}
