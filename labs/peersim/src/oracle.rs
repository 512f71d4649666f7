//! What the users of both ends may observe: the reference against which a run is held.

use std::{collections::HashMap, fmt, time::Duration};

use p2pdbg_events::{Event as Report, PathKind};
use p2pdbg_ledger::{EndKind, StreamId};

use crate::which_end::End;

/// Something that a user must not observe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When, from the beginning of the run.
    pub at: Duration,
    /// What a user observed that must not be, in words.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {:?}: {}", self.at, self.what)
    }
}

/// One direction of a stream as the two local programs see it.
#[derive(Debug, Default)]
struct Direction {
    written: u64,
    closed: Option<EndKind>,
    received: u64,
    ended: Option<EndKind>,
    /// Whether one of the programs broke the stream off, or its session is over: bytes may be missing.
    broken: bool,
}

/// What was observed so far.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) now: Duration,
    /// By the stream and the end that writes.
    directions: HashMap<(StreamId, End), Direction>,
    /// Whether each end's person was told that the peer is lost.
    lost: [bool; 2],
    over: [bool; 2],
    /// Whether the two have met, and how often again.
    met: [bool; 2],
    introduced: usize,
    /// Whether the last path that was told to each is the direct one.
    direct: [bool; 2],
    adopted: [Vec<u64>; 2],
    ended: [Vec<u64>; 2],
    pub(crate) found: Option<Violation>,
    pub(crate) lost_told: usize,
}

/// The byte that belongs at an offset: neighbours and far away ones differ.
pub(crate) fn byte_at(offset: u64) -> u8 {
    ((offset + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Oracle {
    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.found.is_none() {
            self.found = Some(Violation {
                at: self.now,
                what: what(),
            });
        }
    }

    fn direction(&mut self, stream: StreamId, from: End) -> &mut Direction {
        self.directions.entry((stream, from)).or_default()
    }

    /// A program at `from` wrote so many bytes; gives the offset of the first.
    pub(crate) fn on_written(&mut self, stream: StreamId, from: End, count: usize) -> u64 {
        let direction = self.direction(stream, from);
        direction.written += count as u64;
        direction.written - count as u64
    }

    /// A program at `from` ended its direction, or broke the stream off.
    pub(crate) fn on_closed(&mut self, stream: StreamId, from: End, kind: EndKind) {
        self.direction(stream, from).closed.get_or_insert(kind);
        if kind != EndKind::Fin {
            self.on_broken(stream);
        }
    }

    /// From now on bytes of this stream may be missing, since somebody broke it off.
    pub(crate) fn on_broken(&mut self, stream: StreamId) {
        for from in End::BOTH {
            self.direction(stream, from).broken = true;
        }
    }

    /// The program at the other end than `from` was given these bytes.
    pub(crate) fn on_bytes(&mut self, stream: StreamId, from: End, bytes: &[u8]) {
        let direction = self.direction(stream, from);
        let at = direction.received;
        direction.received += bytes.len() as u64;
        let (received, written) = (direction.received, direction.written);
        let ended = direction.ended;
        self.must(ended.is_none(), || format!("{stream}: bytes after the end"));
        self.must(received <= written, || {
            format!("{stream}: {received} bytes given of {written} that were written")
        });
        let right = (at..).zip(bytes).all(|(at, byte)| byte_at(at) == *byte);
        self.must(right, || format!("{stream}: wrong bytes from {at} on"));
    }

    /// The program at the other end than `from` was told that this direction has ended.
    pub(crate) fn on_end(&mut self, stream: StreamId, from: End, kind: EndKind) {
        let direction = self.direction(stream, from);
        let before = direction.ended.replace(kind);
        let (received, written) = (direction.received, direction.written);
        let (closed, broken) = (direction.closed, direction.broken);
        self.must(before.is_none(), || {
            format!("{stream}: {kind:?} was told after {before:?}")
        });
        if kind == EndKind::Fin {
            self.must(closed == Some(EndKind::Fin) && received == written, || {
                format!("{stream}: FIN after {received} of {written} bytes, {closed:?}")
            });
        } else {
            self.must(broken, || {
                format!("{stream}: RST though nobody broke it off")
            });
        }
    }

    /// A person at `end` was told something.
    pub(crate) fn on_report(&mut self, end: End, report: &Report) {
        let lost = self.lost[end.index()];
        match report {
            Report::PeerLost { .. } => {
                self.must(!lost, || format!("{end:?}: lost was told twice"));
                self.lost[end.index()] = true;
                self.lost_told += 1;
            }
            Report::Resumed { gap_ms, .. } => {
                self.must(lost, || format!("{end:?}: resumed without a loss"));
                self.must(*gap_ms >= 2000, || {
                    format!("{end:?}: a gap of {gap_ms} ms was told as a loss")
                });
                self.lost[end.index()] = false;
            }
            Report::Path(path) => {
                self.must(!lost, || {
                    format!("{end:?}: a path was told while the peer is lost")
                });
                self.direct[end.index()] = path.kind == PathKind::Direct;
            }
            _ => {}
        }
    }

    /// An end has met its peer: a session begins there.
    pub(crate) fn on_met(&mut self, end: End) {
        let met = std::mem::replace(&mut self.met[end.index()], true);
        self.must(!met, || {
            format!("{end:?}: a second session, though neither process has ended")
        });
    }

    /// An end has met its peer again.
    pub(crate) fn on_introduced(&mut self, end: End) {
        self.introduced += 1;
        let met = self.met[end.index()];
        self.must(met, || format!("{end:?}: met again before the first time"));
    }

    /// An end will meet nobody any more.
    pub(crate) fn on_meeting_failed(&mut self, end: End) {
        let over = self.over.iter().any(|over| *over);
        self.must(over, || {
            format!("{end:?}: the meeting failed, though the rendezvous came back")
        });
    }

    /// An end uses a tunnel from now on.
    pub(crate) fn on_adopted(&mut self, end: End, epoch: u64) {
        let known = self.adopted[end.index()].contains(&epoch);
        self.must(!known, || {
            format!("{end:?}: a second tunnel of epoch {epoch} was taken")
        });
        self.adopted[end.index()].push(epoch);
    }

    /// An end was told that a tunnel has ended.
    pub(crate) fn on_tunnel_ended(&mut self, end: End, epoch: u64) {
        self.ended[end.index()].push(epoch);
    }

    /// Streams of an end are to use this tunnel.
    pub(crate) fn on_used(&mut self, end: End, epoch: Option<u64>) {
        if let Some(epoch) = epoch {
            let adopted = self.adopted[end.index()].contains(&epoch);
            let ended = self.ended[end.index()].contains(&epoch);
            self.must(adopted && !ended, || {
                format!("{end:?}: streams were sent to epoch {epoch}, which is not up")
            });
        }
    }

    /// The session of an end is over.
    pub(crate) fn on_over(&mut self, end: End) {
        let over = std::mem::replace(&mut self.over[end.index()], true);
        self.must(!over, || format!("{end:?}: over twice"));
    }

    /// Faults have ceased long ago: everything must have come to its end by now.
    pub(crate) fn on_finished(&mut self, over: bool) {
        let mut left: Vec<String> = self
            .directions
            .iter()
            .filter(|(_, direction)| direction.ended.is_none() && !direction.broken)
            .map(|((stream, from), d)| {
                format!("{stream} from {from:?} {} of {}", d.received, d.written)
            })
            .collect();
        left.sort();
        self.must(over || left.is_empty(), || {
            format!("never delivered: {}", left.join(", "))
        });
        let met = self.met == [true; 2];
        self.must(over || met, || "never met".to_owned());
        let lost = self.lost.iter().any(|lost| *lost);
        self.must(over || !lost, || "never told as resumed".to_owned());
    }

    pub(crate) fn introduced(&self) -> usize {
        self.introduced
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.direct == [true; 2]
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.directions.values().map(|d| d.received).sum()
    }

    pub(crate) fn adopted(&self) -> usize {
        self.adopted.iter().map(Vec::len).sum()
    }
}
