//! Searches for the port of a NAT that gives every connection another one.
//!
//! One side of a search has the hard NAT and *opens*: fresh sockets of its send to the other side's one address, and
//! each gets a mapping. The other side *probes*: it sends to many ports of the hard NAT's address. They meet when a
//! probe hits a mapping. How many sockets and which ports follow from what is known: the mappings of a sequential NAT
//! can be bracketed between two that a STUN server saw, those of a block lie in a small range, and where nothing is
//! known the birthday paradox helps. When both NATs are hard, neither side opens nor probes alone: see [`volley`].
//!
//! Either side sends many packets to one address, so that address must be one that the rendezvous itself saw the peer
//! use, never one that only the peer claims.

pub(crate) mod plan;
pub(crate) mod prober;
mod shot;
pub(crate) mod socket_opener;
pub(crate) mod volley;

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

pub(crate) use self::{
    plan::SearchPlan,
    shot::{Hints, Shot},
};
use self::{prober::Prober, socket_opener::SocketOpener, volley::Volley};
use crate::{SocketId, random::Random};

/// A search under way: this side's part of the plan.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) plan: SearchPlan,
    side: Side,
}

#[derive(Debug)]
enum Side {
    Opener(SocketOpener),
    Prober(Prober),
    Volley(Volley),
}

impl Search {
    pub(crate) fn open(plan: SearchPlan, opener: SocketOpener) -> Self {
        Self {
            plan,
            side: Side::Opener(opener),
        }
    }

    pub(crate) fn probe(plan: SearchPlan, prober: Prober) -> Self {
        Self {
            plan,
            side: Side::Prober(prober),
        }
    }

    pub(crate) fn fire(plan: SearchPlan, volley: Volley) -> Self {
        Self {
            plan,
            side: Side::Volley(volley),
        }
    }

    /// The sockets that belong to the search.
    pub(crate) fn sockets(&self) -> Vec<SocketId> {
        match &self.side {
            Side::Opener(opener) => opener.sockets().collect(),
            Side::Prober(_) => Vec::new(),
            Side::Volley(volley) => vec![volley.socket()],
        }
    }

    /// Whether a packet between this socket and this address would be the search's doing.
    pub(crate) fn explains(&self, socket: SocketId, remote: SocketAddr) -> bool {
        match &self.side {
            Side::Opener(opener) => opener.sockets().any(|s| s == socket),
            Side::Prober(prober) => socket == SocketId::V4 && prober.aims_at(remote.ip()),
            Side::Volley(volley) => volley.socket() == socket,
        }
    }

    pub(crate) fn on_opened(&mut self, now: Instant, socket: SocketId) {
        match &mut self.side {
            Side::Opener(opener) => opener.on_opened(now, socket),
            Side::Prober(_) => {}
            Side::Volley(volley) => volley.on_opened(now, socket),
        }
    }

    pub(crate) fn on_failed(&mut self, socket: SocketId) {
        if let Side::Opener(opener) = &mut self.side {
            opener.on_failed(socket);
        }
    }

    /// A server saw a socket's mapping; `foreign` is what others make behind our NAT, per 1,000 seconds.
    pub(crate) fn on_mapped(
        &mut self,
        now: Instant,
        socket: SocketId,
        mapped: SocketAddr,
        foreign: u32,
    ) {
        match &mut self.side {
            Side::Opener(opener) => opener.on_mapped(socket, mapped),
            Side::Prober(_) => {}
            Side::Volley(volley) => volley.on_mapped(now, socket, mapped, foreign),
        }
    }

    pub(crate) fn on_hints(&mut self, now: Instant, hints: &Hints) {
        match &mut self.side {
            Side::Opener(_) => {}
            Side::Prober(prober) => prober.on_hints(now, hints),
            Side::Volley(volley) => volley.on_hints(now, hints),
        }
    }

    /// What is due now, if anything.
    pub(crate) fn poll(&mut self, now: Instant, random: &mut Random) -> Option<Shot> {
        match &mut self.side {
            Side::Opener(opener) => opener.poll(now),
            Side::Prober(prober) => prober.poll(now, random),
            Side::Volley(volley) => volley.poll(now, random),
        }
    }

    /// New hints for the peer, if there are any.
    pub(crate) fn poll_hints(&mut self, now: Instant) -> Option<Hints> {
        match &mut self.side {
            Side::Opener(opener) => opener.poll_hints(now),
            Side::Prober(_) => None,
            Side::Volley(volley) => volley.poll_hints(),
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        match &self.side {
            Side::Opener(opener) => opener.next_at(),
            Side::Prober(prober) => prober.next_at(),
            Side::Volley(volley) => volley.next_at(),
        }
    }
}

/// The addresses of the peer's at which a search may aim: those that it claims and that the rendezvous saw, or, if it
/// claims none of these, those that the rendezvous saw.
pub(crate) fn aims(claimed: &[IpAddr], seen: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let seen: Vec<IpAddr> = seen.filter(IpAddr::is_ipv4).collect();
    let both: Vec<IpAddr> = claimed
        .iter()
        .copied()
        .filter(|ip| seen.contains(ip))
        .collect();
    if both.is_empty() { seen } else { both }
}
