//! What keeps the session's ports mapped at the gateway.

use std::net::SocketAddr;

use p2pdbg_portmap::PortMapper;
use tokio::task::JoinSet;

/// What keeps ports mapped at the gateway.
#[derive(Default)]
pub(super) struct Mappers {
    pub(super) udp: Option<PortMapper>,
    pub(super) tcp: Option<PortMapper>,
    /// Gives mappings back that are not needed any more.
    releasing: JoinSet<()>,
}

impl Mappers {
    /// Gives the mapping of the TCP port back, if there is one.
    pub(super) fn release_tcp(&mut self) {
        while self.releasing.try_join_next().is_some() {}
        if let Some(mapper) = self.tcp.take() {
            self.releasing.spawn(mapper.release());
        }
    }

    /// Gives all of them back, and waits for it.
    pub(super) async fn release_all(mut self) {
        self.release_tcp();
        if let Some(mapper) = self.udp {
            self.releasing.spawn(mapper.release());
        }
        while self.releasing.join_next().await.is_some() {}
    }
}

/// The address at which a mapped port is reached from outside, as soon as that changes.
pub(super) async fn external_port(mapper: &mut Option<PortMapper>) -> Option<SocketAddr> {
    match mapper {
        Some(mapper) => mapper.external().await,
        None => std::future::pending().await,
    }
}
