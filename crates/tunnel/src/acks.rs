//! How often packets are acknowledged: what each end asks of the other, and what congestion control must count with.

use std::time::Duration;

/// How many packets may pass before one is acknowledged (draft-ietf-quic-ack-frequency): each acknowledgement costs
/// both ends about as much as a packet of data.
pub(crate) const ACK_EVERY: u32 = 20;

/// How long fewer packets may wait for it.
pub(crate) const ACK_WITHIN: Duration = Duration::from_millis(5);
