//! Whether connections are held or refused while nothing listens at the target of a forward.
//!
//! A port that refuses is open only while its target listens, so that who dials it is refused by the system itself:
//! `target_watch` opens and closes it.

use p2pdbg_base::Absent;
use p2pdbg_forward::Forward;
use p2pdbg_proto::tunnel::WhileAbsent;

/// What becomes of the connections to a forward while nothing listens at its target.
pub fn while_absent(forward: &Forward, asked: Option<Absent>) -> WhileAbsent {
    let usual = || {
        forward
            .preset()
            .map(|preset| preset.debugger().while_absent.policy())
    };
    match asked.or_else(usual) {
        None | Some(Absent::Hold) => WhileAbsent::Hold,
        Some(Absent::Refuse) => WhileAbsent::Refuse,
        Some(Absent::HoldOnce) => WhileAbsent::HoldOnce,
    }
}
