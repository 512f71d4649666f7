//! Gathering: asking STUN servers how they see this host's sockets (RFC 8445 section 5.1.1), and keeping the mappings
//! alive afterwards.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::address;
use p2pdbg_stun::{Attribute, Class, Encoder, TransactionId};

use crate::{
    Family, SocketId, Timing,
    config::MAX_STUN_SERVERS,
    nat_observation::Sample,
    stun_server_view::{is_poor_view, may_be_lent},
};

/// Gaps between the transmissions of one question; after the last the server counts as silent.
const RETRIES: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_millis(900),
    Duration::from_millis(1500),
];

/// Questions without an answer after which a server that answered before has fallen silent: the fifth is asked 1.1 s
/// after the first.
const FALLEN_SILENT: usize = 5;

/// What an answer may take longer than the first one, besides half as long again: two servers at one address answer at
/// the same time.
const SLACK: Duration = Duration::from_millis(30);

/// The longest wait for any answer before the first signal leaves without one.
const PATIENCE: Duration = Duration::from_millis(1200);

/// A question to one server from one socket.
#[derive(Clone, Copy, Debug)]
struct Query {
    socket: SocketId,
    server: SocketAddr,
    tries: usize,
    /// When to ask next; `None` when the server is silent or need not be asked again.
    next_at: Option<Instant>,
    /// When it was asked first, which is when the NAT made the mapping.
    asked: Instant,
    answer: Option<SocketAddr>,
    /// Whether the answer is in doubt: it is asked for even while mappings are not watched.
    doubted: bool,
}

impl Query {
    fn new(now: Instant, socket: SocketId, server: SocketAddr) -> Self {
        Self {
            socket,
            server,
            tries: 0,
            next_at: Some(now),
            asked: now,
            answer: None,
            doubted: false,
        }
    }
}

/// No mapping is refreshed more often, however soon its NAT forgets it.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(5);

/// What the answer of a STUN server changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A mapping that was not known.
    New(SocketAddr),
    /// The server sees the same mapping as before.
    Same,
    /// The mapping is another than before: the network has changed under us.
    Moved(SocketAddr),
    /// It answers nothing that was asked: it is ignored.
    Unasked,
}

#[derive(Debug)]
pub(crate) struct Gathering {
    servers: Vec<SocketAddr>,
    queries: Vec<Query>,
    began: Instant,
    keepalive: Duration,
    wait: Duration,
    settled: bool,
    refreshing: bool,
    /// When the first answer of this generation came, and how long it took.
    first_answer: Option<(Instant, Duration)>,
    /// Whether a server that had answered leaves all questions open now, and none answers.
    fallen_silent: bool,
    /// Servers that the peer lent.
    lent: usize,
    /// Whether any server has answered since the network last changed.
    ever_answered: bool,
}

/// Servers that the peer may add.
const MAX_LENT: usize = 4;

impl Gathering {
    pub(crate) fn new(servers: &[SocketAddr], timing: &Timing, now: Instant) -> Self {
        let of = |v6: bool| {
            let family = servers.iter().copied().filter(move |s| s.is_ipv6() == v6);
            family.take(MAX_STUN_SERVERS)
        };
        Self {
            servers: of(false).chain(of(true)).collect(),
            queries: Vec::new(),
            began: now,
            keepalive: timing.keepalive,
            wait: timing.gathering,
            settled: false,
            refreshing: true,
            first_answer: None,
            fallen_silent: false,
            lent: 0,
            ever_answered: false,
        }
    }

    /// Adds servers that the peer lends, of those that see it well; asked from these sockets. A few, and on the
    /// internet: it must not have this host ask around in its own network.
    pub(crate) fn lend(
        &mut self,
        now: Instant,
        servers: &[SocketAddr],
        sockets: &[(SocketId, Family)],
    ) {
        for &server in servers.iter().take(MAX_LENT) {
            let server = address::canonical(server);
            if !may_be_lent(server) || self.servers.contains(&server) || self.lent >= MAX_LENT {
                continue;
            }
            self.lent += 1;
            self.servers.push(server);
            let family = Family::of(server.ip());
            for &(socket, _) in sockets.iter().filter(|(_, f)| *f == family) {
                self.queries.push(Query::new(now, socket, server));
            }
        }
    }

    /// The IPv4 servers that answered with a view worth having, in the order in which they are asked.
    pub(crate) fn seeing(&self) -> Vec<SocketAddr> {
        let seen: Vec<SocketAddr> = self
            .samples()
            .filter(|s| s.mapped.is_ipv4() && !is_poor_view(s))
            .map(|s| s.server)
            .collect();
        let of = |server: &&SocketAddr| seen.contains(server);
        self.servers.iter().filter(of).copied().collect()
    }

    /// Whether servers answered on this network, and none does any more: an outage, and no fault of either NAT.
    pub(crate) fn is_out(&self) -> bool {
        self.fallen_silent || self.ever_answered && !self.queries.iter().any(|q| q.answer.is_some())
    }

    /// Another network: what answered on the last one says nothing of it.
    pub(crate) fn on_network_changed(&mut self) {
        self.ever_answered = false;
        self.fallen_silent = false;
    }

    /// The servers of a family, the main one first.
    pub(crate) fn servers(&self, family: Family) -> Vec<SocketAddr> {
        self.servers
            .iter()
            .copied()
            .filter(|s| Family::of(s.ip()) == family)
            .collect()
    }

    /// Forgets all answers and asks again from these sockets.
    pub(crate) fn restart(
        &mut self,
        now: Instant,
        sockets: impl Iterator<Item = (SocketId, Family)>,
    ) {
        self.queries.clear();
        self.first_answer = None;
        self.began = now;
        self.settled = false;
        for (socket, family) in sockets {
            self.add_socket(now, socket, family);
        }
    }

    /// Asks every server of its family how it sees a socket that is new or was rebound.
    pub(crate) fn add_socket(&mut self, now: Instant, socket: SocketId, family: Family) {
        self.remove_socket(socket);
        if self.queries.is_empty() || self.settled {
            self.began = now;
            self.settled = false;
        }
        let servers = self.servers.iter().filter(|s| Family::of(s.ip()) == family);
        self.queries
            .extend(servers.map(|&server| Query::new(now, socket, server)));
    }

    pub(crate) fn remove_socket(&mut self, socket: SocketId) {
        self.queries.retain(|q| q.socket != socket);
    }

    /// Asks those servers again that were given up.
    pub(crate) fn retry_silent(&mut self, now: Instant) {
        for query in self
            .queries
            .iter_mut()
            .filter(|q| q.answer.is_none() && q.next_at.is_none())
        {
            query.tries = 0;
            query.next_at = Some(now);
        }
    }

    /// Waits for a server no longer that cannot be reached from here, as one of a family that this host does not have.
    pub(crate) fn on_send_failed(&mut self, socket: SocketId, server: SocketAddr) {
        let is_it = |q: &&mut Query| (q.socket, q.server) == (socket, server);
        if let Some(query) = self.queries.iter_mut().find(is_it)
            && query.answer.is_none()
        {
            query.next_at = None;
        }
    }

    /// Whether mappings are kept alive and watched; not needed while a direct path does that.
    pub(crate) fn set_refreshing(&mut self, now: Instant, refreshing: bool) {
        if refreshing && !self.refreshing {
            for query in self
                .queries
                .iter_mut()
                .filter(|q| q.answer.is_some() && q.next_at.is_none())
            {
                query.next_at = Some(now);
            }
        }
        self.refreshing = refreshing;
    }

    /// Asks one server for each of the main sockets, of those that have answered, whether the mapping still stands.
    pub(crate) fn ask_again(&mut self, now: Instant) {
        for socket in [SocketId::V4, SocketId::V6] {
            let of_socket = |q: &&mut Query| q.socket == socket && q.answer.is_some();
            if let Some(query) = self.queries.iter_mut().find(of_socket)
                && !query.doubted
            {
                query.doubted = true;
                query.tries = 0;
                query.next_at = Some(now);
            }
        }
    }

    /// Whether a server that had answered has left so many questions in a row open that it was not loss, and no other
    /// answers.
    pub(crate) fn has_fallen_silent(&self) -> bool {
        self.fallen_silent
    }

    /// The next question that is due; asking it is up to the caller.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(SocketId, SocketAddr)> {
        let refreshing = self.refreshing;
        for query in &mut self.queries {
            if query.next_at.is_none_or(|at| at > now) {
                continue;
            }
            if query.answer.is_some() && !refreshing && !query.doubted {
                query.next_at = None;
                continue;
            }
            if query.tries == 0 && query.answer.is_none() {
                query.asked = now;
            }
            query.next_at = RETRIES.get(query.tries).map(|&gap| now + gap);
            query.tries += 1;
            self.fallen_silent |= query.answer.is_some() && query.tries >= FALLEN_SILENT;
            if query.next_at.is_some() {
                return Some((query.socket, query.server));
            }
            if query.answer.is_some() {
                // It answered once and may again: an outage need not end the watch.
                query.doubted = false;
                query.tries = 0;
                query.next_at = Some(now + self.keepalive);
            }
        }
        None
    }

    pub(crate) fn on_answer(
        &mut self,
        now: Instant,
        socket: SocketId,
        server: SocketAddr,
        mapped: SocketAddr,
    ) -> Answer {
        // The first server that answers is the one that keeps the mapping alive.
        let first = !self.queries.iter().any(|q| {
            q.socket == socket && q.server != server && q.answer.is_some() && q.next_at.is_some()
        });
        let Some(query) = self
            .queries
            .iter_mut()
            .find(|q| q.socket == socket && q.server == server)
        else {
            return Answer::Unasked;
        };
        self.ever_answered = true;
        self.fallen_silent = false;
        self.first_answer
            .get_or_insert((now, now.saturating_duration_since(query.asked)));
        query.tries = 0;
        let doubted = std::mem::replace(&mut query.doubted, false);
        let before = query.answer.replace(mapped);
        // The same NAT, another port, and nothing else has happened: it forgets sooner than it was refreshed.
        let expired = before.is_some_and(|b| b.ip() == mapped.ip() && b != mapped) && !doubted;
        if expired {
            self.keepalive = (self.keepalive / 2).max(LEAST_KEEPALIVE);
        }
        query.next_at = first.then(|| now + self.keepalive);
        match before {
            None => Answer::New(mapped),
            Some(before) if before == mapped => Answer::Same,
            Some(_) => Answer::Moved(mapped),
        }
    }

    /// Whether enough is known to tell the peer. Becomes true once and stays so until a restart.
    pub(crate) fn check_settled(&mut self, now: Instant) -> bool {
        let answered = self.queries.iter().any(|q| q.answer.is_some());
        let open = self
            .queries
            .iter()
            .any(|q| q.answer.is_none() && q.next_at.is_some());
        self.settled |= !open || now >= self.settles_at(answered);
        self.settled
    }

    /// When it is enough without those that have not answered: soon after the first answer, since a port that is closed
    /// never will, and whatever comes later is told to the peer then; at once where they had fallen silent before.
    fn settles_at(&self, answered: bool) -> Instant {
        if self.fallen_silent {
            return self.began;
        }
        let patience = self.began + if answered { self.wait } else { PATIENCE };
        match self.first_answer.filter(|_| answered) {
            Some((at, took)) => patience.min(at + took / 2 + SLACK),
            None => patience,
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether a server of the family answered; `None` while that is open or when none was asked.
    pub(crate) fn answered(&self, family: Family) -> Option<bool> {
        let mut asked = false;
        let mut open = false;
        for query in self
            .queries
            .iter()
            .filter(|q| Family::of(q.server.ip()) == family)
        {
            if query.answer.is_some() {
                return Some(true);
            }
            asked = true;
            open |= query.next_at.is_some() && !self.settled;
        }
        (asked && !open).then_some(false)
    }

    pub(crate) fn samples(&self) -> impl Iterator<Item = Sample> {
        self.queries.iter().filter_map(|q| {
            Some(Sample {
                socket: q.socket,
                server: q.server,
                mapped: q.answer?,
                asked: q.asked,
            })
        })
    }

    /// When something is due next.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let queries = self.queries.iter().filter_map(|q| q.next_at);
        let settling = (!self.settled && !self.queries.is_empty())
            .then(|| self.settles_at(self.queries.iter().any(|q| q.answer.is_some())));
        queries.chain(settling).min()
    }
}

/// A question to a STUN server, as long as the longest answer of ours to it (XOR-MAPPED-ADDRESS, RESPONSE-ORIGIN,
/// OTHER-ADDRESS and FINGERPRINT), so that a server which never answers at greater length can answer in full.
pub(crate) fn question(transaction: TransactionId, family: Family) -> Vec<u8> {
    const NAME: [u8; 68] = {
        let mut text = [b' '; 68];
        let name = b"p2pdbg";
        let mut i = 0;
        while i < name.len() {
            text[i] = name[i];
            i += 1;
        }
        text
    };
    let name = match family {
        Family::V4 => &NAME[..32],
        Family::V6 => &NAME[..],
    };
    let mut buffer = [0; 100];
    let written = Encoder::new(&mut buffer, Class::Request, transaction).and_then(|mut message| {
        message.push(Attribute::Software(name))?;
        message.finish_with_fingerprint()
    });
    written.expect("the buffer holds this message").to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2pdbg_stun::{AddressFamily, FINGERPRINT_LEN, HEADER_LEN};

    fn server(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn two_servers(now: Instant) -> Gathering {
        let mut gathering = Gathering::new(&[server(1), server(2)], &Timing::default(), now);
        gathering.add_socket(now, SocketId::V4, Family::V4);
        gathering
    }

    #[test]
    fn a_question_is_as_long_as_its_longest_answer() {
        for (family, addresses) in [
            (Family::V4, AddressFamily::V4),
            (Family::V6, AddressFamily::V6),
        ] {
            let answer = HEADER_LEN + 3 * addresses.attribute_len() + FINGERPRINT_LEN;
            assert_eq!(question(TransactionId([0; 12]), family).len(), answer);
        }
    }

    #[test]
    fn a_silent_server_is_asked_six_times_and_no_more() {
        let start = Instant::now();
        let mut gathering = two_servers(start);
        let mut asked = 0;
        let mut now = start;
        while let Some(at) = gathering.next_at() {
            now = now.max(at);
            while gathering.poll(now).is_some() {
                asked += 1;
            }
            gathering.check_settled(now);
        }
        assert_eq!(asked, 12);
        assert_eq!(gathering.answered(Family::V4), Some(false));
        assert_eq!(gathering.answered(Family::V6), None);
    }

    #[test]
    fn one_slow_server_delays_the_first_signal_only_so_long() {
        let start = Instant::now();
        let mut gathering = two_servers(start);
        while gathering.poll(start).is_some() {}
        let mapped: SocketAddr = ([198, 51, 100, 1], 7).into();
        assert_eq!(
            gathering.on_answer(start, SocketId::V4, server(1), mapped),
            Answer::New(mapped)
        );
        assert!(!gathering.check_settled(start));
        assert!(gathering.check_settled(start + Timing::default().gathering));
    }

    #[test]
    fn a_server_that_cannot_be_reached_delays_nothing() {
        let start = Instant::now();
        let mut gathering = two_servers(start);
        while gathering.poll(start).is_some() {}
        gathering.on_send_failed(SocketId::V4, server(2));
        assert!(!gathering.check_settled(start));
        let mapped: SocketAddr = ([198, 51, 100, 1], 7).into();
        gathering.on_answer(start, SocketId::V4, server(1), mapped);
        assert!(gathering.check_settled(start));
    }

    #[test]
    fn a_mapping_in_doubt_is_asked_for_once_while_mappings_are_not_watched() {
        let start = Instant::now();
        let mut gathering = two_servers(start);
        while gathering.poll(start).is_some() {}
        let mapped: SocketAddr = ([198, 51, 100, 1], 7).into();
        for port in [1, 2] {
            gathering.on_answer(start, SocketId::V4, server(port), mapped);
        }
        gathering.set_refreshing(start, false);
        let later = start + Duration::from_secs(600);
        assert_eq!(gathering.poll(later), None);
        gathering.ask_again(later);
        assert_eq!(gathering.poll(later), Some((SocketId::V4, server(1))));
        let moved: SocketAddr = ([198, 51, 100, 2], 7).into();
        let answer = gathering.on_answer(later, SocketId::V4, server(1), moved);
        assert_eq!(answer, Answer::Moved(moved));
        assert_eq!(gathering.poll(later + Duration::from_secs(600)), None);
    }

    #[test]
    fn a_mapping_that_expires_is_refreshed_sooner_and_not_ever_sooner() {
        let start = Instant::now();
        let mut gathering = Gathering::new(&[server(1)], &Timing::default(), start);
        gathering.add_socket(start, SocketId::V4, Family::V4);
        gathering.poll(start);
        let mapped = |port| ([198, 51, 100, 1], port).into();
        gathering.on_answer(start, SocketId::V4, server(1), mapped(1));
        assert!(gathering.check_settled(start));
        let mut now = start;
        let mut pauses = Vec::new();
        for port in 2..6 {
            let next = gathering.next_at().unwrap();
            pauses.push((next - now).as_millis());
            now = next;
            assert!(gathering.poll(now).is_some());
            gathering.on_answer(now, SocketId::V4, server(1), mapped(port));
        }
        assert_eq!(pauses, [15_000, 7_500, 5_000, 5_000]);
    }

    #[test]
    fn a_mapping_is_refreshed_and_a_change_is_noticed() {
        let start = Instant::now();
        let mut gathering = two_servers(start);
        while gathering.poll(start).is_some() {}
        let mapped: SocketAddr = ([198, 51, 100, 1], 7).into();
        gathering.on_answer(start, SocketId::V4, server(1), mapped);
        gathering.on_answer(start, SocketId::V4, server(2), mapped);
        assert!(gathering.check_settled(start));
        let later = start + Timing::default().keepalive;
        assert_eq!(gathering.next_at(), Some(later));
        assert_eq!(gathering.poll(later), Some((SocketId::V4, server(1))));
        assert_eq!(
            gathering.on_answer(later, SocketId::V4, server(1), mapped),
            Answer::Same
        );
        let other: SocketAddr = ([198, 51, 100, 1], 8).into();
        assert_eq!(
            gathering.on_answer(later, SocketId::V4, server(1), other),
            Answer::Moved(other)
        );
    }
}
