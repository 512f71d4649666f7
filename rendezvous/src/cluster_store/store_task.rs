//! The task between the registry and the store. The registry never waits for it: what it asks is queued, and the answer
//! comes as an event. What cannot be asked is dropped, since who looks for a peer looks again; the last word on each
//! listener is kept until there is room, since nobody would repeat that one has left.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use p2pdbg_proto::node::NodeNumber;
use tokio::sync::{mpsc, watch};

use super::{
    Away, Directory, Epoch, Held, Name, Names, Process, Record,
    drains::Drains,
    due::{Due, every},
    key_sync::{KeyOrder, KeySync, next_order},
    lease_sync::LeaseSync,
    misses::{MISSED_FOR, Misses},
    presence::{Next, NodesSeen, Presence, StoreState},
    store_handle::{Ask, Found, QUEUE, StoreHandle, WORDS},
};
use crate::{
    keys::{KeyRing, unix_s},
    leases::Parts,
    limits::Prefix,
};

/// How often this node says that it lives; also how soon a store that was away is tried again.
pub(super) const BEAT: Duration = Duration::from_secs(4);

/// So many questions go to the store at once.
pub(super) const BATCH: usize = 500;

/// What is written now of somebody who waits here since then.
fn record(process: Process, now: Instant, since: Instant) -> Record {
    let waited = now.saturating_duration_since(since);
    Record { process, waited }
}

/// What the task holds: the store, what waits for it, and what was last said.
pub(crate) struct StoreTask<D> {
    directory: D,
    names: Names,
    own: Process,
    before: Option<Epoch>,
    presence: Presence,
    /// What is to be written in case the store has lost it, a batch at a time: the beat must not wait for all of it.
    unwritten: VecDeque<([u8; 32], Instant)>,
    /// Who has left since those were listed: not to be written again.
    left: HashSet<Name>,
    /// Who has left while the store was of no use: to be removed once it is back.
    owed: HashSet<Name>,
    /// What it has not counted yet.
    missed: Misses,
    /// What the registry was told of the nodes last.
    told: Option<Vec<NodeNumber>>,
    state: watch::Sender<NodesSeen>,
    /// The keys that nodes share, and what an operator asks of them.
    keys: Option<(KeySync, mpsc::Receiver<KeyOrder>)>,
    leases: Option<LeaseSync>,
    drains: Drains,
}

/// By which an operator asks a store's task for the keys.
pub(crate) type KeyOrders = mpsc::Sender<KeyOrder>;

/// So many questions of operators wait.
const ORDERS: usize = 8;

/// What the store's task does next, besides saying that its node lives.
enum Work {
    /// All that waits here is to be written again.
    WriteAgain,
    /// A batch of that.
    WriteSome,
    /// Compare the keys with the store's.
    Look,
    /// Renew what this node has of the limits.
    Renew,
    /// Say whether this node goes out of service, and look which others do.
    Drains,
    Order(KeyOrder),
    /// The registry has asked.
    Answer,
    /// The registry is gone.
    End,
}

impl<D: Directory> StoreTask<D> {
    /// For this process of a node; `before` is the one before it.
    pub(crate) fn new(directory: D, names: Names, own: Process, before: Option<Epoch>) -> Self {
        Self {
            directory,
            names,
            own,
            before,
            presence: Presence::new(),
            unwritten: VecDeque::new(),
            left: HashSet::new(),
            owed: HashSet::new(),
            missed: Misses::default(),
            told: None,
            state: watch::Sender::new(NodesSeen::nothing()),
            keys: None,
            leases: None,
            drains: Drains::default(),
        }
    }

    /// With a place at the table of the limits that nodes share.
    pub(crate) fn with_leases(mut self, leases: LeaseSync) -> Self {
        self.leases = Some(leases);
        self
    }

    /// With the keys of this node, which it may share with others.
    pub(crate) fn with_keys(mut self, keys: KeySync) -> (Self, KeyOrders) {
        let (ask, asked) = mpsc::channel(ORDERS);
        self.keys = Some((keys, asked));
        (self, ask)
    }

    /// How the store is, which nodes live, and which of these go out of service.
    pub(crate) fn state(&self) -> watch::Receiver<NodesSeen> {
        self.state.subscribe()
    }

    /// Says for the first time that this node lives; whether another process has its number. A store that is away says
    /// nothing of it.
    pub(crate) async fn is_contested(&mut self) -> bool {
        self.beat().await;
        *self.presence.state() == StoreState::Contested
    }

    /// Whether the store is of use.
    ///
    /// # Errors
    /// Why not.
    #[cfg(feature = "cluster")]
    pub(super) fn check(&self) -> Result<(), String> {
        match self.presence.state() {
            StoreState::Answers => Ok(()),
            StoreState::Away(why) => Err(why.clone()),
            StoreState::Unknown | StoreState::Contested => Err("the store is of no use".into()),
        }
    }

    /// Opens a line, and serves for as long as the other end of it is held.
    pub(crate) fn open(self) -> (StoreHandle, impl Future<Output = ()>) {
        let (asks, asked) = mpsc::channel(QUEUE);
        let (tell, found) = mpsc::channel(QUEUE);
        (StoreHandle::new(asks, found), self.run(asked, tell))
    }

    async fn run(mut self, asks: mpsc::Receiver<Ask>, tell: mpsc::Sender<Found>) {
        self.serve(asks, tell).await;
        // The registry is gone: nothing new is to be sent here, from now on and not from when this node counts as dead.
        self.drains.set(true);
        self.say_drain().await;
    }

    async fn serve(&mut self, mut asks: mpsc::Receiver<Ask>, tell: mpsc::Sender<Found>) {
        let mut beat = every(BEAT);
        let mut due = Due::new();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let found = tokio::select! {
                biased;
                _ = beat.tick() => {
                    if self.beat().await == Next::WriteAll {
                        self.unwritten.clear();
                        due.write_again.reset_immediately();
                    }
                    self.poll_living().into_iter().collect()
                }
                work = self.next(&mut due, &mut asks, &mut batch) => match work {
                    Work::End => return,
                    // A round that has not ended is not begun anew, or its last ones would never be written.
                    Work::WriteAgain if self.presence.is_usable() && self.unwritten.is_empty() => {
                        vec![Found::TellAll]
                    }
                    Work::WriteAgain => Vec::new(),
                    Work::WriteSome => {
                        self.write_some(Instant::now()).await;
                        Vec::new()
                    }
                    Work::Look => {
                        self.look().await;
                        let ring = self.poll_ring();
                        ring.map(|ring| Found::Keys(Box::new(ring))).into_iter().collect()
                    }
                    Work::Renew => self.renew().await.map(Found::Parts).into_iter().collect(),
                    Work::Drains => self.look_who_drains().await.into_iter().collect(),
                    Work::Order(order) => {
                        self.on_order(order).await;
                        due.look.reset_immediately();
                        Vec::new()
                    }
                    Work::Answer => self.answer(Instant::now(), &mut batch).await,
                },
            };
            for found in found {
                if tell.send(found).await.is_err() {
                    return;
                }
            }
        }
    }

    /// What is due or was asked. Of several things any may be the next: where each takes as long as until it is due
    /// again, since the store is slow, an order of precedence would have the last ones wait for good.
    async fn next(
        &mut self,
        due: &mut Due,
        asks: &mut mpsc::Receiver<Ask>,
        batch: &mut Vec<Ask>,
    ) -> Work {
        tokio::select! {
            _ = due.write_again.tick() => Work::WriteAgain,
            _ = due.pace.tick(), if !self.unwritten.is_empty() => Work::WriteSome,
            _ = due.look.tick(), if self.keys.is_some() => Work::Look,
            _ = due.renew.tick(), if self.leases.is_some() => Work::Renew,
            _ = due.drains.tick() => Work::Drains,
            order = next_order(&mut self.keys) => Work::Order(order),
            count = asks.recv_many(batch, BATCH) => match count {
                0 => Work::End,
                _ => Work::Answer,
            },
        }
    }

    /// Says that this node lives; whether everything is to be written.
    pub(super) async fn beat(&mut self) -> Next {
        let beaten = self.directory.beat(self.own, self.before).await;
        let next = match beaten {
            Ok((held, live)) => {
                if held == Held::Another && *self.presence.state() != StoreState::Contested {
                    tracing::error!(
                        node = %self.own.node,
                        "another process serves as this node: one of the two has the wrong number"
                    );
                }
                self.presence.on_beat(held, live)
            }
            Err(away) => {
                self.on_away(away);
                Next::Nothing
            }
        };
        self.publish();
        next
    }

    /// Compares the keys with those of the store.
    pub(super) async fn look(&mut self) {
        let Some((keys, _)) = &mut self.keys else {
            return;
        };
        if !self.presence.is_usable() {
            keys.on_away();
            return;
        }
        let node = self.own.node;
        if let Err(away) = keys.look(&mut self.directory, node, unix_s()).await {
            self.on_away(away);
        }
    }

    /// Renews what this node has of the limits.
    async fn renew(&mut self) -> Option<Parts> {
        let leases = self.leases.as_mut()?;
        if !self.presence.is_usable() {
            return None;
        }
        match leases.renew(&mut self.directory).await {
            Ok(shares) => shares,
            Err(away) => {
                let shares = leases.shares();
                self.on_away(away);
                shares
            }
        }
    }

    /// Says whether this node goes out of service.
    pub(super) async fn say_drain(&mut self) {
        if self.presence.is_usable()
            && let Err(away) = self.drains.say(&mut self.directory, self.own).await
        {
            self.on_away(away);
        }
    }

    /// The same, and reads which others do; the registry is told if those are others than before.
    pub(super) async fn look_who_drains(&mut self) -> Option<Found> {
        self.say_drain().await;
        if self.presence.is_usable() {
            let others = self.presence.processes();
            let others = others.filter(|other| other.node != self.own.node);
            let others = others.collect();
            if let Err(away) = self.drains.look(&mut self.directory, others).await {
                self.on_away(away);
            }
            self.publish();
        }
        self.drains.poll()
    }

    /// The keys for the registry, if it has others yet.
    pub(super) fn poll_ring(&mut self) -> Option<KeyRing> {
        let (keys, _) = self.keys.as_mut()?;
        keys.poll_ring(unix_s())
    }

    async fn on_order(&mut self, order: KeyOrder) {
        let living: Vec<NodeNumber> = self.live();
        let Some((keys, _)) = &mut self.keys else {
            return;
        };
        let (directory, own) = (&mut self.directory, self.own.node);
        // Who asked may have gone.
        match order {
            KeyOrder::Reload { share, reply } => {
                let done = keys.reload(directory, own, share, unix_s()).await;
                let _ = reply.send(done);
            }
            KeyOrder::Who { version, reply } => {
                let have = keys.who(directory, version, &living).await;
                let living = living.iter().map(|node| node.get()).collect();
                let _ = reply.send((have.unwrap_or_default(), living));
            }
        }
    }

    fn on_away(&mut self, away: Away) {
        if let Some((keys, _)) = &mut self.keys {
            keys.on_away();
        }
        self.drains.on_away();
        if !matches!(self.presence.state(), StoreState::Away(_)) {
            tracing::warn!(
                why = %away,
                "the store is away: known peers that are at different nodes do not meet until it is back"
            );
        }
        self.presence.on_away(away);
        self.publish();
    }

    /// The nodes that live, as far as the store says.
    fn living(&self) -> Option<Vec<NodeNumber>> {
        self.presence.is_usable().then(|| self.live())
    }

    /// The same to be told, if it has changed since it was.
    fn poll_living(&mut self) -> Option<Found> {
        let living = self.living();
        if self.told == living {
            return None;
        }
        self.told.clone_from(&living);
        Some(Found::Living(living))
    }

    fn live(&self) -> Vec<NodeNumber> {
        let mut live: Vec<NodeNumber> = self.presence.live().collect();
        live.sort();
        live
    }

    fn publish(&self) {
        let now = NodesSeen {
            store: self.presence.state().clone(),
            living: self.live(),
            draining: self.drains.others().to_vec(),
        };
        self.state.send_if_modified(|before| {
            let is_other = *before != now;
            if is_other && now.store == StoreState::Answers && before.store != now.store {
                tracing::info!("the store answers");
            }
            *before = now;
            is_other
        });
    }

    /// Does what was asked, in the order of the last word on each listener.
    pub(super) async fn answer(&mut self, now: Instant, batch: &mut Vec<Ask>) -> Vec<Found> {
        // What is in use is wanted when the store is back, and not only while it answers.
        for ask in batch.iter_mut() {
            match (ask, &mut self.leases) {
                (Ask::Uses(uses), Some(leases)) => leases.on_uses(std::mem::take(uses)),
                (Ask::Drain(own), _) => self.drains.set(*own),
                _ => {}
            }
        }
        if batch.iter().any(|ask| matches!(ask, Ask::Drain(_))) {
            self.say_drain().await;
        }
        if !self.presence.is_usable() {
            self.owe(batch);
            return Vec::new();
        }
        match self.ask(now, batch).await {
            Ok(found) => found,
            Err(away) => {
                self.on_away(away);
                Vec::new()
            }
        }
    }

    /// Takes note of who leaves, and of joins that find nobody, while the store is of no use. The rest is asked for
    /// again once it is back.
    fn owe(&mut self, batch: &mut Vec<Ask>) {
        for ask in batch.drain(..) {
            match ask {
                Ask::Left(digest) if self.owed.len() < WORDS => {
                    self.owed.insert(self.names.of(&digest));
                }
                Ask::Waits(digest, _) => {
                    self.owed.remove(&self.names.of(&digest));
                }
                Ask::Missed(of, with_key, count) => {
                    self.missed.add(Instant::now(), (of, with_key), count);
                }
                _ => {}
            }
        }
    }

    async fn ask(&mut self, now: Instant, batch: &mut Vec<Ask>) -> Result<Vec<Found>, Away> {
        let owed = self.owed.drain();
        let mut last: HashMap<Name, Option<Instant>> = owed.map(|name| (name, None)).collect();
        let mut sought = Vec::new();
        let mut all = None;
        for ask in batch.drain(..) {
            match ask {
                Ask::Waits(digest, since) => {
                    last.insert(self.names.of(&digest), Some(since));
                }
                Ask::Left(digest) => {
                    last.insert(self.names.of(&digest), None);
                }
                Ask::Seek(connector, digest) => sought.push((connector, digest)),
                Ask::All(waiting) => {
                    self.take_back(&mut last, &waiting);
                    self.left.clear();
                    all = Some(waiting);
                }
                Ask::Uses(_) | Ask::Drain(_) => {}
                Ask::Missed(of, with_key, count) => {
                    self.missed.add(Instant::now(), (of, with_key), count);
                }
            }
        }
        let waiting = last
            .iter()
            .filter_map(|(name, since)| Some((*name, (*since)?)));
        let record = |since| record(self.own, now, since);
        let written: Vec<_> = waiting.map(|(name, since)| (name, record(since))).collect();
        let gone = last.iter().filter(|(_, since)| since.is_none());
        let gone: Vec<Name> = gone.map(|(name, _)| *name).collect();
        self.say(&written, &gone).await?;
        for (name, _) in &written {
            self.left.remove(name);
        }
        self.left.extend(&gone);
        let mut found = self.seek(sought).await?;
        match self.count().await {
            Ok(counted) => found.extend(counted),
            // Who was found is, all the same; what was to be written is asked for again once the store is back.
            Err(away) => {
                self.on_away(away);
                return Ok(found);
            }
        }
        if let Some(all) = all {
            self.unwritten = all.into();
            self.write_batch(now).await?;
        }
        Ok(found)
    }

    /// These wait, which is newer than what was said before: who had left by then and is among them has come back.
    fn take_back(
        &self,
        last: &mut HashMap<Name, Option<Instant>>,
        waiting: &[([u8; 32], Instant)],
    ) {
        if last.values().all(Option::is_some) {
            return;
        }
        for (digest, _) in waiting {
            let name = self.names.of(digest);
            if last.get(&name) == Some(&None) {
                last.remove(&name);
            }
        }
    }

    /// Writes who waits, and removes who has left, which is owed if it fails. What was said late, and is older than
    /// what a node that lives has written, is left out.
    async fn say(&mut self, written: &[(Name, Record)], gone: &[Name]) -> Result<(), Away> {
        let live: Vec<Process> = self.presence.processes().collect();
        let said = async {
            if !written.is_empty() {
                self.directory.write(written, &live).await?;
            }
            match gone {
                [] => Ok(()),
                gone => self.directory.remove(self.own, gone).await,
            }
        };
        let said = said.await;
        if said.is_err() {
            self.owed.extend(gone);
        }
        said
    }

    /// Has the store count who has found nobody. What it may not have counted is told again: rather twice than never.
    async fn count(&mut self) -> Result<Vec<Found>, Away> {
        let missed = self.missed.take(Instant::now(), BATCH);
        if missed.is_empty() {
            return Ok(Vec::new());
        }
        let name = |(of, with_key): (Prefix, bool)| self.names.of_misses(of, with_key);
        let more: Vec<_> = missed
            .iter()
            .map(|(of, count, _)| (name(*of), *count))
            .collect();
        match self.directory.count(&more, MISSED_FOR).await {
            Ok(counts) => {
                let found = missed.into_iter().zip(counts);
                let found =
                    found.map(|(((of, key), own, _), count)| Found::Missed(of, key, count, own));
                Ok(found.collect())
            }
            Err(away) => {
                // As old as they were: those that are of no use any more are not tried for ever.
                for (of, count, at) in missed {
                    self.missed.add(at, of, count);
                }
                Err(away)
            }
        }
    }

    async fn seek(&mut self, sought: Vec<(u64, [u8; 32])>) -> Result<Vec<Found>, Away> {
        if sought.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<Name> = sought.iter().map(|(_, d)| self.names.of(d)).collect();
        let records = self.directory.read(&names).await?;
        let found = sought.into_iter().zip(records);
        let found = found.filter_map(|((connector, digest), record)| {
            let Process { node, epoch } = record?.process;
            let is_there = node != self.own.node
                && self.presence.lives(node, epoch)
                // Who waits at one that goes out of service is sent on itself.
                && !self.drains.has(node);
            is_there.then_some(Found::At(connector, digest, node))
        });
        Ok(found.collect())
    }

    /// Writes a batch more of what may be lost; nothing while another process has this node's number.
    pub(super) async fn write_some(&mut self, now: Instant) {
        if !self.presence.is_usable() {
            self.unwritten.clear();
            return;
        }
        if let Err(away) = self.write_batch(now).await {
            // All of it is asked for again once the store is back.
            self.unwritten.clear();
            self.on_away(away);
        }
    }

    /// Writes a batch of what may be lost, and leaves what somebody has written since.
    async fn write_batch(&mut self, now: Instant) -> Result<(), Away> {
        let count = self.unwritten.len().min(BATCH);
        if count == 0 {
            self.left.clear();
            return Ok(());
        }
        let batch = self.unwritten.drain(..count);
        let (names, process) = (&self.names, self.own);
        let records = batch.map(|(digest, since)| (names.of(&digest), record(process, now, since)));
        let records: Vec<_> = { records }
            .filter(|(name, _)| !self.left.contains(name))
            .collect();
        let live: Vec<Process> = self.presence.processes().collect();
        self.directory.write(&records, &live).await
    }
}
