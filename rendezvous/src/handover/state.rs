//! What a process tells its successor, in bytes that another version of the program recognises or leaves alone.
//!
//! ```text
//! version (u32) | postcard
//! ```
//!
//! Another version is not read: the successor starts empty, as after a crash, which everybody survives. So nothing is
//! carried that the peers could not say again, and there is no code that converts old states.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{registry::nameplate_end::CarriedNameplate, relay::handover::CarriedRelay};

/// Changes whenever one of the types below does.
const VERSION: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Carried {
    /// Legs, their keys, and where their members are.
    pub(crate) relay: CarriedRelay,
    /// Nameplates that are in use or whose end is remembered.
    pub(crate) nameplates: Vec<CarriedNameplate>,
}

/// Why a state is of no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoState {
    /// A program of another version wrote it.
    #[error("it is of version {0}, and this program knows {VERSION}")]
    Version(u32),
    /// It is cut off or damaged.
    #[error("it cannot be read")]
    Damaged,
}

impl Carried {
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let version = VERSION.to_be_bytes().to_vec();
        // Writing into memory does not fail.
        Zeroizing::new(postcard::to_extend(self, version).unwrap_or_default())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, NoState> {
        let (version, rest) = bytes.split_first_chunk().ok_or(NoState::Damaged)?;
        let version = u32::from_be_bytes(*version);
        if version != VERSION {
            return Err(NoState::Version(version));
        }
        postcard::from_bytes(rest).map_err(|_| NoState::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use p2pdbg_proto::code::Nameplate;

    use super::*;
    use crate::registry::nameplate_end::End;

    fn carried() -> Carried {
        Carried {
            relay: CarriedRelay::default(),
            nameplates: vec![CarriedNameplate {
                nameplate: Nameplate::MIN,
                end: End::Burned,
                left_ms: 7,
            }],
        }
    }

    #[test]
    fn a_carried_state_comes_back_whole() {
        let again = Carried::decode(&carried().encode()).unwrap();
        assert_eq!(again.nameplates, carried().nameplates);
    }

    #[test]
    fn a_carried_state_of_another_version_or_cut_off_is_left_alone() {
        let mut bytes = carried().encode().to_vec();
        for length in 0..bytes.len() {
            assert_eq!(
                Carried::decode(&bytes[..length]).unwrap_err(),
                NoState::Damaged
            );
        }
        bytes[3] += 1;
        assert_eq!(
            Carried::decode(&bytes).unwrap_err(),
            NoState::Version(VERSION + 1)
        );
    }
}
