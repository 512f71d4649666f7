//! Waiting for a deadline that there may or may not be.

use tokio::time::Instant;

/// Waits until `at`; without a deadline, for ever.
pub async fn sleep_until(at: Option<impl Into<Instant>>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
