//! Conversations about sources, over anything that bytes go through in both directions.
//!
//! The opener decides what a conversation is about: [`Conversation::compare`] or [`Conversation::offer`]. The other end
//! answers in the service. Neither side writes while the other does, so that no pipe between them fills at both ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use p2pdbg_frames::ReadError;
use p2pdbg_proto::sources::{
    Answer, DifferentFile, FileDigest, MAX_BATCH, MAX_DATA, Offer, Refusal, SourcesMessage,
    Summary, Verdict, Written,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::spawn_blocking,
};

use super::{
    Begun, Content, Differences, Inbox, Limits, Scan, Seen, SourceName, compare::Found,
    file_metadata, inbox::MAX_FILE, tree,
};

/// The most bytes of names and digests in one message.
const MAX_BATCH_BYTES: usize = 32 << 10;

/// Why a conversation came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// The stream ended before the conversation did.
    #[error("the session ended, or the other end knows nothing of sources")]
    Lost(#[from] io::Error),
    /// The other end said what does not belong there.
    #[error("the other end broke the protocol: {0}")]
    Misbehaved(&'static str),
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was copied, and is there now.
    Written(Written),
    /// The same was there already, perhaps but for its line ends.
    Same,
    /// The other end did not take it, for this reason.
    Refused(Refusal),
}

/// A conversation about sources over a stream, at either end.
#[derive(Debug)]
pub struct Conversation<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// A conversation over this stream, which it takes over; nothing is said yet.
    pub fn over(stream: S) -> Self {
        Self(stream)
    }

    pub(super) async fn send(&mut self, message: &SourcesMessage) -> Result<(), ConversationError> {
        Ok(p2pdbg_frames::write(&mut self.0, message).await?)
    }

    /// The next message; `None` when the other end has said all.
    pub(super) async fn receive(&mut self) -> Result<Option<SourcesMessage>, ConversationError> {
        let read = p2pdbg_frames::read(&mut self.0).await;
        read.map_err(|error| match error {
            ReadError::Stream(error) => ConversationError::Lost(error),
            ReadError::Malformed(_) => ConversationError::Misbehaved("no frame"),
        })
    }

    async fn expect(&mut self) -> Result<SourcesMessage, ConversationError> {
        let ended = || ConversationError::Lost(io::ErrorKind::UnexpectedEof.into());
        self.receive().await?.ok_or_else(ended)
    }

    /// Waits until the other end has gone, or says something, which does not belong where it waits for an answer.
    pub(super) async fn broken_off(&mut self) -> ConversationError {
        match self.expect().await {
            Ok(_) => ConversationError::Misbehaved("a message before the answer"),
            Err(error) => error,
        }
    }

    pub(super) async fn send_files(&mut self, scan: &Scan) -> Result<(), ConversationError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (name, content) in &scan.files {
            let length = name.as_str().len() + size_of::<Content>() + 4;
            if batch.len() == MAX_BATCH || bytes + length > MAX_BATCH_BYTES {
                self.send(&SourcesMessage::Files(std::mem::take(&mut batch)))
                    .await?;
                bytes = 0;
            }
            bytes += length;
            batch.push(FileDigest {
                name: name.to_string(),
                sha256: content.text,
                ends: content.ends,
            });
        }
        if !batch.is_empty() {
            self.send(&SourcesMessage::Files(batch)).await?;
        }
        self.send(&SourcesMessage::Files(Vec::new())).await
    }

    /// The other end's files. Names that are none are passed over, and there are no more than are compared.
    pub(super) async fn receive_files(
        &mut self,
    ) -> Result<BTreeMap<SourceName, Content>, ConversationError> {
        let mut files = BTreeMap::new();
        loop {
            let SourcesMessage::Files(batch) = self.expect().await? else {
                return Err(ConversationError::Misbehaved("no list of files"));
            };
            if batch.is_empty() {
                return Ok(files);
            }
            for file in batch {
                if let Ok(name) = file.name.parse() {
                    let content = Content {
                        text: file.sha256,
                        ends: file.ends,
                    };
                    files.insert(name, content);
                }
            }
            if files.len() > Limits::DEFAULT.files {
                return Err(ConversationError::Misbehaved(
                    "more files than are compared",
                ));
            }
        }
    }

    /// Compares, as the opener. `None` if the other end compares nothing. With `keeps` it is the session that asks.
    ///
    /// # Errors
    /// If the stream ends, or the other end breaks the protocol.
    pub async fn compare(
        &mut self,
        here: &Scan,
        keeps: bool,
    ) -> Result<Option<Differences>, ConversationError> {
        self.send(&SourcesMessage::Compare(Summary {
            compares: true,
            keeps,
            left_out: here.left_out.try_into().unwrap_or(u32::MAX),
        }))
        .await?;
        let SourcesMessage::Summary(there) = self.expect().await? else {
            return Err(ConversationError::Misbehaved("no summary"));
        };
        if !there.compares {
            return Ok(None);
        }
        self.send_files(here).await?;
        let SourcesMessage::Verdict(verdict) = self.expect().await? else {
            return Err(ConversationError::Misbehaved("no verdict"));
        };
        let is_directory = |text: &str| {
            let name = text.strip_suffix('/').map(str::parse::<SourceName>);
            text.is_empty() || name.is_some_and(|name| name.is_ok())
        };
        if !is_directory(&verdict.opener) || !is_directory(&verdict.answerer) {
            return Err(ConversationError::Misbehaved("a directory that is none"));
        }
        let mut differences = Differences::of_verdict(&verdict, here);
        self.receive_differing(here, &mut differences).await?;
        let not_read = usize::try_from(verdict.not_read).unwrap_or(usize::MAX);
        let there = differences.in_common().saturating_add(not_read);
        differences.only_here = here.files.len().saturating_sub(there);
        Ok(Some(differences))
    }

    async fn receive_differing(
        &mut self,
        here: &Scan,
        differences: &mut Differences,
    ) -> Result<(), ConversationError> {
        let (mut differ, mut ends) = (BTreeSet::new(), BTreeSet::new());
        loop {
            let SourcesMessage::Differ(batch) = self.expect().await? else {
                return Err(ConversationError::Misbehaved("no list of differing files"));
            };
            if batch.is_empty() {
                break;
            }
            for file in batch {
                // What this end does not have cannot differ.
                let name = file.name.parse().ok();
                let Some(name) = name.filter(|name| here.files.contains_key(name)) else {
                    return Err(ConversationError::Misbehaved(
                        "a file differs that was not named",
                    ));
                };
                match file.ends_only {
                    true => ends.insert(name),
                    false => differ.insert(name),
                };
            }
        }
        differences.differ = differ.into_iter().collect();
        differences.ends = ends.into_iter().collect();
        Ok(())
    }

    /// Tells the opener what was found of its files.
    pub(super) async fn tell(&mut self, found: &Found) -> Result<(), ConversationError> {
        let verdict: Verdict = found.differences.verdict(found.left_out, found.not_read);
        self.send(&SourcesMessage::Verdict(verdict)).await?;
        let file = |name: &SourceName, ends_only| DifferentFile {
            name: name.to_string(),
            ends_only,
        };
        let differ = found.differ.iter().map(|name| file(name, false));
        let files: Vec<_> = differ
            .chain(found.ends.iter().map(|name| file(name, true)))
            .collect();
        // As many of the longest names as fit into a frame.
        for batch in files.chunks(MAX_BATCH_BYTES / (p2pdbg_proto::sources::MAX_NAME + 8)) {
            self.send(&SourcesMessage::Differ(batch.to_vec())).await?;
        }
        self.send(&SourcesMessage::Differ(Vec::new())).await
    }

    /// Offers a file and sends what is wanted of it, as the opener. The name is the one that it has below the other
    /// end's root; with `exact` it is not a file whose name differs in case. `progress` is told the bytes that are
    /// there, and of how many.
    ///
    /// # Errors
    /// If the stream ends, or the other end breaks the protocol.
    pub async fn offer(
        &mut self,
        name: &SourceName,
        exact: bool,
        path: &Path,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<io::Result<Outcome>, ConversationError> {
        let read = |path: &Path| -> io::Result<(std::fs::File, Offer)> {
            let (sha256, content) = tree::digest_of(path, MAX_FILE)?;
            let file = tree::open(path)?;
            let metadata = file.metadata()?;
            let offer = Offer {
                name: name.to_string(),
                exact,
                size: metadata.len(),
                sha256,
                text: content.text,
                ends: content.ends,
                executable: file_metadata::is_executable(&metadata),
            };
            Ok((file, offer))
        };
        let (mut file, offer) = match read(path) {
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        let size = offer.size;
        self.send(&SourcesMessage::Offer(offer)).await?;
        let mut at = match self.answer().await? {
            Answer::Wanted(from) if from <= size => from,
            Answer::Wanted(_) => {
                return Err(ConversationError::Misbehaved("a place beyond the end"));
            }
            settled => return Ok(Ok(outcome(settled)?)),
        };
        if let Err(error) = io::Seek::seek(&mut file, io::SeekFrom::Start(at)) {
            return Ok(Err(error));
        }
        let mut buffer = vec![0; MAX_DATA];
        while at < size {
            progress(at, size);
            let room = buffer
                .len()
                .min(usize::try_from(size - at).unwrap_or(usize::MAX));
            // A file that has become shorter is filled up; its digest tells.
            let length = match io::Read::read(&mut file, &mut buffer[..room]) {
                Ok(0) | Err(_) => room,
                Ok(length) => length,
            };
            self.send(&SourcesMessage::Data(buffer[..length].to_vec()))
                .await?;
            at += length as u64;
        }
        progress(at, size);
        let answer = self.answer().await?;
        Ok(Ok(outcome(answer)?))
    }

    async fn answer(&mut self) -> Result<Answer, ConversationError> {
        match self.expect().await? {
            SourcesMessage::Answer(answer) => Ok(answer),
            _ => Err(ConversationError::Misbehaved("no answer to an offer")),
        }
    }

    /// Takes an offered file, or refuses it.
    pub(super) async fn take(
        &mut self,
        inbox: Inbox,
        offer: Offer,
        seen: &Arc<Seen>,
    ) -> Result<Outcome, ConversationError> {
        let (size, name, text) = (offer.size, offer.name.clone(), offer.text);
        let known = Arc::clone(seen);
        let begun = blocking(move || inbox.begin(&offer, &known)).await?;
        let mut incoming = match begun {
            Ok(Begun::Wanted(incoming)) => incoming,
            Ok(Begun::Same) => return self.settle(Ok(Answer::Same)).await,
            Err(refusal) => return self.settle(Err(refusal)).await,
        };
        let mut at = incoming.have();
        self.send(&SourcesMessage::Answer(Answer::Wanted(at)))
            .await?;
        let mut fault = None;
        while at < size {
            let SourcesMessage::Data(bytes) = self.expect().await? else {
                return Err(ConversationError::Misbehaved("no bytes of the file"));
            };
            if bytes.is_empty() || bytes.len() > MAX_DATA {
                return Err(ConversationError::Misbehaved(
                    "too few or too many bytes at once",
                ));
            }
            at += bytes.len() as u64;
            if fault.is_none() {
                let added;
                (incoming, added) = blocking(move || {
                    let added = incoming.add(&bytes);
                    (incoming, added)
                })
                .await?;
                // The rest is on its way, and read for nothing.
                fault = added.err();
            }
        }
        let finished = match fault {
            Some(fault) => Err(fault),
            None => blocking(move || incoming.finish()).await?,
        };
        if let (Ok(_), Ok(name)) = (&finished, name.parse()) {
            seen.note(&name, text);
        }
        self.settle(finished.map(Answer::Written)).await
    }

    pub(super) async fn settle(
        &mut self,
        answer: Result<Answer, Refusal>,
    ) -> Result<Outcome, ConversationError> {
        let answer = answer.unwrap_or_else(Answer::Refused);
        self.send(&SourcesMessage::Answer(answer.clone())).await?;
        outcome(answer)
    }
}

fn outcome(answer: Answer) -> Result<Outcome, ConversationError> {
    match answer {
        Answer::Written(written) => Ok(Outcome::Written(written)),
        Answer::Same => Ok(Outcome::Same),
        Answer::Refused(refusal) => Ok(Outcome::Refused(refusal)),
        Answer::Wanted(_) => Err(ConversationError::Misbehaved(
            "the same bytes are wanted twice",
        )),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)
}

/// Why a file was not taken, in words.
pub fn in_words(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotAccepted => {
            "nothing is accepted there; run p2pdbg connect with --accept-push DIR"
        }
        Refusal::Name => {
            "its name leads out of the directory there, has characters that cannot be shown, or is none on that system"
        }
        Refusal::Path => "a part of its path there is a link, or no directory",
        Refusal::NotAFile => "there is something of that name that is no file",
        Refusal::Limit => "it is too large",
        Refusal::Content => "it was changed while it was copied; try again",
        Refusal::Disk => "it cannot be written there",
        Refusal::Busy => "another copy is under way there",
        Refusal::Outside => {
            "its place there is not in the directory that p2pdbg connect --accept-push names"
        }
        Refusal::Full => "the disk there is full",
        Refusal::Permission => {
            "p2pdbg connect may not write it there: the file or its directory is another user's, or closed to writing"
        }
        Refusal::ReadOnly => "nothing can be written to the file system there",
        Refusal::InUse => "a program there is using it; end that, and push again",
    }
}
