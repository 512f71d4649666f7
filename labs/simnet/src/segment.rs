//! What a packet is: a datagram, or a segment of TCP as far as NATs and the two ends care.

/// What is behind the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram of UDP.
    Udp,
    /// A segment of TCP.
    Tcp(Segment),
}

/// A segment. Instead of bytes it numbers messages, each of which travels in a segment of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Asks for a connection.
    pub syn: bool,
    /// Answers: everything up to `received` has arrived, the SYN too.
    pub ack: bool,
    /// There is no such connection.
    pub rst: bool,
    /// The number of the message in it, from 1 on; 0: there is none.
    pub number: u32,
    /// Up to this number all messages have arrived.
    pub received: u32,
}

impl Segment {
    /// Asks for a connection.
    pub const SYN: Self = Self {
        syn: true,
        ack: false,
        rst: false,
        number: 0,
        received: 0,
    };

    /// Says that there is none.
    pub const RESET: Self = Self {
        rst: true,
        syn: false,
        ..Self::SYN
    };

    /// Whether it asks for a connection that the other end knows nothing of.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.syn && !self.ack
    }

    /// Bytes of a message that travel in one packet, as the sockets have it that ship.
    pub(crate) const LONGEST: usize = 1_120;

    /// Bytes of the header, with the time stamps that Linux adds.
    pub(crate) const HEADER: usize = 32;
}
