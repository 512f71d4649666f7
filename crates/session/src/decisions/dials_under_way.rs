//! The tunnels that this end dials and waits for. A dial that is waited for no more goes on and may still come up; its
//! number keeps what becomes of it apart from what becomes of the next to the same address.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::tunnel::PathKind;

/// How many addresses of the peer may be dialled at once.
const MOST: usize = 4;

/// A dial that has taken so long is not waited for where the way to the peer is made anew: what it has sent may have
/// gone into the old one, and QUIC repeats it after seconds only. Over a path that takes longer it still comes up.
pub(super) const LONG: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Dials {
    waited_for: Vec<Dial>,
    /// How many there were.
    begun: u64,
}

#[derive(Debug)]
struct Dial {
    number: u64,
    path: PathKind,
    remote: SocketAddr,
    since: Instant,
}

impl Dial {
    /// Whether it is on the same kind of path: the relay is one, whatever carries it.
    fn is_on(&self, path: PathKind) -> bool {
        (self.path == PathKind::Direct) == (path == PathKind::Direct)
    }

    fn leads_to(&self, path: PathKind, remote: SocketAddr) -> bool {
        self.is_on(path) && self.remote == remote
    }
}

impl Dials {
    /// Begins one, unless that address, or the relay, is being dialled already; its number. What is dialled where the
    /// peer is no more must not keep it from being dialled where it is now.
    pub(super) fn begin(
        &mut self,
        path: PathKind,
        remote: SocketAddr,
        now: Instant,
    ) -> Option<u64> {
        let on_path = self.waited_for.iter().filter(|dial| dial.is_on(path));
        if self.find(path, remote).is_some() || on_path.count() >= MOST {
            return None;
        }
        self.begun += 1;
        self.waited_for.push(Dial {
            number: self.begun,
            path,
            remote,
            since: now,
        });
        Some(self.begun)
    }

    /// One has come to nothing; where it led, if it was waited for.
    pub(super) fn end(&mut self, number: u64) -> Option<(PathKind, SocketAddr)> {
        let mut dials = self.waited_for.iter();
        let index = dials.position(|dial| dial.number == number)?;
        let Dial { path, remote, .. } = self.waited_for.remove(index);
        Some((path, remote))
    }

    /// What is being dialled there for so long is waited for no more.
    pub(super) fn leave(
        &mut self,
        path: PathKind,
        remote: SocketAddr,
        after: Duration,
        now: Instant,
    ) {
        self.waited_for.retain(|dial| {
            !dial.leads_to(path, remote) || now.saturating_duration_since(dial.since) < after
        });
    }

    /// Since when it is being dialled there.
    pub(super) fn since(&self, path: PathKind, remote: SocketAddr) -> Option<Instant> {
        self.find(path, remote).map(|dial| dial.since)
    }

    /// Where each leads.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PathKind, SocketAddr)> {
        self.waited_for.iter().map(|dial| (dial.path, dial.remote))
    }

    /// Waits on only for those that lead where `keep` says.
    pub(super) fn retain(&mut self, keep: impl Fn(PathKind, SocketAddr) -> bool) {
        self.waited_for.retain(|dial| keep(dial.path, dial.remote));
    }

    fn find(&self, path: PathKind, remote: SocketAddr) -> Option<&Dial> {
        let mut dials = self.waited_for.iter();
        dials.find(|dial| dial.leads_to(path, remote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dial_to_an_address_goes_on_at_once() {
        let (mut dials, now) = (Dials::default(), Instant::now());
        let [here, there] = [1, 2].map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        let begin = |dials: &mut Dials, path, to| dials.begin(path, to, now);
        let relayed = begin(&mut dials, PathKind::RelayUdp, here).unwrap();
        assert_eq!(begin(&mut dials, PathKind::RelayTcp, here), None);
        assert!(begin(&mut dials, PathKind::Direct, here).is_some());
        assert_eq!(begin(&mut dials, PathKind::Direct, here), None);
        let moved = begin(&mut dials, PathKind::Direct, there);
        assert!(moved.is_some(), "the peer has moved");
        assert_eq!(dials.end(relayed), Some((PathKind::RelayUdp, here)));
        let again = begin(&mut dials, PathKind::RelayUdp, here).unwrap();
        dials.leave(PathKind::RelayTcp, here, Duration::ZERO, now);
        assert_eq!(dials.end(again), None, "nobody waits for it");
    }
}
