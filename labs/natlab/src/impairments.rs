//! What a shaped link does to packets.

use std::time::Duration;

/// What one direction of a shaped link does to the packets that cross it.
///
/// ```
/// use p2pdbg_natlab::Impairments;
/// use std::time::Duration;
///
/// let dsl = Impairments::delayed(Duration::from_millis(10)).with_rate(50_000_000).with_loss(0.01);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairments {
    /// How long every packet takes.
    pub delay: Duration,
    /// Each packet takes up to this much longer, evenly distributed. Packets stay in order.
    pub jitter: Duration,
    /// Probability, 0 to 1, that a packet is lost.
    pub loss: f64,
    /// Probability, 0 to 1, that a packet is held back for `reorder_by`, so that those behind it
    /// overtake it.
    pub reorder: f64,
    /// How long a reordered packet is held back.
    pub reorder_by: Duration,
    /// Probability, 0 to 1, that a packet arrives twice.
    pub duplicate: f64,
    /// Probability, 0 to 1, that one bit of a TCP or UDP payload is flipped.
    pub corrupt: f64,
    /// Whether the receiver's kernel can notice a flipped bit.
    pub corruption: Corruption,
    /// Bits a second, counted over whole Ethernet frames without preamble; `None` is unlimited.
    pub rate: Option<u64>,
    /// Bytes that may wait for their turn where there is a rate; more are dropped at the tail.
    pub queue: usize,
    /// The biggest IP packet that passes; `None` leaves it to the interfaces (1500 bytes).
    pub mtu: Option<Mtu>,
}

/// Whether the receiver's kernel can notice a flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// The checksum stays as it was: the kernel drops the packet, and programs see a loss.
    Detectable,
    /// The checksum is made to fit: programs receive the wrong bytes, as from a NAT box with bad
    /// memory.
    Undetectable,
}

/// A limit of a path that the interfaces at its ends do not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mtu {
    /// Bytes of the biggest IP packet that passes.
    pub bytes: u16,
    /// Whether the sender is told by ICMP (RFC 1191, RFC 8201). Otherwise the path is a black
    /// hole. Packets are never fragmented, whether or not they may be.
    pub icmp: bool,
}

impl Impairments {
    /// A link without loss, delay or bound.
    pub const NONE: Self = Self {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        reorder: 0.0,
        reorder_by: Duration::from_millis(5),
        duplicate: 0.0,
        corrupt: 0.0,
        corruption: Corruption::Detectable,
        rate: None,
        queue: 256 * 1024,
        mtu: None,
    };

    /// A link that only takes its time.
    pub const fn delayed(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::NONE
        }
    }

    /// With packets that take up to `jitter` longer than the delay.
    #[must_use]
    pub const fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// With this share of packets lost.
    #[must_use]
    pub const fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// With this share of packets held back for `by`.
    #[must_use]
    pub const fn with_reordering(self, reorder: f64, by: Duration) -> Self {
        Self {
            reorder,
            reorder_by: by,
            ..self
        }
    }

    /// With this share of packets sent twice.
    #[must_use]
    pub const fn with_duplication(self, duplicate: f64) -> Self {
        Self { duplicate, ..self }
    }

    /// With a bit flipped in this share of packets.
    #[must_use]
    pub const fn with_corruption(self, corrupt: f64, corruption: Corruption) -> Self {
        Self {
            corrupt,
            corruption,
            ..self
        }
    }

    /// With at most this many bits a second.
    #[must_use]
    pub const fn with_rate(self, bits_per_second: u64) -> Self {
        Self {
            rate: Some(bits_per_second),
            ..self
        }
    }

    /// With this many bytes of queue ahead of the rate.
    #[must_use]
    pub const fn with_queue(self, bytes: usize) -> Self {
        Self {
            queue: bytes,
            ..self
        }
    }

    /// With bigger IP packets dropped, and their sender told.
    #[must_use]
    pub const fn with_mtu(self, bytes: u16) -> Self {
        Self {
            mtu: Some(Mtu { bytes, icmp: true }),
            ..self
        }
    }

    /// With bigger IP packets dropped silently.
    #[must_use]
    pub const fn with_black_hole_above(self, bytes: u16) -> Self {
        Self {
            mtu: Some(Mtu { bytes, icmp: false }),
            ..self
        }
    }
}
