//! "Look again now": one signal for everybody whose plans hang on this host's network.
//!
//! Whoever notices that the network may be another than before announces it: the watcher of the interfaces, and
//! whoever sees by the clocks that this host slept. Whoever waits for something (the link to the rendezvous between two
//! attempts, the paths, the meeting) listens. The signal carries no picture of the network: each looks for itself at
//! what it needs. Announcements that come faster than somebody looks are one announcement to him, and a sleep among
//! them is what he hears of: he would else look at the network anew all the same, and hold the time against others.
//!
//! Networks within this host (bridges of containers, ends of pairs) come and go all day where containers run, and
//! the way to others is no other for it. What was learnt of that way would be lost each time, so such news have a
//! reason of their own, which only those are told of who ask for it.

mod sleep;
mod watcher;

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Why everybody is to look at the network again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// An address, a route or a carrier by which this host reaches others has come, gone or changed.
    Network,
    /// The same of a network within this host, by which it reaches no others as far as is known: what stands is to be
    /// asked, and what was learnt of the networks further away still holds.
    Nearby,
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
            Self::Nearby => f.write_str("a network within this host has changed"),
            Self::Woke { slept } => write!(f, "this host slept for {} s", slept.as_secs()),
        }
    }
}

/// What was announced.
#[derive(Debug, Clone, Copy, Default)]
struct Announced {
    /// How many changes there were, of networks within this host aside.
    changes: u64,
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
        match reason {
            // Dozens an hour where containers run.
            Reason::Nearby => tracing::debug!("{reason}"),
            Reason::Network | Reason::Woke { .. } => tracing::info!("{reason}"),
        }
        self.last.send_modify(|announced| {
            announced.changes += u64::from(reason != Reason::Nearby);
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
            changes: 0,
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
    /// How many changes he has heard of.
    changes: u64,
    /// How many sleeps he has heard of.
    sleeps: u64,
}

impl Listener {
    /// Takes what has been announced so far for heard.
    pub fn forget(&mut self) {
        let announced = *self.last.borrow_and_update();
        (self.changes, self.sleeps) = (announced.changes, announced.sleeps());
    }

    /// Waits for the next announcement but those of networks within this host, or for ever when nobody is left to make
    /// one. Of several since the last call the last sleep is told. May be cancelled at any time.
    pub async fn changed(&mut self) -> Reason {
        loop {
            match self.news().await {
                Reason::Nearby => {}
                reason => return reason,
            }
        }
    }

    /// Waits for the next announcement of all. Of several since the last call the last sleep is told, and networks
    /// within this host only without any other. May be cancelled at any time.
    pub async fn news(&mut self) -> Reason {
        if self.last.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let announced = *self.last.borrow_and_update();
        let changes = std::mem::replace(&mut self.changes, announced.changes);
        let sleeps = std::mem::replace(&mut self.sleeps, announced.sleeps());
        match announced.woke {
            Some((woke, count)) if count > sleeps => woke,
            _ if announced.changes > changes => Reason::Network,
            _ => Reason::Nearby,
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

    #[tokio::test]
    async fn networks_within_this_host_are_told_to_who_asks_and_hide_nothing() {
        let changes = Changes::silent();
        let (mut one, mut all) = (changes.subscribe(), changes.subscribe());
        changes.announce(Reason::Nearby);
        assert_eq!(all.news().await, Reason::Nearby);
        let told = tokio::time::timeout(Duration::ZERO, one.changed()).await;
        assert!(told.is_err());
        for reason in [Reason::Network, NAP] {
            changes.announce(reason);
            changes.announce(Reason::Nearby);
            assert_eq!(one.changed().await, reason);
            assert_eq!(all.news().await, reason);
        }
        changes.announce(Reason::Nearby);
        assert_eq!(all.news().await, Reason::Nearby);
    }
}
