//! Whether a COMMAND can be started, as far as that is seen without starting it: before a code has been used up for it,
//! and before anybody waits beside the IDE for a program that never comes.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Looks for a program as the system does when it starts it.
///
/// # Errors
/// Says what is in the way, in words that follow "cannot start NAME: ".
pub(super) fn look_for(program: &Path) -> io::Result<()> {
    let candidates: Vec<PathBuf> = if program.components().count() > 1 {
        at_path(program)
    } else {
        // The system has directories of its own then, and says what it has not found there.
        let Some(path) = std::env::var_os("PATH") else {
            return Ok(());
        };
        let beside = beside_this_program().into_iter();
        beside
            .chain(std::env::split_paths(&path))
            .map(|dir| in_directory(&dir, program))
            .collect()
    };
    // What is in the way of the first that is there is told, unless another one will do.
    let mut in_the_way = None;
    for file in candidates {
        match examine(&file) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !file.exists() => {}
            Err(error) => in_the_way = in_the_way.or(Some(error)),
        }
    }
    Err(in_the_way.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// The files that a path may mean.
#[cfg(unix)]
fn at_path(program: &Path) -> Vec<PathBuf> {
    vec![program.to_owned()]
}

/// The file that a name means in a directory.
#[cfg(unix)]
fn in_directory(directory: &Path, name: &Path) -> PathBuf {
    directory.join(name)
}

/// Where a program is looked for before the PATH is.
#[cfg(unix)]
fn beside_this_program() -> Option<PathBuf> {
    None
}

#[cfg(unix)]
fn examine(file: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let what = match metadata.is_dir() {
            true => "it is a directory",
            // Reading a FIFO would block for ever.
            false => "it is no regular file",
        };
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    access(file, Access::EXEC_OK)?;
    interpreter(file)
}

/// Looks for what a script names in its first line to be run by.
#[cfg(unix)]
fn interpreter(file: &Path) -> io::Result<()> {
    use std::{ffi::OsStr, io::Read, os::unix::ffi::OsStrExt};
    // As much of the line as the kernel reads (execve(2)).
    let mut start = Vec::new();
    // A program that may be run need not be readable.
    let Ok(()) = std::fs::File::open(file)
        .and_then(|file| file.take(256).read_to_end(&mut start))
        .map(drop)
    else {
        return Ok(());
    };
    let Some(line) = start.strip_prefix(b"#!") else {
        return Ok(());
    };
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        // Cut off: some systems read more of it.
        return Ok(());
    };
    let line = &line[..end];
    let mut words = line
        .split(|byte| *byte == b' ' || *byte == b'\t')
        .filter(|word| !word.is_empty())
        .map(|word| Path::new(OsStr::from_bytes(word)));
    let missing = |name: &Path, end| {
        let message = format!("its first line names {name:?}, which is {end}");
        Err(io::Error::new(io::ErrorKind::NotFound, message))
    };
    match (words.next(), words.next()) {
        (Some(named), _) if !named.exists() => missing(named, "not there"),
        // Of env's other arguments nothing is known here.
        (Some(env), Some(name))
            if env.file_name() == Some(OsStr::new("env"))
                && name.components().count() == 1
                && !name.as_os_str().as_bytes().starts_with(b"-")
                && !name.as_os_str().as_bytes().contains(&b'=')
                && p2pdbg_facts::on_path(name.as_os_str()).is_none() =>
        {
            missing(name, "not on the PATH")
        }
        _ => Ok(()),
    }
}

/// The files that a path may mean: `.exe` need not be written.
#[cfg(not(unix))]
fn at_path(program: &Path) -> Vec<PathBuf> {
    let mut with_ending = program.to_owned();
    with_ending.as_mut_os_string().push(".exe");
    vec![with_ending, program.to_owned()]
}

/// The file that a name means in a directory: one without a dot is that of an `.exe`, and of nothing else.
#[cfg(not(unix))]
fn in_directory(directory: &Path, name: &Path) -> PathBuf {
    let file = directory.join(name);
    if name.to_string_lossy().contains('.') {
        file
    } else {
        file.with_extension("exe")
    }
}

/// Where a program is looked for before the PATH is.
#[cfg(not(unix))]
fn beside_this_program() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
}

#[cfg(not(unix))]
fn examine(file: &Path) -> io::Result<()> {
    if file.is_file() {
        return Ok(());
    }
    // A command line of Windows' finds `npm.cmd` by `npm`, and so people write it.
    let batch_files = ["cmd", "bat"].map(|ending| file.with_extension(ending));
    if file.extension().is_some_and(|ending| ending == "exe")
        && let Some(found) = batch_files.iter().find(|file| file.is_file())
    {
        let name = found.file_name().unwrap_or_default();
        let message = format!("what is there is {name:?}, which is started by its whole name");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// What is in the way of a file with this text, that may be run or not.
    fn in_the_way(text: &str, mode: u32) -> Option<(io::ErrorKind, String)> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("app");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let error = look_for(&file).err()?;
        Some((error.kind(), error.to_string()))
    }

    #[test]
    fn program_that_is_no_program_is_told_before_it_is_started() {
        let denied = in_the_way("#!/bin/sh\n", 0o644).unwrap();
        assert_eq!(denied.0, io::ErrorKind::PermissionDenied);
        let directory = look_for(Path::new("/")).unwrap_err();
        assert_eq!(directory.kind(), io::ErrorKind::PermissionDenied);
        let nothing = look_for(Path::new("no-program-is-called-so")).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn pipe_that_may_be_run_is_no_program_and_is_not_read() {
        use std::{process::Command, sync::mpsc, thread, time::Duration};

        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("app");
        let mut make = Command::new("mkfifo");
        make.args(["-m", "700"]).arg(&pipe);
        assert!(make.status().unwrap().success());
        let (tell, told) = mpsc::channel();
        thread::spawn(move || drop(tell.send(look_for(&pipe))));
        let looked = told.recv_timeout(Duration::from_secs(60)).unwrap();
        let error = looked.unwrap_err();
        assert_eq!(error.to_string(), "it is no regular file");
    }

    #[test]
    fn script_without_its_interpreter_is_told_with_the_interpreters_name() {
        for (line, name) in [
            ("#!/no/such/python3 -u\n", "\"/no/such/python3\""),
            // Written on Windows.
            ("#!/bin/sh\r\necho\r\n", "\"/bin/sh\\r\""),
            (
                "#! /usr/bin/env no-python-is-called-so\n",
                "\"no-python-is-called-so\"",
            ),
        ] {
            let (kind, message) = in_the_way(line, 0o755).unwrap();
            assert_eq!(kind, io::ErrorKind::NotFound);
            assert!(message.contains(name), "{line}: {message}");
        }
        for line in [
            "#!/bin/sh\n",
            "#!/usr/bin/env sh\n",
            "#!/usr/bin/env -S no-such -x\n",
            "#!/usr/bin/env A=1 no-such\n",
            "\x7fELF",
            "",
        ] {
            assert_eq!(in_the_way(line, 0o755), None, "{line}");
        }
    }
}
