//! Configurations for IDEs, made from what is known of a session: ports, directions, and which path there corresponds
//! to which here.
//!
//! A [`Plan`] says what each file of a project should hold, as text made from the text that it has now. Nothing here
//! writes. What is the user's stays as it is, byte for byte: in JSON with comments (`jsonc`) only the entries called
//! `p2pdbg …` are touched, and of these only the values that follow from the session; other IDEs get a file of our own.
//!
//! Left out: whether the IDE has the extension that a configuration needs.

mod entry;
mod jetbrains;
mod jsonc_merge;
mod nvim;
mod own_elements;
mod paths;
#[cfg(test)]
mod tests;
mod values;
mod vscode;
mod written;
mod zed;

use std::path::{Path, PathBuf};

pub use self::{paths::PathMapping, written::Written};
use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_forward::{Direction, Preset};

use crate::{
    cli::Ide,
    recent_sessions::{RecentForward, RecentSession},
};

impl Ide {
    /// What its makers call it.
    fn product(self) -> &'static str {
        match self {
            Self::Vscode => "VS Code",
            Self::Pycharm => "PyCharm",
            Self::Nvim => "nvim-dap",
            Self::Zed => "Zed",
            Self::Goland => "GoLand",
            Self::Idea => "IntelliJ IDEA",
        }
    }

    /// The debuggers that it is most used with, as they follow `p2pdbg listen`.
    fn customary_debuggers(self) -> &'static str {
        match self {
            Self::Vscode | Self::Nvim | Self::Zed => "debugpy",
            Self::Pycharm => "pydevd or debugpy",
            Self::Goland => "delve",
            Self::Idea => "jdwp",
        }
    }
}

/// What the configurations are made from.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The running session, or the last one.
    pub session: &'a RecentSession,
    /// Which directory there holds what the project's directory holds here.
    pub paths: PathMapping,
}

/// The sessions of one `p2pdbg listen`, in the order of their places: one, but for one with several peers.
#[derive(Debug)]
struct Sessions<'a> {
    all: &'a [Facts<'a>],
    /// Which one of them is being written of.
    at: usize,
}

/// A file of a project, and what it should hold.
#[derive(Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its path within the project.
    pub path: PathBuf,
    /// What it holds now, if it is there.
    pub before: Option<String>,
    /// What it should hold, what the user wrote into it included.
    pub after: String,
}

impl PlannedFile {
    /// Whether there is anything to change.
    pub fn is_done(&self) -> bool {
        self.before.as_ref() == Some(&self.after)
    }
}

/// What should be in a project's files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The files, those among them that are right already.
    pub files: Vec<PlannedFile>,
    /// What the user should know besides.
    pub notes: Vec<String>,
}

impl Plan {
    /// What a file holds once this is done.
    fn read(&self, path: &Path, read: &ReadFile<'_>) -> Result<Option<String>, Failure> {
        match self.files.iter().find(|file| file.path == path) {
            Some(file) => Ok(Some(file.after.clone())),
            None => read(path),
        }
    }

    /// Adds what was planned on top of it.
    fn go_on_with(&mut self, next: Self) {
        for file in next.files {
            match self.files.iter_mut().find(|own| own.path == file.path) {
                Some(own) => own.after = file.after,
                None => self.files.push(file),
            }
        }
        for note in next.notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }
}

/// What a project's file holds now, by its path within the project; `None` if there is no such file.
pub type ReadFile<'a> = dyn Fn(&Path) -> Result<Option<String>, Failure> + 'a;

/// What is to be in the files of a project for an IDE, of one session or of all that a `p2pdbg listen` has.
///
/// # Errors
/// When a file that is there does not parse, with the place; or when no forward is of use to this IDE.
pub fn plan(
    ide: Ide,
    all: &[Facts<'_>],
    read: &ReadFile<'_>,
    written: &mut Written,
) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let (usable, notes): (Vec<Facts<'_>>, Vec<_>) = all
        .iter()
        .map(|facts| {
            let (paths, notes) = facts.paths.for_ide(ide);
            (Facts { paths, ..*facts }, notes)
        })
        .unzip();
    for (at, mut notes) in notes.into_iter().enumerate() {
        let sessions = Sessions { all: &usable, at };
        notes.extend(sessions.paths.notes(sessions.session));
        let mut next = Plan {
            notes,
            ..Plan::default()
        };
        // Each goes on from what the one before it would write.
        let read = |path: &Path| plan.read(path, read);
        match ide {
            Ide::Vscode => vscode::plan(&sessions, &read, written, &mut next)?,
            Ide::Zed => zed::plan(&sessions, &read, written, &mut next)?,
            Ide::Nvim => nvim::plan(&sessions, &read, &mut next)?,
            Ide::Pycharm | Ide::Goland | Ide::Idea => {
                jetbrains::plan(ide, &sessions, &read, written, &mut next)?;
            }
        }
        plan.go_on_with(next);
    }
    if plan.files.is_empty() {
        let notes = plan.notes.join("; ");
        return Err(Failure::new(
            ErrorCode::NothingForIde,
            format!("no forward of the session is one for this IDE: {notes}"),
        )
        .hint(format!(
            "run p2pdbg listen with the debugger's name, for this IDE {}",
            ide.customary_debuggers()
        )));
    }
    Ok(plan)
}

/// A forward, with the debugger that it is or must be for.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    forward: &'a RecentForward,
    debugger: Preset,
}

impl Wanted<'_> {
    fn port(&self) -> u16 {
        self.forward.ide_port()
    }
}

impl<'a> std::ops::Deref for Sessions<'a> {
    type Target = Facts<'a>;

    fn deref(&self) -> &Facts<'a> {
        &self.all[self.at]
    }
}

impl Sessions<'_> {
    /// Whether the files are for several sessions at once, so that each entry needs a name of its own.
    fn are_several(&self) -> bool {
        self.all.len() > 1
    }

    /// The path of one of the project's files.
    fn whole_path(&self, path: &Path) -> String {
        self.paths.local.join(path).to_string_lossy().into_owned()
    }

    /// Whether a debugger that comes to this forward's port beside the IDE may be of another session too: that port has
    /// its configuration then.
    fn is_written_of(&self, forward: &RecentForward) -> bool {
        let same = |other: &RecentForward| {
            other.direction == Direction::ToIde && other.ide_port() == forward.ide_port()
        };
        let before = self.all[..self.at].iter();
        forward.direction == Direction::ToIde
            && before.flat_map(|facts| &facts.session.forwards).any(same)
    }

    /// The forwards with their debuggers. What has no name is taken for `fallback` of its direction if it is
    /// the only forward.
    fn wanted(
        &self,
        fallback: impl Fn(Direction) -> Option<Preset>,
        notes: &mut Vec<String>,
    ) -> Vec<Wanted<'_>> {
        let forwards = &self.session.forwards;
        let mut wanted = Vec::new();
        for forward in forwards {
            if self.is_written_of(forward) {
                continue;
            }
            if let Some(path) = &forward.socket {
                notes.push(format!("left out {}: it is no port", path.display()));
                continue;
            }
            let only = forwards.len() == 1;
            let guess = || fallback(forward.direction).filter(|_| only);
            match forward.debugger.or_else(guess) {
                Some(debugger) => wanted.push(Wanted { forward, debugger }),
                None => notes.push(format!(
                    "left out port {}: it was forwarded without a debugger's name",
                    forward.ide_port()
                )),
            }
        }
        wanted
    }

    /// The name of a forward's configuration: `p2pdbg debugpy`, with the peer if there are several, and with the port
    /// if there are several of its kind.
    fn name(&self, wanted: &Wanted<'_>) -> String {
        let mut name = format!("p2pdbg {}", wanted.debugger.name());
        let of_one = self.are_several() && wanted.forward.direction == Direction::ToDebuggee;
        let peer = self.session.peer.as_ref().filter(|_| of_one);
        let same = |other: &&RecentForward| other.debugger == Some(wanted.debugger);
        let several = self.session.forwards.iter().filter(same).count() > 1;
        if let Some(peer) = peer {
            name.push_str(&format!(" {peer}"));
        }
        if several || (of_one && peer.is_none()) {
            name.push_str(&format!(" {}", wanted.port()));
        }
        name
    }
}

/// Notes that an IDE has no use for a debugger.
fn no_use(ide: &str, debugger: Preset, instead: &str) -> String {
    format!(
        "left out {}: {ide} has no configuration for it{instead}",
        debugger.name()
    )
}
