//! Notices that the network of this host changes.

use std::time::Duration;

use super::{
    changes::{Changes, Reason},
    interfaces::local_addresses,
};

/// How often the interfaces are looked at where the system does not tell.
const LOOK: Duration = Duration::from_secs(3);

/// Announces changes for ever.
pub(super) async fn watch(changes: Changes) {
    poll(&changes).await;
}

/// Looks now and then whether the addresses are others than before.
async fn poll(changes: &Changes) {
    let mut before = local_addresses(true);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = local_addresses(true);
        if now != before {
            before = now;
            changes.announce(Reason::Network);
        }
    }
}
