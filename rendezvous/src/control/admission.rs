//! Who may open a control connection: the limits that hold before a peer has said anything.
//!
//! The source of a first datagram can be forged, so limits per address count only peers that have proved
//! theirs, by completing a handshake or by answering a Retry.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::limits::{Limits, Prefix, Tally};

/// What becomes of a connection attempt.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Shake hands.
    Accept(Handshake),
    /// Let it prove its address first.
    Retry,
    /// No.
    Refuse,
}

/// Counts connections; shared by all who accept them, and locked once for each.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    connections: usize,
    connections_per_address: usize,
    handshakes: usize,
    handshakes_unproven: usize,
    in_flight: usize,
    established: usize,
    by_address: Tally<Prefix>,
}

/// A handshake in flight; counted until dropped.
#[derive(Debug)]
pub(crate) struct Handshake {
    admission: Admission,
    address: Prefix,
}

/// An established connection; counted until dropped.
#[derive(Debug)]
pub(crate) struct Established {
    admission: Admission,
    address: Prefix,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        let state = State {
            connections: limits.connections,
            connections_per_address: limits.connections_per_address,
            handshakes: limits.handshakes,
            handshakes_unproven: limits.handshakes_unproven,
            in_flight: 0,
            established: 0,
            by_address: Tally::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Judges an attempt from `ip`, which is `proven` if an answer has reached it already.
    pub(crate) fn judge(&self, ip: IpAddr, proven: bool) -> Verdict {
        let address = Prefix::of(ip);
        let mut state = self.lock();
        let full = state.in_flight >= state.handshakes
            || state.established + state.in_flight >= state.connections
            || (proven && state.by_address.of(&address) >= state.connections_per_address);
        if full {
            return Verdict::Refuse;
        }
        if !proven && state.in_flight >= state.handshakes_unproven {
            return Verdict::Retry;
        }
        state.in_flight += 1;
        Verdict::Accept(Handshake {
            admission: self.clone(),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handshake {
    /// The handshake is complete; `None` if its address has as many connections as it may.
    pub(crate) fn complete(self) -> Option<Established> {
        let mut state = self.admission.lock();
        if state.by_address.of(&self.address) >= state.connections_per_address {
            return None;
        }
        state.by_address.add(self.address);
        state.established += 1;
        Some(Established {
            admission: self.admission.clone(),
            address: self.address,
        })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.admission.lock().in_flight -= 1;
    }
}

impl Drop for Established {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.established -= 1;
        state.by_address.remove(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        Admission::new(&Limits {
            connections: 6,
            connections_per_address: 2,
            handshakes: 4,
            handshakes_unproven: 2,
            ..Limits::default()
        })
    }

    fn ip(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn accept(admission: &Admission, n: u8) -> Handshake {
        match admission.judge(ip(n), true) {
            Verdict::Accept(handshake) => handshake,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_crowd_of_handshakes_must_prove_its_addresses_and_then_wait() {
        let admission = admission();
        let mut held = vec![accept(&admission, 1), accept(&admission, 2)];
        assert!(matches!(admission.judge(ip(3), false), Verdict::Retry));
        held.push(accept(&admission, 3));
        held.push(accept(&admission, 4));
        assert!(matches!(admission.judge(ip(5), true), Verdict::Refuse));
        assert!(matches!(admission.judge(ip(5), false), Verdict::Refuse));
        held.clear();
        assert!(matches!(admission.judge(ip(5), false), Verdict::Accept(_)));
    }

    #[test]
    fn an_address_has_so_many_connections_and_no_more_until_one_ends() {
        let admission = admission();
        let first = accept(&admission, 1).complete().unwrap();
        let racing = [accept(&admission, 1), accept(&admission, 1)];
        let [second, third] = racing.map(Handshake::complete);
        assert!(second.is_some() && third.is_none());
        assert!(matches!(admission.judge(ip(1), true), Verdict::Refuse));
        assert!(matches!(admission.judge(ip(2), true), Verdict::Accept(_)));
        // A forged source does not count as that address, and so cannot be kept out for it.
        match admission.judge(ip(1), false) {
            Verdict::Accept(forged) => assert!(forged.complete().is_none()),
            other => panic!("{other:?}"),
        }
        drop(first);
        assert!(accept(&admission, 1).complete().is_some());
    }

    #[test]
    fn there_are_so_many_connections_in_all() {
        let admission = admission();
        let held: Vec<_> = (0..6)
            .map(|n| accept(&admission, n).complete().unwrap())
            .collect();
        assert!(matches!(admission.judge(ip(9), true), Verdict::Refuse));
        drop(held);
        assert!(matches!(admission.judge(ip(9), true), Verdict::Accept(_)));
    }
}
