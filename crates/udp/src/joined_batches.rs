//! Batches that follow one another at once, joined into one call of the operating system.
//!
//! quinn makes ten datagrams at the most and sends them before it makes the next ten. What the kernel then does for
//! each call (the route, the filters, the other end's queue and its wake-up) it does for ten datagrams or for forty. A
//! full batch therefore waits for what the program does next: while it goes on sending, they leave together.

use std::{io, net::IpAddr, net::SocketAddr};

use quinn::udp::{EcnCodepoint, Transmit};

/// As many datagrams are a batch behind which more may come: quinn's own bound.
const FULL: usize = 10;

/// No more datagrams leave by one call, whatever the system would take (Linux 64).
const MOST: usize = 40;

/// Nor more bytes; the longest that IP has room for is 65,507 with IPv4.
const LONGEST: usize = 60_000;

/// What all datagrams of a call have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kind {
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    source: Option<IpAddr>,
    /// The length of each, in bytes, but of the last, which may be shorter.
    size: usize,
}

/// Datagrams that wait for more of their kind.
#[derive(Default, Debug)]
pub(crate) struct Joined {
    kind: Option<Kind>,
    bytes: Vec<u8>,
}

impl Joined {
    /// Whether something waits.
    pub(crate) fn holds(&self) -> bool {
        self.kind.is_some()
    }

    /// Whether more may follow behind this at once.
    pub(crate) fn may_go_on(transmit: &Transmit<'_>) -> bool {
        let length = transmit.contents.len();
        transmit
            .segment_size
            .is_some_and(|size| length >= FULL * size && length.is_multiple_of(size))
    }

    /// Sends this behind what waits, by the same call if it can be, or has it wait as well. The system takes `most`
    /// datagrams by one call.
    ///
    /// # Errors
    /// What `send` says; this was not taken then, and what waited may wait still.
    pub(crate) fn push(
        &mut self,
        transmit: &Transmit<'_>,
        most: usize,
        mut send: impl FnMut(&Transmit<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let length = transmit.contents.len();
        let kind = Kind {
            destination: transmit.destination,
            ecn: transmit.ecn,
            source: transmit.src_ip,
            size: transmit.segment_size.unwrap_or(length),
        };
        if !self.has_room(&kind, length, most) {
            self.flush(&mut send)?;
        }
        let goes_on = Self::may_go_on(transmit);
        if !self.holds() && !goes_on {
            return send(transmit);
        }
        let (held, before) = (self.kind, self.bytes.len());
        self.kind.get_or_insert(kind);
        self.bytes.extend_from_slice(transmit.contents);
        if goes_on && self.has_room(&kind, FULL * kind.size, most) {
            return Ok(());
        }
        let sent = self.flush(send);
        if sent.is_err() {
            self.bytes.truncate(before);
            self.kind = held;
        }
        sent
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// What `send` says; it goes on waiting then.
    pub(crate) fn flush(
        &mut self,
        mut send: impl FnMut(&Transmit<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(kind) = self.kind else {
            return Ok(());
        };
        send(&Transmit {
            destination: kind.destination,
            ecn: kind.ecn,
            contents: &self.bytes,
            segment_size: Some(kind.size),
            src_ip: kind.source,
        })?;
        self.kind = None;
        self.bytes.clear();
        Ok(())
    }

    /// Whether so many bytes of this kind may go behind what waits.
    fn has_room(&self, kind: &Kind, length: usize, most: usize) -> bool {
        let Some(held) = self.kind else {
            return true;
        };
        let alike = Kind {
            size: held.size,
            ..*kind
        } == held;
        // Shorter than the others is the last of a call alone.
        let fits = kind.size == held.size || (kind.size < held.size && length == kind.size);
        let total = self.bytes.len() + length;
        alike && fits && total <= LONGEST && total.div_ceil(held.size) <= most.min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELSEWHERE: &str = "127.0.0.1:2";

    fn batch(bytes: &[u8]) -> Transmit<'_> {
        Transmit {
            destination: "127.0.0.1:1".parse().unwrap(),
            ecn: None,
            contents: bytes,
            segment_size: Some(2),
            src_ip: None,
        }
    }

    /// What left by each call, as (where to, the bytes, the size of each).
    #[derive(Default)]
    struct Calls {
        joined: Joined,
        made: Vec<(SocketAddr, Vec<u8>, Option<usize>)>,
        fails: bool,
    }

    impl Calls {
        fn push(&mut self, transmit: &Transmit<'_>) -> io::Result<()> {
            let (made, fails) = (&mut self.made, self.fails);
            self.joined
                .push(transmit, 64, |sent| call(made, fails, sent))
        }

        fn flush(&mut self) -> io::Result<()> {
            let (made, fails) = (&mut self.made, self.fails);
            self.joined.flush(|sent| call(made, fails, sent))
        }

        fn lengths(&self) -> Vec<usize> {
            self.made.iter().map(|(_, bytes, _)| bytes.len()).collect()
        }
    }

    fn call(
        made: &mut Vec<(SocketAddr, Vec<u8>, Option<usize>)>,
        fails: bool,
        sent: &Transmit<'_>,
    ) -> io::Result<()> {
        if fails {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        made.push((sent.destination, sent.contents.to_vec(), sent.segment_size));
        Ok(())
    }

    #[test]
    fn full_batches_leave_with_what_follows_and_no_more_than_forty_datagrams_at_once() {
        let mut calls = Calls::default();
        for _ in 0..9 {
            calls.push(&batch(&[7; 20])).unwrap();
        }
        assert_eq!(calls.lengths(), [80, 80]);
        calls.push(&batch(&[8; 5])).unwrap();
        assert_eq!(calls.lengths(), [80, 80, 25]);
        assert!(!calls.joined.holds());
        assert_eq!(calls.made[2].2, Some(2));
        calls.push(&batch(&[9; 6])).unwrap();
        assert_eq!(calls.lengths(), [80, 80, 25, 6], "it waits for nothing");
    }

    #[test]
    fn what_differs_leaves_behind_what_waited_by_a_call_of_its_own() {
        let whole = [1; 20];
        let elsewhere = Transmit {
            destination: ELSEWHERE.parse().unwrap(),
            ..batch(&whole)
        };
        let marked = Transmit {
            ecn: Some(EcnCodepoint::Ect0),
            ..batch(&whole)
        };
        let longer = Transmit {
            segment_size: None,
            ..batch(&[2; 3])
        };
        for other in [elsewhere, marked, longer] {
            let mut calls = Calls::default();
            calls.push(&batch(&whole)).unwrap();
            assert!(calls.made.is_empty());
            calls.push(&other).unwrap();
            calls.flush().unwrap();
            assert_eq!(calls.lengths(), [20, other.contents.len()]);
            assert_eq!(calls.made[1].0, other.destination);
        }
        let mut calls = Calls::default();
        calls.push(&batch(&whole)).unwrap();
        let shorter = Transmit {
            segment_size: None,
            ..batch(&[3; 1])
        };
        calls.push(&shorter).unwrap();
        assert_eq!(calls.lengths(), [21], "a shorter one may be the last");
    }

    #[test]
    fn what_finds_no_room_is_not_taken_and_what_waited_goes_on_waiting() {
        let mut calls = Calls::default();
        calls.push(&batch(&[1; 20])).unwrap();
        calls.fails = true;
        for transmit in [batch(&[2; 3]), batch(&[2; 7])] {
            assert!(calls.push(&transmit).is_err());
        }
        assert!(calls.flush().is_err());
        calls.fails = false;
        calls.flush().unwrap();
        assert_eq!(calls.made, [(batch(&[]).destination, vec![1; 20], Some(2))]);
        assert!(calls.flush().is_ok());
    }
}
