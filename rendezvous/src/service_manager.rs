//! What a service manager is told and asks for: systemd's notifications, its watchdog, and its state directory. Without
//! one all of it does nothing.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use p2pdbg_rendezvous::operate::Operator;

/// The directory that systemd has made for this service's state (`StateDirectory=`), closed to others as our own would
/// be: systemd makes it readable by everybody.
pub(crate) fn state_directory() -> Option<PathBuf> {
    let all = std::env::var_os("STATE_DIRECTORY")?;
    let first = std::env::split_paths(&all).next()?;
    close_to_others(&first);
    Some(first)
}

#[cfg(unix)]
fn close_to_others(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;

    // If that fails the directory is refused, with the reason.
    let _ = std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700));
}

#[cfg(not(unix))]
fn close_to_others(_directory: &Path) {}

/// What the service manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The ports are open, and peers can come.
    Ready,
    /// Another program takes over in this process, and will be ready.
    Reloading,
    /// The process is about to end.
    Stopping,
    /// It is not stuck: said as often as the watchdog wants it.
    Alive,
}

/// Tells the service manager, if there is one.
#[cfg(target_os = "linux")]
pub(crate) fn tell(news: News) {
    use sd_notify::NotifyState;

    let told = match news {
        News::Ready => sd_notify::notify(&[NotifyState::Ready]),
        News::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        News::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        News::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
    };
    if let Err(error) = told {
        tracing::debug!(%error, ?news, "the service manager is not told");
    }
}

/// Nobody asks on this platform.
#[cfg(not(target_os = "linux"))]
pub(crate) fn tell(_news: News) {}

/// How often the service manager wants to hear that this process lives, if it does: half of what it waits for.
#[cfg(target_os = "linux")]
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2)
}

/// Nobody asks on this platform.
#[cfg(not(target_os = "linux"))]
pub(crate) fn watchdog() -> Option<Duration> {
    None
}

/// Says that this process lives, for as long as the server answers; never ends.
pub(crate) async fn be_watched(operator: &Operator) {
    let Some(every) = watchdog() else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(every).await;
        // A process that runs and does not serve is to be started again.
        if operator.status().await.is_some() {
            tell(News::Alive);
        }
    }
}
