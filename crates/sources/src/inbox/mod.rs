//! The directory into which files may be copied from the other end.
//!
//! Every part of a path is opened below the one before it, and never through a link (`directory`), so that no name and
//! no link leads out, whatever is changed meanwhile. A file is written beside its place under a name of our own and
//! renamed when all of it is there and is what was offered. What was interrupted is kept there and goes on the next
//! time, until it is of no use: another version comes, the file is there already, or a day has passed.

mod incoming;
mod overwritten;
mod seen;

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use p2pdbg_proto::sources::{Offer, Refusal};

pub use self::incoming::Incoming;
pub(super) use self::overwritten::MAX_FILE;
use self::overwritten::Old;
pub use self::seen::Seen;
use super::{
    SourceName,
    directory::{Directory, refusal},
    name::folded,
    partial_files,
};

/// The directory into which files of the other end may be copied, and nowhere else.
#[derive(Debug)]
pub struct Inbox {
    directory: Directory,
    /// The real path of the root below which names are, and of the directory.
    root: PathBuf,
    path: PathBuf,
}

/// What becomes of an offered file.
#[derive(Debug)]
pub enum Begun {
    /// The file there is the same, perhaps but for its line ends.
    Same,
    /// Its bytes are wanted, from where the part that is there ends.
    Wanted(Box<Incoming>),
}

impl Inbox {
    /// Opens the directory `path`. Names are those below `root`.
    ///
    /// # Errors
    /// If there is none, or it may not be read.
    pub fn open(path: &Path, root: &Path) -> io::Result<Self> {
        Ok(Self {
            directory: Directory::open(path)?,
            root: root.canonicalize()?,
            path: path.canonicalize()?,
        })
    }

    /// Looks what is there of an offered file. Blocks for as long as it takes to read it.
    ///
    /// # Errors
    /// If the file is not taken.
    pub fn begin(&self, offer: &Offer, seen: &Seen) -> Result<Begun, Refusal> {
        let name: SourceName = offer.name.parse().map_err(|_| Refusal::Name)?;
        // What Git runs by itself is not for others to write.
        if name.parts().any(|part| part.eq_ignore_ascii_case(".git")) {
            return Err(Refusal::Name);
        }
        if offer.size > MAX_FILE {
            return Err(Refusal::Limit);
        }
        let place = name
            .parts()
            .fold(self.root.clone(), |path, part| path.join(part));
        let place = below_as_written(&place, &self.path, offer.exact).ok_or(Refusal::Outside)?;
        let place = SourceName::of(place).map_err(|_| Refusal::Outside)?;
        let mut directory = self.directory.try_clone().map_err(|_| Refusal::Disk)?;
        let mut parts = place.parts().peekable();
        let leaf = loop {
            let part = parts.next().ok_or(Refusal::Name)?;
            let part = directory.name_there(part, offer.exact)?;
            let failed = |error| refusal(&error);
            if parts.peek().is_none() {
                break part;
            }
            // What would be full of nothing but an empty directory is not made.
            if directory.entry(&part).map_err(failed)?.is_none() {
                has_room(&directory, offer.size)?;
            }
            directory = directory.below(&part).map_err(failed)?;
        };
        let old = Old::find(&directory, &leaf, (&self.root, &name), seen)?;
        partial_files::remove_useless(&directory, &leaf, offer.sha256);
        if let Some(Old {
            attributes,
            content: Some(content),
            ..
        }) = &old
            && content.text == offer.text
        {
            partial_files::remove_all_of(&directory, &leaf);
            directory
                .let_run(&leaf, *attributes, offer.executable)
                .map_err(|error| refusal(&error))?;
            seen.note(&name, content.text);
            return Ok(Begun::Same);
        }
        has_room(&directory, offer.size)?;
        Incoming::open(directory, &leaf, old, offer)
            .map(|incoming| Begun::Wanted(Box::new(incoming)))
    }
}

/// Fails if a file of so many bytes does not fit where a directory is.
fn has_room(directory: &Directory, size: u64) -> Result<(), Refusal> {
    let room = directory.room().map_err(|error| refusal(&error))?;
    match room.is_some_and(|room| room < size) {
        true => Err(Refusal::Full),
        false => Ok(()),
    }
}

/// What of a path is below a directory, whose name may differ in case unless it must be exact.
fn below_as_written<'a>(path: &'a Path, directory: &Path, exact: bool) -> Option<&'a Path> {
    let mut parts = path.components();
    let small = |part: &OsStr| part.to_str().map(folded);
    for part in directory.components() {
        let (own, part) = (parts.next()?.as_os_str(), part.as_os_str());
        let is_it = own == part || (!exact && small(own).is_some() && small(own) == small(part));
        if !is_it {
            return None;
        }
    }
    Some(parts.as_path())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use p2pdbg_proto::sources::Written;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::content::ContentHash;

    fn offer(name: &str, text: &str) -> Offer {
        let mut hash = ContentHash::new();
        hash.update(text.as_bytes());
        let content = hash.finish();
        Offer {
            name: name.to_owned(),
            exact: false,
            size: text.len() as u64,
            sha256: Sha256::digest(text).into(),
            text: content.text,
            ends: content.ends,
            executable: false,
        }
    }

    fn open(path: &Path) -> Inbox {
        Inbox::open(path, path).unwrap()
    }

    fn begin(inbox: &Inbox, offer: &Offer) -> Result<Begun, Refusal> {
        inbox.begin(offer, &Seen::default())
    }

    #[track_caller]
    fn wanted(inbox: &Inbox, offer: &Offer) -> Box<Incoming> {
        match begin(inbox, offer) {
            Ok(Begun::Wanted(incoming)) => incoming,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn put_as(inbox: &Inbox, seen: &Seen, offer: &Offer, text: &str) -> Written {
        let Ok(Begun::Wanted(mut incoming)) = inbox.begin(offer, seen) else {
            panic!("{offer:?}")
        };
        incoming.add(text.as_bytes()).unwrap();
        incoming.finish().unwrap()
    }

    #[track_caller]
    fn put(inbox: &Inbox, name: &str, text: &str) {
        let mut incoming = wanted(inbox, &offer(name, text));
        incoming.add(text.as_bytes()).unwrap();
        incoming.finish().unwrap();
    }

    #[test]
    fn a_file_is_put_in_its_place_with_the_directories_to_it_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = open(dir.path());
        put(&inbox, "web/api/a.py", "new");
        let path = dir.path().join("web/api/a.py");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let written = put_as(
            &inbox,
            &Seen::default(),
            &offer("web/api/a.py", "newer"),
            "newer",
        );
        assert!(written.kept.is_some(), "nobody else has it");
        assert_eq!(fs::read_to_string(&path).unwrap(), "newer");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(matches!(
            begin(&inbox, &offer("web/api/a.py", "newer")),
            Ok(Begun::Same)
        ));
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            2,
            "nothing else is left over"
        );
    }

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let outside = dir.path().join("outside");
        fs::create_dir_all(root.join("d")).unwrap();
        fs::create_dir_all(root.join(".git/hooks")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("victim"), "old").unwrap();
        symlink(&outside, root.join("out")).unwrap();
        symlink(outside.join("victim"), root.join("link")).unwrap();
        symlink("..", root.join("d/up")).unwrap();
        let inbox = open(&root);
        for (name, expected) in [
            ("../outside/victim", Refusal::Name),
            ("/etc/passwd", Refusal::Name),
            ("d/../../outside/victim", Refusal::Name),
            ("a\0b", Refusal::Name),
            ("a\u{1b}[2J", Refusal::Name),
            (".git/hooks/pre-commit", Refusal::Name),
            ("d/.GIT/config", Refusal::Name),
            ("out/victim", Refusal::Path),
            ("d/up/d/x", Refusal::Path),
            ("link", Refusal::Path),
            ("d", Refusal::NotAFile),
        ] {
            let refused = begin(&inbox, &offer(name, "evil")).unwrap_err();
            assert_eq!(refused, expected, "{name:?}");
        }
        assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "old");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        let large = Offer {
            size: MAX_FILE + 1,
            ..offer("a", "")
        };
        assert_eq!(begin(&inbox, &large).unwrap_err(), Refusal::Limit);
    }

    #[test]
    fn a_link_that_is_waiting_under_the_name_of_the_part_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = open(dir.path());
        let part = wanted(&inbox, &offer("a", "text")).part;
        let victim = dir.path().join("victim");
        fs::write(&victim, "old").unwrap();
        fs::remove_file(dir.path().join(&part)).unwrap();
        symlink(&victim, dir.path().join(&part)).unwrap();
        assert_eq!(
            begin(&inbox, &offer("a", "text")).unwrap_err(),
            Refusal::Path
        );
        fs::remove_file(dir.path().join(&part)).unwrap();
        fs::hard_link(&victim, dir.path().join(&part)).unwrap();
        assert_eq!(
            begin(&inbox, &offer("a", "text")).unwrap_err(),
            Refusal::Path
        );
        assert_eq!(fs::read_to_string(&victim).unwrap(), "old");
    }

    #[test]
    fn what_was_interrupted_goes_on_and_the_old_file_stays_until_all_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = open(dir.path());
        fs::write(dir.path().join("a"), "old").unwrap();
        let offer = offer("a", "0123456789");
        wanted(&inbox, &offer).add(b"01234").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "old");
        let mut incoming = wanted(&inbox, &offer);
        assert_eq!(incoming.have(), 5);
        incoming.add(b"56789").unwrap();
        incoming.finish().unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join("a")).unwrap(),
            "0123456789"
        );
    }

    #[test]
    fn part_that_shows_another_owner_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = open(dir.path());
        let offer = offer("a", "0123456789");
        let mut begun = wanted(&inbox, &offer);
        begun.add(b"evil!").unwrap();
        let part = dir.path().join(&begun.part);
        // Only root can give files away.
        if std::os::unix::fs::chown(&part, Some(1000), None).is_err() {
            return;
        }
        let mut incoming = wanted(&inbox, &offer);
        assert_eq!(incoming.have(), 0, "it is not taken for ours");
        incoming.add(b"0123456789").unwrap();
        incoming.finish().unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join("a")).unwrap(),
            "0123456789"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_what_was_offered_is_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = open(dir.path());
        fs::write(dir.path().join("a"), "old").unwrap();
        let offer = offer("a", "good");
        let mut incoming = wanted(&inbox, &offer);
        assert_eq!(incoming.add(b"too long"), Err(Refusal::Content));
        incoming.add(b"evil").unwrap();
        assert_eq!(incoming.finish(), Err(Refusal::Content));
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_put_where_the_name_below_the_root_means_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("backend/Api")).unwrap();
        fs::write(dir.path().join("backend/app.py"), "old").unwrap();
        let inbox = Inbox::open(&dir.path().join("backend"), dir.path()).unwrap();
        put(&inbox, "backend/app.py", "new");
        assert_eq!(
            fs::read_to_string(dir.path().join("backend/app.py")).unwrap(),
            "new"
        );
        assert_eq!(
            begin(&inbox, &offer("app.py", "x")).unwrap_err(),
            Refusal::Outside
        );
        // What differs in case is the same, unless the other end has both.
        put(&inbox, "Backend/app.PY", "newer");
        assert_eq!(
            fs::read_to_string(dir.path().join("backend/app.py")).unwrap(),
            "newer"
        );
        // Also beyond ASCII, and however a letter is put together.
        fs::write(dir.path().join("backend/Größe.py"), "old").unwrap();
        put(&inbox, "backend/GRO\u{308}ßE.py", "new");
        assert_eq!(
            fs::read_to_string(dir.path().join("backend/Größe.py")).unwrap(),
            "new"
        );
        let both = Offer {
            exact: true,
            ..offer("backend/APP.py", "other")
        };
        put_as(&inbox, &Seen::default(), &both, "other");
        assert_eq!(
            fs::read_to_string(dir.path().join("backend/APP.py")).unwrap(),
            "other"
        );
    }

    #[test]
    fn what_nobody_else_has_is_kept_aside_and_what_is_known_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (inbox, seen) = (open(dir.path()), Seen::default());
        fs::write(dir.path().join("a.py"), "mine").unwrap();
        let kept = put_as(&inbox, &seen, &offer("a.py", "one"), "one")
            .kept
            .unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(&kept)).unwrap(), "mine");
        let name: SourceName = "a.py".parse().unwrap();
        seen.note(&name, offer("a.py", "one").text);
        assert_eq!(
            put_as(&inbox, &seen, &offer("a.py", "two"), "two").kept,
            None
        );
        fs::write(dir.path().join("a.py"), "mine again").unwrap();
        let again = put_as(&inbox, &seen, &offer("a.py", "three"), "three")
            .kept
            .unwrap();
        assert_ne!(again, kept);
        assert_eq!(
            fs::read_to_string(dir.path().join(&again)).unwrap(),
            "mine again"
        );
    }

    #[test]
    fn what_is_written_there_while_a_copy_comes_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (inbox, seen) = (open(dir.path()), Seen::default());
        let path = dir.path().join("a.py");
        for before in [Some("old"), None] {
            match before {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            // Even where the other end has what was there before.
            seen.note(&"a.py".parse().unwrap(), offer("a.py", "old").text);
            let Ok(Begun::Wanted(mut incoming)) = inbox.begin(&offer("a.py", "new"), &seen) else {
                panic!("it is not wanted");
            };
            incoming.add(b"new").unwrap();
            fs::write(&path, "mine, of this very moment").unwrap();
            assert_eq!(incoming.finish(), Err(Refusal::Content), "{before:?}");
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                "mine, of this very moment"
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn half_a_copy_that_was_kept_aside_is_not_taken_for_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = open(dir.path());
        fs::write(dir.path().join("a.py"), "mine").unwrap();
        let kept = |text: &str| {
            let kept = put_as(&inbox, &Seen::default(), &offer("a.py", text), text).kept;
            kept.unwrap()
        };
        let first = kept("one");
        fs::remove_file(dir.path().join(&first)).unwrap();
        fs::write(dir.path().join(&first), "mi").unwrap();
        fs::write(dir.path().join("a.py"), "mine").unwrap();
        let second = kept("two");
        assert_ne!(first, second);
        assert_eq!(
            fs::read_to_string(dir.path().join(&second)).unwrap(),
            "mine"
        );
        fs::write(dir.path().join("a.py"), "mine").unwrap();
        assert_eq!(
            kept("three"),
            second,
            "what is kept already is not kept again"
        );
        let long = format!("{}é", "x".repeat(199));
        let long = format!("{long}{}", "y".repeat(255 - long.len()));
        fs::write(dir.path().join(&long), "mine").unwrap();
        let kept = put_as(&inbox, &Seen::default(), &offer(&long, "new"), "new").kept;
        let kept = fs::read_to_string(dir.path().join(kept.unwrap()));
        assert_eq!(kept.unwrap(), "mine");
    }

    #[test]
    fn program_that_is_kept_aside_does_not_run_as_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = open(dir.path());
        let path = dir.path().join("tool");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        let kept = put_as(&inbox, &Seen::default(), &offer("tool", "new"), "new").kept;
        let mode = |name: &str| {
            let metadata = fs::metadata(dir.path().join(name)).unwrap();
            metadata.permissions().mode() & 0o7777
        };
        assert_eq!((mode("tool"), mode(&kept.unwrap())), (0o4755, 0o755));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn extended_attributes_stay_those_of_the_file_that_is_there() {
        use rustix::fs::{XattrFlags, getxattr, setxattr};

        let dir = tempfile::tempdir().unwrap();
        let inbox = open(dir.path());
        let path = dir.path().join("a.py");
        fs::write(&path, "old").unwrap();
        // Some file systems have none.
        if setxattr(&path, "user.origin", b"build 5", XattrFlags::empty()).is_err() {
            return;
        }
        put(&inbox, "a.py", "new");
        let mut value = [0; 16];
        let length = getxattr(&path, "user.origin", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"build 5");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn the_line_ends_of_the_file_that_is_there_stay_and_what_may_run_may_run_there() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = open(dir.path());
        let path = dir.path().join("run.sh");
        fs::write(&path, "#!/bin/sh\necho old\n").unwrap();
        let text = "#!/bin/sh\r\necho new\r\n";
        let script = Offer {
            executable: true,
            ..offer("run.sh", text)
        };
        let written = put_as(&inbox, &Seen::default(), &script, text);
        assert!(written.converted);
        assert_eq!(fs::read_to_string(&path).unwrap(), "#!/bin/sh\necho new\n");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o111,
            0o111
        );
        assert!(
            matches!(begin(&inbox, &script), Ok(Begun::Same)),
            "but for its line ends"
        );
        // A script that is new has to run too; of a text that is not said.
        let new = Offer {
            name: "new.sh".to_owned(),
            ..script
        };
        assert!(put_as(&inbox, &Seen::default(), &new, text).converted);
        assert_eq!(
            fs::read_to_string(dir.path().join("new.sh")).unwrap(),
            "#!/bin/sh\necho new\n"
        );
        let mixed = "#!/bin/sh\r\necho newest\n";
        for name in ["run.sh", "newest.sh"] {
            let written = put_as(&inbox, &Seen::default(), &offer(name, mixed), mixed);
            assert!(written.converted);
            assert_eq!(
                fs::read_to_string(dir.path().join(name)).unwrap(),
                "#!/bin/sh\necho newest\n"
            );
        }
        let plain = "a\r\nb\r\n";
        put(&inbox, "new.txt", plain);
        assert_eq!(
            fs::read_to_string(dir.path().join("new.txt")).unwrap(),
            plain
        );
    }

    #[test]
    fn parts_that_are_of_no_use_go() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = open(dir.path());
        let count = || fs::read_dir(dir.path()).unwrap().count();
        wanted(&inbox, &offer("a", "0123456789"))
            .add(b"01")
            .unwrap();
        wanted(&inbox, &offer("b", "0123456789"))
            .add(b"01")
            .unwrap();
        assert_eq!(count(), 2);
        wanted(&inbox, &offer("a", "another")).add(b"an").unwrap();
        assert_eq!(count(), 2, "the one of another version has gone");
        fs::write(dir.path().join("a"), "another").unwrap();
        assert!(matches!(
            begin(&inbox, &offer("a", "another")),
            Ok(Begun::Same)
        ));
        assert_eq!(count(), 2, "the file, and the part of the other");
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        for entry in fs::read_dir(dir.path()).unwrap().flatten() {
            fs::File::options()
                .write(true)
                .open(entry.path())
                .unwrap()
                .set_modified(long_ago)
                .unwrap();
        }
        wanted(&inbox, &offer("c", "x"));
        assert_eq!(count(), 2, "the file, and the part of the newest");
    }
}
