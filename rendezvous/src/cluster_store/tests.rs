//! The store's task at a store that is away, forgets, or says what is not so.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use p2pdbg_proto::{node::NodeNumber, secret::Secret};
use tokio::runtime::Runtime;

use super::{
    Ask, Epoch, Found, Names, Process, Record, StoreHandle, StoreState, StoreTask, due::PACE,
    memory::Memory, presence::Next, store_task::BATCH,
};
use crate::limits::Prefix;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

const HANDLE: [u8; 32] = [7; 32];
const CONNECTOR: u64 = 5;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// So many seconds after the tests began; no time passes in them but for what they say.
fn at(second: u64) -> Instant {
    *BEGAN + Duration::from_secs(second)
}

/// Now, by the clock of every node.
const NOW: u64 = 1_000;

/// The store that the nodes of a test share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    memory: Memory,
    secret: Option<Secret<32>>,
}

/// A process of a node, with its store task.
pub(crate) struct NodeProcess {
    task: StoreTask<Memory>,
    process: Process,
}

impl Store {
    /// A process of this node, in the place of the one before it.
    pub(crate) fn node(&mut self, number: u8, before: Option<&NodeProcess>) -> NodeProcess {
        let secret = self.secret.get_or_insert_with(Secret::random);
        let process = Process {
            node: NodeNumber::new(number).unwrap(),
            epoch: Epoch::draw(),
        };
        let names = Names::new(secret);
        let before = before.map(|before| before.process.epoch);
        NodeProcess {
            task: StoreTask::new(self.memory.clone(), names, process, before),
            process,
        }
    }

    /// Whether it is of no use from now on.
    pub(crate) fn is_away(&self, away: bool) {
        self.memory.is_away(away);
    }

    /// So much time passes by its clock.
    pub(crate) fn passes(&self, time: Duration) {
        self.memory.passes(time);
    }

    /// Nothing is left in it.
    pub(crate) fn forget(&self) {
        self.memory.forget();
    }

    /// This node has not said for too long that it lives.
    pub(crate) fn expire(&self, number: u8) {
        self.memory.expire(NodeNumber::new(number).unwrap());
    }
}

impl NodeProcess {
    /// Processes that had its number have not said for too long that they live.
    pub(crate) fn outlives_others(&self, store: &Store) {
        let Process { node, epoch } = self.process;
        store.memory.expire_unless(node, epoch);
    }

    /// Says that the node lives; whether everything is to be written again.
    pub(crate) fn beat(&mut self) -> bool {
        RUNTIME.block_on(self.task.beat()) == Next::WriteAll
    }

    /// Asks, at that time by this node's clock.
    pub(crate) fn asks_at(&mut self, now: Instant, ask: Ask) -> Vec<Found> {
        RUNTIME.block_on(self.task.answer(now, &mut vec![ask]))
    }

    fn ask(&mut self, ask: Ask) -> Vec<Found> {
        self.asks_at(at(NOW), ask)
    }

    /// Whether it goes out of service, from now on.
    fn drains(&mut self, drains: bool) {
        self.ask(Ask::Drain(drains));
    }

    /// Looks which others do; those that the registry is told of, if they are others than before.
    fn look(&mut self) -> Option<Vec<u8>> {
        match RUNTIME.block_on(self.task.look_who_drains())? {
            Found::Draining(nodes) => Some(nodes.iter().map(|node| node.get()).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn seeks(&mut self) -> Option<u8> {
        match &self.ask(Ask::Seek(CONNECTOR, HANDLE))[..] {
            [] => None,
            [Found::At(CONNECTOR, HANDLE, node)] => Some(node.get()),
            other => panic!("{other:?}"),
        }
    }

    fn state(&self) -> StoreState {
        self.task.state().borrow().store.clone()
    }
}

/// Two nodes, with a listener at the first.
fn two() -> (Store, NodeProcess, NodeProcess) {
    let mut store = Store::default();
    let (mut one, mut other) = (store.node(17, None), store.node(18, None));
    assert!(one.beat() && other.beat());
    assert!(!one.beat());
    one.ask(Ask::Waits(HANDLE, at(100)));
    other.beat();
    (store, one, other)
}

#[test]
fn slow_store_answers_who_looks_for_a_peer_while_there_is_much_to_write() {
    let (store, _one, other) = two();
    let count = 25 * BATCH;
    // Longer than until the next batch is due.
    store.memory.is_slow(PACE * 2);
    RUNTIME.block_on(async {
        let (line, task) = other.task.open();
        let (mut line, task) = (Some(line), tokio::spawn(task));
        while !matches!(StoreHandle::next(&mut line).await, Found::TellAll) {}
        let handle = |n: usize| {
            let mut handle = [8; 32];
            handle[..8].copy_from_slice(&n.to_be_bytes());
            (handle, at(100))
        };
        let asks = [
            Ask::All((0..count).map(handle).collect()),
            Ask::Seek(CONNECTOR, HANDLE),
        ];
        for ask in asks {
            line.as_mut().unwrap().ask(ask);
        }
        while !matches!(StoreHandle::next(&mut line).await, Found::At(..)) {}
        let written = store.memory.records().len();
        assert!(written < count, "it waited for all that is written");
        task.abort();
    });
}

#[test]
fn listener_is_found_at_its_node_until_it_leaves() {
    let (_store, mut one, mut other) = two();
    assert_eq!(other.seeks(), Some(17));
    // Who is there already is not sent there.
    assert_eq!(one.seeks(), None);
    one.ask(Ask::Left(HANDLE));
    assert_eq!(other.seeks(), None);
}

#[test]
fn listener_that_leaves_is_removed_though_others_have_filled_the_queue() {
    let (store, one, _other) = two();
    RUNTIME.block_on(async {
        let (mut line, task) = one.task.open();
        for n in 0..10_000 {
            line.ask(Ask::Seek(n, [8; 32]));
        }
        for n in 0..10_000u32 {
            let mut digest = [9; 32];
            digest[..4].copy_from_slice(&n.to_be_bytes());
            line.ask(Ask::Waits(digest, at(100)));
            line.ask(Ask::Left(digest));
        }
        line.ask(Ask::Waits([10; 32], at(100)));
        line.ask(Ask::Left(HANDLE));
        let (mut line, task) = (Some(line), tokio::spawn(task));
        let waits = Names::new(store.secret.as_ref().unwrap()).of(&[10; 32]);
        let done = async {
            // Whoever came last waits, and nobody else.
            while !store.memory.records().keys().eq([&waits]) {
                tokio::select! {
                    biased;
                    _ = StoreHandle::next(&mut line) => {}
                    () = tokio::task::yield_now() => {}
                }
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(60), done).await;
        done.expect("the listener is still in the store");
        task.abort();
    });
}

const SOMEWHERE: [u8; 4] = [192, 0, 2, 7];

/// Joins from somewhere that find nobody.
fn missed(count: u32) -> Ask {
    Ask::Missed(Prefix::of(SOMEWHERE.into()), false, count)
}

/// What the store has counted, with the one that asks, and how much of it is told to be this node's.
fn counted(found: &[Found]) -> Vec<(u64, u32)> {
    let counted = found.iter().filter_map(|found| match found {
        Found::Missed(_, _, count, own) => Some((*count, *own)),
        _ => None,
    });
    counted.collect()
}

#[test]
fn joins_that_find_nobody_while_the_store_is_away_are_counted_when_it_is_back() {
    let (store, mut one, mut other) = two();
    assert_eq!(counted(&one.ask(missed(1))), [(1, 1)]);
    store.is_away(true);
    // The first is lost in asking, the second is known to be.
    assert_eq!(one.ask(missed(1)), []);
    assert_eq!(one.ask(missed(2)), []);
    store.is_away(false);
    assert!(one.beat());
    assert_eq!(counted(&one.ask(missed(1))), [(5, 4)]);
    assert_eq!(counted(&other.ask(missed(1))), [(6, 1)]);
}

#[test]
fn joins_that_find_nobody_are_counted_though_others_have_filled_the_queue() {
    let (_store, one, _other) = two();
    RUNTIME.block_on(async {
        let (mut line, task) = one.task.open();
        for n in 0..10_000u32 {
            let mut digest = [9; 32];
            digest[..4].copy_from_slice(&n.to_be_bytes());
            line.ask(Ask::Waits(digest, at(100)));
        }
        for _ in 0..3 {
            line.ask(missed(1));
        }
        let (mut line, task) = (Some(line), tokio::spawn(task));
        let told = async {
            loop {
                if let Found::Missed(_, _, count, own) = StoreHandle::next(&mut line).await {
                    return (count, own);
                }
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(60), told).await;
        assert_eq!(told.expect("they are lost"), (3, 3));
        task.abort();
    });
}

#[test]
fn listener_that_leaves_while_the_store_is_away_is_removed_when_it_is_back() {
    let (store, mut one, mut other) = two();
    store.is_away(true);
    // The first is lost in asking, the second is known to be.
    one.ask(Ask::Waits([8; 32], at(100)));
    one.ask(Ask::Left(HANDLE));
    store.is_away(false);
    assert!(one.beat());
    one.ask(Ask::All(Vec::new()));
    other.beat();
    assert_eq!(other.seeks(), None);
    // One that comes back meanwhile stays.
    one.ask(Ask::Waits(HANDLE, at(200)));
    store.is_away(true);
    one.ask(Ask::Left(HANDLE));
    one.ask(Ask::Waits(HANDLE, at(300)));
    store.is_away(false);
    assert!(one.beat());
    one.ask(Ask::All(vec![(HANDLE, at(300))]));
    other.beat();
    assert_eq!(other.seeks(), Some(17));
}

#[test]
fn listener_that_has_moved_is_found_where_it_is_although_the_old_node_forgets_it_later() {
    let (_store, mut one, mut other) = two();
    other.ask(Ask::Waits(HANDLE, at(200)));
    assert_eq!(one.seeks(), Some(18));
    // The old connection lingers: what its node writes again does not win, nor does what it removes.
    one.ask(Ask::All(vec![(HANDLE, at(100))]));
    assert_eq!(one.seeks(), Some(18));
    one.ask(Ask::Left(HANDLE));
    assert_eq!(one.seeks(), Some(18));
}

#[test]
fn listener_that_has_moved_is_found_at_once_although_the_clocks_of_its_nodes_are_apart() {
    for ahead in [0, 300, 1_000_000] {
        let (store, mut one, mut other) = two();
        // By one's clock, which is ahead, and by the other's it has come just now.
        one.asks_at(at(ahead + 500), Ask::Waits(HANDLE, at(ahead + 500)));
        store.passes(Duration::from_secs(10));
        other.asks_at(at(10), Ask::Waits(HANDLE, at(10)));
        assert_eq!(one.seeks(), Some(18), "{ahead} s");
        // What the old node writes again does not win, nor what it has to write late.
        store.passes(Duration::from_secs(30));
        let waits = || [(HANDLE, at(ahead + 500))];
        for again in [Ask::All(waits().to_vec()), Ask::Waits(HANDLE, waits()[0].1)] {
            one.asks_at(at(ahead + 540), again);
            assert_eq!(one.seeks(), Some(18), "{ahead} s");
        }
        // It goes back to where it was, and then the other node writes all again.
        one.asks_at(at(ahead + 550), Ask::Waits(HANDLE, at(ahead + 550)));
        store.passes(Duration::from_secs(5));
        other.asks_at(at(55), Ask::All(vec![(HANDLE, at(10))]));
        assert_eq!(other.seeks(), Some(17), "{ahead} s");
    }
}

#[test]
fn records_of_a_process_end_with_it() {
    let (mut store, mut one, mut other) = two();
    store.expire(17);
    other.beat();
    assert_eq!(other.seeks(), None);
    let mut again = store.node(17, Some(&one));
    assert!(again.beat());
    other.beat();
    assert_eq!(other.seeks(), None, "the process before it is gone");
    again.ask(Ask::All(vec![(HANDLE, at(300))]));
    assert_eq!(other.seeks(), Some(17));
    assert!(!one.beat());
    assert_eq!(one.state(), StoreState::Contested);
}

#[test]
fn nobody_is_sent_to_a_node_that_goes_out_of_service_until_it_stays_or_is_back() {
    let (mut store, mut one, mut other) = two();
    assert_eq!(other.look(), None);
    one.drains(true);
    assert_eq!((other.look(), other.look()), (Some(vec![17]), None));
    assert_eq!(other.seeks(), None);
    one.drains(false);
    assert_eq!((other.look(), other.seeks()), (Some(vec![]), Some(17)));
    // What could not be said is said once the store is back.
    store.is_away(true);
    one.drains(true);
    assert_eq!((one.look(), other.look()), (None, None));
    store.is_away(false);
    one.beat();
    other.beat();
    assert_eq!((one.look(), other.look()), (None, Some(vec![17])));
    // Nobody knows while it is away.
    store.is_away(true);
    assert_eq!(other.look(), Some(vec![]));
    store.is_away(false);
    other.beat();
    assert_eq!(other.look(), Some(vec![17]));
    let mut again = store.node(17, Some(&one));
    again.beat();
    other.beat();
    assert_eq!(other.look(), Some(vec![]));
}

#[test]
fn node_whose_registry_is_gone_says_that_it_goes_out_of_service() {
    let (_store, one, mut other) = two();
    RUNTIME.block_on(async {
        let (line, task) = one.task.open();
        drop(line);
        task.await;
    });
    assert_eq!(other.look(), Some(vec![17]));
}

#[test]
fn process_whose_number_another_has_writes_nothing() {
    let (mut store, mut one, mut other) = two();
    let mut double = store.node(17, None);
    assert!(!double.beat());
    assert_eq!(double.state(), StoreState::Contested);
    one.ask(Ask::Left(HANDLE));
    double.ask(Ask::Waits(HANDLE, at(400)));
    assert_eq!(other.seeks(), None);
    assert!(store.memory.records().is_empty());
    // Once the other is gone the number is free.
    store.expire(17);
    assert!(double.beat());
    assert_eq!(double.state(), StoreState::Answers);
}

#[test]
fn process_whose_number_another_takes_writes_nothing_more_of_what_it_had_to_write_again() {
    let (mut store, mut one, _other) = two();
    let listeners = (0..3 * BATCH).map(|index| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&index.to_be_bytes());
        (digest, at(100))
    });
    one.ask(Ask::All(listeners.collect()));
    store.expire(17);
    let mut double = store.node(17, None);
    assert!(double.beat() && !one.beat());
    assert_eq!(one.state(), StoreState::Contested);
    let before = store.memory.records();
    RUNTIME.block_on(one.task.write_some(at(NOW)));
    assert_eq!(store.memory.records(), before);
    // It is asked for all again if the number is its own once more.
    store.expire(17);
    assert!(one.beat());
    RUNTIME.block_on(one.task.write_some(at(NOW)));
    assert_eq!(store.memory.records(), before);
}

#[test]
fn listener_that_has_left_and_come_back_is_written_with_all_that_were_asked_for_meanwhile() {
    let (_store, mut one, mut other) = two();
    let mut batch = vec![Ask::Left(HANDLE), Ask::All(vec![(HANDLE, at(300))])];
    RUNTIME.block_on(one.task.answer(at(NOW), &mut batch));
    assert_eq!(other.seeks(), Some(17));
    // One that leaves after that has left.
    let mut batch = vec![Ask::All(vec![(HANDLE, at(300))]), Ask::Left(HANDLE)];
    RUNTIME.block_on(one.task.answer(at(NOW), &mut batch));
    assert_eq!(other.seeks(), None);
}

#[test]
fn listener_is_found_where_it_is_although_the_old_node_says_late_that_it_waits_there() {
    let (_store, mut one, mut other) = two();
    other.ask(Ask::Waits(HANDLE, at(200)));
    one.ask(Ask::Waits(HANDLE, at(100)));
    assert_eq!(one.seeks(), Some(18));
    other.ask(Ask::Left(HANDLE));
    one.ask(Ask::Waits(HANDLE, at(300)));
    assert_eq!(other.seeks(), Some(17));
}

#[test]
fn store_that_is_away_costs_nothing_but_the_answer_and_gets_everything_when_it_is_back() {
    let (store, mut one, mut other) = two();
    store.is_away(true);
    assert_eq!(other.seeks(), None);
    assert!(matches!(other.state(), StoreState::Away(_)));
    one.ask(Ask::Left(HANDLE));
    one.beat();
    store.is_away(false);
    // It is asked again after the next beat, which wants all that is not in it.
    assert_eq!(other.seeks(), None);
    assert!(other.beat() && one.beat());
    assert_eq!(other.seeks(), Some(17));
}

#[test]
fn ten_thousand_listeners_are_written_a_batch_at_a_time_so_that_the_beat_is_not_kept_waiting() {
    let (store, mut one, _other) = two();
    let listeners = (0..10_000u32).map(|index| {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&index.to_be_bytes());
        (digest, at(100))
    });
    let before = store.memory.records().len();
    let written = |store: &Store| store.memory.records().len() - before;
    one.ask(Ask::All(listeners.collect()));
    assert_eq!(written(&store), BATCH);
    let mut batches = 1;
    while written(&store) < 10_000 {
        let so_far = written(&store);
        assert!(!one.beat());
        RUNTIME.block_on(one.task.write_some(at(NOW)));
        assert_eq!(written(&store), so_far + BATCH);
        batches += 1;
    }
    assert_eq!(batches, 20);
    // What is not written when the store goes away is asked for again with all the rest.
    one.ask(Ask::All(vec![([1; 32], at(100)); 2 * BATCH]));
    store.is_away(true);
    RUNTIME.block_on(one.task.write_some(at(NOW)));
    store.is_away(false);
    assert!(one.beat());
}

#[test]
fn store_that_has_forgotten_everything_gets_it_again() {
    let (store, mut one, mut other) = two();
    store.forget();
    assert_eq!(other.seeks(), None);
    assert!(one.beat());
    one.ask(Ask::All(vec![(HANDLE, at(100))]));
    other.beat();
    assert_eq!(other.seeks(), Some(17));
}

#[test]
fn forged_record_leads_to_no_process_that_does_not_live() {
    let (store, mut one, mut other) = two();
    let name = *store.memory.records().keys().next().unwrap();
    let forged = Record {
        process: Process {
            node: one.process.node,
            epoch: Epoch::draw(),
        },
        waited: Duration::ZERO,
    };
    store.memory.forge(name, forged);
    assert_eq!(other.seeks(), None);
    // What a listener says anew wins all the same, and so does what its node says anew: by clocks that are minutes
    // apart such a record may be of a process that has died.
    for again in [
        Ask::Waits(HANDLE, at(500)),
        Ask::All(vec![(HANDLE, at(500))]),
    ] {
        store.memory.forge(name, forged);
        one.ask(again);
        assert_eq!(other.seeks(), Some(17));
    }
}

#[test]
fn names_in_the_store_are_those_of_one_cluster_and_one_handle() {
    let (one, other) = (Names::new(&Secret::random()), Names::new(&Secret::random()));
    assert_eq!(one.of(&HANDLE), one.of(&HANDLE));
    assert_ne!(one.of(&HANDLE), other.of(&HANDLE));
    assert_ne!(one.of(&HANDLE), one.of(&[8; 32]));
}
