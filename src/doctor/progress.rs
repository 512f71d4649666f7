//! What an examination is doing, for somebody who waits.

/// What is being done, for somebody who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Looking names up, and asking which servers answer.
    Reaching,
    /// Measuring what is on the way.
    Measuring,
    /// Waiting for the NAT to forget; mappings were alive after so many seconds.
    Waiting {
        /// The longest that has been seen.
        alive_s: u64,
    },
}
