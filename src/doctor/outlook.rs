//! The forecast: how often a pair of networks goes direct, how soon, and how.
//!
//! The figures are those of docs/TRAVERSAL.md (200 seeded runs of the engine each, 40 ms, no loss, within 20 s); a test
//! holds the table here against the page.

use std::fmt;

use p2pdbg_nat::Class;
use p2pdbg_punch::Technique;
use serde::Serialize;

/// How two such networks get along.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "outlook", rename_all = "snake_case")]
pub enum Outlook {
    /// They go direct, nearly always.
    Direct {
        /// Until both ends have agreed on the path, the median in seconds.
        seconds: f32,
        /// The technique that finds the path.
        #[serde(serialize_with = "by_name")]
        technique: Technique,
    },
    /// Direct at the first attempts now and then; those that follow every few minutes add up.
    Sometimes {
        /// The share within 20 s.
        percent: u8,
        /// The share within an hour.
        percent_in_an_hour: u8,
        /// The technique that finds the path.
        #[serde(serialize_with = "by_name")]
        technique: Technique,
    },
    /// Not direct: the relay carries everything.
    Relayed,
}

fn by_name<S: serde::Serializer>(technique: &Technique, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(technique.name())
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct { seconds, technique } => {
                write!(f, "direct in {seconds:.1} s, {technique}")
            }
            Self::Sometimes {
                percent,
                percent_in_an_hour,
                ..
            } => write!(
                f,
                "relay, then direct: {percent} % soon, {percent_in_an_hour} % in 1 h"
            ),
            Self::Relayed => f.write_str("relay"),
        }
    }
}

/// Median seconds of the pairs that nearly always go direct: connector down, listener across, in the order of
/// [`Class::ALL`]. Above 9 are pairs that [`outlook`] treats apart.
#[rustfmt::skip]
const SECONDS: [[f32; 7]; 7] = [
    [0.09, 0.09, 0.09, 0.09, 0.11, 0.11, 0.11],
    [0.09, 0.09, 0.09, 0.09, 0.11, 0.11, 0.11],
    [0.09, 0.09, 0.09, 0.09, 0.11, 0.11, 0.11],
    [0.09, 0.09, 0.09, 0.09, 0.16, 0.27, 1.40],
    [0.11, 0.11, 0.11, 0.16, 0.40, 9.90, 9.90],
    [0.11, 0.11, 0.11, 0.27, 9.90, 9.90, 9.90],
    [0.11, 0.11, 0.11, 1.40, 9.90, 9.90, 9.90],
];

/// What to expect of a session between two such networks.
pub fn outlook(here: Class, there: Class) -> Outlook {
    use Class as C;
    let (easy, hard) = (here.min(there), here.max(there));
    let technique = match (easy, hard) {
        (_, C::UdpBlocked) | (C::Sequential | C::Block | C::Random, C::Random) => {
            return Outlook::Relayed;
        }
        (C::Sequential, C::Block) => {
            return Outlook::Sometimes {
                percent: 22,
                percent_in_an_hour: 97,
                technique: Technique::BlockSearch,
            };
        }
        (C::Block, C::Block) => {
            return Outlook::Sometimes {
                percent: 4,
                percent_in_an_hour: 58,
                technique: Technique::BlockSearch,
            };
        }
        (C::Sequential, _) => Technique::MutualPrediction,
        (C::Open, _) => Technique::PublicAddress,
        (C::PortRestricted, C::Sequential) => Technique::PortPrediction,
        (C::PortRestricted, C::Block) => Technique::BlockSearch,
        (C::PortRestricted, C::Random) => Technique::BirthdaySearch,
        (_, C::Sequential | C::Block | C::Random) => Technique::PeerReflexive,
        _ => Technique::HolePunch,
    };
    Outlook::Direct {
        seconds: SECONDS[easy as usize][hard as usize],
        technique,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/TRAVERSAL.md");

    /// The kind that a heading of the page's matrix names, of those that the forecast tells apart.
    fn kind(heading: &str) -> Option<Class> {
        Some(match heading.trim().trim_matches('*') {
            "none" => Class::Open,
            "full cone" => Class::FullCone,
            "addr.-restr." => Class::AddressRestricted,
            "port-restr." => Class::PortRestricted,
            "sequential" => Class::Sequential,
            "block of 1,000" => Class::Block,
            "random" => Class::Random,
            "UDP blocked" => Class::UdpBlocked,
            _ => return None,
        })
    }

    fn cells(line: &str) -> Vec<&str> {
        let line = line.trim().trim_matches('|');
        line.split('|').map(str::trim).collect()
    }

    /// What the page measured for each pair: the share in percent, and the median in seconds.
    fn measured() -> Vec<(Class, Class, f32, Option<f32>)> {
        let (_, table) = PAGE.split_once("### RTT 40 ms, 0 % loss").unwrap();
        let mut rows = table.lines().skip_while(|line| !line.starts_with('|'));
        let heads = cells(rows.next().unwrap());
        let mut found = Vec::new();
        for row in rows.skip(1).take_while(|line| line.starts_with('|')) {
            let row = cells(row);
            for (head, cell) in heads.iter().zip(&row).skip(1) {
                let (Some(here), Some(there)) = (kind(row[0]), kind(head)) else {
                    continue;
                };
                let number = |text: &str| text.split(' ').next()?.parse::<f32>().ok();
                let (share, seconds) = match cell.split_once('%') {
                    Some((share, rest)) => (number(share).unwrap(), number(rest.trim())),
                    None => (0.0, None),
                };
                found.push((here, there, share, seconds));
            }
        }
        found
    }

    #[test]
    fn the_forecast_says_what_the_page_measured() {
        let measured = measured();
        assert_eq!(measured.len(), Class::ALL.len() * Class::ALL.len());
        for (here, there, share, seconds) in measured {
            let pair = (here, there);
            match outlook(here, there) {
                Outlook::Direct { seconds: said, .. } => {
                    assert!(share >= 97.0, "{pair:?}: {share} %");
                    let seconds = seconds.unwrap();
                    let near = 0.05_f32.max(seconds * 0.25);
                    assert!(
                        (seconds - said).abs() <= near,
                        "{pair:?}: {seconds}, not {said}"
                    );
                }
                Outlook::Sometimes { percent, .. } => {
                    assert!(
                        (share - f32::from(percent)).abs() <= 6.0,
                        "{pair:?}: {share} %"
                    );
                }
                Outlook::Relayed => assert_eq!(share, 0.0, "{pair:?}"),
            }
        }
    }

    #[test]
    fn what_an_hour_brings_is_what_the_page_measured() {
        for (pair, here, there) in [
            (
                "| sequential ↔ block of 1,000 |",
                Class::Sequential,
                Class::Block,
            ),
            (
                "| block of 1,000 ↔ block of 1,000 |",
                Class::Block,
                Class::Block,
            ),
        ] {
            let (_, table) = PAGE.split_once("| pair | direct after 20 s |").unwrap();
            let row = table.lines().find(|line| line.starts_with(pair)).unwrap();
            let hour: f32 = cells(row)[3].trim_end_matches(" %").parse().unwrap();
            let Outlook::Sometimes {
                percent_in_an_hour, ..
            } = outlook(here, there)
            else {
                panic!("{pair}")
            };
            assert!(
                (hour - f32::from(percent_in_an_hour)).abs() <= 6.0,
                "{pair}: {hour}"
            );
        }
    }

    #[test]
    fn a_pair_is_the_same_from_either_end() {
        for here in Class::ALL {
            for there in Class::ALL {
                assert_eq!(outlook(here, there), outlook(there, here));
            }
        }
    }
}
