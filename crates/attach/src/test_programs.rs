//! Programs that tests make and run at once.
//!
//! Another program writes them: a process that another test starts at that moment would have the file open for
//! writing too, as this process has it, until it becomes what it is to be; and what is open for writing cannot be run
//! (ETXTBSY).

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Makes a copy of a program, or of a library.
pub(crate) fn copy(from: &Path, to: &Path) {
    let copied = install().arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "{from:?} to {to:?}");
}

/// Makes a program of a script.
pub(crate) fn write(to: &Path, script: &str) {
    let mut install = install();
    let install = install.arg("/dev/stdin").arg(to).stdin(Stdio::piped());
    let mut install = install.spawn().unwrap();
    let mut input = install.stdin.take().unwrap();
    input.write_all(script.as_bytes()).unwrap();
    drop(input);
    assert!(install.wait().unwrap().success(), "{to:?}");
}

fn install() -> Command {
    let mut install = Command::new("install");
    install.args(["-m", "755"]);
    install
}
