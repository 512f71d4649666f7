//! Building this side's part of a search from what is known of both NATs, within the budget.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use p2pdbg_nat::Ports;

use super::{Engine, peer::Remote};
use crate::{
    Family, Role, SocketId, candidate,
    search::{
        Search, SearchPlan, aims,
        opener::{Opener, Shape},
        prober::Prober,
        volley::{Aim, MUTUAL_SIZE, Orders, Volley},
    },
};

/// Sockets that bracket a sequential NAT's mappings.
const BRACKET_SOCKETS: u32 = 6;

/// Sockets in a port block, if the block is large enough.
const BLOCK_SOCKETS: u32 = 64;

/// How many of a block's sockets look at the block first. Each of them takes two ports of it.
const BLOCK_ASKING: u32 = 12;

/// Packets of a volley into the peer's block from a NAT that counts.
const SCATTER_SIZE: u32 = 256;

/// Addresses of the peer that an opener sends to.
const MAX_TARGETS: usize = 2;

/// All ports that a NAT may choose.
const ALL_PORTS: (u16, u16) = (1024, u16::MAX);

impl Engine {
    /// This side's part of a search; `None` when it has none, for instance because the rendezvous saw the peer at no
    /// address that could be aimed at.
    pub(super) fn build_search(&mut self, plan: SearchPlan, attempt: u32) -> Option<Search> {
        let remote = self.remote.as_ref()?;
        let addresses = aims(&remote.report.external, self.seen.iter().copied());
        addresses.first()?;
        let theirs = remote.report.ports;
        let hard = match plan {
            SearchPlan::Bracket { hard }
            | SearchPlan::Block { hard }
            | SearchPlan::Birthday { hard } => hard,
            SearchPlan::Mutual { .. } | SearchPlan::Scatter => {
                let orders = self.volley_orders(plan, attempt, addresses, theirs)?;
                return Some(Search::fire(plan, Volley::new(self.now, orders)));
            }
        };
        if hard == self.config.role {
            let targets = self.targets(remote);
            targets.first()?;
            let shape = self.opener_shape(plan);
            let stride = match self.report.ports {
                Ports::Sequential { stride, .. } => stride,
                _ => 1,
            };
            let first = self.reserve_sockets(shape.sockets);
            let server = self.main_server();
            let opener = Opener::new(self.now, attempt, shape, first, targets, server, stride);
            Some(Search::open(plan, opener))
        } else {
            let range = match (plan, theirs) {
                (SearchPlan::Bracket { .. }, _) => None,
                (SearchPlan::Block { .. }, Ports::Block { first, last }) => Some((first, last)),
                _ => Some(ALL_PORTS),
            };
            let most = self.config.budget.search_ports;
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
            .map(|c| candidate::canonical(c.address));
        let seen =
            |a: &SocketAddr| a.is_ipv4() && self.seen.contains(&a.ip()) && candidate::is_usable(*a);
        named.filter(seen).take(MAX_TARGETS).collect()
    }

    fn opener_shape(&self, plan: SearchPlan) -> Shape {
        let most = self.config.budget.search_sockets as u32;
        let first_ttl = self.config.timing.first_ttl;
        match plan {
            SearchPlan::Bracket { .. } => Shape {
                sockets: BRACKET_SOCKETS.min(most),
                asking: BRACKET_SOCKETS,
                in_order: true,
                first_ttl,
                repeat: Duration::from_millis(200),
            },
            SearchPlan::Block { .. } => Shape {
                sockets: BLOCK_SOCKETS
                    .min(self.block_share().saturating_sub(BLOCK_ASKING))
                    .clamp(4, most.max(4)),
                asking: BLOCK_ASKING,
                in_order: false,
                first_ttl,
                repeat: Duration::from_millis(500),
            },
            _ => Shape {
                sockets: most,
                asking: 0,
                in_order: false,
                first_ttl,
                repeat: Duration::from_millis(1500),
            },
        }
    }

    /// Mappings that a search may occupy in our port block, if there is one.
    fn block_share(&self) -> u32 {
        match self.report.ports {
            Ports::Block { first, last } => {
                let width = u32::from(last.saturating_sub(first)) + 1;
                width * self.config.budget.block_share_percent / 100
            }
            _ => u32::MAX,
        }
    }

    fn volley_orders(
        &mut self,
        plan: SearchPlan,
        attempt: u32,
        addresses: Vec<IpAddr>,
        theirs: Ports,
    ) -> Option<Orders> {
        let budget = self.config.budget;
        let (round, size) = match plan {
            SearchPlan::Mutual { round } => (round, MUTUAL_SIZE),
            _ => (
                0,
                SCATTER_SIZE
                    .min(self.block_share())
                    .min(budget.search_ports),
            ),
        };
        let sweeps = plan != SearchPlan::Scatter && self.config.role == Role::Controlling;
        let aim = match theirs {
            Ports::Sequential { stride, .. } if sweeps => Aim::Sweep { stride },
            Ports::Sequential { stride, .. } => Aim::InStep { stride },
            Ports::Block { first, last } => Aim::Range { first, last },
            _ => return None,
        };
        Some(Orders {
            attempt,
            round,
            server: self.main_server()?,
            socket: self.reserve_sockets(1),
            addresses,
            aim,
            size: size.max(1),
            first_ttl: self.config.timing.first_ttl,
            interval: Duration::from_secs(1) / budget.packets_per_second.max(1),
        })
    }

    fn main_server(&self) -> Option<SocketAddr> {
        self.gathering.servers(Family::V4).first().copied()
    }

    /// Numbers for sockets that are about to be opened.
    pub(super) fn reserve_sockets(&mut self, count: u32) -> SocketId {
        let first = SocketId(self.next_socket);
        self.next_socket += count;
        first
    }
}
