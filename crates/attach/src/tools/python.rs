//! The Python of a program: which it is, which of this host's has debugpy for it, and what is in the program already.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use p2pdbg_base::Descriptors;
use p2pdbg_facts::on_path;
use p2pdbg_net::listening;
use tokio::{process::Command, time::timeout};

use super::run::{command, finish};
use crate::{
    process::Process,
    python_name::{is_python, version},
};

/// The first Python that lets debugpy in by itself (PEP 768); others need gdb.
const REMOTE_EXEC: (u32, u32) = (3, 14);

/// How long a Python may take to say whether it has debugpy.
const ASKING: Duration = Duration::from_secs(5);

/// Ends well in a Python that has debugpy, wherever it has that from: neither a `.pth` file nor a package of the
/// system's is seen from outside.
const HAS_DEBUGPY: &str =
    "import importlib.util as u, sys; sys.exit(u.find_spec('debugpy') is None)";

/// The variables of a program by which its Python finds packages.
const VARIABLES: [&str; 3] = ["PYTHONPATH", "PYTHONUSERBASE", "HOME"];

/// A Python of this host, with variables that it is to have.
#[derive(Debug, Clone)]
pub(super) struct Python {
    file: PathBuf,
    variables: Vec<(&'static str, OsString)>,
}

impl Python {
    /// It as a tool, without its arguments. It finds the same packages wherever this program was started.
    pub(super) fn command(&self) -> Command {
        let mut command = command(&self.file);
        command.current_dir("/").envs(self.variables.clone());
        command
    }

    async fn has_debugpy(&self, descriptors: Descriptors) -> bool {
        let mut command = self.command();
        command.args(["-c", HAS_DEBUGPY]);
        let asked = timeout(ASKING, finish(command, descriptors)).await;
        tracing::debug!(python = ?self.file, ?asked, "asked whether it has debugpy");
        matches!(asked, Ok(Ok(())))
    }
}

/// The first Python that has debugpy, of those that may be the program's, and of this host's at last: with the
/// variables of the program, and if none has it so, without.
pub(super) async fn with_debugpy(process: &Process, descriptors: Descriptors) -> Option<Python> {
    let pythons = pythons_of(process);
    let its_own = variables_of(process);
    let mut ways = vec![its_own, Vec::new()];
    ways.dedup();
    for variables in ways {
        for file in &pythons {
            let python = Python {
                file: file.clone(),
                variables: variables.clone(),
            };
            if python.has_debugpy(descriptors).await {
                return Some(python);
            }
        }
    }
    None
}

/// The variables of a program by which its Python finds packages, as far as they are not those of this process.
fn variables_of(process: &Process) -> Vec<(&'static str, OsString)> {
    let its = |name| Some((name, process.variable(name)?));
    let its_own = VARIABLES.into_iter().filter_map(its);
    let mut its_own: Vec<_> = its_own
        .filter(|(name, value)| env::var_os(name).as_ref() != Some(value))
        .collect();
    let directory = process.directory().unwrap_or_default();
    for (_, value) in its_own.iter_mut().filter(|(name, _)| *name == "PYTHONPATH") {
        let paths = env::split_paths(value).map(|path| directory.join(path));
        if let Ok(paths) = env::join_paths(paths) {
            *value = paths;
        }
    }
    its_own
}

/// The Pythons that may be the program's, that of its environment first, and one of this host's at last.
fn pythons_of(process: &Process) -> Vec<PathBuf> {
    let directory = process.directory().unwrap_or_default();
    let command_line = process.command_line();
    let first = command_line.first().map(PathBuf::from);
    let (with_path, name) = match first {
        Some(first) if first.components().count() > 1 => (Some(directory.join(first)), None),
        first => (None, first),
    };
    let path = process.variable("PATH").unwrap_or_default();
    let along_path = name.into_iter().flat_map(|name| {
        let directories = env::split_paths(&path).map(|path| directory.join(path));
        directories.map(|path| path.join(&name)).collect::<Vec<_>>()
    });
    let environment = process.variable("VIRTUAL_ENV");
    let environment = environment.map(|path| PathBuf::from(path).join("bin/python"));
    let files = process.mapped_files();
    let of_packages = files.iter().filter_map(|file| above_packages(file));
    let here = ["python3", "python"].map(|name| on_path(name.as_ref()));
    let all = with_path
        .into_iter()
        .chain(along_path.filter(|file| file.is_file()).take(1))
        .chain(environment)
        .chain(of_packages)
        .chain(process.executable())
        .chain(here.into_iter().flatten());
    let mut pythons: Vec<PathBuf> = Vec::new();
    for file in all {
        // Another program would not know what to do with the arguments of a Python.
        if !pythons.contains(&file) && is_file_of_python(&file) {
            pythons.push(file);
        }
    }
    pythons
}

fn is_file_of_python(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str());
    name.is_some_and(is_python) && file.is_file()
}

/// The Python of the environment in which a package's file lies: `ENV/bin/python` of
/// `ENV/lib/python3.11/site-packages/…`.
fn above_packages(file: &Path) -> Option<PathBuf> {
    let is_packages = |directory: &&Path| directory.ends_with("site-packages");
    let packages = file.ancestors().find(is_packages)?;
    let environment = packages.parent()?.parent()?.parent()?;
    Some(environment.join("bin/python"))
}

/// Whether the program's Python lets debugpy in without gdb.
pub(super) fn has_remote_exec(process: &Process) -> bool {
    let version = process.executable_name().and_then(|name| version(&name));
    version.is_some_and(|version| version >= REMOTE_EXEC)
}

/// The name of a program that is none of Python's own, and has a Python in it: there debugpy, which starts its adapter
/// by the program's own file, does not know how to.
pub(super) fn around_python(process: &Process) -> Option<String> {
    let name = process.executable_name().filter(|name| !is_python(name))?;
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libpython3")
    };
    let has_it = name.starts_with("uwsgi") || process.mapped_files().iter().any(is_library);
    has_it.then_some(name)
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

#[cfg(test)]
mod tests {
    use std::process::Child;

    use super::*;
    use crate::{process, test_programs};

    /// A directory of programs with a Python that says so or not, which runs where `PATH` leads to it alone.
    fn environment(says: u8) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        // It is asked with a directory of nobody's, and by its own name.
        let script = format!("#!/bin/sh\ntest \"$PWD\" = / && exit {says}\n");
        test_programs::write(&directory.path().join("python3"), &script);
        directory
    }

    fn started(path: &Path, name: &str) -> Child {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new("/bin/sleep");
        command.arg0(name).arg("600").env("PATH", path);
        let child = command.spawn().unwrap();
        let line = || process::find(child.id()).unwrap().command_line();
        while line() != [name, "600"] {
            std::thread::yield_now();
        }
        child
    }

    #[tokio::test]
    async fn python_that_a_program_was_found_by_on_its_path_is_asked_for_debugpy() {
        let (has, has_not) = (environment(0), environment(1));
        for (path, name, is_found) in [
            (has.path(), "python3", true),
            (has_not.path(), "python3", false),
            (has.path(), "sleep", false),
        ] {
            let mut child = started(path, name);
            let process = process::find(child.id()).unwrap();
            let found = with_debugpy(&process, Descriptors::default()).await;
            child.kill().unwrap();
            child.wait().unwrap();
            let its = found.is_some_and(|python| python.file == path.join("python3"));
            assert_eq!(its, is_found, "{name} of {path:?}");
        }
    }

    #[test]
    fn python_of_an_environment_is_found_by_the_packages_that_a_program_has_in_memory() {
        let file = Path::new("/srv/app/lib/python3.11/site-packages/numpy/core/math.so");
        assert_eq!(
            above_packages(file),
            Some(PathBuf::from("/srv/app/bin/python"))
        );
        assert_eq!(above_packages(Path::new("/usr/lib/libc.so.6")), None);
    }
}
