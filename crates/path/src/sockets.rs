//! The UDP sockets of a session: one for IPv4 and one for IPv6, each with a QUIC endpoint on it, and those of a search.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use p2pdbg_net::{
    clat::bind,
    mux::{Datagram, MuxSocket},
    nat64::Nat64,
};
use p2pdbg_punch::{Budget, SocketId};
use p2pdbg_tunnel::TunnelConfig;
use p2pdbg_udp::quinn_tasks::WatchedRuntime;
use quinn::{Endpoint, ServerConfig};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// One socket of a session.
#[derive(Debug, Clone)]
pub struct PathSocket {
    /// Names it in the traversal engine.
    pub id: SocketId,
    /// Sends what is not QUIC.
    pub mux: Arc<MuxSocket>,
    /// Dials and accepts QUIC on it.
    pub endpoint: Endpoint,
    /// The port it is bound to, at every local address of its family; `None` if this host has no UDP of that family,
    /// when only a leg of the relay over TCP carries what leaves by it, and of a TCP connection to the peer.
    pub port: Option<u16>,
}

impl PathSocket {
    /// Opens a socket on a free port. What is not QUIC goes to `others`.
    ///
    /// # Errors
    /// If this host does not have the address family, or the operating system refuses.
    pub fn open(
        id: SocketId,
        family: IpAddr,
        nat64: &Nat64,
        others: mpsc::Sender<Datagram>,
    ) -> io::Result<Self> {
        let (mux, port) = open_mux(id, family, nat64, others)?;
        Self::on(id, mux, Some(port))
    }

    /// A TCP connection that takes a socket's place, once its [detour](MuxSocket::detour) is open.
    ///
    /// # Errors
    /// If QUIC cannot be started.
    pub(crate) fn on_stream(
        id: SocketId,
        local: SocketAddr,
        others: mpsc::Sender<Datagram>,
    ) -> io::Result<Self> {
        Self::on(id, MuxSocket::without_udp(id, local, others), None)
    }

    fn on(id: SocketId, mux: Arc<MuxSocket>, port: Option<u16>) -> io::Result<Self> {
        let endpoint = Endpoint::new_with_abstract_socket(
            TunnelConfig::endpoint(),
            None,
            Arc::clone(&mux) as Arc<dyn quinn::AsyncUdpSocket>,
            Arc::new(WatchedRuntime),
        )?;
        Ok(Self {
            id,
            mux,
            endpoint,
            port,
        })
    }

    /// Opens the sockets that every session starts with. A family that this host does not let the program have is told
    /// of in the log, and the relay is reached over TCP there.
    ///
    /// # Errors
    /// If QUIC cannot be started.
    pub(crate) fn open_both(
        nat64: &Nat64,
        others: &mpsc::Sender<Datagram>,
    ) -> io::Result<Vec<Self>> {
        let families: [(_, IpAddr); 2] = [
            (SocketId::V4, Ipv4Addr::UNSPECIFIED.into()),
            (SocketId::V6, Ipv6Addr::UNSPECIFIED.into()),
        ];
        let opened =
            families.map(|(id, any)| (id, any, Self::open(id, any, nat64, others.clone())));
        let none = opened.iter().all(|(_, _, opened)| opened.is_err());
        let sockets = opened.into_iter().map(|(id, any, opened)| {
            opened.or_else(|error| {
                tell_missing(id, none, &error);
                let local = SocketAddr::new(any, 0);
                Self::on(id, MuxSocket::without_udp(id, local, others.clone()), None)
            })
        });
        sockets.collect()
    }

    /// Accepts tunnels from now on, as the listener of a session does.
    pub fn accept_with(&self, config: &ServerConfig) {
        self.endpoint.set_server_config(Some(config.clone()));
    }
}

/// A socket on a free port, and which that is. What is not QUIC goes to `others`.
fn open_mux(
    id: SocketId,
    family: IpAddr,
    nat64: &Nat64,
    others: mpsc::Sender<Datagram>,
) -> io::Result<(Arc<MuxSocket>, u16)> {
    let socket = bind(family)?;
    let port = socket.local_addr()?.port();
    Ok((MuxSocket::new(socket, id, nat64, others)?, port))
}

/// One of the many sockets of a search, which has no QUIC endpoint until there is something at its other end.
#[derive(Debug)]
struct SearchSocket {
    mux: Arc<MuxSocket>,
    port: u16,
    /// Hands on what is not QUIC.
    _receiving: AbortOnDropHandle<()>,
}

/// All sockets of a session.
#[derive(Debug)]
pub(crate) struct Sockets {
    with_quic: HashMap<SocketId, PathSocket>,
    searching: HashMap<SocketId, SearchSocket>,
}

impl Sockets {
    /// The sockets that the session starts with.
    pub(crate) fn new(sockets: Vec<PathSocket>) -> Self {
        Self {
            with_quic: sockets.into_iter().map(|s| (s.id, s)).collect(),
            searching: HashMap::new(),
        }
    }

    /// Those that carry QUIC, or may.
    pub(crate) fn with_quic(&self) -> &HashMap<SocketId, PathSocket> {
        &self.with_quic
    }

    pub(crate) fn insert(&mut self, socket: PathSocket) {
        self.with_quic.insert(socket.id, socket);
    }

    /// Lets go of a socket; whether it carried QUIC, so that others may hold it.
    pub(crate) fn remove(&mut self, id: SocketId) -> bool {
        self.searching.remove(&id);
        self.with_quic.remove(&id).is_some()
    }

    /// Opens one for a search, on a free port, which is returned. What is not QUIC goes to `others`.
    pub(crate) fn open_for_search(
        &mut self,
        id: SocketId,
        family: IpAddr,
        nat64: &Nat64,
        others: mpsc::Sender<Datagram>,
    ) -> io::Result<u16> {
        let (mux, port) = open_mux(id, family, nat64, others)?;
        let receiver = Arc::clone(&mux);
        let receiving = tokio::spawn(async move { receiver.receive_without_quic().await });
        let socket = SearchSocket {
            mux,
            port,
            _receiving: AbortOnDropHandle::new(receiving),
        };
        self.searching.insert(id, socket);
        Ok(port)
    }

    /// The socket with QUIC on it, from now on if it was one of a search.
    pub(crate) fn take_for_quic(&mut self, id: SocketId) -> Option<PathSocket> {
        if let Some(found) = self.searching.remove(&id) {
            found.mux.give_to_quic();
            match PathSocket::on(id, found.mux, Some(found.port)) {
                Ok(socket) => self.insert(socket),
                Err(error) => tracing::debug!(%error, "no QUIC on a socket of the search"),
            }
        }
        self.with_quic.get(&id).cloned()
    }

    /// What sends from one of them.
    pub(crate) fn mux(&self, id: SocketId) -> Option<&MuxSocket> {
        let with_quic = self.with_quic.get(&id).map(|socket| &*socket.mux);
        with_quic.or_else(|| self.searching.get(&id).map(|socket| &*socket.mux))
    }

    /// What was sent is not answered: nothing leaves in batches for a while.
    pub(crate) fn send_singly(&self) {
        let with_quic = self.with_quic.values().map(|socket| &socket.mux);
        with_quic.for_each(|mux| mux.send_singly());
    }

    /// The network is another.
    pub(crate) fn on_network_changed(&self) {
        let with_quic = self.with_quic.values().map(|socket| &socket.mux);
        let searching = self.searching.values().map(|socket| &socket.mux);
        with_quic
            .chain(searching)
            .for_each(|mux| mux.on_network_changed());
    }
}

/// The budget, with no more sockets for a search than take a quarter of the descriptors that this process may have: the
/// streams need them too, and what a search opens at once is gone for all others. Behind a NAT64 each takes two.
pub(super) fn within(budget: Budget, descriptors: usize, is_behind_nat64: bool) -> Budget {
    let each = if is_behind_nat64 { 2 } else { 1 };
    Budget {
        search_sockets: budget.search_sockets.min(descriptors / 4 / each),
        ..budget
    }
}

/// Many a host has one family alone, which is nothing to worry about.
fn tell_missing(id: SocketId, none: bool, error: &io::Error) {
    let family = if id == SocketId::V4 { "IPv4" } else { "IPv6" };
    if none {
        tracing::warn!(family, %error, "no UDP here, so the relay is reached over TCP alone");
    } else {
        tracing::info!(family, %error, "no UDP of one family here");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set in a process that runs one test alone.
    #[cfg(target_os = "linux")]
    const ALONE: &str = "P2PDBG_TEST_ALONE";

    /// How much memory this process may write to, in KiB, as Linux tells.
    #[cfg(target_os = "linux")]
    fn writable_memory() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmData:"));
        let value = line.and_then(|line| line.split_whitespace().nth(1));
        value.unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn sockets_of_the_largest_search_take_little_memory() {
        // In a process of its own: other tests take memory too, and give it back.
        if std::env::var_os(ALONE).is_none() {
            let test = "sockets::tests::sockets_of_the_largest_search_take_little_memory";
            let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
            alone.args(["--exact", test, "--nocapture"]).env(ALONE, "1");
            let output = alone.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{output:?}");
            assert!(said.contains("1 passed"), "{said}");
            return;
        }
        let before = writable_memory();
        let (others, _received) = mpsc::channel(1);
        let mut sockets = Sockets::new(Vec::new());
        for id in 0..512 {
            let any = Ipv4Addr::UNSPECIFIED.into();
            let opened =
                sockets.open_for_search(SocketId(id), any, &Nat64::default(), others.clone());
            opened.unwrap();
        }
        // Each has been asked for something once.
        tokio::task::yield_now().await;
        let taken = writable_memory() - before;
        assert!(taken < 200 * 1024, "{taken} KiB");
    }

    #[test]
    fn search_opens_sockets_for_a_quarter_of_the_descriptors_and_two_each_behind_a_nat64() {
        let usual = Budget::default();
        let sockets = |descriptors, nat64| within(usual, descriptors, nat64).search_sockets;
        assert_eq!(sockets(1_024, false), 256);
        assert_eq!(sockets(1_024, true), 128);
        assert_eq!(within(usual, usize::MAX, true), usual);
    }

    #[tokio::test]
    async fn socket_of_a_search_becomes_one_with_quic_at_the_same_port() {
        let (others, _received) = mpsc::channel(1);
        let mut sockets = Sockets::new(Vec::new());
        let (id, any) = (SocketId(7), Ipv4Addr::UNSPECIFIED.into());
        let port = sockets
            .open_for_search(id, any, &Nat64::default(), others)
            .unwrap();
        assert!(sockets.with_quic().is_empty() && sockets.mux(id).is_some());
        let socket = sockets.take_for_quic(id).unwrap();
        assert_eq!(socket.port, Some(port));
        assert_eq!(socket.endpoint.local_addr().unwrap().port(), port);
        assert!(sockets.mux(id).is_some());
        assert!(sockets.remove(id));
        assert!(sockets.mux(id).is_none() && sockets.take_for_quic(id).is_none());
    }
}
