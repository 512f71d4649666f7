//! The Python of a program: which it is, which of this host's has debugpy for it, and what is in the program already.

use std::{
    collections::HashSet,
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use p2pdbg_base::Descriptors;
use p2pdbg_facts::on_path;
use p2pdbg_net::listening::{self, ConnectedSocket};
use p2pdbg_proto::attach::Refusal;
use tokio::{process::Command, time::timeout};

use super::{
    run::{command, finish, missing},
    trust::Trusted,
};
use crate::{
    adapters::other_ends,
    debuggable_programs::is_debugger,
    process::{self, Process},
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
/// variables of the program, and if none has it so, without. One that another user can change is not run.
pub(super) async fn with_debugpy(
    process: &Process,
    descriptors: Descriptors,
) -> Result<Python, Refusal> {
    let trusted = Trusted::with(process);
    let (pythons, others): (Vec<_>, Vec<_>) = pythons_of(process)
        .into_iter()
        .partition(|file| trusted.hold(file));
    tracing::debug!(?pythons, ?others, "which Pythons may be the program's");
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
                return Ok(python);
            }
        }
    }
    Err(missing(match others.is_empty() {
        true => "debugpy, in the program's Python",
        false => "debugpy, in a Python that no other user can change",
    }))
}

/// The variables of a program by which its Python finds packages, as far as they are not those of this process.
fn variables_of(process: &Process) -> Vec<(&'static str, OsString)> {
    let its = |name| Some((name, process.variable(name)?));
    let its_own = VARIABLES.into_iter().filter_map(its);
    let mut its_own: Vec<_> = its_own
        .filter(|(name, value)| env::var_os(name).as_ref() != Some(value))
        .collect();
    for (_, value) in its_own.iter_mut().filter(|(name, _)| *name == "PYTHONPATH") {
        if let Ok(paths) = env::join_paths(absolute(value)) {
            *value = paths;
        }
    }
    its_own
}

/// The directories of a list that are named as such. Any other was meant where the program was when it looked, and not
/// where it is now: that may be `/tmp`.
fn absolute(list: &OsStr) -> impl Iterator<Item = PathBuf> {
    env::split_paths(list).filter(|path| path.is_absolute())
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
        let files = absolute(&path).map(|path| path.join(&name));
        files.collect::<Vec<_>>()
    });
    let environment = process.variable("VIRTUAL_ENV");
    let environment = environment.map(|path| PathBuf::from(path).join("bin/python"));
    let files = process.code_files();
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
    let has_it = name.starts_with("uwsgi") || process.code_files().iter().any(is_library);
    has_it.then_some(name)
}

/// Whether the library of pydevd is in a program, which is what debugpy and PyCharm debug with. It may only have been
/// imported, as kernels of Jupyter do; and pydevd without its compiled parts is not seen.
pub(super) fn has_pydevd(process: &Process) -> bool {
    let files = process.code_files();
    let is_its = |path: &PathBuf| path.to_string_lossy().contains("pydevd");
    files.iter().any(is_its)
}

/// Whether a program with pydevd is connected as a debugger's is: over the loopback, to what it has dialled itself, if
/// that leads to an IDE, or cannot be seen from here, as another user's program cannot.
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
    let dialled =
        |end: &&ConnectedSocket| its_own.contains(&end.inode) && !listens(end.local.port());
    let dialled: Vec<ConnectedSocket> = connected.iter().filter(dialled).copied().collect();
    if dialled.is_empty() {
        return false;
    }
    let inodes = dialled.iter().map(|end| end.inode).collect();
    let others = other_ends(&inodes, connected.iter().copied());
    let mut seen = HashSet::new();
    for holder in process::all() {
        let sockets = holder.sockets();
        let mut held = others
            .iter()
            .filter(|end| sockets.contains(&end.inode))
            .peekable();
        if held.peek().is_some() && leads_to_an_ide(&holder) {
            return true;
        }
        seen.extend(held.map(|end| (end.remote, end.local)));
    }
    let way = |end: &ConnectedSocket| (end.local, end.remote);
    let unseen = dialled.iter().map(way).filter(|way| !seen.contains(way));
    let unseen: Vec<_> = unseen.collect();
    // One that has ended meanwhile was not looked at in time.
    let goes_on = |end: &ConnectedSocket| unseen.contains(&way(end));
    !unseen.is_empty() && listening::connected().iter().any(goes_on)
}

/// Whether a program that pydevd is connected to may be its IDE, or the way there: debugpy's adapter, a p2pdbg, ssh.
/// Any other is a database of the debuggee's, say.
fn leads_to_an_ide(process: &Process) -> bool {
    let name = process.executable_name().unwrap_or_default();
    let line = process.command_line();
    let says = |part: &str| line.iter().any(|word| word.contains(part));
    let is_ide = name.starts_with("pycharm")
        || name == "java" && ["com.intellij", "pycharm", "eclipse"].into_iter().any(says);
    let is_ssh = matches!(name.as_str(), "ssh" | "sshd" | "sshd-session");
    process.is_self() || is_debugger(&name, &line) || is_ide || is_ssh
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::{TcpListener, TcpStream},
        os::{
            fd::OwnedFd,
            unix::{
                fs::{PermissionsExt, chown},
                process::CommandExt,
            },
        },
        process::Child,
    };

    use super::*;
    use crate::{adapters::tests::end, written_programs::write_program};

    /// An environment with a Python that says so or not, which runs where `PATH` leads to it alone.
    fn environment(says: u8) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        // It is asked with a directory of nobody's, and by its own name.
        let script = format!("#!/bin/sh\ntest \"$PWD\" = / && exit {says}\n");
        fs::create_dir(directory.path().join("bin")).unwrap();
        write_program(&directory.path().join("bin/python3"), &script);
        directory
    }

    /// A program that is called so, with a variable and in a directory.
    fn started(name: &str, (variable, value): (&str, &Path), directory: &Path) -> Child {
        let mut command = std::process::Command::new("/bin/sleep");
        command.arg0(name).arg("600").env(variable, value);
        let child = command.current_dir(directory).spawn().unwrap();
        let line = || process::find(child.id()).unwrap().command_line();
        while line() != [name, "600"] {
            std::thread::yield_now();
        }
        child
    }

    /// Whether the environment's Python is the one that is found for a program of this name, `PATH` and directory.
    async fn is_found(environment: &Path, name: &str, path: &Path, directory: &Path) -> bool {
        let mut child = started(name, ("PATH", path), directory);
        let process = process::find(child.id()).unwrap();
        let found = with_debugpy(&process, Descriptors::default()).await;
        end(&mut child);
        found.is_ok_and(|python| python.file == environment.join("bin/python3"))
    }

    #[tokio::test]
    async fn python_that_a_program_was_found_by_on_its_path_is_asked_for_debugpy() {
        let (has, has_not) = (environment(0), environment(1));
        for (of, name, expected) in [
            (has.path(), "python3", true),
            (has_not.path(), "python3", false),
            (has.path(), "sleep", false),
        ] {
            let found = is_found(of, name, &of.join("bin"), Path::new("/")).await;
            assert_eq!(found, expected, "{name} of {of:?}");
        }
    }

    #[tokio::test]
    async fn python_that_another_user_can_change_is_not_run() {
        let has = environment(0);
        let (directory, bin) = (has.path(), has.path().join("bin"));
        let found = || is_found(directory, "python3", &bin, Path::new("/"));
        let set_mode = |mode| fs::set_permissions(&bin, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o777, 0o1777] {
            set_mode(mode);
            assert!(!found().await, "{mode:o}");
        }
        set_mode(0o755);
        assert!(found().await);
        if !rustix::process::geteuid().is_root() {
            return eprintln!("left out: only root gives files away");
        }
        for part in [&bin, &bin.join("python3")] {
            chown(part, Some(12_345), None).unwrap();
            assert!(!found().await, "{part:?}");
            chown(part, Some(0), None).unwrap();
        }
    }

    #[tokio::test]
    async fn directory_that_a_programs_path_names_from_where_it_was_is_not_looked_for_where_it_is()
    {
        let has = environment(0);
        let found = is_found(has.path(), "python3", Path::new("bin"), has.path());
        assert!(!found.await);
        // An empty entry is the directory itself.
        let bin = has.path().join("bin");
        let found = is_found(has.path(), "python3", Path::new(":/nowhere"), &bin);
        assert!(!found.await);
        let list = Path::new("/one:two::/three");
        let mut child = started("python3", ("PYTHONPATH", list), has.path());
        let variables = variables_of(&process::find(child.id()).unwrap());
        end(&mut child);
        assert!(
            variables.contains(&("PYTHONPATH", "/one:/three".into())),
            "{variables:?}"
        );
    }

    /// A program with the accepted end of a connection, and its name.
    fn holder(name: &str, argument: &str, socket: TcpStream) -> Child {
        let mut command = std::process::Command::new("sh");
        let script = "while :; do sleep 1; done # no other program takes its place";
        let child = command
            .arg0(name)
            .args(["-c", script, argument])
            .stdin(OwnedFd::from(socket))
            .spawn()
            .unwrap();
        while process::find(child.id()).unwrap().command_line().last() != Some(&argument.to_owned())
        {
            std::thread::yield_now();
        }
        child
    }

    #[test]
    fn program_that_has_dialled_a_debuggers_adapter_or_who_cannot_be_seen_is_being_debugged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dial = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let debuggee = |dialled: TcpStream| {
            let mut command = std::process::Command::new("sleep");
            let mut child = command
                .arg("600")
                .stdin(OwnedFd::from(dialled))
                .spawn()
                .unwrap();
            let is = is_being_debugged(&process::find(child.id()).unwrap());
            end(&mut child);
            is
        };
        for (argument, expected) in [
            ("/usr/lib/postgresql", false),
            ("/venv/debugpy/adapter", true),
            ("debugpy.adapter", true),
        ] {
            let dialled = dial();
            let mut other = holder("python3", argument, listener.accept().unwrap().0);
            assert_eq!(debuggee(dialled), expected, "{argument}");
            end(&mut other);
        }
        // Nobody has the other end while it is not accepted.
        assert!(debuggee(dial()));
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
