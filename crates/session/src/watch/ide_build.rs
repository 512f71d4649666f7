//! Which PyCharm listens: its process' executable is in the directory of the IDE, where `build.txt` says the build, as
//! `PY-263.7307.50`, or `product-info.json` does. PyCharm itself does not say it to a debuggee.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// How far above the executable the directory of the IDE may be.
const LEVELS: usize = 6;

/// The longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// The build of the IDE that listens at a port of this host.
pub(super) fn at(port: u16) -> Option<String> {
    let sockets = sockets(port);
    if sockets.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter(|process| is_number(&process.file_name().to_string_lossy()))
        .filter(|process| holds(&process.path(), &sockets))
        .find_map(|process| of_program(&fs::read_link(process.path().join("exe")).ok()?))
}

/// The sockets that listen at a port, as links of descriptors name them.
fn sockets(port: u16) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (_, local) = fields.get(1)?.split_once(':')?;
            let listens = *fields.get(3)? == "0A" && u16::from_str_radix(local, 16) == Ok(port);
            let inode = fields.get(9)?;
            listens.then(|| PathBuf::from(format!("socket:[{inode}]")))
        }));
    }
    found
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a process has one of these sockets; those of other users cannot be looked into.
fn holds(process: &Path, sockets: &[PathBuf]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|link| sockets.contains(&link))
}

/// The build of the IDE that a program belongs to.
fn of_program(program: &Path) -> Option<String> {
    program.ancestors().skip(1).take(LEVELS).find_map(|dir| {
        let build = read(&dir.join("build.txt")).or_else(|| {
            let info = read(&dir.join("product-info.json"))?;
            let info: serde_json::Value = serde_json::from_str(&info).ok()?;
            Some(info.get("buildNumber")?.as_str()?.to_owned())
        })?;
        let build = build.trim();
        let plain = build
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        (plain && build.contains('.') && build.len() < 40).then(|| build.to_owned())
    })
}

fn read(file: &Path) -> Option<String> {
    let metadata = fs::metadata(file).ok()?;
    (metadata.is_file() && metadata.len() <= LONGEST).then(|| fs::read_to_string(file).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_is_in_the_directory_above_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("jbr/bin/java");
        assert_eq!(of_program(&program), None);
        let info = r#"{"name":"PyCharm","buildNumber":"263.7307.50"}"#;
        fs::write(dir.path().join("product-info.json"), info).unwrap();
        assert_eq!(of_program(&program).as_deref(), Some("263.7307.50"));
        fs::write(dir.path().join("build.txt"), "PY-263.7307.51\n").unwrap();
        assert_eq!(of_program(&program).as_deref(), Some("PY-263.7307.51"));
        fs::write(dir.path().join("build.txt"), "\u{1b}[2J").unwrap();
        assert_eq!(of_program(&program), None);
    }

    #[test]
    fn the_process_that_listens_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = sockets(listener.local_addr().unwrap().port());
        assert_eq!(sockets.len(), 1);
        assert!(holds(Path::new("/proc/self"), &sockets));
        assert!(!holds(Path::new("/proc/self"), &[]));
    }
}
