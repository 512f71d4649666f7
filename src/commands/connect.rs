//! `p2pdbg connect`: the end on the debuggee's host.

use crate::{
    cli::ConnectOptions,
    failure::{ErrorCode, Failure, Outcome},
    report::Reporter,
};

/// Runs until the session is over.
///
/// # Errors
/// Says why it could not go on.
pub async fn run(_options: ConnectOptions, _reporter: Reporter) -> Result<Outcome, Failure> {
    Err(Failure::new(
        ErrorCode::Internal,
        "this build has no sessions yet",
    ))
}
