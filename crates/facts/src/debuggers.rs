//! Which debuggers there are on this host, seen from its files: nothing is run for it.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use p2pdbg_debugger::{Presence, Preset};
use p2pdbg_proto::facts::{MAX_DEBUGGERS, MAX_TEXT};

/// How many entries of a directory with packages are looked at.
const MAX_ENTRIES: usize = 10_000;

/// The debuggers that are found; `command` is the program that will be run, if one is known.
pub(super) fn found(command: Option<&OsStr>) -> Vec<String> {
    let mut found = Vec::new();
    let interpreters = command
        .and_then(on_path)
        .into_iter()
        .chain(active_environment())
        .chain(
            ["python3", "python"]
                .iter()
                .filter_map(|name| on_path(name.as_ref())),
        );
    for interpreter in interpreters {
        let packages = packages_of(&interpreter, user_base().as_deref());
        if !packages.is_empty() {
            found = packages;
            break;
        }
    }
    for preset in Preset::ALL {
        if let Presence::Program(name) = preset.debugger().presence
            && !found.iter().any(|known| known == name)
            && on_path(name.as_ref()).is_some()
        {
            found.push(name.to_owned());
        }
    }
    found.truncate(MAX_DEBUGGERS);
    found
}

fn active_environment() -> Option<PathBuf> {
    let environment = PathBuf::from(env::var_os("VIRTUAL_ENV")?);
    let python = if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    };
    Some(environment.join(python))
}

/// Where a program is, by its path or in `PATH`.
pub fn on_path(program: &OsStr) -> Option<PathBuf> {
    let name = Path::new(program);
    if name.components().count() > 1 {
        return name.is_file().then(|| name.to_owned());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file() || file.with_extension("exe").is_file())
}

/// Where `pip install --user` puts packages, as Python's `site` has it.
fn user_base() -> Option<PathBuf> {
    let told = env::var_os("PYTHONUSERBASE").filter(|told| !told.is_empty());
    let usual = || env::home_dir().map(|home| home.join(".local"));
    told.map(PathBuf::from).or_else(usual)
}

/// The debuggers among the packages of a Python interpreter, which lie beside it in `lib`; of the system's also among
/// those that its administrator has added, in `local/lib`, and this user's.
fn packages_of(interpreter: &Path, user_base: Option<&Path>) -> Vec<String> {
    let Some(prefix) = interpreter.parent().and_then(Path::parent) else {
        return Vec::new();
    };
    let is_environment = prefix.join("pyvenv.cfg").is_file();
    let user_base = user_base.filter(|_| !is_environment);
    let is_python = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("python")
    };
    let places = [prefix.join("lib"), prefix.join("local/lib")].into_iter();
    let libraries = places
        .chain(user_base.map(|base| base.join("lib")))
        .flat_map(|place| entries(&place))
        .filter(|path| is_python(path))
        .flat_map(|lib| [lib.join("site-packages"), lib.join("dist-packages")])
        .chain([prefix.join("Lib").join("site-packages")]);
    libraries
        .flat_map(|library| entries(&library))
        .filter_map(|entry| package(entry.file_name()?.to_str()?))
        .collect()
}

/// `debugpy 1.8.22` of `debugpy-1.8.22.dist-info`.
fn package(entry: &str) -> Option<String> {
    let (name, version) = entry.strip_suffix(".dist-info")?.split_once('-')?;
    let is_it = |preset: &Preset| matches!(preset.debugger().presence, Presence::PythonPackage(package) if package == name);
    Preset::ALL.into_iter().find(is_it)?;
    // A metadata directory has underscores where the package's name has hyphens.
    let text = format!("{} {version}", name.replace('_', "-"));
    (text.len() <= MAX_TEXT && version.chars().all(|c| c.is_ascii_graphic())).then_some(text)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .take(MAX_ENTRIES)
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_of_an_environment_are_found_with_their_versions() {
        let dir = tempfile::tempdir().unwrap();
        let packages = dir.path().join("lib/python3.11/site-packages");
        for name in [
            "debugpy-1.8.22.dist-info",
            "pydevd_pycharm-263.1.dist-info",
            "flask-3.dist-info",
            "debugpy",
        ] {
            fs::create_dir_all(packages.join(name)).unwrap();
        }
        let mut found = packages_of(&dir.path().join("bin/python"), None);
        found.sort();
        assert_eq!(found, ["debugpy 1.8.22", "pydevd-pycharm 263.1"]);
        assert!(packages_of(Path::new("python"), None).is_empty());
    }

    #[test]
    fn packages_that_the_administrator_or_the_user_has_added_are_found_and_not_in_an_environment() {
        let dir = tempfile::tempdir().unwrap();
        let user = tempfile::tempdir().unwrap();
        for packages in [
            dir.path()
                .join("local/lib/python3.11/dist-packages/debugpy-1.8.20.dist-info"),
            user.path()
                .join("lib/python3.11/site-packages/ptvsd-4.3.2.dist-info"),
        ] {
            fs::create_dir_all(packages).unwrap();
        }
        let packages = || packages_of(&dir.path().join("bin/python3"), Some(user.path()));
        assert_eq!(packages(), ["debugpy 1.8.20", "ptvsd 4.3.2"]);
        fs::write(dir.path().join("pyvenv.cfg"), "").unwrap();
        assert_eq!(packages(), ["debugpy 1.8.20"]);
    }
}
