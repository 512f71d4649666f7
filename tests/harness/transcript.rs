//! What the programs of one test said, in the order in which it was read.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// Shared by everything that a test starts.
#[derive(Clone, Debug)]
pub struct Transcript {
    began: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Transcript {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            lines: Arc::default(),
        }
    }

    /// Adds a line that `who` said.
    pub fn add(&self, who: &str, text: &str) {
        let line = format!("{:8.3} {who}: {text}", self.began.elapsed().as_secs_f64());
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.join("\n")
    }
}
