//! The processes of this host, as `/proc` shows them. Any of them may end at any moment, so what is asked of one that
//! is gone, or of which this user is told nothing, is empty.

use std::{collections::HashSet, fs, path::PathBuf};

use p2pdbg_debugger::Preset;
use procfs::process::{self, FDTarget, MMPermissions, MMapPath, MemoryMap};
use rustix::process::Signal;

/// The longest word of a command line that is kept, in bytes.
const MAX_WORD: usize = 4096;

/// The most words of a command line that are kept.
const MAX_WORDS: usize = 256;

/// A process of this host, as /proc shows it; it may end while it is looked at.
pub(crate) struct Process(process::Process);

/// Those that there are at this moment; one that ends meanwhile, or cannot be read, is left out.
pub(crate) fn all() -> impl Iterator<Item = Process> {
    let all = process::all_processes();
    let all = all.inspect_err(|error| tracing::debug!(%error, "cannot see the processes"));
    all.into_iter().flatten().flatten().map(Process)
}

/// The process of this id, if there is one and it may be looked at.
pub(crate) fn find(pid: u32) -> Option<Process> {
    let pid = i32::try_from(pid).ok()?;
    process::Process::new(pid).ok().map(Process)
}

/// The user of this process.
pub(crate) fn user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

/// What the kernel adds to the name of an executable file that was replaced or removed.
const DELETED: &str = " (deleted)";

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid.unsigned_abs()
    }

    /// The program and its arguments; empty for the kernel's own.
    pub(crate) fn command_line(&self) -> Vec<String> {
        let mut words = self.0.cmdline().unwrap_or_default();
        words.truncate(MAX_WORDS);
        words.retain(|word| word.len() <= MAX_WORD);
        words
    }

    /// Its command line, and behind it as `NAME=WORD` those of the variables by which a debugger in it may have been
    /// told what to do: a container's image often sets them. The program is named by its file where its own name for
    /// itself is none that a debugger is known by: many set a title in place of their command line (`process.title` of
    /// node, setproctitle of Python).
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = self.command_line();
        let listens = || {
            let all = Preset::ALL.into_iter();
            all.filter_map(|preset| preset.debugger().listens)
        };
        let is_known = |program: &str| listens().any(|listens| listens.is_program(program));
        if let Some(first) = words.first_mut().filter(|first| !is_known(first.as_str())) {
            let file = self
                .executable_name()
                .filter(|name| is_known(name.as_str()));
            *first = file.unwrap_or_else(|| std::mem::take(first));
        }
        let program = words.first().map_or("", String::as_str);
        let names = listens().filter(|listens| listens.is_program(program));
        let names: Vec<&str> = names
            .flat_map(|listens| listens.variables)
            .copied()
            .collect();
        for name in names {
            let value = self.variable(name).unwrap_or_default();
            let told = value.to_string_lossy();
            let told = told.split_whitespace().take(MAX_WORDS);
            let told = told.filter(|word| word.len() <= MAX_WORD);
            words.extend(told.map(|word| format!("{name}={word}")));
        }
        words
    }

    /// The numbers of the sockets that it has open.
    pub(crate) fn sockets(&self) -> HashSet<u64> {
        let descriptors = self.socket_descriptors().into_iter();
        descriptors.map(|(_, inode)| inode).collect()
    }

    /// Its descriptors that are sockets, with the numbers of those.
    pub(crate) fn socket_descriptors(&self) -> Vec<(i32, u64)> {
        let descriptors = self.0.fd().into_iter().flatten().flatten();
        let socket = |descriptor: process::FDInfo| match descriptor.target {
            FDTarget::Socket(inode) => Some((descriptor.fd, inode)),
            _ => None,
        };
        descriptors.filter_map(socket).collect()
    }

    /// The process that started it; another one, which takes in orphans, once that has ended.
    pub(crate) fn parent(&self) -> Option<u32> {
        let parent = self.0.stat().ok()?.ppid;
        u32::try_from(parent).ok().filter(|parent| *parent != 0)
    }

    /// The id of the user who has started it and whose rights it has. None where these are two, as of a setuid program,
    /// whose words and variables are not those of the user whose rights it has; and none once it has ended.
    pub(crate) fn user(&self) -> Option<u32> {
        let status = self.0.status().ok()?;
        (status.ruid == status.euid).then_some(status.euid)
    }

    /// Whether it is this very process.
    pub(crate) fn is_self(&self) -> bool {
        self.pid() == std::process::id()
    }

    /// Whether it has not ended.
    pub(crate) fn is_still_there(&self) -> bool {
        self.0.is_alive()
    }

    /// When it was started, in ticks since the host was.
    pub(crate) fn started(&self) -> Option<u64> {
        self.0.stat().ok().map(|stat| stat.starttime)
    }

    /// The executable file, by its path in the process' own view.
    pub(crate) fn executable(&self) -> Option<PathBuf> {
        let path = self.0.exe().ok()?;
        match path.to_str().and_then(|text| text.strip_suffix(DELETED)) {
            Some(text) => Some(PathBuf::from(text)),
            None => Some(path),
        }
    }

    /// The files whose code it has in its memory, such as its libraries, each once or more often.
    pub(crate) fn code_files(&self) -> Vec<PathBuf> {
        code_files(self.0.maps().into_iter().flatten())
    }

    /// The name of the executable file; none if it is no text.
    pub(crate) fn executable_name(&self) -> Option<String> {
        let executable = self.executable()?;
        executable.file_name()?.to_str().map(str::to_owned)
    }

    /// The executable file itself, wherever it is.
    pub(crate) fn executable_link(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.0.pid))
    }

    /// Its working directory, in its own view (a container's is not ours); none if this user may not look.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        self.0.cwd().ok()
    }

    /// A variable that it was started with.
    pub(crate) fn variable(&self, name: &str) -> Option<std::ffi::OsString> {
        self.0.environ().ok()?.remove(std::ffi::OsStr::new(name))
    }

    /// The process that traces it; a second tracer is refused by the system.
    pub(crate) fn tracer(&self) -> Option<u32> {
        let tracer = self.0.status().ok()?.tracerpid;
        u32::try_from(tracer).ok().filter(|tracer| *tracer != 0)
    }

    /// Whether it handles a signal.
    pub(crate) fn catches(&self, signal: Signal) -> bool {
        let caught = self.0.status().map_or(0, |status| status.sigcgt);
        is_among(caught, signal)
    }

    /// Whether a signal was sent to it that none of its threads has taken yet, as while it is stopped.
    pub(crate) fn has_pending(&self, signal: Signal) -> bool {
        let pending = self.0.status().map_or(0, |status| status.shdpnd);
        is_among(pending, signal)
    }

    /// How often the one of its threads that no signal is delivered to has gone to sleep; none if no thread is so.
    pub(crate) fn sleeps_of_signal_thread(&self) -> Option<u64> {
        let all = [Signal::HUP, Signal::INT, Signal::TERM, Signal::USR1];
        let statuses = self.0.tasks().ok()?.flatten();
        let mut statuses = statuses.filter_map(|task| task.status().ok());
        let blocks_all = |blocked| all.iter().all(|signal| is_among(blocked, *signal));
        let thread = statuses.find(|status| blocks_all(status.sigblk))?;
        thread.voluntary_ctxt_switches
    }

    /// Whether it sees other files than this process does.
    pub(crate) fn is_in_container(&self) -> bool {
        self.has_other("mnt")
    }

    /// Whether it has another network than this process, so that a port that it opens is not reached from here.
    pub(crate) fn is_on_other_network(&self) -> bool {
        self.has_other("net")
    }

    /// Whether its namespace of this kind is another than that of this process; not if that cannot be seen.
    fn has_other(&self, kind: &str) -> bool {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
        let (own, its) = (namespace("self"), namespace(&self.0.pid.to_string()));
        its.is_some() && its != own
    }

    /// The capabilities that this very process has.
    pub(crate) fn own_capabilities() -> u64 {
        let own = process::Process::myself().and_then(|own| own.status());
        own.map_or(0, |status| status.capeff)
    }
}

/// The files of which code is in memory. What is only read there is data, and may be anybody's.
fn code_files(maps: impl Iterator<Item = MemoryMap>) -> Vec<PathBuf> {
    let is_code = |map: &MemoryMap| map.perms.contains(MMPermissions::EXECUTE);
    let file = |map: MemoryMap| match map.pathname {
        MMapPath::Path(path) => Some(path),
        _ => None,
    };
    maps.filter(is_code).filter_map(file).collect()
}

/// Whether a set of signals, as the kernel shows it, has this one.
fn is_among(signals: u64, signal: Signal) -> bool {
    let bit = u64::from(signal.as_raw().unsigned_abs()).saturating_sub(1);
    signals >> bit & 1 == 1
}

#[cfg(test)]
mod tests {
    use procfs::{FromBufRead, process::MemoryMaps};

    use super::*;

    #[test]
    fn file_that_is_only_read_in_memory_is_none_of_code() {
        let maps = "7f00-7f01 r--p 00000000 08:01 11 /env/lib/python3.11/site-packages/a.so\n\
                    7f01-7f02 r-xp 00001000 08:01 11 /env/lib/python3.11/site-packages/a.so\n\
                    7f02-7f03 r--p 00000000 08:01 12 /home/somebody/lib/python3/site-packages/data\n\
                    7f03-7f04 rw-s 00000000 08:01 13 /home/somebody/lib/python3/site-packages/shared\n\
                    7f04-7f05 r-xp 00000000 00:00 0 [vdso]\n";
        let maps = MemoryMaps::from_buf_read(maps.as_bytes()).unwrap();
        let expected = "/env/lib/python3.11/site-packages/a.so";
        assert_eq!(code_files(maps.into_iter()), [PathBuf::from(expected)]);
    }
}
