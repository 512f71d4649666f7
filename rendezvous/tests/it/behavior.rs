//! RFC 5780: a rendezvous with a second address, asked by an independent client and to the letter.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
};

use p2pdbg_proto::rendezvous::{Credential, FromRendezvous};
use p2pdbg_rendezvous::{Server, ServerConfig, StartError};
use p2pdbg_stun::{Attribute, Class, Encoder, Message, TransactionId};
use stun_client::{
    Client,
    nat_behavior_discovery::{
        NATFilteringType, NATMappingType, check_nat_filtering_behavior, check_nat_mapping_behavior,
    },
};
use tempfile::TempDir;

use crate::support::{Peer, Wire, soon, state_dir};

struct Square {
    server: Server,
    _state: TempDir,
}

async fn start(bind: &str, second: &str) -> Result<Square, StartError> {
    let state = state_dir();
    let server = Server::start(ServerConfig {
        bind: vec![bind.parse().unwrap()],
        alt_port: 0,
        alt_ips: vec![(second.parse().unwrap(), None)],
        state: Some(state.path().into()),
        open: true,
        ..ServerConfig::default()
    })
    .await?;
    Ok(Square {
        server,
        _state: state,
    })
}

impl Square {
    /// The four places, with the first address being this one.
    fn corners(&self, first: &str, second: &str) -> [SocketAddr; 4] {
        let ports = [
            self.server.addresses()[0].port(),
            self.server.alternatives()[0].port(),
        ];
        let at = |ip: &str, port: usize| SocketAddr::new(ip.parse().unwrap(), ports[port]);
        [at(first, 0), at(first, 1), at(second, 0), at(second, 1)]
    }
}

fn request(attributes: &[Attribute<'_>]) -> Vec<u8> {
    let mut buffer = [0; 256];
    let mut request = Encoder::new(&mut buffer, Class::Request, TransactionId([7; 12])).unwrap();
    for attribute in attributes {
        request.push(*attribute).unwrap();
    }
    request.finish().to_vec()
}

/// Asks each corner for an answer from each corner, and looks where it comes from and what it says.
async fn all_corners_answer_for_each_other(corners: [SocketAddr; 4], wire: &Wire) {
    for (asked, place) in corners.into_iter().zip(0..4) {
        for (ip, port) in [(false, false), (false, true), (true, false), (true, true)] {
            let change = Attribute::ChangeRequest { ip, port };
            let question = request(&[change, Attribute::Padding(40)]);
            wire.send(asked, &question).await;
            let from = corners[place ^ (usize::from(ip) * 2 + usize::from(port))];
            let answer = wire.receive_from(from).await;
            assert!(answer.len() <= question.len());
            let message = Message::decode(&answer).unwrap();
            assert_eq!(message.mapped_address(), Some(wire.local()));
            let says = |what| message.attributes().any(|attribute| attribute == what);
            assert!(says(Attribute::ResponseOrigin(from)));
            assert!(says(Attribute::OtherAddress(corners[place ^ 3])));
        }
    }
}

#[tokio::test]
async fn each_corner_answers_from_the_corner_that_it_is_asked_for() {
    let square = start("127.78.0.1:0", "127.78.0.2").await.unwrap();
    let corners = square.corners("127.78.0.1", "127.78.0.2");
    all_corners_answer_for_each_other(corners, &Wire::new()).await;
}

#[tokio::test]
async fn a_socket_of_every_address_is_a_square_too() {
    for bind in ["0.0.0.0:0", "[::]:0"] {
        let square = match start(bind, "127.78.0.4").await {
            Ok(square) => square,
            Err(error) if bind.starts_with('[') => {
                eprintln!("not tested, for want of IPv6: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        // The first address is the one of the default route, or loopback where there is none.
        let wire = Wire::at("0.0.0.0:0");
        let [_, _, third, _] = square.corners("127.0.0.1", "127.78.0.4");
        let change = Attribute::ChangeRequest {
            ip: true,
            port: true,
        };
        wire.send(third, &request(&[Attribute::Padding(40)])).await;
        let answer = wire.receive_from(third).await;
        let message = Message::decode(&answer).unwrap();
        let other = message.attributes().find_map(|attribute| match attribute {
            Attribute::OtherAddress(other) => Some(other),
            _ => None,
        });
        let first = other.expect("there is another address");
        wire.send(third, &request(&[change, Attribute::Padding(40)]))
            .await;
        wire.receive_from(first).await;
        let [_, _, third, fourth] = square.corners("127.0.0.1", "127.78.0.4");
        for (port, from) in [(false, third), (true, fourth)] {
            let change = Attribute::ChangeRequest { ip: true, port };
            let asked = square.corners("127.0.0.1", "127.78.0.4")[0];
            wire.send(asked, &request(&[change, Attribute::Padding(40)]))
                .await;
            wire.receive_from(from).await;
        }
    }
}

#[tokio::test]
async fn an_answer_can_be_had_at_another_port() {
    let square = start("127.78.0.5:0", "127.78.0.6").await.unwrap();
    let main = square.server.addresses()[0];
    let (asks, hears) = (Wire::new(), Wire::new());
    let there = Attribute::ResponsePort(hears.local().port());
    let question = request(&[there, Attribute::Padding(40)]);
    asks.send(main, &question).await;
    let answer = hears.receive_from(main).await;
    assert!(answer.len() <= question.len());
    let mapped = Message::decode(&answer).unwrap().mapped_address();
    assert_eq!(mapped, Some(asks.local()), "of the one who asked");
    assert!(asks.is_silent());
}

#[tokio::test]
async fn an_independent_client_finds_neither_mapping_nor_filter_on_loopback() {
    let square = start("127.78.0.7:0", "127.78.0.8").await.unwrap();
    let main = square.server.addresses()[0];
    // Not an address of an interface, so that the client looks on rather than finding that there is no NAT.
    let socket = UdpSocket::bind("127.78.0.9:0").unwrap();
    let local = socket.local_addr().unwrap();
    let mut client = Client::from_socket(Arc::new(socket.into()), None);
    let mapping = soon(check_nat_mapping_behavior(&mut client, main)).await;
    let mapping = mapping.unwrap();
    assert_eq!(mapping.test1_xor_mapped_addr, Some(local));
    assert_eq!(mapping.test2_xor_mapped_addr, Some(local));
    assert_eq!(mapping.mapping_type, NATMappingType::EndpointIndependent);
    let filtering = soon(check_nat_filtering_behavior(&mut client, main)).await;
    let filtering = filtering.unwrap().filtering_type;
    assert_eq!(filtering, NATFilteringType::EndpointIndependent);
}

#[tokio::test]
async fn peers_are_told_where_else_to_ask() {
    let square = start("127.78.0.10:0", "127.78.0.11").await.unwrap();
    let [main, _, third, fourth] = square.corners("127.78.0.10", "127.78.0.11");
    let fingerprint = square.server.url().fingerprint.unwrap();
    let mut peer = Peer::connect(main, fingerprint).await;
    peer.hello(Credential::None).await;
    let FromRendezvous::Welcome { stun, .. } = peer.hear().await else {
        panic!("no welcome")
    };
    let ports: Vec<u16> = stun.iter().map(SocketAddr::port).collect();
    assert_eq!(ports[..2], [main.port(), fourth.port()]);
    assert!(stun[..2].iter().all(|stun| stun.ip().is_unspecified()));
    assert_eq!(stun[2..], [third, fourth]);
}

#[tokio::test]
async fn a_second_address_that_cannot_serve_is_refused_with_the_reason() {
    for (bind, second, why) in [
        ("127.78.0.12:0", "127.78.0.12", "the first one too"),
        ("127.78.0.12:0", "::1", "its address family"),
        ("0.0.0.0:0", "192.0.2.1", "does not have it"),
    ] {
        let error = start(bind, second).await.err().expect("it is refused");
        assert!(error.to_string().contains(why), "{error}");
    }
    let foreign: IpAddr = "192.0.2.1".parse().unwrap();
    match start("127.78.0.12:0", "192.0.2.1").await.err() {
        Some(StartError::Bind { address, .. }) => assert_eq!(address.ip(), foreign),
        other => panic!("{other:?}"),
    }
}
