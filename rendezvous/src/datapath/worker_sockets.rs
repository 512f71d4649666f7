//! One worker's sockets: its own of each main port, and those of the alternative ports, which all share.

use std::sync::Arc;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use tokio::sync::mpsc;

use crate::{
    counters::Tallies,
    datapath::{quic_socket::Datagram, socket::UdpPort},
    relay::UdpRoute,
};

/// A port as one worker has it, and what it is for.
#[derive(Clone)]
pub(crate) struct Port {
    /// The socket to send on. On a main port it is this worker's own, which it also reads.
    pub(crate) udp: Arc<UdpPort>,
    /// Where quinn's datagrams go; none on an alternative port, which serves STUN alone.
    pub(crate) quic: Option<mpsc::Sender<Datagram>>,
    /// Whether this worker reads it: a socket has one reader.
    pub(crate) read: bool,
}

/// All ports as one worker has them. A port has the same index at every worker.
#[derive(Clone)]
pub(crate) struct Ports {
    pub(crate) all: Vec<Port>,
    pub(crate) tallies: Arc<Tallies>,
}

impl Ports {
    /// Each worker's, which all count together.
    pub(crate) fn of_all(workers: Vec<Vec<Port>>, tallies: &Arc<Tallies>) -> Vec<Self> {
        let ports = |all| Self {
            all,
            tallies: tallies.clone(),
        };
        workers.into_iter().map(ports).collect()
    }

    /// Sends datagrams of a leg, each `stride` long but for the last, and counts them.
    pub(crate) fn send(
        &self,
        route: &UdpRoute,
        datagrams: &[u8],
        stride: usize,
        ecn: Option<EcnCodepoint>,
    ) {
        let count = datagrams.len().div_ceil(stride.max(1)) as u64;
        if self.transmit(route, datagrams, stride, ecn) {
            self.tallies.relayed.add(count);
            self.tallies.relayed_bytes.add(datagrams.len() as u64);
        } else {
            self.tallies.dropped.add(count);
        }
    }

    /// The same without counting: whether all went out.
    pub(crate) fn transmit(
        &self,
        route: &UdpRoute,
        datagrams: &[u8],
        stride: usize,
        ecn: Option<EcnCodepoint>,
    ) -> bool {
        self.all[route.source.socket].udp.send_or_drop(&Transmit {
            destination: route.source.remote,
            ecn,
            contents: datagrams,
            segment_size: (datagrams.len() > stride).then_some(stride),
            src_ip: route.local,
        })
    }

    /// Answers whoever sent what was received like this.
    pub(crate) fn reply(&self, index: usize, meta: &RecvMeta, contents: &[u8]) {
        // Whoever asked asks again.
        let _ = self.all[index].udp.send_or_drop(&Transmit {
            destination: meta.addr,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: meta.dst_ip,
        });
    }
}
