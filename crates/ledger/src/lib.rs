//! Resumable byte streams over replaceable carriers, sans-IO.
//!
//! One forwarded TCP connection is a *stream*: two independent byte sequences, one each way, in which every byte has a
//! 64-bit offset. What carries a sequence at the moment is a *carrier*, one unidirectional QUIC stream on some tunnel:
//! a short header (which stream, from which offset), then raw bytes. Tunnels come and go; this crate keeps the books,
//! so that every byte written at one end comes out at the other exactly once and in order, however many carriers that
//! takes.
//!
//! - [`Sender`] keeps what the peer has not acknowledged (bounded by [`Limits`] and a session's [`Budget`]), says what
//!   to put on which carrier, and where a new carrier begins.
//! - [`Receiver`] says which carriers may be read, drops what it has already seen, hands out the rest, and owes
//!   acknowledgements. *Acknowledged* means written to the local socket, not merely received.
//! - [`frame`] is what both say to each other on the tunnel's control stream, byte by byte.
//! - [`Openings`] tells a new stream from one that lives or has been closed, [`Epochs`] a new tunnel from an old one.
//!
//! A few bytes may also come as a *copy*, in a datagram beside the carrier that brings them: see
//! [`Receiver::handle_copy`]. A sender needs no books for copies, since nothing depends on one.
//!
//! # The driver's part
//!
//! The crate does no I/O, has no clock and never blocks. A driver, for each direction of a stream:
//!
//! 1. *Sending:* while [`Sender::capacity`] allows, reads the local socket and [`Sender::push`]es; writes what
//!    [`Sender::poll_transmit`] gives to that carrier and reports with [`Sender::transmitted`] how much of it the
//!    carrier took; carries out [`Sender::poll_retire`]; sends [`Sender::poll_frame`] on a control stream. Whenever
//!    [`Sender::wants_carrier`], it opens a QUIC stream on its best tunnel and calls [`Sender::attach`]. To move a
//!    running stream to a better tunnel it just attaches there; the old carrier drains.
//! 2. *Receiving:* reads any of [`Receiver::readable`], whichever has data, leaves the others unread so that QUIC's
//!    flow control holds them; writes what [`Receiver::handle_data`] returns to the local socket and then says
//!    [`Receiver::consumed`]; acts on [`Receiver::poll_end`]; sends [`Receiver::poll_frame`].
//! 3. *When a tunnel is lost,* reports every carrier that was on it ([`Sender::carriers_lost`],
//!    [`Receiver::carrier_ended`]); a tunnel that the driver closes itself is lost in the same sense.
//! 4. *When a tunnel on which control frames went is lost, and when a new one stands,* calls `reannounce` on both
//!    halves: frames may have been lost with the old one, and all of them may be repeated without harm.
//! 5. *When both halves are finished,* forgets the stream ([`Openings::close`]); a frame or carrier that comes for it
//!    later is answered by `reply_if_closed`, so that a peer whose last acknowledgement was lost comes to its end too.
//!
//! Control frames may go over any tunnel, with one exception: what confirms an end (an [`Ack`] that says `ended`, and
//! the replies for closed streams) goes back over the tunnel by which the [`End`] came last, unless that is gone. The
//! peer says its end again when it loses that tunnel, and only then; a confirmation that was lost elsewhere would leave
//! it waiting.
//!
//! What it leaves out: which tunnel is best and when one is dead (the driver's), encryption (QUIC's), who may open
//! what.

#![warn(missing_docs)]

mod budget;
mod carriers;
mod epochs;
pub mod frame;
mod growth;
mod ids;
mod openings;
mod receiver;
mod retention;
mod sender;
mod violation;

pub use budget::{Budget, Limits};
pub use carriers::Retire;
pub use epochs::Epochs;
pub use frame::{Ack, CarrierHeader, CopyHeader, End, EndKind, Frame, FrameError, ResetCode, Stop};
pub use ids::{CarrierId, Side, StreamId};
pub use openings::{Admission, Openings};
pub use receiver::{Opened, Receiver};
pub use sender::{AckOutcome, PushError, Sender, Transmit};
pub use violation::{Scope, Violation};

/// The most bytes that a sender may hold unacknowledged, whatever its settings: 32 MiB.
///
/// Part of the protocol: a receiver takes a carrier or an end further than this beyond its last acknowledgement for a
/// lie.
pub const MAX_RETENTION: u64 = 32 << 20;

/// An acknowledgement is due when so many bytes were consumed since the last one: 64 KiB.
pub const ACK_EVERY: u64 = 64 << 10;

/// Carriers of one stream and direction that may matter at once, the current one and those that drain: 8.
///
/// Part of the protocol: a sender gives up a carrier whose ordinal falls so far behind its newest one's, and a receiver
/// therefore forgets it.
pub const MAX_CARRIERS: usize = 8;
