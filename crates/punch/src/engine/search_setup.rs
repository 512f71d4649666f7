//! Building this side's part of a search from what is known of both NATs, within the budget.

use std::net::{IpAddr, SocketAddr};

use p2pdbg_nat::Ports;
use p2pdbg_proto::address;

use super::{Engine, peer::Remote};
use crate::{
    Family, Role,
    budget::OPENER_TARGETS,
    candidate,
    search::{
        Search, SearchPlan, aims,
        plan::{Parts, Volleys},
        prober::Prober,
        socket_opener::SocketOpener,
        volley::{Aim, Orders, Volley},
    },
};

impl Engine {
    /// This side's part of a search; `None` when it has none, for instance because the rendezvous saw the peer at no
    /// address that could be aimed at.
    pub(super) fn build_search(&mut self, plan: SearchPlan, attempt: u32) -> Option<Search> {
        let remote = self.peer.remote.as_ref()?;
        // A rendezvous with a poor view sees its own proxy: nothing is to be searched there.
        let seen = self.peer.seen.iter().copied();
        let inside = remote
            .report
            .external
            .iter()
            .any(|ip| address::is_private(*ip));
        let seen = seen.filter(|ip| inside || !address::is_private(*ip));
        let addresses = aims(&remote.report.external, seen);
        addresses.first()?;
        let theirs = remote.report.ports;
        let (hard, opening, probed) = match plan.row().parts {
            Parts::OpenAndProbe {
                hard,
                opening,
                probed,
            } => (hard, opening, probed),
            Parts::Volleys(volleys) => {
                let orders = self.volley_orders(&volleys, attempt, addresses, theirs)?;
                return Some(Search::fire(plan, Volley::new(self.now, orders)));
            }
        };
        if hard == self.config.role {
            let targets = self.targets(remote);
            targets.first()?;
            let first_ttl = self.config.timing.first_ttl;
            let budget = self.search.caution.budget(&self.config.budget);
            let shape = opening.shape(&budget, self.nat.report.ports, first_ttl);
            let stride = match self.nat.report.ports {
                Ports::Sequential { stride, .. } => stride,
                _ => 1,
            };
            let first = self.search.reserve_sockets(shape.sockets);
            let server = self.main_server();
            let opener =
                SocketOpener::new(self.now, attempt, shape, first, targets, server, stride);
            Some(Search::open(plan, opener))
        } else {
            let range = probed.range(theirs);
            let most = self.search.caution.budget(&self.config.budget).search_ports;
            Some(Search::probe(
                plan,
                Prober::new(self.now, attempt, addresses, range, most),
            ))
        }
    }

    /// Where an opener sends: what the peer named and the rendezvous saw.
    fn targets(&self, remote: &Remote) -> Vec<SocketAddr> {
        let named = remote
            .candidates
            .iter()
            .map(|c| address::canonical(c.address));
        let seen = |a: &SocketAddr| {
            a.is_ipv4() && self.peer.seen.contains(&a.ip()) && candidate::is_usable(*a)
        };
        named.filter(seen).take(OPENER_TARGETS).collect()
    }

    fn volley_orders(
        &mut self,
        volleys: &Volleys,
        attempt: u32,
        addresses: Vec<IpAddr>,
        theirs: Ports,
    ) -> Option<Orders> {
        let budget = self.search.caution.budget(&self.config.budget);
        let sweeps = volleys.sweeps && self.config.role == Role::Controlling;
        let aim = match theirs {
            Ports::Sequential { stride, .. } if sweeps => Aim::Sweep { stride },
            Ports::Sequential { stride, .. } => Aim::InStep { stride },
            Ports::Block { first, last } => Aim::Range { first, last },
            _ => return None,
        };
        Some(Orders {
            attempt,
            round: volleys.round,
            server: self.main_server()?,
            socket: self.search.reserve_sockets(1),
            addresses,
            aim,
            size: volleys.size(&budget, self.nat.report.ports),
            first_ttl: self.config.timing.first_ttl,
            interval: self.careful_interval().unwrap_or(budget.interval()),
        })
    }

    fn main_server(&self) -> Option<SocketAddr> {
        // One that is silent, or sees a proxy in place of us, would have a search hint at nothing.
        let seeing = self.host.gathering.seeing();
        let any = || self.host.gathering.servers(Family::V4);
        seeing.first().copied().or_else(|| any().first().copied())
    }
}
