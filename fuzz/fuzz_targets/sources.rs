//! A peer that says anything in a conversation about sources, to the end that answers and to the one that asks: nothing
//! panics or hangs, nothing outside the directory for copies is made, changed or removed, and what is told of it can be
//! shown.

#![no_main]

use std::{
    fs,
    path::PathBuf,
    sync::LazyLock,
    time::Duration,
};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use p2pdbg_proto::{
    frame,
    sources::{
        Answer, DifferentFile, FileDigest, LineEnds, Offer, SourcesMessage, Summary, Verdict,
    },
};
use p2pdbg_sources::{Limits, Sources, SourcesOptions, Told, Tree, conversation::Conversation};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
    sync::mpsc,
};

/// A guard against an end that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Arbitrary)]
enum Name {
    Here,
    Below,
    Link,
    Beside,
    Any(String),
}

impl Name {
    fn text(&self) -> String {
        match self {
            Self::Here => "app.py".to_owned(),
            Self::Below => "inbox/deep/er/new.py".to_owned(),
            Self::Link => "inbox/link/stolen.py".to_owned(),
            Self::Beside => "inbox/../app.py".to_owned(),
            Self::Any(text) => text.clone(),
        }
    }
}

#[derive(Debug, Arbitrary)]
enum Said {
    Compare { compares: bool, keeps: bool, left_out: u32 },
    Summary(bool),
    Files(Vec<(Name, bool)>),
    Verdict(Name, Name, u32),
    Differ(Vec<(Name, bool)>),
    /// A file, of which the offer tells the truth or not.
    Offer { name: Name, exact: bool, content: Vec<u8>, lies: bool, executable: bool },
    Data(Vec<u8>),
    Wanted(u64),
    Same,
    Raw(Vec<u8>),
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

impl Said {
    fn message(&self) -> Option<SourcesMessage> {
        let summary = |compares, keeps, left_out| Summary { compares, keeps, left_out };
        Some(match self {
            Self::Compare { compares, keeps, left_out } => {
                SourcesMessage::Compare(summary(*compares, *keeps, *left_out))
            }
            Self::Summary(compares) => SourcesMessage::Summary(summary(*compares, false, 0)),
            Self::Files(files) => SourcesMessage::Files(
                files
                    .iter()
                    .map(|(name, same)| FileDigest {
                        name: name.text(),
                        sha256: digest(if *same { b"print()\n" } else { b"other" }),
                        ends: LineEnds::Lf,
                    })
                    .collect(),
            ),
            Self::Verdict(opener, answerer, same) => SourcesMessage::Verdict(Verdict {
                opener: opener.text(),
                answerer: answerer.text(),
                same: *same,
                ..Verdict::default()
            }),
            Self::Differ(files) => SourcesMessage::Differ(
                files
                    .iter()
                    .map(|(name, ends_only)| DifferentFile { name: name.text(), ends_only: *ends_only })
                    .collect(),
            ),
            Self::Offer { name, exact, content, lies, executable } => SourcesMessage::Offer(Offer {
                name: name.text(),
                exact: *exact,
                size: content.len() as u64 + u64::from(*lies),
                sha256: digest(content),
                text: digest(content),
                ends: LineEnds::None,
                executable: *executable,
            }),
            Self::Data(bytes) => SourcesMessage::Data(bytes.clone()),
            Self::Wanted(from) => SourcesMessage::Answer(Answer::Wanted(*from)),
            Self::Same => SourcesMessage::Answer(Answer::Same),
            Self::Raw(_) => return None,
        })
    }

    /// The frames that say it: an honest offer is followed by its bytes.
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Raw(bytes) => out.extend_from_slice(bytes),
            said => {
                let message = said.message().into_iter();
                let data = match said {
                    Self::Offer { content, .. } => Some(SourcesMessage::Data(content.clone())),
                    _ => None,
                };
                // What is too long for a frame is not said.
                for message in message.chain(data) {
                    let _ = frame::encode(&message, out);
                }
            }
        }
    }
}

/// A root with a file, a directory for copies in it, and a link in that which leads out.
struct Place {
    root: PathBuf,
    runtime: Runtime,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let base = std::env::temp_dir().join(format!("p2pdbg-fuzz-sources-{}", std::process::id()));
    let root = base.join("root");
    fs::create_dir_all(base.join("outside")).unwrap();
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("app.py"), "print()\n").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Place { root, runtime }
});

impl Place {
    /// The directory for copies, as if nothing had ever been copied.
    fn renew(&self) {
        let inbox = self.root.join("inbox");
        let _ = fs::remove_dir_all(&inbox);
        fs::create_dir(&inbox).unwrap();
        std::os::unix::fs::symlink("../../outside", inbox.join("link")).unwrap();
    }

    fn check(&self) {
        assert_eq!(fs::read(self.root.join("app.py")).unwrap(), b"print()\n");
        let outside = self.root.with_file_name("outside");
        assert_eq!(fs::read_dir(outside).unwrap().count(), 0, "something was put outside");
        assert_eq!(fs::read_dir(&self.root).unwrap().count(), 2, "app.py and inbox");
    }

    /// To the end that answers.
    async fn answers(&self, bytes: &[u8]) {
        let (told, mut tells) = mpsc::channel::<Told>(1024);
        let options = SourcesOptions {
            root: Some(self.root.clone()),
            is_named: true,
            compares: true,
            inbox: Some(self.root.join("inbox")),
        };
        let sources = Sources::new(options, told);
        let (peer, answering) = sources.answer().expect("it is the only conversation");
        let say = async {
            let (mut from, mut to) = tokio::io::split(peer);
            let mut heard = Vec::new();
            let write = async {
                // An end that has had enough hangs up.
                let _ = to.write_all(bytes).await;
                let _ = to.shutdown().await;
            };
            let (_, heard) = tokio::join!(write, from.read_to_end(&mut heard));
            drop(heard);
        };
        tokio::join!(say, answering);
        while let Ok(told) = tells.try_recv() {
            if let Told::Received(name) = told {
                assert!(!name.contains(|c: char| c.is_control()), "{name:?}");
            }
        }
    }

    /// To the end that asks.
    async fn asks(&self, bytes: &[u8]) {
        let (mut peer, here) = tokio::io::duplex(1 << 20);
        let scan = Tree::new(self.root.clone(), Limits::DEFAULT).scan();
        let say = async {
            let _ = peer.write_all(bytes).await;
            let _ = peer.shutdown().await;
        };
        let ask = async {
            let mut talk = Conversation::over(here);
            if let Ok(Some(differences)) = talk.compare(&scan, true).await {
                let known = |name| scan.files.contains_key(name);
                assert!(differences.differ.iter().all(known), "what is not here cannot differ");
            }
        };
        tokio::join!(say, ask);
    }
}

fuzz_target!(|input: (bool, Vec<Said>)| {
    let (asks, said) = input;
    let mut bytes = Vec::new();
    said.iter().take(32).for_each(|said| said.write(&mut bytes));
    PLACE.renew();
    PLACE.runtime.block_on(async {
        let talk = async {
            match asks {
                true => PLACE.asks(&bytes).await,
                false => PLACE.answers(&bytes).await,
            }
        };
        tokio::time::timeout(PATIENCE, talk).await.expect("it hangs");
    });
    PLACE.check();
});
