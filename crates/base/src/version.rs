//! Which build a program is.

/// The version of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The target triple, such as `aarch64-unknown-linux-musl`.
pub const TARGET: &str = env!("P2PDBG_TARGET");

/// Version, commit and target, as `--version` prints them: `0.1.0 (4f2c9d81a7b3, x86_64-unknown-linux-musl)`. Without
/// the commit where it was not given to the build.
pub const FULL: &str = env!("P2PDBG_FULL_VERSION");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_version_names_version_and_target() {
        assert!(FULL.starts_with(&format!("{VERSION} (")), "{FULL}");
        assert!(FULL.ends_with(&format!("{TARGET})")), "{FULL}");
        assert_eq!(TARGET.split('-').next(), Some(std::env::consts::ARCH));
    }
}
