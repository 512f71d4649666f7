//! The addresses of hosts: each name is looked up once at a time, and where each host was reached last is remembered.
//!
//! A resolver takes 5 s for every answer where the first of its servers is gone, and none may be there while the host
//! itself is. So a lookup outlives the attempt that has begun it and serves the next one, and a host that was reached
//! before is dialled where it was when its name takes long.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use p2pdbg_net::{deadline, lookup::look_up};
use p2pdbg_proto::url::HostAt;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How long a name may take before its host is dialled where it was reached before.
pub(super) const REACHED_AFTER: Duration = Duration::from_millis(300);

/// The next address of a host is tried this much later (RFC 8305 section 5): the system gives one that is dead minutes.
pub const STAGGER: Duration = Duration::from_millis(250);

/// How long an attempt waits for a name. The lookup goes on, and may serve the next.
const PATIENCE: Duration = Duration::from_secs(12);

/// What is told of a name that takes longer.
pub(super) const NO_ANSWER: &str = "the resolver does not answer";

/// What was found a moment ago is not looked up again.
const FRESH: Duration = Duration::from_secs(2);

/// So many addresses of a name are heeded.
const MOST: usize = 8;

/// So many addresses are remembered at which hosts were reached.
const REACHED: usize = 16;

/// So many of one host.
const OF_ONE_HOST: usize = 3;

/// What a lookup gives, in the order of the system, or why it gives nothing.
pub(super) type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

type Answer = Option<(Instant, Result<Vec<SocketAddr>, String>)>;

/// A name that is looked up, and what comes of it.
type Asked = (HostAt, watch::Receiver<Answer>);

/// The names that one process looks up: all clones are one.
#[derive(Clone)]
pub(super) struct Names {
    resolver: Arc<dyn Fn(HostAt) -> Lookup + Send + Sync>,
    lookups: Arc<Mutex<Vec<Asked>>>,
    /// Where hosts have been reached, the last one first.
    reached: Arc<Mutex<Vec<(HostAt, SocketAddr)>>>,
}

impl Default for Names {
    fn default() -> Self {
        Self::asking(|at| Box::pin(async move { look_up(&at.host, at.port).await }))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Names {
    /// Names that this resolver knows.
    pub(super) fn asking(resolver: impl Fn(HostAt) -> Lookup + Send + Sync + 'static) -> Self {
        Self {
            resolver: Arc::new(resolver),
            lookups: Arc::default(),
            reached: Arc::default(),
        }
    }

    /// The addresses of a host as they come; those at which it was reached before, if no others have come by then.
    pub(super) fn look_up(&self, at: &HostAt, reached_after: Duration) -> Addresses {
        let now = Instant::now();
        let answer = match at.host.parse::<IpAddr>() {
            Ok(ip) => {
                let found = vec![SocketAddr::new(ip, at.port)];
                watch::channel(Some((now, Ok(found)))).1
            }
            Err(_) => self.ask(at),
        };
        Addresses {
            reached: self.reached(at),
            reached_from: now + reached_after,
            answer: Some(answer),
            given_up: Some(now + PATIENCE),
        }
    }

    /// The addresses that the name of a host has now; none if that is not to be known.
    pub(super) async fn found(&self, at: &HostAt) -> Vec<SocketAddr> {
        let mut addresses = self.look_up(at, PATIENCE);
        match addresses.next().await {
            Some(Batch::Found(found)) => found,
            Some(Batch::Reached(_) | Batch::Failed(_)) | None => Vec::new(),
        }
    }

    /// Joins the lookup that is under way, or begins one.
    fn ask(&self, at: &HostAt) -> watch::Receiver<Answer> {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        lookups.retain(|(_, answer)| match &*answer.borrow() {
            None => answer.has_changed().is_ok(),
            Some((came, found)) => found.is_ok() && came.elapsed() < FRESH,
        });
        if let Some((_, answer)) = lookups.iter().find(|(of, _)| of == at) {
            return answer.clone();
        }
        let (tell, answer) = watch::channel(None);
        let looking = (self.resolver)(at.clone());
        tokio::spawn(async move {
            let found = looking.await.map_err(|error| error.to_string());
            tell.send_replace(Some((Instant::now(), found)));
        });
        lookups.push((at.clone(), answer.clone()));
        answer
    }

    /// This host's network has changed, and its resolver with it: nobody waits for the old one any more.
    pub(super) fn begin_anew(&self) {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        lookups.clear();
    }

    /// The host was reached at this address, and has proved that it is the one.
    pub(super) fn note_reached(&self, at: &HostAt, address: SocketAddr) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.retain(|(of, known)| (of, *known) != (at, address));
        reached.insert(0, (at.clone(), address));
        let mut of_this_host = 0;
        reached.retain(|(of, _)| {
            of_this_host += usize::from(of == at);
            of != at || of_this_host <= OF_ONE_HOST
        });
        reached.truncate(REACHED);
    }

    /// Where the host was reached, the last first.
    pub(super) fn reached(&self, at: &HostAt) -> Vec<SocketAddr> {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let of_this_host = reached.iter().filter(|(of, _)| of == at);
        of_this_host.map(|(_, address)| *address).collect()
    }
}

/// The addresses of one host, as they come.
pub(super) struct Addresses {
    reached: Vec<SocketAddr>,
    reached_from: Instant,
    answer: Option<watch::Receiver<Answer>>,
    given_up: Option<Instant>,
}

/// What comes of looking for addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// The host was reached there before.
    Reached(Vec<SocketAddr>),
    /// The name has these, the families by turns.
    Found(Vec<SocketAddr>),
    /// The name has none that are to be known.
    Failed(String),
}

impl Addresses {
    /// The same, and the name may take as long as the system lets it.
    pub(super) fn however_long(self) -> Self {
        Self {
            given_up: None,
            ..self
        }
    }

    /// Whether the resolver has not answered yet.
    pub(super) fn are_awaited(&self) -> bool {
        self.answer.is_some()
    }

    /// The next ones; `None` when no others will come. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Batch> {
        let Some(answer) = &mut self.answer else {
            let reached = std::mem::take(&mut self.reached);
            return (!reached.is_empty()).then_some(Batch::Reached(reached));
        };
        let found = tokio::select! {
            biased;
            answered = answer.wait_for(Option::is_some) => match answered.as_deref() {
                Ok(Some((_, found))) => found.clone(),
                Ok(None) | Err(_) => Err("the resolver has stopped".to_owned()),
            },
            () = sleep_until(self.reached_from), if !self.reached.is_empty() => {
                return Some(Batch::Reached(std::mem::take(&mut self.reached)));
            }
            () = deadline::sleep_until(self.given_up) => Err(NO_ANSWER.to_owned()),
        };
        self.answer = None;
        let found = found.and_then(|found| match found.is_empty() {
            true => Err("the name has no address".to_owned()),
            false => Ok(found),
        });
        Some(match found {
            Ok(found) => {
                self.reached.clear();
                Batch::Found(by_turns(found))
            }
            Err(why) => Batch::Failed(why),
        })
    }
}

/// The first of them, the families by turns and each in the system's order (RFC 8305 section 4): where one family leads
/// nowhere, the other has its turn soon.
fn by_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let turns = std::iter::from_fn(|| {
        let turn = [first.next(), second.next()];
        turn.iter().any(Option::is_some).then_some(turn)
    });
    turns.flatten().flatten().take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    fn at(host: &str) -> HostAt {
        host.parse().unwrap()
    }

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        let parsed = list.iter().map(|address| address.parse().unwrap());
        parsed.collect()
    }

    /// Names that are all found at one address, each when that is said, and how often any was looked up.
    fn slow() -> (Names, Arc<Notify>, Arc<AtomicUsize>) {
        let (answer, lookups) = (Arc::new(Notify::new()), Arc::<AtomicUsize>::default());
        let (said, counted) = (Arc::clone(&answer), Arc::clone(&lookups));
        let names = Names::asking(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            let said = Arc::clone(&said);
            Box::pin(async move {
                said.notified().await;
                Ok(addresses(&["192.0.2.9:1"]))
            })
        });
        (names, answer, lookups)
    }

    fn failing() -> Names {
        Names::asking(|_| Box::pin(async { Err(io::Error::other("no server")) }))
    }

    #[tokio::test]
    async fn name_that_takes_long_lets_its_host_be_dialled_where_it_was_reached_and_comes_all_the_same()
     {
        let (names, answer, _) = slow();
        names.note_reached(&at("a:1"), "192.0.2.1:1".parse().unwrap());
        names.note_reached(&at("b:1"), "192.0.2.2:1".parse().unwrap());
        let mut coming = names.look_up(&at("a:1"), REACHED_AFTER);
        let reached = addresses(&["192.0.2.1:1"]);
        assert_eq!(coming.next().await, Some(Batch::Reached(reached)));
        answer.notify_one();
        let found = addresses(&["192.0.2.9:1"]);
        assert_eq!(coming.next().await, Some(Batch::Found(found)));
        assert_eq!(coming.next().await, None);
    }

    #[tokio::test]
    async fn name_that_nobody_knows_lets_its_host_be_dialled_where_it_was_reached() {
        let names = failing();
        names.note_reached(&at("a:1"), "192.0.2.1:1".parse().unwrap());
        let mut coming = names.look_up(&at("a:1"), PATIENCE);
        let why = "no server".to_owned();
        assert_eq!(coming.next().await, Some(Batch::Failed(why)));
        let reached = addresses(&["192.0.2.1:1"]);
        assert_eq!(coming.next().await, Some(Batch::Reached(reached)));
        assert_eq!(coming.next().await, None);
    }

    #[tokio::test]
    async fn lookup_that_nobody_waits_for_any_more_serves_the_next_attempt() {
        let (names, answer, lookups) = slow();
        let mut first = names.look_up(&at("a:1"), REACHED_AFTER);
        first.given_up = Some(Instant::now());
        let silent = Batch::Failed(NO_ANSWER.to_owned());
        assert_eq!(first.next().await, Some(silent));
        let mut second = names.look_up(&at("a:1"), REACHED_AFTER);
        answer.notify_one();
        let found = Batch::Found(addresses(&["192.0.2.9:1"]));
        assert_eq!(second.next().await, Some(found));
        assert_eq!(lookups.load(Ordering::Relaxed), 1);
        // Another network has another resolver.
        names.begin_anew();
        answer.notify_one();
        assert_eq!(names.found(&at("a:1")).await, addresses(&["192.0.2.9:1"]));
        assert_eq!(lookups.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn host_that_is_an_address_is_looked_up_nowhere() {
        for host in ["192.0.2.1:7", "[2001:db8::1]:7"] {
            assert_eq!(failing().found(&at(host)).await, addresses(&[host]));
        }
    }

    #[test]
    fn addresses_at_which_hosts_were_reached_are_few_and_the_last_comes_first() {
        let names = Names::default();
        let address = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        for port in 1..=5 {
            names.note_reached(&at("a:1"), address(port));
        }
        names.note_reached(&at("a:1"), address(4));
        assert_eq!(names.reached(&at("a:1")), [4, 5, 3].map(address));
        for host in 0..100 {
            names.note_reached(&at(&format!("h{host}:1")), address(1));
        }
        assert_eq!(names.reached.lock().unwrap().len(), REACHED);
    }

    #[test]
    fn families_have_their_turns() {
        let found = addresses(&["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1"]);
        let turns = addresses(&["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1"]);
        assert_eq!(by_turns(found), turns);
    }
}
