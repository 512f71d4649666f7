//! Rendezvous that are bound to every address, to several, and to both families.

use std::net::SocketAddr;

use p2pdbg_proto::{
    rendezvous::{Credential, FromRendezvous, Role, ToRendezvous},
    secret::Secret,
};
use p2pdbg_rendezvous::{Server, ServerConfig};
use p2pdbg_stun::Message;

use crate::support::{Peer, Wire, state_dir, stun_request};

struct Open {
    server: Server,
    _state: tempfile::TempDir,
}

async fn open(bind: &[&str]) -> Option<Open> {
    let state = state_dir();
    let server = Server::start(ServerConfig {
        bind: bind.iter().map(|text| text.parse().unwrap()).collect(),
        alt_port: 0,
        state: Some(state.path().into()),
        open: true,
        ..ServerConfig::default()
    })
    .await;
    match server {
        Ok(server) => Some(Open {
            server,
            _state: state,
        }),
        Err(error) if bind.iter().any(|text| text.starts_with('[')) => {
            eprintln!("not tested, for want of IPv6: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn at(ip: &str, port: &SocketAddr) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port.port())
}

impl Open {
    async fn peer(&self, address: SocketAddr) -> Peer {
        let fingerprint = self.server.url().fingerprint.unwrap();
        let mut peer = Peer::connect(address, fingerprint).await;
        peer.hello(Credential::None).await;
        let expected: Vec<u16> = std::iter::once(address.port())
            .chain(
                self.server
                    .alternatives()
                    .iter()
                    .map(SocketAddr::port)
                    .take(1),
            )
            .collect();
        match peer.hear().await {
            FromRendezvous::Welcome { observed, stun, .. } => {
                assert_eq!(observed, peer.local);
                let ports: Vec<u16> = stun.iter().map(SocketAddr::port).collect();
                assert_eq!(ports, expected);
                assert!(stun.iter().all(|s| s.ip().is_unspecified()));
                assert!(stun.iter().all(|s| s.is_ipv4() == address.is_ipv4()));
            }
            other => panic!("{other:?}"),
        }
        peer
    }

    /// Relays a datagram each way between sockets that talk to these two addresses of the rendezvous.
    async fn relay_between(&self, one: (SocketAddr, Wire), two: (SocketAddr, Wire)) {
        let handle: Secret<32> = Secret::random();
        let mut listener = self.peer(one.0).await;
        let mut connector = self.peer(two.0).await;
        for (peer, role) in [
            (&mut listener, Role::Listener),
            (&mut connector, Role::Connector),
        ] {
            let handle = handle.clone();
            peer.say(&ToRendezvous::Meet {
                handle,
                role,
                already: None,
            })
            .await;
        }
        let legs = [listener.introduced().await, connector.introduced().await];
        for ((relay, wire), introduction) in [&one, &two].into_iter().zip(&legs) {
            wire.bind_leg(*relay, &introduction.leg).await;
        }
        for (from, to) in [(&one, &two), (&two, &one)] {
            from.1.send(from.0, b"QUIC, as it were").await;
            assert_eq!(to.1.receive_from(to.0).await, b"QUIC, as it were");
        }
    }
}

#[tokio::test]
async fn an_answer_comes_from_the_address_that_was_asked() {
    let Some(open) = open(&["0.0.0.0:0"]).await else {
        return;
    };
    let wire = Wire::at("0.0.0.0:0");
    let request = stun_request(40);
    for ip in ["127.0.0.1", "127.0.0.2", "127.8.7.6"] {
        for port in [&open.server.addresses()[0], &open.server.alternatives()[0]] {
            let asked = at(ip, port);
            wire.send(asked, &request).await;
            wire.receive_from(asked).await;
        }
    }
    let main = open.server.addresses()[0];
    // The same holds for QUIC, whose client takes no datagram from elsewhere, and for relayed datagrams.
    let one = (at("127.0.0.2", &main), Wire::at("0.0.0.0:0"));
    let two = (at("127.0.0.3", &main), Wire::at("0.0.0.0:0"));
    open.relay_between(one, two).await;
}

#[tokio::test]
async fn one_socket_serves_both_families_and_relays_between_them() {
    let Some(open) = open(&["[::]:0"]).await else {
        return;
    };
    let main = open.server.addresses()[0];
    let (v4, v6) = (at("127.0.0.1", &main), at("::1", &main));
    for (asked, wire) in [
        (v4, Wire::at("127.0.0.1:0")),
        (v6, Wire::at("[::1]:0")),
        (
            at("127.0.0.2", &open.server.alternatives()[0]),
            Wire::at("127.0.0.1:0"),
        ),
    ] {
        wire.send(asked, &stun_request(40)).await;
        let answer = wire.receive_from(asked).await;
        let mapped = Message::decode(&answer).unwrap().mapped_address();
        assert_eq!(mapped, Some(wire.local()));
    }
    let one = (v4, Wire::at("127.0.0.1:0"));
    let two = (v6, Wire::at("[::1]:0"));
    open.relay_between(one, two).await;
}

#[tokio::test]
async fn several_ports_are_one_rendezvous() {
    let Some(open) = open(&["127.0.0.1:0", "127.0.0.2:0", "127.0.0.2:0"]).await else {
        return;
    };
    let [first, second, third] = open.server.addresses()[..] else {
        panic!("three ports were asked for")
    };
    assert_eq!(open.server.alternatives().len(), 2);
    let one = (first, Wire::at("127.0.0.1:0"));
    let two = (second, Wire::at("127.0.0.1:0"));
    // Each peer's alternative is at the address that it uses, so only the first's is the first one.
    let wires = [one, two];
    for (main, _) in &wires {
        assert!(
            open.server
                .alternatives()
                .iter()
                .any(|a| a.ip() == main.ip())
        );
    }
    let wire = Wire::at("127.0.0.1:0");
    wire.send(third, &stun_request(40)).await;
    wire.receive_from(third).await;
}
