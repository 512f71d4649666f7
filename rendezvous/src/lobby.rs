//! What connections of every kind share on their way in: the limits, the counters, and the way to the hub.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;

use crate::{
    admission::Admission,
    counters::Tallies,
    hub::{Event, Inlet, outgoing_queue},
    limits::Limits,
    registry::{Arrival, ConnId},
};

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Lobby {
    /// Counts connections.
    pub(crate) admission: Admission,
    /// Takes what they say.
    pub(crate) hub: mpsc::Sender<Event>,
    /// Counts more.
    pub(crate) tallies: Arc<Tallies>,
    /// The limits.
    pub(crate) limits: Limits,
    /// The name of the next connection.
    pub(crate) next: AtomicU64,
}

impl Lobby {
    /// Makes a control connection known to the hub: its name, and what it is to be told. `None` if the hub has gone.
    pub(crate) async fn enter(
        &self,
        observed: SocketAddr,
        stun_ports: &[u16],
    ) -> Option<(ConnId, Inlet)> {
        self.tallies.connections.add(1);
        let id = ConnId(self.next.fetch_add(1, Ordering::Relaxed));
        let arrival = Arrival {
            observed,
            stun: stun_addresses(observed, stun_ports),
        };
        let (outlet, inlet) = outgoing_queue(self.limits.outgoing_bytes);
        let connected = Event::Connected(id, arrival, outlet);
        self.hub.send(connected).await.ok()?;
        Some((id, inlet))
    }
}

/// Where STUN is answered: the address by which the peer reached us, on each port.
fn stun_addresses(observed: SocketAddr, ports: &[u16]) -> Vec<SocketAddr> {
    let unspecified: IpAddr = match observed {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    ports
        .iter()
        .map(|port| SocketAddr::new(unspecified, *port))
        .collect()
}
