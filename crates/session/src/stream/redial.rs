//! Dialling a debuggee again that took the connection and closed it without a word.
//!
//! An accept is not a listener: docker-proxy, `kubectl port-forward` and `ssh -L` take a connection first and close it
//! when nothing listens behind them. A debugger that was spoken to always says something. So until the first byte has
//! come back, what was written is kept, and a connection that ends before is made anew with the same bytes.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use p2pdbg_ledger::ResetCode;

use super::local::Connection;

/// Between two attempts: the first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How much is kept to be written again, in bytes. Clients of debuggers write a few hundred before the first answer.
const KEPT: usize = 256 << 10;

/// A connection that is being dialled.
pub(crate) type Dialing =
    std::pin::Pin<Box<dyn Future<Output = Result<Connection, ResetCode>> + Send>>;

/// Dials the target once more; told how long to wait before.
pub(crate) type Dial = Box<dyn FnMut(Option<Duration>) -> Dialing + Send>;

/// What it takes to dial again.
pub(super) struct Redial {
    dial: Dial,
    attempts: u32,
    written: VecDeque<Bytes>,
    kept: usize,
}

impl Redial {
    pub(super) fn new(dial: Dial) -> Self {
        Self {
            dial,
            attempts: 0,
            written: VecDeque::new(),
            kept: 0,
        }
    }

    /// Whether the target has closed a connection of this stream already.
    pub(super) fn is_repeated(&self) -> bool {
        self.attempts > 0
    }

    /// Keeps what was written to the target; whether there was room for it.
    pub(super) fn keep(&mut self, chunk: Bytes) -> bool {
        self.kept += chunk.len();
        self.written.push_back(chunk);
        self.kept <= KEPT
    }

    /// Dials again after a pause that grows; what was written comes back, to be written again.
    pub(super) fn again(&mut self) -> (Dialing, VecDeque<Bytes>) {
        let (first, longest) = PAUSES;
        let pause = first
            .saturating_mul(1 << self.attempts.min(10))
            .min(longest);
        self.attempts += 1;
        self.kept = 0;
        ((self.dial)(Some(pause)), std::mem::take(&mut self.written))
    }
}
