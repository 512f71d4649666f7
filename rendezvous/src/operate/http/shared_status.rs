//! One status for all who ask at the same time: to make one, the hub goes through everything that it has.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

/// So old a one may be that is told again.
const GOOD_FOR: Duration = Duration::from_millis(200);

/// The last status, and the turn of who asks for the next.
#[derive(Debug)]
pub(super) struct SharedStatus<T> {
    turn: Semaphore,
    last: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone> SharedStatus<T> {
    pub(super) fn new() -> Self {
        Self {
            turn: Semaphore::new(1),
            last: Mutex::new(None),
        }
    }

    /// The last one, or what `ask` gives if that is too old.
    pub(super) async fn get(&self, ask: impl Future<Output = Option<T>>) -> Option<T> {
        let _turn = self.turn.acquire().await.ok()?;
        if let Some(last) = self.last() {
            return Some(last);
        }
        let status = ask.await?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Instant::now(), status.clone()));
        Some(status)
    }

    fn last(&self) -> Option<T> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.as_ref().filter(|(at, _)| at.elapsed() < GOOD_FOR);
        last.map(|(_, status)| status.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn many_who_ask_at_once_are_told_by_one_report() {
        let shared = Arc::new(SharedStatus::new());
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = |shared: Arc<SharedStatus<u8>>, asked: Arc<AtomicUsize>| async move {
            let report = async {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Some(7)
            };
            shared.get(report).await
        };
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..50 {
            all.spawn(ask(shared.clone(), asked.clone()));
        }
        assert_eq!(all.join_all().await, [Some(7); 50]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        // What could not be had is asked for by the next.
        let shared = SharedStatus::new();
        assert_eq!(shared.get(async { None }).await, None);
        let report = async { Some(7) };
        assert_eq!(shared.get(report).await, Some(7));
    }
}
