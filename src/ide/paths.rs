//! Which directory at the debuggee holds what the project's directory holds here.

use std::path::{Path, PathBuf};

use p2pdbg_facts::{HostFacts, HostPath};

use crate::recent::RecentSession;

/// Where the project is, here and there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathMapping {
    /// The project's directory on this host.
    pub local: PathBuf,
    /// The same at the debuggee, as far as it is known.
    pub remote: Option<HostPath>,
    /// The commit that is checked out here.
    commit: Option<String>,
}

impl PathMapping {
    /// The mapping of the project in `directory`.
    ///
    /// If both ends lie in a Git work tree, these are taken for the same one, and `directory` for the same place in
    /// it. Else the debuggee's working directory is taken for `directory`.
    pub fn of(directory: &Path, there: Option<&HostFacts>) -> Self {
        let here = HostFacts::of_directory(Some(directory));
        let mapping = |remote| Self {
            local: directory.to_owned(),
            remote,
            commit: here.git_commit.clone(),
        };
        let Some(there) = there else {
            return mapping(None);
        };
        if let (Some(local_root), Some(remote_root)) = (&here.git_root, &there.git_root)
            && let Ok(below) = directory.strip_prefix(local_root.as_str())
        {
            return mapping(remote_root.join(below));
        }
        mapping(there.directory.clone())
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
        match (&self.commit, &there.git_commit) {
            (Some(here), Some(there)) if here != there => vec![format!(
                "commit {} is checked out here and {} there: breakpoints may land on the wrong line",
                short(here),
                short(there)
            )],
            _ => Vec::new(),
        }
    }
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(directory: &str, root: Option<&str>) -> HostFacts {
        HostFacts {
            directory: Some(directory.parse().unwrap()),
            git_root: root.map(|root| root.parse().unwrap()),
            ..HostFacts::default()
        }
    }

    #[test]
    fn the_same_place_in_the_work_tree_is_taken_or_else_the_working_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("web")).unwrap();
        let remote = |directory: &Path, there: &HostFacts| {
            let mapping = PathMapping::of(directory, Some(there));
            mapping.remote.map(|path| path.to_string())
        };
        let plain = there("/srv/app/run", None);
        assert_eq!(remote(&root, &plain).as_deref(), Some("/srv/app/run"));
        std::fs::create_dir(root.join(".git")).unwrap();
        std::fs::write(root.join(".git/HEAD"), "").unwrap();
        let checkout = there("/srv/app/run", Some("/srv/app"));
        assert_eq!(remote(&root, &plain).as_deref(), Some("/srv/app/run"));
        assert_eq!(remote(&root, &checkout).as_deref(), Some("/srv/app"));
        let web = remote(&root.join("web"), &checkout);
        assert_eq!(web.as_deref(), Some("/srv/app/web"));
        let windows = there(r"C:\app", Some(r"C:\app"));
        assert_eq!(
            remote(&root.join("web"), &windows).as_deref(),
            Some(r"C:\app\web")
        );
    }
}
