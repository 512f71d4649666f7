//! What a user may settle about the search for a direct path: the table `[traversal]` of the configuration file.
//!
//! The caps hold for each session. Each has bounds here, so that no slip of the pen makes this host a nuisance to its
//! network or the search pointless; docs/CONFIGURATION.md says what each is for.

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_punch::Budget;
use serde::Deserialize;

/// How a session looks for a direct path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traversal {
    /// Whether the gateway is asked for a mapping.
    pub port_mapping: bool,
    /// Whether TCP is tried where UDP leads to no direct path.
    pub tcp: bool,
    /// What the search may spend.
    pub budget: Budget,
}

impl Default for Traversal {
    fn default() -> Self {
        Self {
            port_mapping: true,
            tcp: true,
            budget: Budget::default(),
        }
    }
}

/// The table as it is written; what is left out has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraversalTable {
    port_mapping: Option<bool>,
    tcp: Option<bool>,
    packets_per_second: Option<u32>,
    burst: Option<u32>,
    packets_per_attempt: Option<u32>,
    search_sockets: Option<u32>,
    search_ports: Option<u32>,
    search_flows: Option<u32>,
    block_share_percent: Option<u32>,
    peer_candidates: Option<u32>,
    unannounced_addresses: Option<u32>,
}

impl TraversalTable {
    /// Checks every value against its bounds; `place` says where the value of a key stands.
    ///
    /// # Errors
    /// If one is beyond them.
    pub fn resolve(&self, place: &dyn Fn(&str) -> String) -> Result<Traversal, Failure> {
        Ok(Traversal {
            port_mapping: self.port_mapping.unwrap_or(true),
            tcp: self.tcp.unwrap_or(true),
            budget: self.budget(place)?,
        })
    }

    fn budget(&self, place: &dyn Fn(&str) -> String) -> Result<Budget, Failure> {
        let bounded = |key: &str, given, usual, bounds| bounded((key, place), given, usual, bounds);
        let size = |key: &str, given, usual, bounds| size((key, place), given, usual, bounds);
        let usual = Budget::default();
        Ok(Budget {
            packets_per_second: bounded(
                "packets_per_second",
                self.packets_per_second,
                usual.packets_per_second,
                (20, 2000),
            )?,
            burst: bounded("burst", self.burst, usual.burst, (4, 200))?,
            packets_per_attempt: bounded(
                "packets_per_attempt",
                self.packets_per_attempt,
                usual.packets_per_attempt,
                (100, 20_000),
            )?,
            search_sockets: size(
                "search_sockets",
                self.search_sockets,
                usual.search_sockets,
                (8, 1024),
            )?,
            search_ports: bounded(
                "search_ports",
                self.search_ports,
                usual.search_ports,
                (64, 16_384),
            )?,
            search_flows: bounded(
                "search_flows",
                self.search_flows,
                usual.search_flows,
                (64, 16_384),
            )?,
            block_share_percent: bounded(
                "block_share_percent",
                self.block_share_percent,
                usual.block_share_percent,
                (1, 50),
            )?,
            peer_candidates: size(
                "peer_candidates",
                self.peer_candidates,
                usual.peer_candidates,
                (4, 64),
            )?,
            peer_reflexive: size(
                "unannounced_addresses",
                self.unannounced_addresses,
                usual.peer_reflexive,
                (4, 64),
            )?,
        })
    }
}

/// A key, and what says where it stands.
type Key<'a> = (&'a str, &'a dyn Fn(&str) -> String);

fn bounded(
    (key, place): Key<'_>,
    given: Option<u32>,
    usual: u32,
    (least, most): (u32, u32),
) -> Result<u32, Failure> {
    let value = given.unwrap_or(usual);
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    let message = format!(
        "{}: {value} is out of bounds",
        place(&format!("traversal.{key}"))
    );
    let hint = format!("write a number from {least} to {most}, or leave it out for {usual}");
    Err(Failure::new(ErrorCode::Configuration, message).hint(hint))
}

fn size(
    key: Key<'_>,
    given: Option<u32>,
    usual: usize,
    bounds: (u32, u32),
) -> Result<usize, Failure> {
    let usual = u32::try_from(usual).unwrap_or(u32::MAX);
    Ok(bounded(key, given, usual, bounds)? as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> TraversalTable {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(
            table("").resolve(&str::to_owned).unwrap(),
            Traversal::default()
        );
        let settled = table("port_mapping = false\ntcp = false\nsearch_sockets = 8")
            .resolve(&str::to_owned)
            .unwrap();
        assert!(!settled.port_mapping && !settled.tcp);
        assert_eq!(settled.budget.search_sockets, 8);
        assert_eq!(settled.budget.burst, Budget::default().burst);
    }

    #[test]
    fn every_cap_can_be_set() {
        let settled = table(
            "packets_per_second = 20\nburst = 4\npackets_per_attempt = 100\nsearch_sockets = 9\n\
             search_ports = 70\nsearch_flows = 90\nblock_share_percent = 3\npeer_candidates = 5\n\
             unannounced_addresses = 6",
        );
        let budget = Budget {
            packets_per_second: 20,
            burst: 4,
            packets_per_attempt: 100,
            search_sockets: 9,
            block_share_percent: 3,
            search_ports: 70,
            search_flows: 90,
            peer_candidates: 5,
            peer_reflexive: 6,
        };
        assert_eq!(settled.resolve(&str::to_owned).unwrap().budget, budget);
    }

    #[test]
    fn each_cap_has_bounds_of_its_own() {
        for key in [
            "packets_per_second",
            "burst",
            "packets_per_attempt",
            "search_sockets",
            "search_ports",
            "search_flows",
            "block_share_percent",
            "peer_candidates",
            "unannounced_addresses",
        ] {
            for beyond in ["0", "100000"] {
                let failure = table(&format!("{key} = {beyond}")).resolve(&str::to_owned);
                let failure = failure.unwrap_err();
                assert!(failure.message.contains(key), "{}", failure.message);
            }
        }
    }

    #[test]
    fn what_would_make_the_host_a_nuisance_is_refused() {
        let failure = table("packets_per_second = 100000")
            .resolve(&str::to_owned)
            .unwrap_err();
        assert_eq!(failure.code, ErrorCode::Configuration);
        assert!(failure.message.contains("traversal.packets_per_second"));
        assert!(failure.hint.unwrap().contains("from 20 to 2000"));
        for text in [
            "burst = 0",
            "search_sockets = 5000",
            "block_share_percent = 90",
        ] {
            assert!(table(text).resolve(&str::to_owned).is_err(), "{text}");
        }
        assert!(toml::from_str::<TraversalTable>("packets = 1").is_err());
    }
}
