//! Whether connections are held or refused while nothing listens at the target of a forward.
//!
//! A port that refuses is open only while its target listens, so that who dials it is refused by the system itself:
//! `target_watch` opens and closes it.

use p2pdbg_base::HoldPolicy;
use p2pdbg_forward::Forward;
use p2pdbg_proto::tunnel::WhileAbsent;

/// What becomes of the connections to a forward while nothing listens at its target.
pub fn while_absent(forward: &Forward, asked: Option<HoldPolicy>) -> WhileAbsent {
    let usual = || {
        forward
            .preset()
            .map(|preset| preset.debugger().while_absent.policy())
    };
    match asked.or_else(usual) {
        None | Some(HoldPolicy::Hold) => WhileAbsent::Hold,
        Some(HoldPolicy::Refuse) => WhileAbsent::Refuse,
        Some(HoldPolicy::HoldOnce) => WhileAbsent::HoldOnce,
    }
}

/// Whether a connection is broken off that came in while the port was open still, and whose target turns out to have
/// gone. Debuggers that are held unless the user says otherwise hang on an end that they do not expect (pydevd, debugpy
/// `--connect`): those are held then, for the IDE may come back.
pub(super) fn breaks_off(forward: &Forward, policy: WhileAbsent) -> bool {
    let usual = forward
        .preset()
        .map(|preset| preset.debugger().while_absent.policy());
    policy == WhileAbsent::Refuse && matches!(usual, None | Some(HoldPolicy::Refuse))
}
