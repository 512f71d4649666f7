//! The NAT in front of this host, as far as servers showed it: the report, and the sample that refines it.

use std::net::SocketAddr;

use p2pdbg_nat::{Count, NatReport, Ports};

use super::{Engine, host::LocalHost};
use crate::{
    Family, PunchEvent, SocketId, budget,
    nat_observation::{self, Sample},
    own_mappings::OwnMappings,
    sampling::Sampling,
    stun_server_view,
    transactions::{Purpose, Sent},
};

/// What is known of our NAT, of this generation of the network.
#[derive(Debug, Default)]
pub(super) struct NatView {
    pub(super) report: NatReport,
    /// The sample of our NAT's ports that is being taken, if one is.
    pub(super) sampling: Option<Sampling>,
    /// What it showed; taken once a generation.
    sampled: Option<Vec<Sample>>,
    /// The earliest and the latest place to which a NAT that counts had counted.
    counted: Option<(Count, Count)>,
}

impl NatView {
    /// Judges anew. True if the judgement is another one.
    fn refresh(&mut self, host: &LocalHost, own_mappings: &OwnMappings) -> bool {
        let (poor, samples): (Vec<_>, Vec<_>) = host
            .gathering
            .samples()
            .partition(stun_server_view::is_poor_view);
        let all = samples.iter().chain(self.sampled.iter().flatten());
        let counts = counts(all, own_mappings);
        if let ([first, .., last], Some(_)) = (counts.as_slice(), &self.sampled) {
            self.counted = Some((*first, *last));
        }
        let mut report = nat_observation::report(
            &samples,
            self.sampled.as_deref(),
            &counts,
            &host.addresses,
            host.port(SocketId::V4),
        );
        // UDP does get out, which is all that a poor view shows.
        report.answered |= poor.iter().any(|s| s.mapped.is_ipv4());
        report.answered_v6 |= poor.iter().any(|s| s.mapped.is_ipv6());
        report.poor_view = samples.is_empty() && !poor.is_empty();
        let changed = report != self.report;
        self.report = report;
        changed
    }

    /// Forgets the sample; the sockets of one under way are to be closed.
    pub(super) fn forget_sample(&mut self) -> Vec<SocketId> {
        self.sampled = None;
        let sampling = self.sampling.take();
        sampling.map(|s| s.sockets().to_vec()).unwrap_or_default()
    }

    /// What others make behind the same NAT, from the first mapping that a server saw to this one; per 1,000 seconds.
    pub(super) fn foreign(
        &mut self,
        own_mappings: &OwnMappings,
        sent: Sent,
        mapped: SocketAddr,
    ) -> u32 {
        let Ports::Sequential {
            stride,
            foreign_per_kilosecond,
        } = self.report.ports
        else {
            return 0;
        };
        let place = own_mappings.place(sent.socket, sent.to);
        let (Some((first, last)), Some(place)) = (&mut self.counted, place) else {
            return foreign_per_kilosecond;
        };
        let count = Count {
            at: sent.at,
            place,
            port: mapped.port(),
        };
        if count.place > last.place {
            *last = count;
        }
        p2pdbg_nat::foreign(first, last, stride)
    }
}

/// The IPv4 samples in the order in which the NAT made the mappings.
fn counts<'a>(samples: impl Iterator<Item = &'a Sample>, own_mappings: &OwnMappings) -> Vec<Count> {
    let count = |s: &Sample| {
        Some(Count {
            at: s.asked,
            place: own_mappings.place(s.socket, s.server)?,
            port: s.mapped.port(),
        })
    };
    let mut counts: Vec<Count> = samples
        .filter(|s| s.mapped.is_ipv4())
        .filter_map(count)
        .collect();
    counts.sort_by_key(|c| c.place);
    counts
}

impl Engine {
    pub(super) fn ask_servers(&mut self) {
        while let Some(question) = self.host.gathering.poll(self.now) {
            self.out.request(self.now, question, None, Purpose::Server);
        }
        if !self.is_set_up() {
            return;
        }
        let before = self.host.gathering.is_settled();
        if self.host.gathering.check_settled(self.now) && !before {
            self.update_report();
            for family in [Family::V4, Family::V6] {
                if self.host.gathering.answered(family) == Some(false) {
                    self.out.event(PunchEvent::StunSilent(family));
                }
            }
        }
    }

    pub(super) fn update_report(&mut self) {
        if self.nat.refresh(&self.host, &self.out.own_mappings) {
            self.host.signal_due = true;
            if self.is_controlling() {
                self.reconsider_search();
            }
            self.out.event(PunchEvent::Nat(self.nat.report.clone()));
        }
    }

    /// Takes a sample of a NAT whose ports depend on the destination, or may do so, once for each generation.
    pub(super) fn sample_if_needed(&mut self) {
        if !self.nat.report.is_unclear()
            || self.nat.sampling.is_some()
            || self.nat.sampled.is_some()
            || !self.host.gathering.is_settled()
        {
            return;
        }
        // Where a single port answers, fresh sockets at that port show at least how ports are given out.
        let servers = self.host.gathering.seeing();
        let first = self.search.reserve_sockets(budget::SAMPLING_SOCKETS);
        let sampling = Sampling::new(self.now, first, &servers);
        self.out.open_sockets(sampling.sockets());
        self.nat.sampling = Some(sampling);
    }

    pub(super) fn continue_sampling(&mut self) {
        let Some(sampling) = &mut self.nat.sampling else {
            return;
        };
        let pacer = &mut self.attempts.pacer;
        while pacer.next_at() <= self.now
            && let Some(question) = sampling.poll(self.now)
        {
            pacer.take(self.now);
            self.out.request(self.now, question, None, Purpose::Server);
        }
        if let Some(samples) = sampling.finished(self.now) {
            let sockets = self.nat.forget_sample();
            self.close_sockets(&sockets, None);
            self.nat.sampled = Some(samples);
            self.update_report();
        }
    }
}
