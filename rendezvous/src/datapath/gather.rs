//! What one receive brought for the same receiver, sent in one call.
//!
//! A packet's way through the system's network stack costs far more than its bytes, so datagrams that are on the same
//! way go it together (GSO). Nothing waits for more to come: what one system call has received is all there is, and is
//! on its way before the next. A lone datagram is sent from where it was received, without a copy.

use quinn::udp::EcnCodepoint;

use crate::{
    datapath::{quic_socket::LONGEST_DATAGRAM, worker_sockets::Ports},
    relay::UdpRoute,
};

/// The most that one call sends, in bytes: the longest UDP payload.
const MOST: usize = 65_507;

/// Datagrams of one flow, in order.
struct Parcel<'b> {
    route: UdpRoute,
    ecn: Option<EcnCodepoint>,
    stride: usize,
    first: &'b [u8],
    /// All of them, once there is more than the first.
    joined: Vec<u8>,
}

impl<'b> Parcel<'b> {
    fn bytes(&self) -> &[u8] {
        if self.joined.is_empty() {
            self.first
        } else {
            &self.joined
        }
    }

    /// Adds datagrams, if the system could cut the whole up again into what it was made of.
    fn takes(&mut self, datagrams: &'b [u8], stride: usize, ecn: Option<EcnCodepoint>) -> bool {
        let length = self.bytes().len();
        let even = length.is_multiple_of(self.stride);
        // Of a lone datagram the stride is its own length.
        let alike = stride.min(datagrams.len()) == self.stride
            || (datagrams.len() <= stride && datagrams.len() < self.stride);
        // Longer than a link takes is refused in one piece, where each might have got through in fragments.
        let short = self.stride <= LONGEST_DATAGRAM;
        if !even || !alike || !short || ecn != self.ecn || length + datagrams.len() > MOST {
            return false;
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(self.first);
        }
        self.joined.extend_from_slice(datagrams);
        true
    }
}

/// What is to be sent. Holds no more than one receive brought.
#[derive(Default)]
pub(crate) struct Gather<'b>(Vec<Parcel<'b>>);

impl<'b> Gather<'b> {
    /// Adds datagrams of one sender, each `stride` long but for the last, behind what it has sent before.
    pub(crate) fn add(
        &mut self,
        ports: &Ports,
        route: UdpRoute,
        datagrams: &'b [u8],
        stride: usize,
        ecn: Option<EcnCodepoint>,
    ) {
        let parcel = Parcel {
            route,
            ecn,
            stride: stride.min(datagrams.len()).max(1),
            first: datagrams,
            joined: Vec::new(),
        };
        let Some(before) = self.0.iter_mut().find(|before| before.route == route) else {
            return self.0.push(parcel);
        };
        if !before.takes(datagrams, stride, ecn) {
            ports.send(&before.route, before.bytes(), before.stride, before.ecn);
            *before = parcel;
        }
    }

    /// Sends all that has been gathered, and forgets it.
    pub(crate) fn flush(&mut self, ports: &Ports) {
        let (mut relayed, mut bytes, mut dropped) = (0, 0, 0);
        for parcel in self.0.drain(..) {
            let datagrams = parcel.bytes();
            let count = datagrams.len().div_ceil(parcel.stride) as u64;
            if ports.transmit(&parcel.route, datagrams, parcel.stride, parcel.ecn) {
                relayed += count;
                bytes += datagrams.len() as u64;
            } else {
                dropped += count;
            }
        }
        // Once for all: every worker counts here.
        if relayed > 0 {
            ports.tallies.relayed.add(relayed);
            ports.tallies.relayed_bytes.add(bytes);
        }
        if dropped > 0 {
            ports.tallies.dropped.add(dropped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Source;

    fn parcel(bytes: &[u8]) -> Parcel<'_> {
        let source = Source {
            socket: 0,
            remote: "192.0.2.1:1".parse().unwrap(),
        };
        Parcel {
            route: UdpRoute {
                source,
                local: None,
            },
            ecn: None,
            stride: bytes.len(),
            first: bytes,
            joined: Vec::new(),
        }
    }

    #[test]
    fn datagrams_of_one_length_go_together_and_a_shorter_one_is_the_last() {
        let mut parcel = parcel(&[1; 100]);
        assert!(parcel.takes(&[2; 100], 100, None));
        assert!(parcel.takes(&[3; 250], 100, None));
        assert_eq!(parcel.bytes().len(), 450);
        assert!(!parcel.takes(&[4; 100], 100, None));
        assert_eq!(parcel.bytes()[..200], [[1; 100], [2; 100]].concat());
        assert_eq!(parcel.bytes()[200..], [3; 250]);
    }

    #[test]
    fn a_longer_datagram_or_another_mark_does_not_join() {
        let mut parcel = parcel(&[1; 100]);
        assert!(!parcel.takes(&[2; 101], 101, None));
        assert!(!parcel.takes(&[2; 100], 50, None));
        assert!(!parcel.takes(&[2; 100], 100, Some(EcnCodepoint::Ect0)));
        assert!(parcel.takes(&[2; 7], 7, None));
        assert!(!parcel.takes(&[2; 7], 7, None));
    }

    #[test]
    fn no_parcel_outgrows_one_call() {
        let mut parcel = parcel(&[1; 1_000]);
        let taken = (0..100).filter(|_| parcel.takes(&[2; 1_000], 1_000, None));
        assert_eq!(taken.count(), 64);
    }
}
