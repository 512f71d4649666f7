//! The Python of a program: which it is, and where debugpy may be for it.

use std::path::{Path, PathBuf};

use p2pdbg_facts::on_path;
use p2pdbg_net::listening;

use crate::process::Process;

/// The first Python that lets debugpy in by itself (PEP 768); others need gdb.
const REMOTE_EXEC: (u32, u32) = (3, 14);

/// The Pythons that may be the program's, that of its environment first, and one of this host's at last.
pub(super) fn pythons_of(process: &Process) -> Vec<PathBuf> {
    let command_line = process.command_line();
    let first = command_line.first().map(PathBuf::from);
    let named = first.filter(|path| path.components().count() > 1);
    let directory = process.directory();
    let named = named.and_then(|path| Some(directory?.join(path)));
    let environment = process.variable("VIRTUAL_ENV");
    let environment = environment.map(|path| PathBuf::from(path).join("bin/python"));
    let here = ["python3", "python"].map(|name| on_path(name.as_ref()));
    let all = [named, environment, process.executable()];
    all.into_iter().chain(here).flatten().collect()
}

pub(super) fn has_remote_exec(process: &Process) -> bool {
    let executable = process.executable();
    let name = executable.as_deref().and_then(Path::file_name);
    let version = name.and_then(|name| name.to_str()?.strip_prefix("python"));
    let version = version.and_then(|version| {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    version.is_some_and(|version: (u32, u32)| version >= REMOTE_EXEC)
}

/// Whether the library of pydevd is in a program, which is what debugpy and PyCharm debug with. It may only have been
/// imported, as kernels of Jupyter do; and pydevd without its compiled parts is not seen.
pub(super) fn has_pydevd(process: &Process) -> bool {
    let files = process.mapped_files();
    let is_its = |path: &PathBuf| path.to_string_lossy().contains("pydevd");
    files.iter().any(is_its)
}

/// Whether a program with pydevd is connected as a debugger's is: over the loopback, to what it has dialled itself.
pub(super) fn is_being_debugged(process: &Process) -> bool {
    let its_own = process.sockets();
    let listening = listening::all();
    let listens = |port: u16| {
        let mut its = listening
            .iter()
            .filter(|socket| its_own.contains(&socket.inode));
        its.any(|socket| socket.address.port() == port)
    };
    let connected = listening::connected();
    let mut its = connected.iter().filter(|end| its_own.contains(&end.inode));
    its.any(|end| !listens(end.local.port()))
}
