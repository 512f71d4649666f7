//! Which technique comes next: an order made from what both NATs showed, that leaves nothing out for good.
//!
//! Where an attempt failed, the same again mostly fails again (97.6 % of the successes of libp2p's hole punching come
//! at the first attempt), so every attempt of a ladder does something else.

use p2pdbg_nat::{Class, NatReport};

use crate::{Role, search::SearchPlan};

/// What the attempts add to the plain checks, one after the other. After the last, the ladder begins again.
pub(crate) fn ladder(controlling: &NatReport, controlled: &NatReport) -> Vec<Option<SearchPlan>> {
    use Role::{Controlled, Controlling};
    let bracket = |hard| Some(SearchPlan::Bracket { hard });
    let block = |hard| Some(SearchPlan::Block { hard });
    let birthday = |hard| Some(SearchPlan::Birthday { hard });
    let mutual = Some(SearchPlan::Mutual { round: 0 });
    let one_hard = |how: Class, hard| match how {
        Class::Sequential => vec![bracket(hard), birthday(hard)],
        Class::Block => vec![block(hard), birthday(hard), bracket(hard)],
        _ => vec![birthday(hard), birthday(hard), bracket(hard)],
    };
    match (controlling.class(), controlled.class()) {
        (Class::UdpBlocked, _) | (_, Class::UdpBlocked) => vec![None],
        // Whatever keeps these apart does not show: perhaps a mapping that depends on the address alone.
        (ours, theirs) if ours.is_easy() && theirs.is_easy() => {
            let mut all = vec![None, bracket(Controlled), bracket(Controlling)];
            // Where only one server answered, nothing is known of the mapping.
            for (report, hard) in [(controlled, Controlled), (controlling, Controlling)] {
                if report.mapping.is_none() {
                    all.push(birthday(hard));
                }
            }
            all
        }
        (easy, how) if easy.is_easy() => one_hard(how, Controlled),
        (how, easy) if easy.is_easy() => one_hard(how, Controlling),
        (Class::Sequential, Class::Sequential) => vec![mutual],
        (Class::Sequential | Class::Block, Class::Sequential | Class::Block) => {
            vec![Some(SearchPlan::Scatter)]
        }
        // Two NATs of which one draws from all ports: 54,000 probes for an even chance. Leave it to the relay.
        _ => vec![None],
    }
}

/// What attempt number `attempt` adds, and whether the ladder has steps left after it.
pub(crate) fn step(ladder: &[Option<SearchPlan>], attempt: u32) -> (Option<SearchPlan>, bool) {
    let position = attempt as usize % ladder.len().max(1);
    let first_time = (attempt as usize) < ladder.len();
    let plan = ladder.get(position).copied().flatten();
    (plan, first_time && position + 1 < ladder.len())
}

#[cfg(test)]
mod tests {
    use p2pdbg_nat::{Mapping, Ports};

    use super::*;

    fn report(mapping: Mapping, ports: Ports) -> NatReport {
        NatReport {
            answered: true,
            mapping: Some(mapping),
            ports,
            ..NatReport::default()
        }
    }

    #[test]
    fn an_easy_pair_begins_with_plain_checks_and_still_tries_the_rest() {
        let easy = report(Mapping::EndpointIndependent, Ports::Preserved);
        let ladder = ladder(&easy, &easy);
        assert_eq!(step(&ladder, 0), (None, true));
        assert!(ladder.len() > 1 && ladder[1..].iter().all(Option::is_some));
        assert_eq!(step(&ladder, 3), (None, false));
    }

    #[test]
    fn the_hard_side_opens_and_the_kind_of_its_ports_says_how() {
        let easy = report(Mapping::EndpointIndependent, Ports::Preserved);
        let random = report(Mapping::AddressAndPortDependent, Ports::Random);
        let block = report(
            Mapping::AddressAndPortDependent,
            Ports::Block {
                first: 2000,
                last: 3000,
            },
        );
        let first = |a, b| step(&ladder(a, b), 0).0;
        let hard = Role::Controlled;
        assert_eq!(first(&easy, &random), Some(SearchPlan::Birthday { hard }));
        assert_eq!(first(&easy, &block), Some(SearchPlan::Block { hard }));
        let hard = Role::Controlling;
        assert_eq!(first(&random, &easy), Some(SearchPlan::Birthday { hard }));
        assert_eq!(first(&random, &random), None);
        assert_eq!(first(&NatReport::default(), &easy), None);
    }
}
