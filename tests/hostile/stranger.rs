//! One who has no keys, but knows where the session is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use p2pdbg_identity::tls;
use p2pdbg_net::nat64::Nat64;
use p2pdbg_path::PathSocket;
use p2pdbg_proto::{
    code::Nameplate,
    frame,
    rendezvous::{Credential, FromRendezvous, Introduction, ToRendezvous},
    url::RendezvousUrl,
};
use p2pdbg_punch::SocketId;
use quinn::{
    ClientConfig, Connection, Endpoint, RecvStream, SendStream, crypto::rustls::QuicClientConfig,
};
use tokio::sync::mpsc;

/// A socket of its own as peers have them, from which that address can be reached.
pub(crate) fn socket_of_peer(to: SocketAddr) -> PathSocket {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (others, _) = mpsc::channel(1);
    PathSocket::open(SocketId::V4, any, &Nat64::default(), others).unwrap()
}

/// A socket of its own, from which the rendezvous can be reached at that address.
pub(crate) fn endpoint(to: SocketAddr) -> Endpoint {
    let from: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    Endpoint::client((from, 0).into()).unwrap()
}

/// A connection to the rendezvous on which anything may be said.
pub(crate) struct Guest {
    send: SendStream,
    recv: RecvStream,
    _connection: Connection,
}

impl Guest {
    pub(crate) async fn hello(url: &RendezvousUrl) -> Self {
        let key = url.access_key.clone().unwrap();
        Self::hello_with(url, Credential::AccessKey(key)).await
    }

    pub(crate) async fn hello_with(url: &RendezvousUrl, credential: Credential) -> Self {
        let tls = tls::control_client(url.fingerprint).unwrap();
        let quic = QuicClientConfig::try_from(tls).unwrap();
        let config = ClientConfig::new(std::sync::Arc::new(quic));
        let address = SocketAddr::new(url.host.parse().unwrap(), url.port);
        let connecting = endpoint(address).connect_with(config, address, &url.host);
        let connection = connecting.unwrap().await.unwrap();
        let (send, recv) = connection.open_bi().await.unwrap();
        let mut guest = Self {
            send,
            recv,
            _connection: connection,
        };
        guest
            .say(&ToRendezvous::Hello {
                credential,
                agent: "stranger".into(),
            })
            .await;
        guest
    }

    pub(crate) async fn say(&mut self, message: &ToRendezvous) {
        let mut bytes = Vec::new();
        frame::encode(message, &mut bytes).unwrap();
        self.send.write_all(&bytes).await.unwrap();
    }

    /// Makes a code; its number.
    #[cfg(target_os = "linux")]
    pub(crate) async fn listen(&mut self) -> Nameplate {
        self.say(&ToRendezvous::Listen { claim: None }).await;
        loop {
            if let FromRendezvous::Listening(claim) = self.hear().await {
                return claim.nameplate;
            }
        }
    }

    /// Waits until the rendezvous introduces somebody.
    pub(crate) async fn introduced(&mut self) -> Introduction {
        loop {
            if let FromRendezvous::Introduced(introduction) = self.hear().await {
                return introduction;
            }
        }
    }

    /// Waits until the other says something.
    pub(crate) async fn told(&mut self) -> Vec<u8> {
        loop {
            if let FromRendezvous::Signal { payload, .. } = self.hear().await {
                return payload;
            }
        }
    }

    async fn hear(&mut self) -> FromRendezvous {
        let mut prefix = [0; frame::PREFIX];
        self.recv.read_exact(&mut prefix).await.unwrap();
        let mut body = vec![0; frame::body_length(prefix).unwrap()];
        self.recv.read_exact(&mut body).await.unwrap();
        frame::decode(&body).unwrap()
    }
}
