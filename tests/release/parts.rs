//! scripts/release with stand-ins for what compiles and for the tools that it would fetch.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const X86_64: &str = "x86_64-unknown-linux-musl";
const AARCH64: &str = "aarch64-unknown-linux-musl";

/// A checkout that scripts/release is run in.
struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new() -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        let copied = [
            "cp -r --parents scripts/release packaging Cargo.toml README.md CHANGELOG.md LICENSE-* \"$TO\"",
            "cp tests/release/stand_ins/* \"$TO/packaging/release\"",
            "git -C \"$TO\" init -q",
            "git -C \"$TO\" add .",
            "git -C \"$TO\" -c user.name=x -c user.email=x@localhost commit -q --no-gpg-sign -m x",
        ];
        let status = Command::new("sh")
            .args(["-ec", &copied.join("\n")])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("TO", this.0.path())
            .status();
        assert!(status.unwrap().success());
        this
    }

    /// Runs it with these arguments, the programs being of this build if they are built.
    fn release(&self, build: &str, arguments: &[&str]) -> Output {
        Command::new(self.0.path().join("scripts/release"))
            .args(arguments)
            .current_dir(self.0.path())
            .env("BUILD", build)
            .env("XDG_CACHE_HOME", self.0.path().join("target/cache"))
            .output()
            .unwrap()
    }

    #[track_caller]
    fn make(&self, build: &str, arguments: &[&str]) {
        let output = self.release(build, arguments);
        assert!(output.status.success(), "{output:?}");
    }

    fn dist(&self, name: &str) -> PathBuf {
        self.0.path().join("dist").join(name)
    }

    fn offered(&self) -> Vec<String> {
        let files = fs::read_dir(self.dist("offer")).unwrap();
        let mut names: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn sum(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8_lossy(&output.stdout)[..64].to_owned()
}

#[test]
fn offer_has_the_programs_of_the_targets_that_are_released_alone() {
    let checkout = Checkout::new();
    let both = ["--target", X86_64, "--target", AARCH64];
    checkout.make("first", &[&both[..], &["--part", "programs"]].concat());
    checkout.make("first", &[&both[..], &["--part", "offer"]].concat());
    assert_eq!(
        checkout.offered(),
        ["p2pdbg-aarch64-linux", "p2pdbg-x86_64-linux", "run.sh"]
    );
    // The other one's program stays where it was built.
    let one = ["--target", X86_64, "--part", "programs", "--part", "offer"];
    checkout.make("second", &one);
    assert_eq!(checkout.offered(), ["p2pdbg-x86_64-linux", "run.sh"]);
    let script = fs::read_to_string(checkout.dist("offer/run.sh")).unwrap();
    assert!(script.contains("aarch64_linux=\n"), "{script}");
}

#[test]
fn package_of_programs_that_were_built_anew_vouches_for_an_offer_of_these() {
    let checkout = Checkout::new();
    let target = ["--target", X86_64];
    let built = ["--part", "programs", "--part", "archives"];
    let with_offer = [&target[..], &["--part", "programs", "--part", "offer"]].concat();
    checkout.make("first", &with_offer);
    checkout.make("second", &[&target[..], &built].concat());
    let offered = checkout.dist("offer/p2pdbg-x86_64-linux");
    assert!(
        fs::read_to_string(&offered)
            .unwrap()
            .contains("of second\n")
    );
    let script = fs::read_to_string(checkout.dist("offer/run.sh")).unwrap();
    assert!(script.contains(&format!("x86_64_linux={}\n", sum(&offered))));
}

#[test]
fn release_refuses_a_directory_with_files_of_another_version() {
    let checkout = Checkout::new();
    fs::create_dir(checkout.0.path().join("dist")).unwrap();
    let old = checkout.dist(&format!("p2pdbg-0.0.9-{X86_64}.tar.gz"));
    fs::write(&old, "").unwrap();
    let arguments = ["--target", X86_64, "--part", "programs"];
    let output = checkout.release("first", &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("p2pdbg-0.0.9-"), "{said}");
    assert!(!checkout.dist(&format!("programs/{X86_64}")).exists());

    fs::remove_file(old).unwrap();
    let archived = [&arguments[..], &["--part", "archives"]].concat();
    checkout.make("first", &archived);
    checkout.make("second", &archived);
}

#[test]
fn manual_pages_are_by_a_program_that_is_released() {
    let checkout = Checkout::new();
    let (native, other) = match cfg!(target_arch = "aarch64") {
        true => (AARCH64, X86_64),
        false => (X86_64, AARCH64),
    };
    // What an earlier release built for this processor stays there.
    checkout.make("first", &["--target", native, "--part", "programs"]);
    let emulator = format!("qemu-{}-static", other.split('-').next().unwrap());
    let tools = checkout.0.path().join("target/cache/p2pdbg-release");
    let written = format!("printf '#!/bin/sh\\nexec \"$@\"\\n' >{emulator}; chmod 755 {emulator}");
    let emulates = Command::new("sh")
        .args(["-ec", &written])
        .current_dir(tools)
        .status();
    assert!(emulates.unwrap().success());

    let parts = ["--part", "programs", "--part", "archives"];
    checkout.make("second", &[&["--target", other][..], &parts].concat());
    let page = |target: &str| {
        let name = format!("p2pdbg-{}-{target}", env!("CARGO_PKG_VERSION"));
        let pack =
            format!("tar -xOf dist/{name}.tar.gz {name}/share/man/man1/p2pdbg.1.gz | gzip -d");
        let unpacked = Command::new("sh")
            .args(["-ec", &pack])
            .current_dir(checkout.0.path())
            .output();
        String::from_utf8(unpacked.unwrap().stdout).unwrap()
    };
    assert_eq!(page(other), "page of second\n");
    let both = ["--target", native, "--target", other];
    checkout.make("third", &[&both[..], &parts].concat());
    assert_eq!(
        [page(native), page(other)],
        ["page of third\n", "page of third\n"]
    );
}
