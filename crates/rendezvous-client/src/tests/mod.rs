//! The link against a real rendezvous on loopback, over UDP and over TCP, and against what stands in its place.

mod by_web;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use p2pdbg_identity::{Identity, StateDir, tls};
use p2pdbg_net::changes::{Changes, Reason};
use p2pdbg_proto::{
    control::{Credential, FromRendezvous, ToRendezvous},
    url::RendezvousUrl,
};
use p2pdbg_rendezvous::{Server, ServerConfig};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use super::*;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it happens in time")
}

struct Rig {
    server: Server,
    _state: TempDir,
}

fn state() -> TempDir {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir().unwrap()
}

impl Rig {
    async fn start() -> Self {
        Self::at("127.0.0.1:0").await.unwrap()
    }

    async fn at(address: &str) -> Option<Self> {
        let state = state();
        let server = Server::start(ServerConfig {
            bind: vec![address.parse().unwrap()],
            alt_port: 0,
            state: Some(state.path().into()),
            open: true,
            ..ServerConfig::default()
        });
        Some(Self {
            server: server.await.ok()?,
            _state: state,
        })
    }

    fn url(&self) -> RendezvousUrl {
        self.server.url().clone()
    }
}

fn open(url: RendezvousUrl, transports: Transports, changes: &Changes) -> Link {
    let config = LinkConfig {
        route: TcpRoute::new(&url),
        url,
        transports,
    };
    Link::open(config, Credential::None, changes)
}

async fn up(link: &mut Link) -> bool {
    loop {
        match soon(link.event()).await.expect("another attempt") {
            LinkEvent::Up { over_tcp, .. } => return over_tcp,
            LinkEvent::Down(_) | LinkEvent::Message(_) => {}
        }
    }
}

async fn down(link: &mut Link) -> LinkError {
    loop {
        match soon(link.event()).await.expect("an event") {
            LinkEvent::Down(error) => return error,
            LinkEvent::Up { .. } | LinkEvent::Message(_) => {}
        }
    }
}

async fn listens(link: &mut Link) {
    link.send(ToRendezvous::Listen { claim: None });
    let heard = soon(link.event()).await;
    assert!(matches!(
        heard,
        Some(LinkEvent::Message(FromRendezvous::Listening(_)))
    ));
}

/// A port over which TCP reaches the rendezvous and UDP nothing, and a switch that silences the connections there are.
async fn tcp_alone(to: SocketAddr) -> (SocketAddr, UdpSocket, Arc<Notify>) {
    let silence = Arc::new(Notify::new());
    let (listener, silent) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        if let Ok(silent) = UdpSocket::bind(address).await {
            break (listener, silent);
        }
    };
    let address = listener.local_addr().unwrap();
    let switch = Arc::clone(&silence);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let switch = Arc::clone(&switch);
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    // Both stay open, and nothing passes any more.
                    () = switch.notified() => std::future::pending().await,
                }
            });
        }
    });
    (address, silent, silence)
}

#[tokio::test]
async fn where_both_are_there_quic_wins() {
    let rig = Rig::start().await;
    let mut link = open(rig.url(), Transports::Any, &Changes::silent());
    assert!(!up(&mut link).await);
    listens(&mut link).await;
    link.close().await;
    assert_eq!(rig.server.counters().tcp_connections, 0);
}

#[tokio::test]
async fn both_families_reach_a_rendezvous_on_all_addresses_over_tcp() {
    let Some(rig) = Rig::at("[::]:0").await else {
        eprintln!("not tested, for want of IPv6");
        return;
    };
    let port = rig.server.addresses()[0].port();
    for host in ["127.0.0.1", "::1"] {
        let host = host.to_owned();
        let url = RendezvousUrl {
            host,
            port,
            ..rig.url()
        };
        let mut link = open(url, Transports::Tcp, &Changes::silent());
        let Some(LinkEvent::Up {
            observed,
            rendezvous,
            ..
        }) = soon(link.event()).await
        else {
            panic!("not reached");
        };
        // The address as people write it, whatever socket took it.
        assert_eq!(observed.ip(), rendezvous.ip());
        listens(&mut link).await;
    }
}

#[tokio::test]
async fn where_udp_gets_no_answer_tcp_serves_and_says_goodbye() {
    let rig = Rig::start().await;
    let (address, _silent, _) = tcp_alone(rig.server.addresses()[0]).await;
    let url = RendezvousUrl {
        port: address.port(),
        ..rig.url()
    };
    let mut link = open(url, Transports::Any, &Changes::silent());
    assert!(up(&mut link).await);
    listens(&mut link).await;
    assert_eq!(rig.server.counters().peers, 1);
    link.close().await;
    soon(async {
        while rig.server.counters().peers > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_over_tcp_that_is_dead_after_a_change_of_the_network_is_made_again() {
    let rig = Rig::start().await;
    let (address, _silent, silence) = tcp_alone(rig.server.addresses()[0]).await;
    let url = RendezvousUrl {
        port: address.port(),
        ..rig.url()
    };
    let changes = Changes::silent();
    let mut link = open(url, Transports::Any, &changes);
    assert!(up(&mut link).await);
    // One that lives survives the change.
    changes.announce(Reason::Network);
    listens(&mut link).await;
    silence.notify_waiters();
    changes.announce(Reason::Network);
    let error = down(&mut link).await;
    assert!(matches!(error, LinkError::Lost(_)), "{error}");
    assert!(up(&mut link).await);
}

/// Serves TLS with a certificate of its own.
async fn impostor(listener: TcpListener) {
    let state = state();
    let dir = StateDir::open(Some(state.path()), "impostor").unwrap();
    let identity = Identity::load_or_make(&dir).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls::stream_server(&identity).unwrap()));
    while let Ok((stream, _)) = listener.accept().await {
        let _ = acceptor.accept(stream).await;
    }
}

#[tokio::test]
async fn what_answers_over_tcp_in_the_place_of_the_rendezvous_is_told_and_ends_nothing() {
    let rig = Rig::start().await;
    for is_tls in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            if is_tls {
                return impostor(listener).await;
            }
            while let Ok((mut stream, _)) = listener.accept().await {
                let page = b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n";
                let _ = stream.write_all(page).await;
            }
        });
        let url = RendezvousUrl { port, ..rig.url() };
        let mut link = open(url, Transports::Tcp, &Changes::silent());
        let error = down(&mut link).await;
        assert!(error.is_passing(), "{error}");
        let LinkError::InItsPlace(spoken) = &error else {
            panic!("{error}");
        };
        assert_eq!(matches!(**spoken, LinkError::Identity { .. }), is_tls);
        // It goes on trying.
        down(&mut link).await;
        serving.abort();
    }
}

#[tokio::test]
async fn a_rendezvous_that_is_not_there_is_told_as_that() {
    let rig = Rig::start().await;
    let url = rig.url();
    rig.server.shutdown().await;
    let mut link = open(url, Transports::Tcp, &Changes::silent());
    let error = down(&mut link).await;
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error}");
}
