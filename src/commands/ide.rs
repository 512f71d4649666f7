//! `p2pdbg ide`: prints the configuration that fits the running or the last session, or merges it into a project.

use std::{
    env,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use p2pdbg_base::{ErrorCode, Failure, Untrusted, say};
use p2pdbg_facts::real_path;
use p2pdbg_identity::{StateDir, StateError};

use crate::{
    cli::{self, IdeOptions},
    ide::{self, Facts, PathMapping, Plan, Written},
    recent_sessions::{self, RecentSession},
    stdout,
    user_file::{self, Access},
};

/// The longest file of a project that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Prints or writes.
///
/// # Errors
/// When no session is known, several could be meant, or a file of the project cannot be read, understood or written.
pub fn run(options: &IdeOptions) -> Result<(), Failure> {
    let project = project(options.directory.as_deref())?;
    let state = StateDir::open(options.state.as_deref(), "p2pdbg");
    let state = state.map_err(|error| state_failure(&error))?;
    let sessions = recent_sessions::read(&state).map_err(|error| state_failure(&error))?;
    let facts = choose(&sessions, options.peer.as_deref(), &project)?.into_iter();
    let facts: Vec<Facts<'_>> = facts
        .map(|session| Facts {
            session,
            paths: PathMapping::of(&project, session),
        })
        .collect();
    let read = |path: &Path| match options.write {
        true => read(&project.join(path)),
        false => Ok(None),
    };
    let mut written = match options.write {
        true => Written::read(&state).map_err(|error| state_failure(&error))?,
        false => Written::default(),
    };
    let plan = ide::plan(options.ide, &facts, &read, &mut written)?;
    let done = match options.write {
        true => write(&project, &plan).and_then(|()| {
            let kept = written.keep(&state);
            kept.map_err(|error| state_failure(&error))
        }),
        false => print(&plan),
    };
    for note in &plan.notes {
        let note = Untrusted::limited(note, 1000);
        say!("note: {note}");
    }
    done
}

/// The directory of the project, as the system calls it.
fn project(directory: Option<&Path>) -> Result<PathBuf, Failure> {
    let project = match directory {
        Some(directory) => real_path(directory).and_then(|found| match found.is_dir() {
            true => Ok(found),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }),
        None => env::current_dir(),
    };
    project.map_err(|error| cli::not_there("--dir", directory.unwrap_or(Path::new(".")), &error))
}

/// The sessions that are meant: those of a `p2pdbg listen` that runs, and if several do, of the one that was started in
/// this project.
fn choose<'a>(
    sessions: &'a [RecentSession],
    peer: Option<&str>,
    project: &Path,
) -> Result<Vec<&'a RecentSession>, Failure> {
    let of_peer = |session: &&RecentSession| peer.is_none() || session.peer.as_deref() == peer;
    let all: Vec<_> = sessions.iter().filter(of_peer).collect();
    let running: Vec<_> = all.iter().copied().filter(|s| s.is_running()).collect();
    // The project is named without links here, and by the listen's user perhaps with one.
    let in_project = |session: &&RecentSession| {
        session.here.roots().iter().any(|root| {
            project.starts_with(root.as_str()) || Path::new(root.as_str()).starts_with(project)
        })
    };
    let here: Vec<_> = running.iter().copied().filter(in_project).collect();
    let of_one = [&here, &running]
        .into_iter()
        .find_map(|some| of_one_process(some));
    if let Some(sessions) = of_one {
        return Ok(sessions);
    }
    match (&running[..], all.last()) {
        ([], Some(last)) => {
            let same = all
                .iter()
                .copied()
                .filter(|s| s.process() == last.process());
            Ok(of_one_process(&same.collect::<Vec<_>>()).unwrap_or_default())
        }
        ([], None) => {
            let message = match peer {
                Some(peer) => format!("no session with {peer:?} is known here"),
                None => "no session is known here".to_owned(),
            };
            Err(Failure::new(ErrorCode::SessionUnknown, message).hint(
                "start p2pdbg listen, which keeps what this is made from, and run this again",
            ))
        }
        _ => {
            let names: Vec<_> = running.iter().map(|session| describe(session)).collect();
            let message = format!("several sessions run: {}", names.join("; "));
            Err(Failure::new(ErrorCode::SessionUnknown, message)
                .hint("name one with --peer NAME, or run this in the directory where its p2pdbg listen runs"))
        }
    }
}

/// The sessions, if they are all of one process: those that have a peer, if some have, in the order of their places.
fn of_one_process<'a>(sessions: &[&'a RecentSession]) -> Option<Vec<&'a RecentSession>> {
    let first = sessions.first()?;
    if sessions.iter().any(|s| s.process() != first.process()) {
        return None;
    }
    let mut sessions = sessions.to_vec();
    if sessions.iter().any(|session| session.peer.is_some()) {
        sessions.retain(|session| session.peer.is_some());
    }
    sessions.sort_by_key(|session| session.place);
    Some(sessions)
}

fn describe(session: &RecentSession) -> String {
    let ports: Vec<_> = session
        .forwards
        .iter()
        .map(|f| f.ide_port().to_string())
        .collect();
    let peer = session.peer.as_deref().unwrap_or("no peer yet");
    format!(
        "{} on port {} (process {})",
        Untrusted::new(peer),
        ports.join(", "),
        session.pid
    )
}

fn print(plan: &Plan) -> Result<(), Failure> {
    stdout::print(|out| {
        for (index, file) in plan.files.iter().enumerate() {
            if plan.files.len() > 1 {
                let gap = if index > 0 { "\n" } else { "" };
                writeln!(out, "{gap}=== {}", file.path.display())?;
            }
            out.write_all(file.after.as_bytes())?;
        }
        Ok(())
    })
}

fn write(project: &Path, plan: &Plan) -> Result<(), Failure> {
    let not_written =
        |path: &Path, error: &io::Error| failure(&format!("write {}", path.display()), error);
    // One names what is in the other, so it is all of them or none, as far as that can be told.
    for file in plan.files.iter().filter(|file| !file.is_done()) {
        let path = project.join(&file.path);
        user_file::may_be_replaced(&path).map_err(|error| not_written(&path, &error))?;
    }
    for file in &plan.files {
        let path = project.join(&file.path);
        if file.is_done() {
            say!("{}: nothing to change", file.path.display());
            continue;
        }
        user_file::replace(&path, &file.after, Access::AsBefore)
            .map_err(|error| not_written(&path, &error))?;
        let what = if file.before.is_some() {
            "changed"
        } else {
            "made"
        };
        say!("{}: {what}", file.path.display());
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    user_file::read(path, MAX_FILE).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::FileTooLarge => {
            let message = format!("{} is no file of at most {MAX_FILE} bytes", path.display());
            Failure::new(ErrorCode::IdeFile, message)
        }
        // As older PowerShells write what is redirected.
        ErrorKind::InvalidData => {
            let message = format!("{} cannot be changed: it is not UTF-8", path.display());
            let hint = "nothing was written; have your editor save it as UTF-8 and run this again";
            Failure::new(ErrorCode::IdeFile, message).hint(hint)
        }
        _ => failure(&format!("read {}", path.display()), &error),
    })
}

fn state_failure(error: &StateError) -> Failure {
    Failure::new(ErrorCode::StateDir, error.to_string())
        .hint("name the directory in which p2pdbg listen keeps its state with --state DIR")
}

fn failure(what: &str, error: &io::Error) -> Failure {
    Failure::new(ErrorCode::IdeFile, format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use p2pdbg_facts::HostFacts;

    use super::*;

    fn session(peer: &str, directory: &str, running: bool) -> RecentSession {
        let here = HostFacts {
            directory: Some(directory.parse().unwrap()),
            ..HostFacts::default()
        };
        let mut session = RecentSession::begin(here, &[]);
        session.peer = Some(peer.to_owned());
        session.ended = !running;
        // Each of a run of its own.
        session.began = directory.bytes().map(u64::from).sum();
        session
    }

    fn chosen(
        sessions: &[RecentSession],
        peer: Option<&str>,
        project: &str,
    ) -> Result<String, ErrorCode> {
        let chosen = choose(sessions, peer, Path::new(project));
        let names = |s: Vec<&RecentSession>| {
            let names: Vec<_> = s.iter().map(|s| s.peer.clone().unwrap()).collect();
            names.join(" ")
        };
        chosen.map(names).map_err(|f| f.code)
    }

    #[test]
    fn all_peers_of_one_listen_are_meant_or_the_one_that_is_named() {
        let places = ["b", "a", ""].iter().enumerate().map(|(place, peer)| {
            let mut session = session(peer, "/w", true);
            session.place = place;
            session.peer = session.peer.filter(|peer| !peer.is_empty());
            session
        });
        let sessions: Vec<RecentSession> = places.rev().collect();
        assert_eq!(chosen(&sessions, None, "/w").unwrap(), "b a");
        assert_eq!(chosen(&sessions, Some("a"), "/w").unwrap(), "a");
    }

    #[test]
    fn the_session_that_runs_is_meant_and_else_the_last_one() {
        let sessions = [session("a", "/a", true), session("b", "/b", false)];
        assert_eq!(chosen(&sessions, None, "/x").unwrap(), "a");
        assert_eq!(chosen(&sessions, Some("b"), "/x").unwrap(), "b");
        assert_eq!(chosen(&sessions[1..], None, "/x").unwrap(), "b");
        assert_eq!(
            chosen(&sessions, Some("c"), "/x"),
            Err(ErrorCode::SessionUnknown)
        );
        assert_eq!(chosen(&[], None, "/x"), Err(ErrorCode::SessionUnknown));
    }

    #[test]
    fn project_behind_a_link_is_the_one_in_which_its_session_runs() {
        let mut sessions = [session("a", "/w/a", true), session("b", "/w/b", true)];
        sessions[1].here.root = Some("/link/b".parse().unwrap());
        sessions[1].here.root_resolved = Some("/w/b".parse().unwrap());
        assert_eq!(chosen(&sessions, None, "/w/b/sub").unwrap(), "b");
    }

    #[test]
    fn of_two_that_run_the_one_in_the_project_is_meant_or_one_must_be_named() {
        let sessions = [session("a", "/w/a", true), session("b", "/w/b", true)];
        assert_eq!(chosen(&sessions, None, "/w/b/sub").unwrap(), "b");
        assert_eq!(
            chosen(&sessions, None, "/elsewhere"),
            Err(ErrorCode::SessionUnknown)
        );
        assert_eq!(chosen(&sessions, Some("a"), "/elsewhere").unwrap(), "a");
    }
}
