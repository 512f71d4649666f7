//! Requests for files and lists, answered from directories made for the test.

use std::fs;

use p2pdbg_proto::sources::{FileDigest, LineEnds, Written};

use super::*;
use crate::look_times::LONGEST_REST;

fn sources(root: Option<&Path>, inbox: Option<&Path>) -> (Sources, mpsc::Receiver<Told>) {
    let (told, tells) = mpsc::channel(64);
    let options = SourcesOptions {
        root: root.map(Path::to_owned),
        compares: root.is_some(),
        inbox: inbox.map(Path::to_owned),
        ..SourcesOptions::default()
    };
    (Sources::new(options, told), tells)
}

/// A conversation with an end that compares, and accepts copies into, the directory `there`.
fn talk(there: &Sources) -> Conversation<Within> {
    let (session, answering) = there.answer().unwrap();
    tokio::spawn(answering);
    Conversation::over(session)
}

fn scan(root: &Path) -> Scan {
    Tree::new(root.to_owned(), Limits::DEFAULT).scan()
}

fn name(text: &str) -> SourceName {
    text.parse().unwrap()
}

#[test]
fn file_that_changes_at_each_look_is_compared_ever_more_rarely_while_nobody_debugs() {
    let mut rests = Rests::default();
    let found = |same| Differences {
        same,
        ..Differences::default()
    };
    let (mut comparisons, mut passed) = (0, Duration::ZERO);
    while passed < Duration::from_secs(24 * 3600) {
        comparisons += 1;
        passed += PAUSE + rests.after(found(7));
    }
    // Six an hour; it was one every five seconds.
    assert!(comparisons < 24 * 6 + 8, "{comparisons}");
    assert_eq!(rests.after(found(8)), Duration::ZERO, "that is news");
    assert_eq!(rests.after(found(8)), 2 * PAUSE);
}

#[test]
fn answers_have_a_tenth_of_the_time_however_long_one_takes() {
    for took in [10, 500, 2_000, 20_000].map(Duration::from_millis) {
        let began = Instant::now();
        let (mut times, mut now, mut answers) = (AnswerTimes::default(), began, 0);
        while now < began + 1_000 * took {
            let rest = times.rest_after(now, now + took);
            assert!(answers > 0 || rest <= PAUSE, "{took:?}: {rest:?}");
            answers += 1;
            now += took + rest;
        }
        assert!(answers <= 101, "{took:?}: {answers}");
    }
}

#[tokio::test]
async fn rest_ends_when_somebody_debugs_and_nobody_rests_while_somebody_does() {
    let (sources, _told) = sources(None, None);
    let rests = || sources.is_used_within(LONGEST_REST);
    let (is_woken, ()) = tokio::join!(biased; rests(), async { sources.on_asked() });
    assert!(is_woken);
    let (is_woken, ()) = tokio::join!(biased; rests(), async { sources.on_use(true) });
    assert!(is_woken);
    assert!(!rests().await, "somebody debugs");
    sources.on_use(false);
    let (is_woken, ()) = tokio::join!(biased; rests(), async { sources.on_use(true) });
    assert!(is_woken);
}

#[tokio::test]
async fn both_ends_learn_what_differs() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for n in 0..1000 {
        let long = format!("{n}{}", "x".repeat(200));
        fs::write(here.path().join(&long), "same").unwrap();
        fs::write(there.path().join(&long), "same").unwrap();
    }
    let (other, mut told) = sources(Some(there.path()), None);
    let same = talk(&other)
        .compare(&scan(here.path()), true)
        .await
        .unwrap()
        .unwrap();
    assert!(same.differ.is_empty() && same.same == 1000);
    assert!(matches!(told.recv().await, Some(Told::Compared(d)) if d.differ.is_empty()));
    fs::write(here.path().join("app.py"), "1").unwrap();
    fs::write(there.path().join("app.py"), "2").unwrap();
    let differences = talk(&other)
        .compare(&scan(here.path()), true)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(differences.differ, [name("app.py")]);
    assert!(matches!(told.recv().await, Some(Told::Compared(d)) if d.differ == [name("app.py")]));
    let (none, _told) = sources(None, None);
    assert_eq!(
        talk(&none).compare(&scan(here.path()), true).await.unwrap(),
        None
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_that_asks_without_end_has_a_part_of_a_processor() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for n in 0..2_000 {
        for dir in [&here, &there] {
            fs::write(dir.path().join(n.to_string()), "same").unwrap();
        }
    }
    let (other, mut told) = sources(Some(there.path()), None);
    let scan = Arc::new(scan(here.path()));
    talk(&other).compare(&scan, false).await.unwrap();
    // What one answer takes once it has been read what is there.
    let theirs = scan.files.clone();
    let mut took = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        other.find(theirs.clone(), 0, false).await.unwrap();
        took = took.min(began.elapsed());
    }
    let (began, lasts) = (Instant::now(), Duration::from_secs(3));
    let loops = (0..CONVERSATIONS).map(|_| {
        let (mut talk, scan) = (talk(&other), scan.clone());
        tokio::spawn(async move {
            let mut answers = 0;
            while began.elapsed() < lasts {
                talk.compare(&scan, false).await.unwrap();
                answers += 1;
            }
            answers
        })
    });
    let loops: Vec<_> = loops.collect();
    let mut answers = 0;
    for one in loops {
        answers += one.await.unwrap();
    }
    let share = took.as_secs_f64() * f64::from(answers) / began.elapsed().as_secs_f64();
    assert!(share < 0.2, "{answers} answers of {took:?}: {share}");
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn who_has_gone_before_its_turn_keeps_nobody_else_from_a_conversation() {
    let dir = tempfile::tempdir().unwrap();
    let (other, _told) = sources(Some(dir.path()), None);
    // Somebody is answered meanwhile.
    let _turn = other.0.answering.acquire().await.unwrap();
    let summary = Summary {
        compares: true,
        ..Summary::default()
    };
    for _ in 0..CONVERSATIONS {
        let mut gone = talk(&other);
        gone.send(&SourcesMessage::Compare(summary)).await.unwrap();
        gone.receive().await.unwrap().unwrap();
        gone.send(&SourcesMessage::Files(Vec::new())).await.unwrap();
    }
    let all_end = async {
        while other.0.conversations.available_permits() < CONVERSATIONS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), all_end).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_lists_names_that_lead_out_or_files_without_end_does_not_get_far() {
    let dir = tempfile::tempdir().unwrap();
    let (other, mut told) = sources(Some(dir.path()), None);
    let summary = Summary {
        compares: true,
        keeps: true,
        ..Summary::default()
    };
    let digest = |name: &str| FileDigest {
        name: name.to_owned(),
        sha256: [1; 32],
        ends: LineEnds::Lf,
    };
    let mut evil = talk(&other);
    evil.send(&SourcesMessage::Compare(summary)).await.unwrap();
    evil.receive().await.unwrap().unwrap();
    let names = ["../x", "/etc/passwd", "a\0", "a\u{1b}[2J", "fine"].map(digest);
    evil.send(&SourcesMessage::Files(names.into()))
        .await
        .unwrap();
    evil.send(&SourcesMessage::Files(Vec::new())).await.unwrap();
    let Some(Told::Compared(differences)) = told.recv().await else {
        panic!()
    };
    assert_eq!(differences.only_there, 1, "only what is a name");
    let mut endless = talk(&other);
    endless
        .send(&SourcesMessage::Compare(summary))
        .await
        .unwrap();
    let mut n = 0;
    let failed = loop {
        let batch = (n..n + 200).map(|n| digest(&format!("{n}"))).collect();
        n += 200;
        if endless.send(&SourcesMessage::Files(batch)).await.is_err() {
            break n;
        }
    };
    assert!(failed < 200_000, "{failed}");
}

#[tokio::test]
async fn a_file_is_copied_only_where_that_is_accepted() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = here.path().join("big.py");
    let text: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0]).collect();
    fs::write(&path, &text).unwrap();
    let (closed, _told) = sources(Some(there.path()), None);
    let refused = talk(&closed)
        .offer(&name("web/big.py"), false, &path, |_, _| {})
        .await;
    assert_eq!(
        refused.unwrap().unwrap(),
        Outcome::Refused(Refusal::NotAccepted)
    );
    let (open, mut told) = sources(None, Some(there.path()));
    let mut copying = talk(&open);
    let mut seen = Vec::new();
    let copied = copying
        .offer(&name("web/big.py"), false, &path, |at, of| {
            seen.push((at, of))
        })
        .await;
    assert_eq!(
        copied.unwrap().unwrap(),
        Outcome::Written(Written::default())
    );
    assert_eq!(fs::read(there.path().join("web/big.py")).unwrap(), text);
    assert_eq!(seen.last(), Some(&(200_000, 200_000)));
    assert!(matches!(told.recv().await, Some(Told::Received(name)) if name == "web/big.py"));
    let again = copying
        .offer(&name("web/big.py"), false, &path, |_, _| {})
        .await;
    assert_eq!(again.unwrap().unwrap(), Outcome::Same);
    let mut second = talk(&open);
    let busy = second.offer(&name("b"), false, &path, |_, _| {}).await;
    assert_eq!(busy.unwrap().unwrap(), Outcome::Refused(Refusal::Busy));
}

/// A file that is at both ends of a project, whose copy lies in it too.
#[tokio::test]
async fn what_somebody_asks_from_another_directory_is_nothing_for_the_session_to_go_by() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(here.path().join("old")).unwrap();
    for path in [here.path(), &here.path().join("old"), there.path()] {
        fs::write(path.join("app.py"), "1").unwrap();
        fs::write(path.join("db.py"), "1").unwrap();
    }
    let (other, _told) = sources(Some(there.path()), None);
    let compare = async |directory: &Path, keeps: bool| {
        let compared = talk(&other).compare(&scan(directory), keeps).await;
        compared.unwrap().unwrap()
    };
    let old = compare(here.path(), true).await.prefixes.here;
    assert_eq!(old, "", "the project, and not its copy");
    // Both are edited there: that the project is meant and not its copy, nothing but the last time says.
    for name in ["app.py", "db.py"] {
        fs::write(here.path().join(name), "2").unwrap();
    }
    let above = tempfile::tempdir().unwrap();
    fs::create_dir(above.path().join("part")).unwrap();
    for name in ["app.py", "db.py"] {
        fs::write(above.path().join("part").join(name), "1").unwrap();
    }
    let asked = compare(above.path(), false).await;
    assert_eq!((asked.prefixes.here.as_str(), asked.same), ("part/", 2));
    let kept = compare(here.path(), true).await;
    assert_eq!(kept.prefixes.here, "", "{kept:?}");
    assert!(!kept.is_doubtful && kept.differ.len() == 2, "{kept:?}");
}
