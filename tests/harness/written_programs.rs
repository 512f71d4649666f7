//! Programs that tests make and run at once; for the tests of every crate.
//!
//! Another program writes them: a process that another test starts at that moment would have the file open for
//! writing too, as this process has it, until it becomes what it is to be; and what is open for writing cannot be run
//! (ETXTBSY).
#![allow(dead_code, reason = "each test crate uses a part")]
#![allow(unreachable_pub, reason = "a module of several test crates")]

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Makes a copy of a program, or of a library.
pub fn copy_program(from: &Path, to: &Path) {
    let copied = install().arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "{} to {}", from.display(), to.display());
}

/// Makes a program of a script.
pub fn write_program(to: &Path, script: &str) {
    let mut install = install();
    let install = install.arg("/dev/stdin").arg(to).stdin(Stdio::piped());
    let mut install = install.spawn().unwrap();
    let mut input = install.stdin.take().unwrap();
    input.write_all(script.as_bytes()).unwrap();
    drop(input);
    assert!(install.wait().unwrap().success(), "{}", to.display());
}

fn install() -> Command {
    let mut install = Command::new("install");
    install.args(["-m", "755"]);
    install
}
