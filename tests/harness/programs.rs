//! The programs under test, and what a test does that lacks something.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

/// The built `p2pdbg`.
pub const P2PDBG: &str = env!("CARGO_BIN_EXE_p2pdbg");

/// Whether nothing may be skipped.
pub fn on_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Says why a test is skipped.
///
/// # Panics
/// With `CI=true`, where nothing is.
pub fn skip(why: &str) {
    assert!(!on_ci(), "cannot be skipped with CI=true: {why}");
    eprintln!("skipped: {why}");
}

/// The built `p2pdbg-rendezvous`, which is beside `p2pdbg` where the workspace was built; else it is built.
pub fn rendezvous_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let name = format!("p2pdbg-rendezvous{}", std::env::consts::EXE_SUFFIX);
        let program = Path::new(P2PDBG).with_file_name(name);
        if !is_up_to_date(&program) {
            build(&program);
        }
        program
    })
}

/// Whether it is as new as what it is made of.
fn is_up_to_date(program: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let Some(built) = modified(program) else {
        return false;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["rendezvous/src", "crates/proto/src", "crates/identity/src"];
    sources
        .iter()
        .all(|folder| newest(&root.join(folder)).is_none_or(|source| source <= built))
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries
        .flatten()
        .filter_map(|entry| match entry.path() {
            folder if folder.is_dir() => newest(&folder),
            file => file.metadata().ok()?.modified().ok(),
        })
        .max()
}

fn build(program: &Path) {
    // target/PROFILE/p2pdbg-rendezvous; the profile `dev` is built in `debug`.
    let directory = program.parent().unwrap();
    let profile = match directory.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        profile => profile,
    };
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "-p",
            "p2pdbg-rendezvous",
            "--profile",
            profile,
        ])
        .arg("--target-dir")
        .arg(directory.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success(), "p2pdbg-rendezvous cannot be built");
}
