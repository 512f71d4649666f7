//! The sources of one end during a session: scanned now and then, compared when they have changed, and told to whoever
//! opens a conversation.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use p2pdbg_forward::Within;
use p2pdbg_proto::sources::{Refusal, SourcesMessage, Summary};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    Differences, Inbox, Limits, Scan, Seen, SourceName, SourcesOptions, Tree,
    compare::{self, Found},
    content::Content,
    conversation::{Conversation, ConversationError, Outcome},
    look_times::{AnswerTimes, PAUSE, Pauses, Rests},
};

/// How long a copy waits for the one before it: what was ended at the other end is noticed behind the bytes that are on
/// their way.
const TURN: Duration = Duration::from_secs(5);

/// Conversations of the peer's that are answered at once.
const CONVERSATIONS: usize = 4;

/// What the sources tell the session.
#[derive(Debug)]
pub enum Told {
    /// They have changed here, or were looked at for the first time.
    Changed,
    /// A conversation is to be opened; this is the session's end of it.
    Converse(Within),
    /// This is what differs now.
    Compared(Differences),
    /// A file was copied to here.
    Received(String),
}

/// The sources of this end.
#[derive(Debug, Clone)]
pub struct Sources(Arc<Shared>);

/// Where things are told, whatever its owner's type for them is.
struct Teller(Box<dyn Fn(Told) -> Telling + Send + Sync>);

/// Whether somebody has heard it.
type Telling = std::pin::Pin<Box<dyn Future<Output = bool> + Send>>;

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Teller")
    }
}

#[derive(Debug)]
struct Shared {
    /// The directory that is compared; none if none is.
    root: Option<PathBuf>,
    tree: Option<Mutex<Tree>>,
    /// The files that the session of the peer asked for, with what they held.
    asked: Mutex<Option<BTreeMap<SourceName, Option<Content>>>>,
    seen: Arc<Seen>,
    /// The directory for copies, and the root below which their names are.
    inbox: Option<(PathBuf, PathBuf)>,
    /// Held by the conversation that copies.
    copying: Semaphore,
    conversations: Semaphore,
    /// Held by the comparison that is answered, and for a rest after it.
    answering: Arc<Semaphore>,
    answer_times: Mutex<AnswerTimes>,
    /// Told when the peer's files have changed.
    peer_changed: Notify,
    /// Told when somebody begins to debug.
    in_use: Notify,
    is_used: AtomicBool,
    told: Teller,
}

impl Sources {
    /// Those that the options name. What happens is told to `told`.
    pub fn new<T: From<Told> + Send + 'static>(
        options: SourcesOptions,
        told: mpsc::Sender<T>,
    ) -> Self {
        let told = Teller(Box::new(move |tell| {
            let told = told.clone();
            Box::pin(async move { told.send(tell.into()).await.is_ok() })
        }));
        let tree = options
            .compared()
            .map(|root| Mutex::new(Tree::new(root.to_owned(), Limits::DEFAULT)));
        Self(Arc::new(Shared {
            root: options.compared().map(Path::to_owned),
            tree,
            asked: Mutex::default(),
            seen: Arc::default(),
            inbox: options
                .inbox
                .map(|inbox| (inbox.clone(), options.root.unwrap_or(inbox))),
            copying: Semaphore::new(1),
            conversations: Semaphore::new(CONVERSATIONS),
            answering: Arc::new(Semaphore::new(1)),
            answer_times: Mutex::default(),
            peer_changed: Notify::new(),
            in_use: Notify::new(),
            is_used: AtomicBool::new(false),
            told,
        }))
    }

    /// The directory that is compared; none if the user has asked for none, or nobody can be taken to mean it.
    pub fn root(&self) -> Option<&Path> {
        self.0.root.as_deref()
    }

    /// Whether this end compares any: the user may have asked for none.
    pub fn are_compared(&self) -> bool {
        self.0.tree.is_some()
    }

    /// Notes that the peer's have changed.
    pub fn on_peer_changed(&self) {
        self.0.peer_changed.notify_one();
    }

    /// Notes that somebody begins to debug, so that what has changed meanwhile is to be known soon; or that nobody does
    /// any longer.
    pub fn on_use(&self, is_used: bool) {
        self.0.is_used.store(is_used, Ordering::Relaxed);
        if is_used {
            self.0.in_use.notify_one();
        }
    }

    /// Notes that the user asks about them, or copies some: what that changes is to be known soon as well.
    pub fn on_asked(&self) {
        self.0.in_use.notify_one();
    }

    /// Looks again and again whether they have changed. The end that `opens` the conversations looks at all that it
    /// has, the other at what it was asked for.
    pub async fn keep(self, opens: bool) {
        let mut known = None;
        let mut pauses = Pauses::new();
        let mut rests = Rests::default();
        loop {
            let began = Instant::now();
            let mut rest = Duration::ZERO;
            let is_same = match opens {
                true => {
                    let Some(scan) = self.scan().await else {
                        return;
                    };
                    let is_same = known.as_ref() == Some(&scan);
                    if !is_same && let Some(found) = self.compare(&scan).await {
                        rest = rests.after(found);
                    }
                    known = Some(scan);
                    is_same
                }
                false => {
                    let is_same = self.are_as_they_were().await;
                    if !is_same && !self.tell(Told::Changed).await {
                        return;
                    }
                    is_same
                }
            };
            if self.is_used_within(rest).await {
                (pauses, rests) = (Pauses::new(), Rests::default());
                continue;
            }
            let pause = pauses.after(began.elapsed(), is_same);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.in_use(began) => {
                    (pauses, rests) = (Pauses::new(), Rests::default());
                }
                () = self.0.peer_changed.notified() => {
                    // Compared whatever is the matter here.
                    known = None;
                }
            }
        }
    }

    /// Whether the files that the peer has asked for are what they were then.
    async fn are_as_they_were(&self) -> bool {
        let shared = Arc::clone(&self.0);
        let look = spawn_blocking(move || {
            let Some(tree) = shared.tree.as_ref() else {
                return true;
            };
            let mut tree = tree.lock().unwrap_or_else(PoisonError::into_inner);
            let mut asked = shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let mut is_same = true;
            for (name, held) in asked.iter_mut().flatten() {
                let holds = tree.look(name, &mut 0);
                is_same &= std::mem::replace(held, holds) == holds;
            }
            is_same
        });
        look.await.unwrap_or(true)
    }

    /// Looks for the files that the peer has, one question after the other and with a rest behind each: to ask costs
    /// little, to answer much, so nobody who asks without end has more than a part of a processor. Who has gone before
    /// its turn comes has none.
    async fn find_in_turn(
        &self,
        talk: &mut Conversation<Within>,
        theirs: BTreeMap<SourceName, Content>,
        left_out: usize,
        keeps: bool,
    ) -> Result<Option<Found>, ConversationError> {
        let turn = tokio::select! {
            turn = self.0.answering.clone().acquire_owned() => turn,
            error = talk.broken_off() => return Err(error),
        };
        let began = Instant::now();
        let found = self.find(theirs, left_out, keeps).await;
        let times = self.0.answer_times.lock();
        let mut times = times.unwrap_or_else(PoisonError::into_inner);
        let rest = times.rest_after(began, Instant::now());
        drop(times);
        tokio::spawn(async move {
            tokio::time::sleep(rest).await;
            drop(turn);
        });
        Ok(found)
    }

    /// Looks for the files that the peer has.
    async fn find(
        &self,
        theirs: BTreeMap<SourceName, Content>,
        left_out: usize,
        keeps: bool,
    ) -> Option<Found> {
        let shared = Arc::clone(&self.0);
        let found = spawn_blocking(move || {
            let tree = shared.tree.as_ref()?;
            let mut tree = tree.lock().unwrap_or_else(PoisonError::into_inner);
            let found = compare::find(&mut tree, &theirs, left_out);
            // Who asks without the session may look from another directory: that is nothing for it to go by.
            if keeps && found.aligned.is_some() {
                tree.aligned.clone_from(&found.aligned);
            }
            let differ = [&found.differences.differ, &found.differences.ends];
            let looked_at = found.looked_at.iter().map(|name| {
                let holds = tree.look(name, &mut 0);
                let differs = differ.iter().any(|list| list.binary_search(name).is_ok());
                if let Some(content) = holds.filter(|_| !differs) {
                    shared.seen.note(name, content.text);
                }
                (name.clone(), holds)
            });
            let looked_at = looked_at.collect();
            if keeps {
                let mut asked = shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
                *asked = Some(looked_at);
            }
            Some(found)
        });
        found.await.ok().flatten()
    }

    /// Rests for so long, if nobody debugs; whether somebody has begun to meanwhile.
    async fn is_used_within(&self, rest: Duration) -> bool {
        if rest.is_zero() || self.0.is_used.load(Ordering::Relaxed) {
            return false;
        }
        timeout(rest, self.0.in_use.notified()).await.is_ok()
    }

    /// Waits until somebody begins to debug, and no look has begun for the shortest pause.
    async fn in_use(&self, began: Instant) {
        self.0.in_use.notified().await;
        tokio::time::sleep_until((began + PAUSE).into()).await;
    }

    /// What differs, which is told; none if that could not be found out.
    async fn compare(&self, scan: &Scan) -> Option<Differences> {
        let (here, session) = Within::pair();
        if !self.tell(Told::Converse(session)).await {
            return None;
        }
        match Conversation::over(here).compare(scan, true).await {
            Ok(Some(differences)) => {
                self.tell(Told::Compared(differences.clone())).await;
                Some(differences)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::info!(%error, "the sources were not compared");
                None
            }
        }
    }

    /// A conversation that the peer has opened: the session's end of it, and what answers in it. `None` if there are
    /// too many.
    pub fn answer(&self) -> Option<(Within, impl Future<Output = ()> + Send + 'static)> {
        let (here, session) = Within::pair();
        let sources = self.clone();
        if self.0.conversations.available_permits() == 0 {
            return None;
        }
        let answering = async move {
            let Ok(_permit) = sources.0.conversations.try_acquire() else {
                return;
            };
            if let Err(error) = sources.converse(Conversation::over(here)).await {
                tracing::info!(%error, "a conversation about sources came to nothing");
            }
        };
        Some((session, answering))
    }

    async fn converse(&self, mut talk: Conversation<Within>) -> Result<(), ConversationError> {
        let mut copying = None;
        while let Some(message) = talk.receive().await? {
            match message {
                SourcesMessage::Compare(there) => self.answer_comparison(&mut talk, there).await?,
                SourcesMessage::Offer(offer) => {
                    let Some((path, root)) = self.0.inbox.clone() else {
                        talk.settle(Err(Refusal::NotAccepted)).await?;
                        continue;
                    };
                    if copying.is_none() {
                        let turn = timeout(TURN, self.0.copying.acquire()).await;
                        copying = turn.ok().and_then(Result::ok);
                    }
                    if copying.is_none() {
                        talk.settle(Err(Refusal::Busy)).await?;
                        continue;
                    }
                    let opened = spawn_blocking(move || Inbox::open(&path, &root)).await;
                    let Ok(inbox) = opened.map_err(io::Error::other)? else {
                        talk.settle(Err(Refusal::Disk)).await?;
                        continue;
                    };
                    let name = offer.name.clone();
                    let outcome = talk.take(inbox, offer, &self.0.seen).await?;
                    if matches!(outcome, Outcome::Written(_)) {
                        self.tell(Told::Received(name)).await;
                    }
                }
                _ => {
                    return Err(ConversationError::Misbehaved(
                        "a message that does not belong here",
                    ));
                }
            }
        }
        Ok(())
    }

    async fn answer_comparison(
        &self,
        talk: &mut Conversation<Within>,
        there: Summary,
    ) -> Result<(), ConversationError> {
        let compares = self.are_compared();
        let summary = Summary {
            compares,
            ..Summary::default()
        };
        talk.send(&SourcesMessage::Summary(summary)).await?;
        if !compares || !there.compares {
            return Ok(());
        }
        let theirs = talk.receive_files().await?;
        let left_out = usize::try_from(there.left_out).unwrap_or(usize::MAX);
        let found = self.find_in_turn(talk, theirs, left_out, there.keeps);
        let Some(found) = found.await? else {
            return Err(ConversationError::Lost(io::ErrorKind::Other.into()));
        };
        talk.tell(&found).await?;
        if there.keeps {
            self.tell(Told::Compared(found.differences)).await;
        }
        Ok(())
    }

    /// Whether there still is somebody who wants to know.
    async fn tell(&self, told: Told) -> bool {
        (self.0.told.0)(told).await
    }

    /// What there is now; `None` if nothing is compared.
    async fn scan(&self) -> Option<Arc<Scan>> {
        let shared = Arc::clone(&self.0);
        let scan = spawn_blocking(move || {
            let mut tree = shared
                .tree
                .as_ref()?
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Some(Arc::new(tree.scan()))
        });
        scan.await.ok().flatten()
    }
}

#[cfg(test)]
mod tests;
