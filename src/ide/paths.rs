//! Which directory at the debuggee holds what a directory of the project holds here.

use std::path::{Component, Path, PathBuf};

use p2pdbg_facts::{HostFacts, HostPath, default_root, holds_home};
use p2pdbg_forward::Preset;

use super::Ide;
use crate::recent_sessions::RecentSession;

/// Where the project is, here and there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathMapping {
    /// The project's directory on this host.
    pub local: PathBuf,
    /// The directory within it that is mapped, with `/` between its parts; empty for the project's own.
    pub below: String,
    /// The same at the debuggee, as far as it is known: by the name that its user sees, and by its real one where a
    /// link leads there.
    pub remote: Vec<HostPath>,
    /// The commit that is checked out here.
    commit: Option<String>,
}

impl PathMapping {
    /// The mapping of the project in `directory`, from the pair of directories that hold the same files at both ends of
    /// the session: the one that comparing them has found, or else the one that each end has named.
    pub fn of(directory: &Path, session: &RecentSession) -> Self {
        let commit = HostFacts::of_directory(Some(directory)).git_commit;
        let none = Self {
            local: directory.to_owned(),
            below: String::new(),
            remote: Vec::new(),
            commit,
        };
        let found = session.roots.as_ref().and_then(|roots| {
            let here = Path::new(roots.here.as_str());
            mapped(directory, here, &roots.there())
        });
        let named = || {
            let mut there = session.there.as_ref()?.roots_beside(&session.here);
            // A connect that was started at the top of its host says nothing of where the program is.
            there.retain(|path| !is_top(path.as_str()));
            if there.is_empty() {
                return None;
            }
            // A listen that was started in the home is not meant to have all of it there.
            let here = session.here.source_root();
            let of_session = |here: &HostPath| mapped(directory, Path::new(here.as_str()), &there);
            // These have been compared, and neither is the other one's.
            if session.nothing_in_common && here.and_then(of_session).is_some() {
                return None;
            }
            let here = here.filter(|here| !holds_home(Path::new(here.as_str())));
            let by_session = here.and_then(of_session);
            // The session was started elsewhere.
            by_session.or_else(|| mapped(directory, &default_root(directory), &there))
        };
        match found.or_else(named) {
            Some((below, remote)) => Self {
                below,
                remote,
                ..none
            },
            None => none,
        }
    }

    /// The project's directory for an IDE that calls it `folder`, or the one within it that is mapped.
    pub(super) fn local_for(&self, folder: &str) -> String {
        match self.below.as_str() {
            "" => folder.to_owned(),
            below => format!("{folder}/{below}"),
        }
    }

    /// The directory that is mapped, on this host.
    pub(super) fn local_path(&self) -> PathBuf {
        self.below
            .split('/')
            .filter(|part| !part.is_empty())
            .fold(self.local.clone(), |path, part| path.join(part))
    }

    /// Without what an IDE would not take for a path, and what the user should know of it.
    pub(super) fn for_ide(&self, ide: Ide) -> (Self, Vec<String>) {
        let mut paths = self.clone();
        let mut notes = Vec::new();
        paths.remote.retain(|path| {
            let is_data = is_data(ide, path.as_str());
            if !is_data {
                notes.push(format!(
                    "the debuggee's directory is called {path}, in which {} would put something else for what \
                     begins with $, so there is no path mapping to it: move the program to another directory",
                    ide.product()
                ));
            }
            is_data
        });
        // nvim-dap is given the whole path, the others a word of their own for the project.
        let local = match ide {
            Ide::Nvim => paths.local_path().to_string_lossy().into_owned(),
            _ => paths.below.clone(),
        };
        if !is_data(ide, &local) {
            paths.remote.clear();
            notes.push(format!(
                "there is a $ in the project's path, for which {} would put something else, so there is no path \
                 mapping",
                ide.product()
            ));
        }
        (paths, notes)
    }

    /// What the user should know of it.
    pub(super) fn notes(&self, session: &RecentSession) -> Vec<String> {
        let Some(there) = &session.there else {
            return vec![
                "the debuggee's host has not said yet where it runs, so there are no path mappings: run this again \
                 once it is connected"
                    .to_owned(),
            ];
        };
        let mut notes = Vec::new();
        let roots = there.roots_beside(&session.here);
        let is_top = !roots.is_empty() && roots.iter().all(|path| is_top(path.as_str()));
        let why = match (session.roots.is_some(), is_top) {
            (true, _) => None,
            (false, true) => Some(
                "p2pdbg connect was started at the top of its host's files, so there is no path mapping: start it in the \
                 program's directory, or with --sources DIR",
            ),
            (false, false) => (session.nothing_in_common && self.remote.is_empty()).then_some(
                "no file here is taken for one at the debuggee, so there is no path mapping: name the directory with the \
                 sources with --sources DIR at the end where it is another one",
            ),
        };
        notes.extend(why.map(str::to_owned));
        let is_rdbg = |forward: &crate::recent_sessions::RecentForward| {
            forward.debugger == Some(Preset::Rdbg)
        };
        if session.forwards.iter().any(is_rdbg)
            && self.list_of_rdbg("").is_none()
            && !self.remote.is_empty()
        {
            notes.push(
                "rdbg's localfsMap is a list with : and , between its parts, and there is one in the directory's \
                 name, so there is no path mapping for it"
                    .to_owned(),
            );
        }
        if let (Some(here), Some(there)) = (&self.commit, &there.git_commit)
            && here != there
        {
            notes.push(format!(
                "commit {} is checked out here and {} there: breakpoints may land on the wrong line",
                short(here),
                short(there)
            ));
        }
        notes
    }

    /// The value of rdbg's `localfsMap`, if it can be said in its list. `folder` is what stands for the project's
    /// directory.
    pub(super) fn list_of_rdbg(&self, folder: &str) -> Option<String> {
        let local = self.local_path();
        let apart = |text: &str| !text.contains([':', ',']);
        let remotes = self.remote.iter().filter(|path| apart(path.as_str()));
        let pairs: Vec<_> = remotes
            .map(|path| format!("{path}:{}", self.local_for(folder)))
            .collect();
        (apart(local.to_str()?) && !pairs.is_empty()).then(|| pairs.join(","))
    }
}

/// Whether a path is that of the whole file system, or of a drive.
fn is_top(path: &str) -> bool {
    path.trim_end_matches(['/', '\\'])
        .trim_end_matches(':')
        .len()
        <= 1
}

/// What of the project is mapped, and to where, if `here` and `there` hold the same files.
fn mapped(project: &Path, here: &Path, there: &[HostPath]) -> Option<(String, Vec<HostPath>)> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let pairs = [
        (project.to_owned(), here.to_owned()),
        (real(project), real(here)),
    ];
    pairs.iter().find_map(|(project, here)| {
        if let Ok(below) = project.strip_prefix(here) {
            let there = there.iter().filter_map(|path| path.join(below));
            return Some((String::new(), there.collect()));
        }
        let below = here.strip_prefix(project).ok()?;
        let parts = below.components().map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        let below = parts.collect::<Option<Vec<_>>>()?.join("/");
        Some((below, there.to_vec()))
    })
}

/// Whether an IDE takes a text for what it is: `${…}` is replaced by the value of a variable or the output of a command
/// in the first two, and Zed and the IDEs of JetBrains replace what is between or behind `$`.
fn is_data(ide: Ide, text: &str) -> bool {
    match ide {
        Ide::Vscode | Ide::Nvim => !text.contains("${"),
        Ide::Zed | Ide::Pycharm | Ide::Goland | Ide::Idea => !text.contains('$'),
    }
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2pdbg_facts::SourceRoots;

    fn path(text: &str) -> HostPath {
        text.parse().unwrap()
    }

    fn session(here: &Path, there: &str) -> RecentSession {
        let mut session = RecentSession::begin(HostFacts::of_directory(Some(here)), &[]);
        session.there = Some(HostFacts {
            directory: Some(path(there)),
            root: Some(path(there)),
            ..HostFacts::default()
        });
        session
    }

    fn mapping(project: &Path, session: &RecentSession) -> (String, String) {
        let mapping = PathMapping::of(project, session);
        let remote: Vec<_> = mapping.remote.iter().map(ToString::to_string).collect();
        (mapping.below, remote.join(" "))
    }

    #[test]
    fn the_project_is_mapped_from_above_and_from_below_the_pair_of_roots() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let web = root.join("web");
        std::fs::create_dir_all(web.join("api")).unwrap();
        let mut session = session(&root, "/srv/app");
        let expect = |below: &str, remote: &str| (below.to_owned(), remote.to_owned());
        assert_eq!(mapping(&root, &session), expect("", "/srv/app"));
        assert_eq!(mapping(&web, &session), expect("", "/srv/app/web"));
        // What comparing has found wins.
        session.roots = Some(SourceRoots {
            here: HostPath::of(&web).unwrap(),
            there: path("/srv/current"),
            resolved: Some(path("/srv/releases/5")),
        });
        assert_eq!(
            mapping(&root, &session),
            expect("web", "/srv/current /srv/releases/5")
        );
        assert_eq!(
            mapping(&web.join("api"), &session),
            expect("", "/srv/current/api /srv/releases/5/api")
        );
        let windows = self::session(&root, r"C:\app");
        assert_eq!(mapping(&web, &windows), expect("", r"C:\app\web"));
    }

    #[test]
    fn neither_a_home_nor_the_top_of_a_host_is_taken_for_the_directory_of_a_project() {
        let dir = tempfile::tempdir().unwrap();
        let home = std::env::home_dir().unwrap();
        assert_eq!(
            mapping(dir.path(), &session(&home, "/srv/app")).1,
            "/srv/app"
        );
        let project = home.join("project");
        assert_eq!(mapping(&project, &session(&home, "/srv/app")).1, "/srv/app");
        for (there, is_mapped) in [
            ("/", false),
            (r"C:\", false),
            ("/srv", true),
            (r"C:\app", true),
        ] {
            let session = session(dir.path(), there);
            let paths = PathMapping::of(dir.path(), &session);
            assert_eq!(!paths.remote.is_empty(), is_mapped, "{there}");
            let notes = paths.notes(&session);
            assert_eq!(notes.is_empty(), is_mapped, "{there}: {notes:?}");
        }
    }

    #[test]
    fn directories_that_have_no_file_in_common_are_not_each_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = session(dir.path(), "/srv/app");
        let roots = SourceRoots {
            here: HostPath::of(dir.path()).unwrap(),
            there: path("/srv/app/web"),
            resolved: None,
        };
        session.set_roots(None);
        let paths = PathMapping::of(dir.path(), &session);
        assert!(paths.remote.is_empty());
        let notes = paths.notes(&session);
        assert!(notes[0].contains("no file here is taken"), "{notes:?}");
        session.set_roots(Some(roots));
        assert_eq!(mapping(dir.path(), &session).1, "/srv/app/web");
        session.set_roots(None);
        assert_eq!(
            mapping(dir.path(), &session).1,
            "/srv/app/web",
            "away for a moment"
        );
    }

    #[test]
    fn a_project_that_was_not_compared_is_mapped_though_another_one_has_nothing_in_common() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut session = session(other.path(), "/srv/app");
        session.set_roots(None);
        let paths = PathMapping::of(dir.path(), &session);
        assert_eq!(paths.remote, [path("/srv/app")]);
        assert_eq!(paths.notes(&session), [] as [String; 0]);
        let below = other.path().join("web");
        assert_eq!(mapping(&below, &session).1, "");
    }

    #[test]
    fn a_session_of_another_directory_is_taken_for_that_of_the_project() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let session = session(other.path(), "/srv/app");
        assert_eq!(mapping(dir.path(), &session).1, "/srv/app");
        std::fs::create_dir_all(dir.path().join("web")).unwrap();
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        std::fs::write(dir.path().join(".git/HEAD"), "").unwrap();
        assert_eq!(mapping(&dir.path().join("web"), &session).1, "/srv/app/web");
    }

    #[test]
    fn a_path_in_which_an_ide_would_see_a_variable_is_not_mapped_and_that_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let paths = |there: &str| PathMapping::of(dir.path(), &session(dir.path(), there));
        for (ide, there, is_mapped) in [
            (Ide::Vscode, "/srv/${env:HOME}", false),
            (Ide::Vscode, "/srv/a${command:x}b", false),
            (Ide::Nvim, "/srv/${file}", false),
            (Ide::Zed, "/srv/$ZED_FILE", false),
            (Ide::Pycharm, "/srv/$USER_HOME$", false),
            (Ide::Vscode, r"\\host\c$\app", true),
            (Ide::Zed, "/srv/app", true),
        ] {
            let (paths, notes) = paths(there).for_ide(ide);
            assert_eq!(
                paths.remote.len(),
                usize::from(is_mapped),
                "{ide:?} {there}"
            );
            assert_eq!(notes.is_empty(), is_mapped, "{ide:?} {there}");
        }
        assert_eq!(paths("/srv/a:b").list_of_rdbg("X"), None);
        assert_eq!(paths("/srv/ab").list_of_rdbg("X").unwrap(), "/srv/ab:X");
    }
}
