//! Notices that the network of this host changes.
//!
//! On Linux the kernel tells at once, by routing netlink. Elsewhere, and where the kernel does not (gVisor, some
//! seccomp filters), the addresses are looked at every few seconds; a link that comes back with the same address is
//! then noticed only by what runs over it.

#[cfg(target_os = "linux")]
mod linux;

use std::time::Duration;

use super::{Changes, Reason};
use crate::interfaces::local_addresses;

/// How often the addresses are looked at where the system does not tell.
const LOOK: Duration = Duration::from_secs(3);

/// Announces each change of this host's network; ends only with its task.
pub(super) async fn watch(changes: Changes) {
    #[cfg(target_os = "linux")]
    {
        let Err(error) = linux::watch(&changes).await;
        tracing::debug!(%error, "the kernel does not tell of changes; looking now and then");
    }
    poll(&changes).await;
}

/// Looks now and then whether the addresses are others than before.
async fn poll(changes: &Changes) {
    let mut before = local_addresses(true, &[]);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = local_addresses(true, &[]);
        if now != before {
            before = now;
            changes.announce(Reason::Network);
        }
    }
}
