//! What became of many pairs: how many went direct, how, how soon and at what cost.

use std::{collections::BTreeMap, time::Duration};

use p2pdbg_punch::Technique;

use crate::{
    population::{Mix, Place},
    simulation::Simulation,
};

/// How long a pair is given to go direct. Attempts go on afterwards, and are not counted.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How long a direct pair then stays idle.
pub const IDLE: Duration = Duration::from_secs(120);

/// What became of one pair.
#[derive(Clone, Debug)]
pub struct Fate {
    /// The seed from which the pair was drawn.
    pub seed: u64,
    /// The kinds of network that the two are in.
    pub places: [Place; 2],
    /// Whether UDP gets out at both ends.
    pub udp: bool,
    /// Whether at either end nothing gets out but TCP to the ports of the web.
    pub web_only: bool,
    /// How many of the ends have a NAT that gives each destination another port.
    pub hard: usize,
    /// How it went direct and how soon, if it did.
    pub direct: Option<(Technique, Duration)>,
    /// Why it did not, as the connector says.
    pub why: Option<String>,
    /// Packets of each end until it was direct, or until [`DEADLINE`].
    pub packets: [u64; 2],
    /// The most sockets that either end had open.
    pub sockets: usize,
    /// Whether a packet of 1,200 bytes got through the path, each way.
    pub carries: bool,
    /// Whether the path still stood after [`IDLE`] and had never been lost.
    pub lasts: bool,
}

impl Fate {
    /// Lets the pair of this seed meet.
    #[must_use]
    pub fn of(mix: &Mix, seed: u64) -> Self {
        let pair = mix.pair(seed);
        let mut simulation = pair.scenario.build();
        simulation.start();
        simulation.run_until(DEADLINE, Simulation::is_direct);
        let outcome = simulation.outcome();
        let direct = outcome.technique.map(|[a, _]| a).zip(outcome.direct);
        let lasts = direct.is_some() && {
            let end = simulation.world.now() + IDLE;
            simulation.run_until(end, |_| false);
            simulation.is_direct() && (0..2).all(|n| simulation.lost(n).is_none())
        };
        let [a, b] = &pair.ends;
        let why = outcome.why.into_iter().flatten().next();
        Self {
            seed,
            places: [a.place, b.place],
            udp: a.udp && b.udp,
            web_only: a.web_only || b.web_only,
            hard: usize::from(a.hard) + usize::from(b.hard),
            direct,
            why: why.filter(|_| direct.is_none()),
            packets: outcome.packets,
            sockets: outcome.sockets.into_iter().max().unwrap_or(0),
            carries: outcome.carries,
            lasts,
        }
    }
}

/// What became of many pairs.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    fates: Vec<Fate>,
}

impl Survey {
    /// Pairs of a mix, by their seeds.
    #[must_use]
    pub fn of(mix: &Mix, seeds: impl IntoIterator<Item = u64>) -> Self {
        let fates = seeds.into_iter().map(|seed| Fate::of(mix, seed));
        Self {
            fates: fates.collect(),
        }
    }

    /// Adds the pairs of another survey.
    pub fn extend(&mut self, other: Self) {
        self.fates.extend(other.fates);
    }

    /// What became of all pairs, in the order in which they were drawn.
    #[must_use]
    pub fn fates(&self) -> &[Fate] {
        &self.fates
    }

    /// The pairs for which this holds.
    #[must_use]
    pub fn those(&self, holds: impl Fn(&Fate) -> bool) -> Self {
        let fates = self.fates.iter().filter(|fate| holds(fate));
        Self {
            fates: fates.cloned().collect(),
        }
    }

    /// The share of the pairs for which this holds, 0 of none.
    #[must_use]
    pub fn share(&self, holds: impl Fn(&Fate) -> bool) -> f64 {
        let those = self.fates.iter().filter(|fate| holds(fate)).count();
        those as f64 / self.fates.len().max(1) as f64
    }

    /// The share that went direct.
    #[must_use]
    pub fn direct(&self) -> f64 {
        self.share(|fate| fate.direct.is_some())
    }

    /// The times to direct, shortest first.
    #[must_use]
    pub fn times(&self) -> Vec<Duration> {
        let mut times: Vec<Duration> = self
            .fates
            .iter()
            .filter_map(|f| Some(f.direct?.1))
            .collect();
        times.sort_unstable();
        times
    }

    /// Packets of each end of each pair, fewest first.
    #[must_use]
    pub fn packets(&self) -> Vec<u64> {
        let mut packets: Vec<u64> = self.fates.iter().flat_map(|f| f.packets).collect();
        packets.sort_unstable();
        packets
    }

    /// The pairs by the technique that made them direct, most frequent first.
    #[must_use]
    pub fn by_technique(&self) -> Vec<(Technique, Self)> {
        let mut by: BTreeMap<Technique, Self> = BTreeMap::new();
        for fate in &self.fates {
            if let Some((technique, _)) = fate.direct {
                by.entry(technique).or_default().fates.push(fate.clone());
            }
        }
        most_first(by)
    }

    /// The pairs that stayed on the relay, by the reason.
    #[must_use]
    pub fn by_reason(&self) -> Vec<(String, Self)> {
        let mut by: BTreeMap<String, Self> = BTreeMap::new();
        for fate in &self.fates {
            if let Some(why) = &fate.why {
                by.entry(why.clone()).or_default().fates.push(fate.clone());
            }
        }
        most_first(by)
    }
}

fn most_first<K>(by: BTreeMap<K, Survey>) -> Vec<(K, Survey)> {
    let mut all: Vec<(K, Survey)> = by.into_iter().collect();
    all.sort_by_key(|(_, survey)| std::cmp::Reverse(survey.fates.len()));
    all
}

/// The value below which this share of the sorted values lies; `None` of none.
#[must_use]
pub fn quantile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    sorted
        .get(((sorted.len() as f64 * share) as usize).min(last))
        .copied()
}
