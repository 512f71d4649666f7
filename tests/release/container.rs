//! The recipe by which an operator builds the container of the rendezvous.

const RECIPE: &str = include_str!("../../packaging/container/Containerfile");
const IGNORED: &str = include_str!("../../.dockerignore");

fn instructions() -> String {
    let lines = RECIPE.lines().filter(|line| !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn container_recipe_is_for_the_processor_of_whoever_builds() {
    for processor in ["x86_64", "x86-64", "amd64", "aarch64", "arm64"] {
        assert!(!instructions().contains(processor), "{processor}");
    }
}

#[test]
fn container_recipe_builds_by_the_compiler_of_its_image() {
    // The image says which one it has, and rustup heeds this before rust-toolchain.toml.
    assert!(instructions().contains("RUSTUP_TOOLCHAIN=$RUST_VERSION cargo build"));
    let declared = env!("CARGO_PKG_RUST_VERSION");
    assert!(instructions().contains(&format!("library/rust:{declared}-")));
}

#[test]
fn container_is_not_given_what_was_built_on_the_host() {
    for folder in ["target", "dist", ".git"] {
        assert!(IGNORED.lines().any(|line| line == folder), "{folder}");
    }
}
