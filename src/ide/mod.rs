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
mod jsonc;
mod nvim;
mod paths;
mod vscode;
mod zed;

use std::path::{Path, PathBuf};

use clap::ValueEnum;

pub use self::paths::PathMapping;
use crate::{
    failure::{ErrorCode, Failure},
    forward::{Direction, Preset},
    recent::{RecentForward, RecentSession},
};

/// An IDE for which configurations are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ide {
    /// .vscode/launch.json and tasks.json
    Vscode,
    /// .idea/runConfigurations: Python Debug Server
    Pycharm,
    /// .p2pdbg/dap.lua, for nvim-dap
    Nvim,
    /// .zed/debug.json
    Zed,
    /// .idea/runConfigurations: Go Remote
    Goland,
    /// .idea/runConfigurations: Remote JVM Debug
    Idea,
}

/// What the configurations are made from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The running session, or the last one.
    pub session: &'a RecentSession,
    /// Which directory there holds what the project's directory holds here.
    pub paths: PathMapping,
}

/// A file of a project, and what it should hold.
#[derive(Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its path within the project.
    pub path: PathBuf,
    /// What it holds now, if it is there.
    pub before: Option<String>,
    /// What it should hold.
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
    /// The files.
    pub files: Vec<PlannedFile>,
    /// What the user should know besides.
    pub notes: Vec<String>,
}

/// What a project's file holds now, by its path within the project; `None` if there is no such file.
pub type ReadFile<'a> = dyn Fn(&Path) -> Result<Option<String>, Failure> + 'a;

/// What is to be in the files of a project for an IDE.
///
/// # Errors
/// When a file that is there does not parse, with the place; or when no forward is of use to this IDE.
pub fn plan(ide: Ide, facts: &Facts<'_>, read: &ReadFile<'_>) -> Result<Plan, Failure> {
    let mut plan = Plan {
        notes: facts.paths.notes(facts.session),
        ..Plan::default()
    };
    match ide {
        Ide::Vscode => vscode::plan(facts, read, &mut plan)?,
        Ide::Zed => zed::plan(facts, read, &mut plan)?,
        Ide::Nvim => nvim::plan(facts, read, &mut plan)?,
        Ide::Pycharm | Ide::Goland | Ide::Idea => jetbrains::plan(ide, facts, read, &mut plan)?,
    }
    if plan.files.is_empty() {
        let notes = plan.notes.join("; ");
        return Err(Failure::new(
            ErrorCode::NothingForIde,
            format!("no forward of the session is one for this IDE: {notes}"),
        )
        .hint("run p2pdbg listen with the debugger's name, such as p2pdbg listen debugpy"));
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

impl Facts<'_> {
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

    /// The name of a forward's configuration: `p2pdbg debugpy`, with the port if there are several of its kind.
    fn name(&self, wanted: &Wanted<'_>) -> String {
        let debugger = wanted.debugger.name();
        let same = |other: &&RecentForward| other.debugger == Some(wanted.debugger);
        if self.session.forwards.iter().filter(same).count() > 1 {
            format!("p2pdbg {debugger} {}", wanted.port())
        } else {
            format!("p2pdbg {debugger}")
        }
    }
}

/// Notes that an IDE has no use for a debugger.
fn no_use(ide: &str, debugger: Preset, instead: &str) -> String {
    format!(
        "left out {}: {ide} has no configuration for it{instead}",
        debugger.name()
    )
}
