//! The state directory as programs use it: what it refuses, and what several processes get from it.

use std::{fs, path::Path, process::Command, thread};

use p2pdbg_identity::{IDENTITY_FILE, Identity, StateDir, StateError};
use tempfile::TempDir;

fn open(path: &Path) -> Result<StateDir, StateError> {
    StateDir::open(Some(path), "p2pdbg")
}

/// A state directory that does not exist yet, below a temporary one.
fn fresh() -> (TempDir, StateDir) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = open(&temporary.path().join("deep/state")).unwrap();
    (temporary, dir)
}

#[test]
fn an_identity_stays_the_same_from_one_start_to_the_next() {
    let (_temporary, dir) = fresh();
    let first = Identity::load_or_make(&dir).unwrap();
    let second = Identity::load_or_make(&open(dir.path()).unwrap()).unwrap();
    assert_eq!(first.fingerprint(), second.fingerprint());
    assert_eq!(first.certificate(), second.certificate());
    assert_eq!(first.key(), second.key());
    let (_temporary, other) = fresh();
    assert_ne!(
        Identity::load_or_make(&other).unwrap().fingerprint(),
        first.fingerprint()
    );
}

#[test]
fn debug_of_an_identity_shows_nothing_of_its_key() {
    let identity = Identity::ephemeral().unwrap();
    let fingerprint = identity.fingerprint();
    assert_eq!(
        format!("{identity:?}"),
        format!("Identity {{ fingerprint: {fingerprint}, .. }}")
    );
}

#[test]
fn a_secret_stays_the_same_and_differs_by_name() {
    let (_temporary, dir) = fresh();
    let secret = dir.secret32("relay.key").unwrap();
    assert_eq!(dir.secret32("relay.key").unwrap(), secret);
    assert_ne!(dir.secret32("voucher.key").unwrap(), secret);
    assert_eq!(
        dir.secret16("access.key").unwrap(),
        dir.secret16("access.key").unwrap()
    );
}

#[test]
fn a_secret_of_another_length_is_damaged_rather_than_cut() {
    let (_temporary, dir) = fresh();
    dir.write_atomically("access.key", &[7; 15]).unwrap();
    let error = dir.secret16("access.key").unwrap_err();
    assert!(matches!(error, StateError::Damaged { .. }), "{error}");
}

#[test]
fn file_that_would_not_be_read_again_for_its_length_is_not_written() {
    let (_temporary, dir) = fresh();
    for dir in [dir, StateDir::in_memory()] {
        let longest = vec![b' '; 1 << 20];
        dir.write_atomically("keys.toml", &longest).unwrap();
        let longer = vec![b' '; (1 << 20) + 1];
        let error = dir.write_atomically("keys.toml", &longer).unwrap_err();
        assert!(error.to_string().contains("1048576"), "{error}");
        assert_eq!(dir.read("keys.toml").unwrap(), Some(longest));
    }
}

#[test]
fn a_file_reads_back_as_it_was_written_and_leaves_no_other_behind() {
    let (_temporary, dir) = fresh();
    assert_eq!(dir.read("known_peers.toml").unwrap(), None);
    dir.write_atomically("known_peers.toml", b"one").unwrap();
    dir.write_atomically("known_peers.toml", b"two").unwrap();
    assert_eq!(dir.read("known_peers.toml").unwrap().unwrap(), b"two");
    let visible: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    assert_eq!(visible, ["known_peers.toml"]);
    dir.remove("known_peers.toml").unwrap();
    dir.remove("known_peers.toml").unwrap();
    assert_eq!(dir.read("known_peers.toml").unwrap(), None);
}

#[test]
fn a_file_too_long_to_be_state_is_refused() {
    let (_temporary, dir) = fresh();
    dir.write_atomically("known_peers.toml", b"x").unwrap();
    // The file keeps its mode.
    fs::write(
        dir.path().join("known_peers.toml"),
        vec![b'x'; (1 << 20) + 1],
    )
    .unwrap();
    let error = dir.read("known_peers.toml").unwrap_err();
    assert!(matches!(error, StateError::Damaged { .. }), "{error}");
}

#[test]
fn path_that_a_shell_would_have_expanded_is_refused_and_not_made() {
    for path in [
        "~root/p2pdbg-test",
        "~/p2pdbg-test",
        "$HOME/p2pdbg-test",
        "%APPDATA%",
    ] {
        let error = StateDir::open(Some(Path::new(path)), "p2pdbg").unwrap_err();
        assert!(matches!(error, StateError::Unexpanded(_)), "{error}");
        assert!(!Path::new(path).exists(), "{path}");
    }
}

#[test]
fn a_file_in_the_directorys_place_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("state");
    fs::write(&path, b"").unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, StateError::NotADirectory(_)), "{error}");
    let error = open(&path.join("below")).unwrap_err();
    assert!(matches!(error, StateError::NotADirectory(_)), "{error}");
}

#[test]
fn an_identity_that_is_damaged_says_what_to_do_and_is_not_overwritten() {
    let (_temporary, dir) = fresh();
    for damage in [
        &b""[..],
        b"garbage",
        b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n",
    ] {
        dir.write_atomically(IDENTITY_FILE, damage).unwrap();
        let error = Identity::load_or_make(&dir).unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("paired with it again"));
        assert_eq!(dir.read(IDENTITY_FILE).unwrap().unwrap(), damage);
    }
}

#[test]
fn a_certificate_with_another_ones_key_is_refused() {
    let ((_a, ours), (_b, theirs)) = (fresh(), fresh());
    let pem = |dir: &StateDir| {
        Identity::load_or_make(dir).unwrap();
        String::from_utf8(dir.read(IDENTITY_FILE).unwrap().unwrap()).unwrap()
    };
    let (ours, theirs) = (pem(&ours), pem(&theirs));
    let begin = "-----BEGIN PRIVATE KEY-----";
    let (certificate, _) = ours.split_once(begin).unwrap();
    let (_, key) = theirs.split_once(begin).unwrap();
    let mixed = format!("{certificate}{begin}{key}");
    assert!(Identity::from_pem(ours.as_bytes()).is_ok());
    assert!(Identity::from_pem(mixed.as_bytes()).is_err());
}

#[test]
fn changes_under_the_lock_are_not_lost() {
    let (_temporary, dir) = fresh();
    let add = || {
        let dir = open(dir.path()).unwrap();
        for _ in 0..20 {
            let _lock = dir.lock("list").unwrap();
            let mut list = dir.read("list").unwrap().unwrap_or_default();
            list.push(b'x');
            dir.write_atomically("list", &list).unwrap();
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(add);
        }
    });
    assert_eq!(dir.read("list").unwrap().unwrap().len(), 80);
}

const CHILD: &str = "P2PDBG_TEST_STATE_DIR";

/// Not a test of its own: what the processes of the next test do.
#[test]
fn child_that_prints_the_fingerprint_of_a_state_directory() {
    if let Some(path) = std::env::var_os(CHILD) {
        let identity = Identity::load_or_make(&open(path.as_ref()).unwrap()).unwrap();
        println!("fingerprint={}", identity.fingerprint());
    }
}

#[test]
fn processes_that_start_at_once_agree_on_one_identity() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("state");
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("child_that_prints_the_fingerprint_of_a_state_directory")
            .env(CHILD, &path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..8).map(|_| start()).collect();
    let mut seen: Vec<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let (_, rest) = text.split_once("fingerprint=").expect(&text);
            rest[..43].to_owned()
        })
        .collect();
    seen.dedup();
    let kept = Identity::load_or_make(&open(&path).unwrap())
        .unwrap()
        .fingerprint();
    assert_eq!(seen, [kept.to_string()]);
}

#[cfg(unix)]
mod permissions {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn directory_and_files_are_made_for_their_owner_alone() {
        let (_temporary, dir) = fresh();
        Identity::load_or_make(&dir).unwrap();
        dir.secret16("access.key").unwrap();
        assert_eq!(mode(dir.path()), 0o700);
        for entry in fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn a_directory_open_to_others_is_refused_with_the_command_that_closes_it() {
        let (_temporary, dir) = fresh();
        for loose in [0o755, 0o770, 0o701, 0o704, 0o720] {
            set_mode(dir.path(), loose);
            let error = open(dir.path()).unwrap_err();
            assert!(
                matches!(error, StateError::LooseDirectory { .. }),
                "{error}"
            );
            let remedy = format!("chmod 700 {}", dir.path().display());
            assert!(error.to_string().contains(&remedy), "{error}");
        }
        set_mode(dir.path(), 0o700);
        open(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_that_its_owner_may_not_write_to_is_refused() {
        let (_temporary, dir) = fresh();
        set_mode(dir.path(), 0o500);
        let error = open(dir.path()).unwrap_err();
        set_mode(dir.path(), 0o700);
        assert!(matches!(error, StateError::NotWritable { .. }), "{error}");
    }

    #[test]
    fn a_key_open_to_others_is_refused_with_the_command_that_closes_it() {
        let (_temporary, dir) = fresh();
        Identity::load_or_make(&dir).unwrap();
        let path = dir.path().join(IDENTITY_FILE);
        set_mode(&path, 0o640);
        let error = Identity::load_or_make(&dir).unwrap_err();
        assert!(matches!(error, StateError::LooseFile { .. }), "{error}");
        let remedy = format!("chmod 600 {}", path.display());
        assert!(error.to_string().contains(&remedy), "{error}");
    }

    #[test]
    fn another_users_directory_and_file_are_refused() {
        let (_temporary, dir) = fresh();
        dir.secret16("access.key").unwrap();
        if chown(dir.path().join("access.key"), Some(65534), None).is_err() {
            // Only root can give files away; others find a directory that is not theirs without it.
            let error = open(Path::new("/")).unwrap_err();
            assert!(matches!(error, StateError::ForeignOwner { .. }), "{error}");
            return;
        }
        let error = dir.secret16("access.key").unwrap_err();
        assert!(matches!(error, StateError::ForeignOwner { .. }), "{error}");
        chown(dir.path(), Some(65534), None).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, StateError::ForeignOwner { .. }), "{error}");
    }

    #[test]
    fn a_link_to_a_state_directory_is_judged_by_what_it_leads_to() {
        let (temporary, dir) = fresh();
        let link = temporary.path().join("link");
        symlink(dir.path(), &link).unwrap();
        let identity = Identity::load_or_make(&open(&link).unwrap()).unwrap();
        assert_eq!(
            identity.fingerprint(),
            Identity::load_or_make(&dir).unwrap().fingerprint()
        );
        set_mode(dir.path(), 0o755);
        assert!(open(&link).is_err());
    }
}

#[test]
fn a_state_in_memory_keeps_what_it_is_given_and_is_nowhere_else() {
    let dir = StateDir::in_memory();
    assert_eq!(dir.path(), std::path::Path::new(""));
    let identity = Identity::load_or_make(&dir).unwrap();
    assert_eq!(
        Identity::load_or_make(&dir).unwrap().fingerprint(),
        identity.fingerprint()
    );
    assert_eq!(dir.read("x").unwrap(), None);
    dir.write_atomically("x", b"1").unwrap();
    assert_eq!(dir.read("x").unwrap().as_deref(), Some(&b"1"[..]));
    dir.remove("x").unwrap();
    assert_eq!(dir.read("x").unwrap(), None);
    let other = Identity::load_or_make(&StateDir::in_memory()).unwrap();
    assert_ne!(other.fingerprint(), identity.fingerprint());
}
