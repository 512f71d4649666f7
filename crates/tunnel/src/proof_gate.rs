//! Whether the peer of a tunnel that is being dialled has confirmed that it knows the secret.

use std::sync::Arc;

use tokio::sync::watch;

/// Shut until the peer has confirmed; all clones are one gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A gate before which the peer has still to confirm.
    pub fn shut() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Notes that the peer has confirmed: whoever waits at the gate goes on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the peer has confirmed.
    pub(super) async fn opened(&self) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
