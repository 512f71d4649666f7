//! How a NAT treats UDP, in the words of RFC 4787: the one vocabulary of engine, doctor and labs.
//!
//! [`NatKind`] is what a box *does*: the simulator (`p2pdbg-simnet`) models one in virtual time and the kernel lab
//! (`p2pdbg-natlab`) builds the same one from nftables rules, so that one test can be run on both and must come to the
//! same answer. [`NatReport`] is what has been *seen* of the NAT in front of a host: some answers of STUN servers, and
//! so never the whole. [`Class`] is what either comes to for somebody who wants in.
//!
//! [`Ports::classify`] says how a NAT chooses its ports, from those that it chose.
//!
//! Left out: measuring. Who asks which server is the engine's and the doctor's, and so is judging what else the answers
//! show (`nat_observation.rs` of `p2pdbg-punch`).

mod behaviour;
mod class;
mod kind;
mod port_allocation;
mod report;

pub use self::{
    behaviour::{Filtering, Mapping},
    class::Class,
    kind::{Allocation, NatKind},
    port_allocation::{Count, Ports, foreign},
    report::{MAX_EXTERNAL, NatReport},
};
