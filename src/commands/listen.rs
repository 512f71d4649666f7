//! `p2pdbg listen`: the end beside the IDE.

use crate::{
    cli::ListenOptions,
    failure::{ErrorCode, Failure, Outcome},
    report::Reporter,
};

/// Runs until the session is over.
///
/// # Errors
/// Says why it could not go on.
pub async fn run(_options: ListenOptions, _reporter: Reporter) -> Result<Outcome, Failure> {
    Err(Failure::new(
        ErrorCode::Internal,
        "this build has no sessions yet",
    ))
}
