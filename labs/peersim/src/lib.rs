//! Two peers on a virtual clock, and an oracle of what their users may observe.
//!
//! What runs is real where it decides: [`p2pdbg_session::decisions`] at both ends, and [`p2pdbg_ledger`] with its
//! epochs. How the two find each other, by code and again, is decided by [`p2pdbg_meeting::Meetings`] at the registry
//! of the rendezvous, if the script says so; else they are introduced from the beginning, which is quicker to run. What
//! carries bytes is modelled: a tunnel repeats what is lost and ends after 30 s of silence, as QUIC does; the relay
//! needs its rendezvous. A direct path is looked for by the engines that ship ([`p2pdbg_punch`]), behind the
//! NATs of [`p2pdbg_simnet`], if the script has NATs; else it is found some time after it is possible, and given up
//! when it is silent, which is quicker to run.
//!
//! A run is a function of its [`Script`], so a seed or a fuzzer's bytes repeat it exactly; but for the keys and names
//! that meetings draw, on which nothing that happens depends.

use std::time::Duration;

mod end;
mod meeting;
mod network;
mod oracle;
mod script;
mod script_bytes;
mod search;
mod stream;
mod which_end;
mod world;

pub use oracle::Violation;
pub use p2pdbg_nat::NatKind;
pub use script::{Fault, Script, Timed};
pub use which_end::End;

/// A mistake put in on purpose, to see that the oracle finds it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mutant {
    /// Nothing is put in: the code as it is.
    #[default]
    None,
    /// The listener accepts a tunnel of any epoch.
    EpochUnchecked,
    /// The end of a direction is handed to the local program each time that the peer says it.
    FinRepeated,
    /// What was sent on a tunnel that was lost does not go again.
    LossForgotten,
    /// A session is not told that the two have met again; it shows in a run with meetings alone.
    IntroductionUnheard,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many streams were opened.
    pub streams: usize,
    /// Bytes that reached local programs.
    pub bytes: u64,
    /// Tunnels that were adopted, at both ends.
    pub tunnels: usize,
    /// How often a person was told that the peer is lost.
    pub lost: usize,
    /// Tunnels whose epoch was refused.
    pub refused: usize,
    /// Whether the last that the persons at both ends were told of the path is that it is direct.
    pub direct: bool,
    /// How often the two were introduced to each other again.
    pub introduced: usize,
    /// Whether somebody guessed at the code, which burned, and the connector came with the next.
    pub burned: bool,
    /// From the last [`Fault::Forget`] until both ends use a direct tunnel that it did not kill.
    pub renewed_after: Option<Duration>,
}

/// Runs a script drawn from a seed.
///
/// # Errors
/// If a user observed what must not be.
pub fn run_seed(seed: u64, mutant: Mutant) -> Result<Summary, Violation> {
    run(&Script::draw(seed), mutant)
}

/// Runs a script.
///
/// # Errors
/// If a user observed what must not be.
pub fn run(script: &Script, mutant: Mutant) -> Result<Summary, Violation> {
    world::World::new(script, mutant).run(script)
}
