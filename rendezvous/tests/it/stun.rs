//! The STUN server against an independent client, and against the letter of its own rules.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use p2pdbg_stun::{self as wire, Attribute as WireAttribute, Encoder, Fingerprint, TransactionId};
use stun_client::{Attribute, Class, Client};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Rig, Wire, soon};

/// The independent client on a socket whose address we know.
fn client() -> (Client, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = socket.local_addr().unwrap();
    (Client::from_socket(Arc::new(socket.into()), None), local)
}

#[tokio::test]
async fn an_independent_client_learns_its_address_from_both_ports() {
    let rig = Rig::start().await;
    let (mut client, local) = client();
    for port in [rig.main(), rig.alternative()] {
        let answer = soon(client.binding_request(port, None)).await.unwrap();
        assert_eq!(answer.get_class(), Class::SuccessResponse);
        assert_eq!(Attribute::get_xor_mapped_address(&answer), Some(local));
    }
}

#[tokio::test]
async fn an_independent_client_is_told_which_attribute_is_unknown() {
    let rig = Rig::start().await;
    let (mut client, _) = client();
    let unknown = HashMap::from([(Attribute::Unknown(0x7abc), vec![0; 24])]);
    for port in [rig.main(), rig.alternative()] {
        let request = client.binding_request(port, Some(unknown.clone()));
        let answer = soon(request).await.unwrap();
        assert_eq!(answer.get_class(), Class::ErrorResponse);
        // 420 in the form in which the attribute has it: hundreds, then the rest.
        let code = answer.get_raw_attr_value(Attribute::ErrorCode).unwrap();
        assert_eq!(&code[2..4], [4, 20]);
        let named = answer.get_raw_attr_value(Attribute::Unknown(0x000a));
        assert_eq!(named.unwrap()[..2], 0x7abc_u16.to_be_bytes());
    }
}

#[tokio::test]
async fn an_independent_client_that_pads_gets_a_fingerprint_in_no_more_bytes() {
    let rig = Rig::start().await;
    let wire = Wire::new();
    let mut buffer = [0; 128];
    let mut request =
        Encoder::new(&mut buffer, wire::Class::Request, TransactionId([5; 12])).unwrap();
    request.push(WireAttribute::Padding(16)).unwrap();
    let request = request.finish();
    for port in [rig.main(), rig.alternative()] {
        wire.send(port, request).await;
        let answer = wire.receive_from(port).await;
        assert!(answer.len() <= request.len());
        let message = wire::Message::decode(&answer).unwrap();
        assert_eq!(message.mapped_address(), Some(wire.local()));
        assert_eq!(message.fingerprint(), Fingerprint::Valid);
    }
}

#[tokio::test]
async fn both_ports_tell_over_tcp_how_a_connection_is_seen() {
    // The second number may be another program's over TCP, whatever that answers.
    let (rig, seen) = loop {
        let rig = Rig::start().await;
        let asked = tokio::time::timeout(Duration::from_secs(2), asked_over_tcp(rig.alternative()));
        if let Ok(Ok(seen)) = asked.await {
            break (rig, seen);
        }
    };
    let main = soon(asked_over_tcp(rig.main())).await.unwrap();
    for [told, local] in [main, seen] {
        assert_eq!(told, local);
    }
}

/// How a connection is seen by STUN at this port, and what it is here.
async fn asked_over_tcp(port: SocketAddr) -> std::io::Result<[Option<SocketAddr>; 2]> {
    let mut stream = TcpStream::connect(port).await?;
    let mut buffer = [0; 64];
    let request = Encoder::new(&mut buffer, wire::Class::Request, TransactionId([6; 12]));
    let request = request.and_then(Encoder::finish_with_fingerprint).unwrap();
    stream.write_all(request).await?;
    let mut answer = vec![0; wire::HEADER_LEN];
    stream.read_exact(&mut answer).await?;
    let length = wire::message_length(&answer).ok_or(std::io::ErrorKind::InvalidData)?;
    answer.resize(length.max(wire::HEADER_LEN), 0);
    stream.read_exact(&mut answer[wire::HEADER_LEN..]).await?;
    let message = wire::Message::decode(&answer).map_err(std::io::Error::other)?;
    Ok([message.mapped_address(), stream.local_addr().ok()])
}
