//! The searches there are, in one table: who does what in it, how much, and what it costs.
//!
//! A further search is a row here and a place in [`crate::ladder`]. What the two sides do is done by the machines
//! beside this file; what nobody may exceed is settled in [`crate::budget`].

use std::time::Duration;

use p2pdbg_nat::Ports;
use serde::{Deserialize, Serialize};

use crate::{
    Role, Technique,
    budget::{ALL_PORTS, Budget},
    caution::SLOWEST_INTERVAL,
};

/// How long one round of any search may take, however careful it is.
const LONGEST_ROUND: Duration = Duration::from_secs(30);

/// Until what a search occupies of a port block has expired: RFC 4787 REQ-5 has mappings live for two minutes.
const BLOCK_IS_FREE: Duration = Duration::from_secs(130);

/// Rounds of [`SearchPlan::Mutual`] in one attempt.
const MUTUAL_ROUNDS: u8 = 5;

/// What both sides do besides the plain checks; decided by the controlling side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SearchPlan {
    /// The hard side brackets its mappings, the other probes what lies between.
    Bracket { hard: Role },
    /// A few sockets, and probes into an inferred range.
    Block { hard: Role },
    /// Many sockets, and probes at random.
    Birthday { hard: Role },
    /// Both sides count, and both aim ahead.
    Mutual { round: u8 },
    /// At least one side draws from a block, the other from a block or by counting; both aim at what is likely.
    Scatter,
}

/// What is known of a search before it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// What a path is called that comes of it.
    pub(crate) technique: Technique,
    /// Which side opens sockets, which probes ports, or what both fire.
    pub(crate) parts: Parts,
    /// The extent of one round; none for all that the budget allows.
    round: Option<Round>,
    /// The least pause after an attempt with it.
    pub(crate) least_pause: Duration,
    /// Whether it opens so many sockets that the plain checks deserve their chance first.
    pub(crate) is_costly: bool,
}

/// Who does what in a search.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parts {
    /// The side in this role opens sockets, the other probes ports.
    OpenAndProbe {
        hard: Role,
        opening: Opening,
        probed: Probed,
    },
    /// Each side fires volleys from one socket.
    Volleys(Volleys),
}

/// The sockets of the side that opens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    /// How many, if the budget allows them.
    sockets: u32,
    /// How many in any case.
    at_least: u32,
    /// How many sockets ask the STUN server before they send to the peer.
    asking: u32,
    /// Whether they must send in order, so that their ports bracket each other.
    in_order: bool,
    /// Whether they live in the NAT's port block, and so within the share of it that a search may occupy.
    in_block: bool,
    /// Until a socket sends to the peer again.
    repeat: Duration,
}

/// Where the side that probes takes its ports from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Probed {
    /// Those that are hinted, and no others.
    Hints,
    /// Besides, those of the peer's port block, or of all if it has none.
    Block,
    /// Besides, all that a NAT may choose.
    All,
}

/// The packets that both sides fire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Volleys {
    /// Which round this is, from 0.
    pub(crate) round: u8,
    /// How many packets one pass has.
    packets: u32,
    /// Whether the budget and the share of our port block bound them further.
    is_bounded: bool,
    /// Whether the controlling side sweeps, rather than both keeping in step with the other's count.
    pub(crate) sweeps: bool,
}

/// The extent of one round of a search.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// New flows that it makes, which a careful search makes one by one.
    flows: u32,
    /// How long it takes when it is not careful.
    takes: Duration,
}

/// What a search by many sockets looks like, under a budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// How many sockets to open in all.
    pub(crate) sockets: u32,
    /// How many of them ask the STUN server before they send to the peer.
    pub(crate) asking: u32,
    /// Whether they must send in order, so that their ports bracket each other.
    pub(crate) in_order: bool,
    /// Time to live of each socket's first packet to the peer.
    pub(crate) first_ttl: Option<u8>,
    /// Until a socket sends to the peer again.
    pub(crate) repeat: Duration,
}

impl SearchPlan {
    /// What is known of the search before it begins: the table, row by row.
    pub(crate) fn row(self) -> Row {
        match self {
            Self::Bracket { hard } => bracket(hard),
            Self::Block { hard } => block(hard),
            Self::Birthday { hard } => birthday(hard),
            Self::Mutual { round } => mutual(round),
            Self::Scatter => scatter(),
        }
    }

    /// What follows within the same attempt when a round has found nothing.
    pub(crate) fn next_round(self) -> Option<Self> {
        match self {
            Self::Mutual { round } if round + 1 < MUTUAL_ROUNDS => {
                Some(Self::Mutual { round: round + 1 })
            }
            _ => None,
        }
    }
}

fn bracket(hard: Role) -> Row {
    Row {
        technique: Technique::PortPrediction,
        parts: Parts::OpenAndProbe {
            hard,
            opening: Opening {
                // Enough for the peer to see which of them others have moved on.
                sockets: 6,
                at_least: 0,
                asking: 6,
                in_order: true,
                in_block: false,
                repeat: Duration::from_millis(200),
            },
            probed: Probed::Hints,
        },
        round: Some(Round {
            flows: 120,
            takes: Duration::from_secs(3),
        }),
        least_pause: Duration::ZERO,
        is_costly: false,
    }
}

fn block(hard: Role) -> Row {
    Row {
        technique: Technique::BlockSearch,
        parts: Parts::OpenAndProbe {
            hard,
            opening: Opening {
                sockets: 64,
                at_least: 4,
                // They look at the block first, and take two ports of it each.
                asking: 12,
                in_order: false,
                in_block: true,
                repeat: Duration::from_millis(500),
            },
            probed: Probed::Block,
        },
        round: Some(Round {
            flows: 400,
            takes: Duration::from_secs(4),
        }),
        least_pause: BLOCK_IS_FREE,
        is_costly: true,
    }
}

fn birthday(hard: Role) -> Row {
    Row {
        technique: Technique::BirthdaySearch,
        parts: Parts::OpenAndProbe {
            hard,
            opening: Opening {
                sockets: u32::MAX,
                at_least: 4,
                asking: 0,
                in_order: false,
                in_block: true,
                repeat: Duration::from_millis(1500),
            },
            probed: Probed::All,
        },
        round: None,
        least_pause: Duration::ZERO,
        is_costly: true,
    }
}

/// Packets of one volley of a mutual prediction, each of which is a flow of its own. More would outlast what a guess at
/// other people's mappings is good for.
pub(super) const MUTUAL_VOLLEY: u32 = 56;

/// The same of a volley at the whole block of ports that a NAT may draw from.
const BLOCK_VOLLEY: u32 = 256;

fn mutual(round: u8) -> Row {
    Row {
        technique: Technique::MutualPrediction,
        parts: Parts::Volleys(Volleys {
            round,
            packets: MUTUAL_VOLLEY,
            is_bounded: false,
            sweeps: true,
        }),
        round: Some(Round {
            flows: MUTUAL_VOLLEY,
            takes: Duration::from_millis(1300),
        }),
        least_pause: Duration::ZERO,
        is_costly: false,
    }
}

fn scatter() -> Row {
    Row {
        technique: Technique::BlockSearch,
        parts: Parts::Volleys(Volleys {
            round: 0,
            packets: BLOCK_VOLLEY,
            is_bounded: true,
            sweeps: false,
        }),
        round: Some(Round {
            flows: BLOCK_VOLLEY,
            takes: Duration::from_secs(5),
        }),
        least_pause: BLOCK_IS_FREE,
        is_costly: true,
    }
}

impl Row {
    /// How long one round may take, with so much time between two new flows if the search is a careful one.
    pub(crate) fn duration(&self, budget: &Budget, careful: Option<Duration>) -> Duration {
        let round = self.round.unwrap_or_else(|| Round {
            flows: budget.search_ports.min(budget.search_flows),
            // All the probes that the budget allows, and a while for the last ones to arrive.
            takes: budget.interval() * budget.search_ports + Duration::from_secs(1),
        });
        let slow = careful.map_or(Duration::ZERO, |interval| {
            interval * round.flows + Duration::from_secs(1)
        });
        round.takes.max(slow).min(LONGEST_ROUND)
    }

    /// How long one round may take at the other end, of whose budget and caution nothing is known here.
    pub(crate) fn at_most(&self) -> Duration {
        let careful = self.round.as_ref().map_or(LONGEST_ROUND, |round| {
            let slow = SLOWEST_INTERVAL * round.flows + Duration::from_secs(1);
            slow.max(round.takes)
        });
        careful.min(LONGEST_ROUND)
    }
}

impl Opening {
    /// The sockets, behind a NAT that gives out ports like this.
    pub(crate) fn shape(&self, budget: &Budget, ports: Ports, first_ttl: Option<u8>) -> Shape {
        let share = match self.in_block {
            true => budget.block_share(ports).saturating_sub(self.asking),
            false => u32::MAX,
        };
        let most = (budget.search_sockets as u32).max(self.at_least);
        Shape {
            sockets: self.sockets.min(share).clamp(self.at_least, most),
            asking: self.asking,
            in_order: self.in_order,
            first_ttl,
            repeat: self.repeat,
        }
    }
}

impl Probed {
    /// The range of the ports that are not hinted, at a NAT that gives out ports like this.
    pub(crate) fn range(self, theirs: Ports) -> Option<(u16, u16)> {
        match (self, theirs) {
            (Self::Hints, _) => None,
            (Self::Block, Ports::Block { first, last }) => Some((first, last)),
            (Self::Block | Self::All, _) => Some(ALL_PORTS),
        }
    }
}

impl Volleys {
    /// Packets of one pass from behind a NAT that gives out ports like this.
    pub(crate) fn size(&self, budget: &Budget, ours: Ports) -> u32 {
        match self.is_bounded {
            true => (self.packets.min(budget.block_share(ours)))
                .min(budget.search_ports)
                .max(1),
            false => self.packets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARD: Role = Role::Controlled;

    const EVERY: [SearchPlan; 5] = [
        SearchPlan::Bracket { hard: HARD },
        SearchPlan::Block { hard: HARD },
        SearchPlan::Birthday { hard: HARD },
        SearchPlan::Mutual { round: 0 },
        SearchPlan::Scatter,
    ];

    fn sockets(plan: SearchPlan, budget: &Budget, ports: Ports) -> Option<u32> {
        match plan.row().parts {
            Parts::OpenAndProbe { opening, .. } => Some(opening.shape(budget, ports, None).sockets),
            Parts::Volleys(_) => None,
        }
    }

    #[test]
    fn search_in_a_port_block_takes_no_more_than_its_share() {
        let budget = Budget::default();
        let block = Ports::Block {
            first: 2000,
            last: 2255,
        };
        // A quarter of 256.
        for plan in [EVERY[1], EVERY[2]] {
            let Parts::OpenAndProbe { opening, .. } = plan.row().parts else {
                panic!("{plan:?}");
            };
            let taken = opening.shape(&budget, block, None).sockets + opening.asking;
            assert_eq!(taken, 64, "{plan:?}");
        }
        let Parts::Volleys(volleys) = SearchPlan::Scatter.row().parts else {
            panic!();
        };
        assert_eq!(volleys.size(&budget, block), 64);
        assert_eq!(volleys.size(&budget, Ports::Preserved), 256);
    }

    #[test]
    fn search_opens_no_more_sockets_than_the_budget_has() {
        let budget = Budget {
            search_sockets: 5,
            ..Budget::default()
        };
        let opened = EVERY.map(|plan| sockets(plan, &budget, Ports::Random));
        assert_eq!(opened, [Some(5), Some(5), Some(5), None, None]);
        let usual = EVERY.map(|plan| sockets(plan, &Budget::default(), Ports::Random));
        assert_eq!(usual, [Some(6), Some(64), Some(512), None, None]);
    }

    #[test]
    fn careful_search_takes_longer_but_never_more_than_half_a_minute() {
        let budget = Budget::default();
        for plan in EVERY {
            let quick = plan.row().duration(&budget, None);
            let careful = plan
                .row()
                .duration(&budget, Some(Duration::from_millis(50)));
            assert!(quick < careful && careful <= LONGEST_ROUND, "{plan:?}");
        }
    }

    #[test]
    fn mutual_prediction_has_five_rounds_and_no_other_search_has_a_second() {
        let rounds = std::iter::successors(Some(EVERY[3]), |plan| plan.next_round());
        assert_eq!(rounds.count(), 5);
        assert!([0, 1, 2, 4].map(|n| EVERY[n].next_round()) == [None; 4]);
    }
}
