use std::thread;

use p2pdbg_proto::signal::MAX_NAME;
use tempfile::TempDir;

use super::*;

fn fresh() -> (TempDir, StateDir) {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("state");
    let dir = StateDir::open(Some(&path), "p2pdbg").unwrap();
    (temporary, dir)
}

fn name(text: &str) -> PeerName {
    text.parse().unwrap()
}

fn fingerprint(seed: impl AsRef<[u8]>) -> Fingerprint {
    Fingerprint::of_certificate(seed.as_ref())
}

/// The first process of the host whose certificate follows from `seed`.
fn peer(seed: impl AsRef<[u8]>) -> PeerId {
    PeerId {
        fingerprint: fingerprint(seed),
        process: 1,
    }
}

fn secret(byte: u8) -> PairSecret {
    PairSecret::from_bytes([byte; 32])
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn code(text: &str) -> Code {
    text.parse().unwrap()
}

/// Keeps a host that calls itself `proposed` and whose certificate and secret follow from `seed`.
fn remember(peers: &mut KnownPeers, proposed: &str, seed: u8) -> Remembered {
    peers
        .remember(
            &name(proposed),
            peer([seed]),
            &secret(seed),
            None,
            at(u64::from(seed)),
        )
        .unwrap()
}

fn names(peers: &KnownPeers) -> Vec<&str> {
    peers.names().map(PeerName::as_str).collect()
}

#[test]
fn a_peer_is_found_again_by_the_next_process() {
    let (_temporary, dir) = fresh();
    let mut peers = KnownPeers::load(&dir, 1).unwrap();
    assert_eq!(names(&peers), [""; 0]);
    let remembered = remember(&mut peers, "サーバー.web-1", 7);
    assert_eq!(remembered.name, name("サーバー.web-1"));
    assert!(!remembered.name_was_taken);
    let read = KnownPeers::load(&dir, 1).unwrap();
    for peers in [&peers, &read] {
        let peer = peers.get(&remembered.name).unwrap();
        assert_eq!(peer.fingerprint, fingerprint([7]));
        assert_eq!(peer.secret, secret(7));
        assert_eq!(peer.last_seen, at(7));
        assert_eq!(peers.get(&name("web-1")), None);
    }
}

#[test]
fn two_hosts_of_one_name_do_not_take_each_others_place() {
    let (_temporary, dir) = fresh();
    let mut peers = KnownPeers::load(&dir, 1).unwrap();
    remember(&mut peers, "laptop", 1);
    for (seed, expected) in [(2, "laptop-2"), (3, "laptop-3")] {
        let second = remember(&mut peers, "laptop", seed);
        assert_eq!(second.name, name(expected));
        assert!(second.name_was_taken);
    }
    assert_eq!(names(&peers), ["laptop", "laptop-2", "laptop-3"]);
    let first = peers.get(&name("laptop")).unwrap();
    assert_eq!(first.fingerprint, fingerprint([1]));
}

#[test]
fn a_host_that_pairs_again_keeps_its_name_and_gets_the_new_secret() {
    let (_temporary, dir) = fresh();
    let mut peers = KnownPeers::load(&dir, 1).unwrap();
    remember(&mut peers, "laptop", 1);
    remember(&mut peers, "laptop", 2);
    let again = peers
        .remember(&name("laptop"), peer([2]), &secret(9), None, at(50))
        .unwrap();
    let expected = Remembered {
        name: name("laptop-2"),
        name_was_taken: false,
    };
    assert_eq!(again, expected);
    assert_eq!(names(&peers), ["laptop", "laptop-2"]);
    let peer = peers.get(&again.name).unwrap();
    assert_eq!((peer.secret, peer.last_seen), (secret(9), at(50)));
}

#[test]
fn a_second_process_of_a_host_is_a_peer_of_its_own() {
    let (_temporary, dir) = fresh();
    let mut peers = KnownPeers::load(&dir, 1).unwrap();
    let process = |process| PeerId {
        process,
        ..peer([1])
    };
    for (number, expected) in [(1, "web"), (2, "web-2"), (2, "web-2"), (1, "web")] {
        let secret = secret(u8::try_from(number).unwrap());
        let remembered = peers
            .remember(&name("web"), process(number), &secret, None, at(1))
            .unwrap();
        assert_eq!(remembered.name, name(expected));
        assert!(!remembered.name_was_taken);
        assert_eq!(peers.get(&remembered.name).unwrap().secret, secret);
    }
    assert_eq!(names(&KnownPeers::load(&dir, 1).unwrap()), ["web", "web-2"]);
}

#[test]
fn processes_of_one_host_that_run_at_once_do_not_take_each_others_secrets() {
    let (_temporary, dir) = fresh();
    let mut first = KnownPeers::load(&dir, 1).unwrap();
    let mut second = KnownPeers::load(&dir, 2).unwrap();
    let codes = [
        code("482913-orbit-lemon-tiger"),
        code("482913-orbit-lemon-apple"),
    ];
    for (peers, number) in [(&mut first, 1), (&mut second, 2)] {
        let code = &codes[usize::from(number) - 1];
        let remembered =
            peers.remember(&name("web"), peer([7]), &secret(number), Some(code), at(1));
        assert_eq!(remembered.unwrap().name, name("web"));
    }
    for (process, own) in [(1, 1), (2, 2), (3, 1)] {
        let peers = KnownPeers::load(&dir, process).unwrap();
        assert_eq!(peers.get(&name("web")).unwrap().secret, secret(own));
        assert_eq!(names(&peers), ["web"]);
        // A code leads to whom it led, whichever process is given it.
        for (code, number) in codes.iter().zip([1, 2]) {
            assert_eq!(peers.find_by_code(code).unwrap().secret, secret(number));
        }
    }
}

#[test]
fn the_number_behind_a_long_name_replaces_its_end() {
    let (_temporary, dir) = fresh();
    let mut peers = KnownPeers::load(&dir, 1).unwrap();
    // 63 bytes in characters of three: the number fits only if a whole character goes.
    let long = "日".repeat(21);
    remember(&mut peers, &long, 1);
    let second = remember(&mut peers, &long, 2);
    assert_eq!(second.name.as_str(), format!("{}-2", "日".repeat(20)));
    let dashed = format!("{}-xx", "a".repeat(61));
    remember(&mut peers, &dashed, 3);
    let second = remember(&mut peers, &dashed, 4);
    assert!(second.name.as_str().len() <= MAX_NAME);
    assert_eq!(peers.names().count(), 4);
}

#[test]
fn the_code_of_a_pairing_leads_to_the_peer_until_it_pairs_with_another() {
    let (_temporary, dir) = fresh();
    let mut peers = KnownPeers::load(&dir, 1).unwrap();
    let first = code("482913-orbit-lemon-tiger");
    let other = code("482913-orbit-lemon-apple");
    let mut pair = |code: &Code| {
        peers
            .remember(&name("web"), peer([1]), &secret(1), Some(code), at(1))
            .unwrap();
        KnownPeers::load(&dir, 1).unwrap()
    };
    let peers = pair(&first);
    assert_eq!(peers.find_by_code(&first).unwrap().name, name("web"));
    assert_eq!(peers.find_by_code(&other), None);
    let peers = pair(&other);
    assert_eq!(peers.find_by_code(&first), None);
    assert!(peers.find_by_code(&other).is_some());
}

#[test]
fn a_code_leaves_no_word_in_the_file_and_another_trace_in_each() {
    let text = |dir: &StateDir| {
        let mut peers = KnownPeers::load(dir, 1).unwrap();
        let code = code("482913-orbit-lemon-tiger");
        let (host, peer) = (name("web"), peer([1]));
        peers
            .remember(&host, peer, &secret(1), Some(&code), at(1))
            .unwrap();
        String::from_utf8(dir.read(KNOWN_PEERS_FILE).unwrap().unwrap()).unwrap()
    };
    let ((_a, a), (_b, b)) = (fresh(), fresh());
    let (a, b) = (text(&a), text(&b));
    assert!(!a.contains("orbit") && !a.contains("482913"), "{a}");
    let tag = |text: &str| {
        let (_, rest) = text.split_once("code_tag = \"").unwrap();
        rest[..43].to_owned()
    };
    assert_ne!(tag(&a), tag(&b));
}

#[test]
fn a_peer_met_again_was_seen_then_and_a_forgotten_one_stays_forgotten() {
    let (_temporary, dir) = fresh();
    let mut peers = KnownPeers::load(&dir, 1).unwrap();
    let mut elsewhere = peers.clone();
    let web = remember(&mut peers, "web", 1).name;
    peers.seen(&web, at(90)).unwrap();
    peers.seen(&web, at(80)).unwrap();
    assert_eq!(peers.get(&web).unwrap().last_seen, at(90));
    assert!(elsewhere.forget(&web).unwrap());
    assert!(!elsewhere.forget(&web).unwrap());
    peers.seen(&web, at(100)).unwrap();
    assert_eq!(peers.get(&web), None);
    assert_eq!(names(&KnownPeers::load(&dir, 1).unwrap()), [""; 0]);
}

#[test]
fn processes_that_pair_at_once_lose_nobody_and_agree_on_names() {
    let (_temporary, dir) = fresh();
    thread::scope(|scope| {
        for worker in 0..4 {
            // Read before anybody has written.
            let mut peers = KnownPeers::load(&dir, 1).unwrap();
            scope.spawn(move || {
                for n in 0..5 {
                    remember(&mut peers, "web", worker * 5 + n);
                }
            });
        }
    });
    let peers = KnownPeers::load(&dir, 1).unwrap();
    assert_eq!(peers.names().count(), 20);
    let seeds: Vec<_> = (0..20).map(|seed| fingerprint([seed])).collect();
    for name in peers.names() {
        assert!(seeds.contains(&peers.get(name).unwrap().fingerprint));
    }
}

#[test]
fn the_peer_that_was_not_seen_for_the_longest_time_makes_room() {
    let (_temporary, dir) = fresh();
    let mut book = Book::read(&dir, KNOWN_PEERS_FILE).unwrap();
    for n in 0..MAX_PEERS {
        let entry = Entry {
            fingerprint: fingerprint(n.to_be_bytes()),
            process: 1,
            secret: secret(0),
            last_seen: 1000 + n as u64,
            code: Some(Secret::random()),
        };
        book.peers.insert(name(&format!("{n:064}")), entry);
    }
    dir.write_atomically(KNOWN_PEERS_FILE, book.to_text().as_bytes())
        .unwrap();
    let mut peers = KnownPeers::load(&dir, 1).unwrap();
    peers
        .remember(&name("web"), peer([1]), &secret(1), None, at(5000))
        .unwrap();
    assert_eq!(peers.names().count(), MAX_PEERS);
    assert_eq!(peers.get(&name(&format!("{:064}", 0))), None);
    assert!(peers.get(&name("web")).is_some());
}

#[test]
fn a_damaged_file_is_refused_without_quoting_it_and_left_as_it_is() {
    let (_temporary, dir) = fresh();
    let mut peers = KnownPeers::load(&dir, 1).unwrap();
    remember(&mut peers, "web", 1);
    let sound = String::from_utf8(dir.read(KNOWN_PEERS_FILE).unwrap().unwrap()).unwrap();
    let pair_secret = bytes_to_text(&[1; 32]);
    assert!(sound.contains(pair_secret.as_str()));
    let damages = [
        sound.replace("salt", "sugar"),
        sound.replace(pair_secret.as_str(), &pair_secret[1..]),
        sound.replace("pair_secret = ", "pair_secret "),
        sound.replace("last_seen = 1", "last_seen = -1"),
        sound.replace("[peers.web]", "[peers.\"we\\u001bb\"]"),
        format!("{sound}\nfingerprint = \"again\""),
        "\u{0}".to_owned(),
    ];
    for damaged in &damages {
        assert_ne!(damaged, &sound);
        dir.write_atomically(KNOWN_PEERS_FILE, damaged.as_bytes())
            .unwrap();
        let errors = [
            KnownPeers::load(&dir, 1).unwrap_err(),
            peers.seen(&name("web"), at(2)).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, StateError::Damaged { .. }), "{error}");
            let text = error.to_string();
            assert!(!text.contains(&pair_secret[1..]), "{text}");
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
        let left = dir.read(KNOWN_PEERS_FILE).unwrap().unwrap();
        assert_eq!(left, damaged.as_bytes());
    }
}

#[test]
fn a_damaged_line_is_named() {
    let (_temporary, dir) = fresh();
    let damaged = "salt = \"x\"\n\n[peers.web]\nlast_seen = -1\n";
    dir.write_atomically(KNOWN_PEERS_FILE, damaged.as_bytes())
        .unwrap();
    let text = KnownPeers::load(&dir, 1).unwrap_err().to_string();
    assert!(
        text.contains("known_peers.toml is damaged (line 4: "),
        "{text}"
    );
}

#[test]
fn what_a_later_version_adds_to_the_file_can_be_read() {
    let (_temporary, dir) = fresh();
    let mut peers = KnownPeers::load(&dir, 1).unwrap();
    remember(&mut peers, "web", 1);
    let text = String::from_utf8(dir.read(KNOWN_PEERS_FILE).unwrap().unwrap()).unwrap();
    let later = format!("{text}colour = \"green\"\n");
    dir.write_atomically(KNOWN_PEERS_FILE, later.as_bytes())
        .unwrap();
    let read = KnownPeers::load(&dir, 1).unwrap();
    assert_eq!(read.get(&name("web")), peers.get(&name("web")));
}

#[test]
fn debug_of_a_known_peer_shows_no_secret() {
    let (_temporary, dir) = fresh();
    let mut peers = KnownPeers::load(&dir, 1).unwrap();
    remember(&mut peers, "web", 1);
    let shown = format!("{:?} {peers:?}", peers.get(&name("web")));
    assert!(shown.contains("PairSecret(<secret>)"), "{shown}");
    assert!(!shown.contains("1, 1, 1"), "{shown}");
}

#[test]
fn peers_meet_where_only_the_two_can_know() {
    assert_eq!(secret(1).meeting_handle(), secret(1).meeting_handle());
    assert_ne!(secret(1).meeting_handle(), secret(2).meeting_handle());
    assert_ne!(secret(1).meeting_handle().expose(), secret(1).expose());
}

#[cfg(unix)]
#[test]
fn a_file_open_to_others_is_refused() {
    use std::{fs, os::unix::fs::PermissionsExt};

    let (_temporary, dir) = fresh();
    let mut peers = KnownPeers::load(&dir, 1).unwrap();
    remember(&mut peers, "web", 1);
    let path = dir.path().join(KNOWN_PEERS_FILE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = KnownPeers::load(&dir, 1).unwrap_err();
    assert!(matches!(error, StateError::LooseFile { .. }), "{error}");
}
