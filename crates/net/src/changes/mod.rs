//! "Look again now": one signal for everybody whose plans hang on this host's network.
//!
//! Whoever notices that the network may be another than before announces it: the watcher of the interfaces, and
//! whoever sees by the clocks that this host slept. Whoever waits for something (the link to the rendezvous between two
//! attempts, the paths, the meeting) listens. The signal carries no picture of the network: each looks for itself at
//! what it needs. Announcements that come faster than somebody looks are one announcement to him, and a sleep among
//! them is what he hears of: he would else look at the network anew all the same, and hold the time against others.

mod sleep;
mod watcher;

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Why everybody is to look at the network again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// An address, a route or a carrier has come, gone or changed.
    Network,
    /// This host has slept: what its clocks and its NATs remember is old.
    Woke {
        /// For how long it slept, as far as its clocks tell.
        slept: Duration,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network => f.write_str("the network of this host has changed"),
            Self::Woke { slept } => write!(f, "this host slept for {} s", slept.as_secs()),
        }
    }
}

/// What was announced.
#[derive(Debug, Clone, Copy, Default)]
struct Announced {
    last: Option<Reason>,
    /// The last sleep, and how many there were.
    woke: Option<(Reason, u64)>,
}

/// The signal. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Changes {
    last: watch::Sender<Announced>,
    _watcher: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Announced {
    fn sleeps(&self) -> u64 {
        self.woke.map_or(0, |(_, sleeps)| sleeps)
    }
}

impl Changes {
    /// A signal that is given whenever this host's interfaces change and whenever it has slept, until all clones are
    /// gone. To be called within a tokio runtime.
    pub fn of_this_host() -> Self {
        let silent = Self::silent();
        let changes = silent.clone();
        let watcher = tokio::spawn(async move {
            tokio::join!(watcher::watch(changes.clone()), sleep::watch(changes));
        });
        Self {
            _watcher: Some(Arc::new(AbortOnDropHandle::new(watcher))),
            ..silent
        }
    }

    /// A signal that is given by nobody but those who [announce](Self::announce).
    pub fn silent() -> Self {
        Self {
            last: watch::Sender::new(Announced::default()),
            _watcher: None,
        }
    }

    /// Has everybody who listens look again, and says so in the log.
    pub fn announce(&self, reason: Reason) {
        tracing::info!("{reason}");
        self.last.send_modify(|announced| {
            announced.last = Some(reason);
            if let Reason::Woke { .. } = reason {
                let before = announced.sleeps();
                announced.woke = Some((reason, before + 1));
            }
        });
    }

    /// A listener that hears what is announced from now on.
    pub fn subscribe(&self) -> Listener {
        let mut listener = Listener {
            last: self.last.subscribe(),
            sleeps: 0,
        };
        listener.forget();
        listener
    }
}

/// One who listens to the signal.
#[derive(Debug, Clone)]
pub struct Listener {
    last: watch::Receiver<Announced>,
    /// How many sleeps he has heard of.
    sleeps: u64,
}

impl Listener {
    /// Takes what has been announced so far for heard.
    pub fn forget(&mut self) {
        self.sleeps = self.last.borrow_and_update().sleeps();
    }

    /// Waits for the next announcement, or for ever when nobody is left to make one. Of several since the last call
    /// the last sleep is told, and without one the last of all. May be cancelled at any time.
    pub async fn changed(&mut self) -> Reason {
        loop {
            if self.last.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let announced = *self.last.borrow_and_update();
            let heard = std::mem::replace(&mut self.sleeps, announced.sleeps());
            let slept = announced.woke.filter(|(_, sleeps)| *sleeps > heard);
            if let Some(reason) = slept.map(|(woke, _)| woke).or(announced.last) {
                return reason;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NAP: Reason = Reason::Woke {
        slept: Duration::from_secs(60),
    };

    #[tokio::test]
    async fn everybody_who_listens_is_told_once() {
        let changes = Changes::silent();
        let (mut one, mut two) = (changes.subscribe(), changes.subscribe());
        changes.announce(Reason::Network);
        changes.clone().announce(NAP);
        assert_eq!(one.changed().await, NAP);
        assert_eq!(two.changed().await, NAP);
        let again = tokio::time::timeout(Duration::ZERO, one.changed()).await;
        assert!(again.is_err());
    }

    #[tokio::test]
    async fn sleep_is_not_missed_for_the_network_that_has_changed_since() {
        let changes = Changes::silent();
        let mut listener = changes.subscribe();
        changes.announce(NAP);
        changes.announce(Reason::Network);
        assert_eq!(listener.changed().await, NAP);
        let mut late = changes.subscribe();
        changes.announce(Reason::Network);
        assert_eq!(listener.changed().await, Reason::Network);
        assert_eq!(late.changed().await, Reason::Network);
        changes.announce(NAP);
        listener.forget();
        changes.announce(Reason::Network);
        assert_eq!(listener.changed().await, Reason::Network);
    }

    #[tokio::test]
    async fn who_listens_later_is_not_told_of_what_was_before() {
        let changes = Changes::silent();
        changes.announce(Reason::Network);
        let mut late = changes.subscribe();
        let told = tokio::time::timeout(Duration::ZERO, late.changed()).await;
        assert!(told.is_err());
    }
}
