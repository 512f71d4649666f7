//! The same rendezvous by WebSocket: inside TLS, in the clear, and behind a reverse proxy.

use std::{sync::Arc, time::Duration};

use p2pdbg_identity::{tls, web_tls};
use p2pdbg_proto::{
    relay::{LegGrant, RelayFrame},
    relay_stream::{self, Join, encode_packet},
    rendezvous::{self, Credential, FromRendezvous, ToRendezvous},
};
use p2pdbg_rendezvous::Limits;
use p2pdbg_web::WebStream;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{Rig, next_attempt, soon};

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The bytes of a WebSocket, unframed.
type Inside = WebStream<Box<dyn Io>>;

/// How HTTP is spoken with the rendezvous.
#[derive(Clone, Copy, Debug)]
enum Door {
    Tls,
    Plain,
    /// As a reverse proxy does, with these lines of X-Forwarded-For.
    Proxy(&'static [&'static str]),
}

const DOORS: [Door; 3] = [Door::Tls, Door::Plain, Door::Proxy(&["192.0.2.7"])];

async fn knock(rig: &Rig, door: Door) -> Box<dyn Io> {
    let at = match door {
        Door::Tls | Door::Plain => rig.main(),
        Door::Proxy(_) => rig.server.web().unwrap(),
    };
    let stream = soon(TcpStream::connect(at)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    match door {
        Door::Tls => {
            let connector = TlsConnector::from(Arc::new(web_tls::client().unwrap()));
            let name = "rdv.example.org".try_into().unwrap();
            Box::new(soon(connector.connect(name, stream)).await.unwrap())
        }
        Door::Plain | Door::Proxy(_) => Box::new(stream),
    }
}

/// The request of an upgrade, with these lines changed.
fn request(door: Door, changed: &[(&str, &str)]) -> String {
    let mut lines = vec![
        ("", "GET /p2pdbg HTTP/1.1"),
        ("Host", "rdv.example.org"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (name, value) in changed {
        lines.retain(|(known, _)| known != name);
        lines.insert(
            usize::from(!name.is_empty()).min(lines.len()),
            (name, value),
        );
    }
    if let Door::Proxy(named) = door {
        lines.extend(named.iter().map(|line| ("X-Forwarded-For", *line)));
    }
    let lines = lines.iter().filter(|(_, value)| !value.is_empty());
    let lines = lines.map(|(name, value)| match name.is_empty() {
        true => format!("{value}\r\n"),
        false => format!("{name}: {value}\r\n"),
    });
    lines.collect::<String>() + "\r\n"
}

/// The head of the answer.
async fn head(stream: &mut Box<dyn Io>) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match soon(stream.read_u8()).await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

async fn enter(rig: &Rig, door: Door) -> Inside {
    let mut stream = knock(rig, door).await;
    soon(stream.write_all(request(door, &[]).as_bytes()))
        .await
        .unwrap();
    soon(stream.flush()).await.unwrap();
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{door:?}: {head}");
    assert!(
        !head.to_ascii_lowercase().contains("close"),
        "{door:?}: {head}"
    );
    let accept = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=";
    assert!(
        head.to_ascii_lowercase().contains(accept),
        "{door:?}: {head}"
    );
    WebStream::of_client(stream).await
}

async fn shake_hands(rig: &Rig, inside: Inside, alpn: &[u8]) -> std::io::Result<TlsStream<Inside>> {
    let mut config = tls::control_client(rig.server.url().fingerprint).unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = tls::SERVER_NAME.try_into().unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, inside)).await
}

/// A control connection, and what the rendezvous says to the hello.
async fn welcome(rig: &Rig, door: Door) -> Option<(TlsStream<Inside>, FromRendezvous)> {
    let inside = enter(rig, door).await;
    let mut stream = shake_hands(rig, inside, rendezvous::ALPN).await.ok()?;
    let agent = "test 1.0".into();
    let credential = Credential::None;
    let hello = ToRendezvous::Hello { credential, agent };
    soon(p2pdbg_frames::write(&mut stream, &hello)).await.ok()?;
    let answer = soon(p2pdbg_frames::read(&mut stream)).await.ok()??;
    Some((stream, answer))
}

async fn leg(rig: &Rig, door: Door, grant: &LegGrant) -> TlsStream<Inside> {
    let inside = enter(rig, door).await;
    let mut leg = shake_hands(rig, inside, relay_stream::ALPN).await.unwrap();
    let label = relay_stream::EXPORTER_LABEL;
    let exported = leg.get_ref().1.export_keying_material([0; 32], label, None);
    let join = Join::new(grant, next_attempt(), &exported.unwrap());
    send(&mut leg, &join.encode()).await;
    let bound = RelayFrame::decode(&receive(&mut leg).await.unwrap()).unwrap();
    assert!(matches!(bound, RelayFrame::Bound { .. }), "{bound:?}");
    leg
}

async fn send(leg: &mut TlsStream<Inside>, packet: &[u8]) {
    let mut bytes = Vec::new();
    assert!(encode_packet(packet, &mut bytes));
    soon(leg.write_all(&bytes)).await.unwrap();
    soon(leg.flush()).await.unwrap();
}

async fn receive(leg: &mut TlsStream<Inside>) -> Option<Vec<u8>> {
    let length = soon(leg.read_u16()).await.ok()?;
    let mut packet = vec![0; length.into()];
    soon(leg.read_exact(&mut packet)).await.ok()?;
    Some(packet)
}

/// Whether the rendezvous ends it, whatever it says before.
async fn is_closed(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    true
}

#[tokio::test]
async fn conversation_by_websocket_is_the_same_through_every_door() {
    let rig = Rig::start().await;
    for door in DOORS {
        let (mut stream, answer) = welcome(&rig, door).await.unwrap();
        let FromRendezvous::Welcome { observed, stun, .. } = answer else {
            panic!("{door:?}: {answer:?}");
        };
        let seen = match door {
            Door::Proxy(_) => "192.0.2.7",
            Door::Tls | Door::Plain => "127.0.0.1",
        };
        assert_eq!(observed.ip().to_string(), seen, "{door:?}");
        assert_eq!(stun[0].port(), rig.main().port(), "{door:?}");
        soon(p2pdbg_frames::write(&mut stream, &ToRendezvous::Ping))
            .await
            .unwrap();
        let pong = soon(p2pdbg_frames::read(&mut stream)).await.unwrap();
        assert_eq!(pong, Some(FromRendezvous::Pong), "{door:?}");
        // What it says last comes before the end.
        soon(stream.shutdown()).await.unwrap();
        assert!(is_closed(&mut stream).await);
    }
    assert_eq!(rig.server.counters().tcp_connections, 3);
}

#[tokio::test]
async fn legs_by_websocket_carry_datagrams_to_each_other() {
    let rig = Rig::start().await;
    let (listener, connector) = rig.pair().await;
    let mut one = leg(&rig, Door::Tls, &listener.introduction.leg).await;
    let mut other = leg(
        &rig,
        Door::Proxy(&["192.0.2.8"]),
        &connector.introduction.leg,
    )
    .await;
    for number in 0..200_u32 {
        let length = 1 + usize::try_from(number * 7).unwrap();
        let datagram = vec![0x40 | (number as u8 & 0x3f); length];
        send(&mut one, &datagram).await;
        assert!(
            receive(&mut other).await.as_ref() == Some(&datagram),
            "{number}"
        );
        send(&mut other, &datagram).await;
        assert!(
            receive(&mut one).await.as_ref() == Some(&datagram),
            "{number}"
        );
    }
    assert_eq!(rig.server.counters().tcp_legs, 2);
}

#[tokio::test]
async fn upgrade_that_is_none_is_answered_in_the_words_of_http_and_nothing_else_happens() {
    let rig = Rig::start().await;
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[("", "GET / HTTP/1.1")], "404"),
        (&[("", "GET /offer/run.sh HTTP/1.1")], "404"),
        (&[("", "POST /p2pdbg HTTP/1.1")], "426"),
        (&[("Upgrade", "")], "426"),
        (&[("Connection", "close")], "426"),
        (&[("Sec-WebSocket-Version", "8")], "426"),
        (&[("Sec-WebSocket-Key", "")], "400"),
        (&[("Sec-WebSocket-Key", "c2hvcnQ=")], "400"),
    ];
    for door in DOORS {
        for (changed, status) in cases {
            let mut stream = knock(&rig, door).await;
            let request = request(door, changed);
            soon(stream.write_all(request.as_bytes())).await.unwrap();
            soon(stream.flush()).await.unwrap();
            let head = head(&mut stream).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(head.starts_with(&expected), "{door:?}, {changed:?}: {head}");
            assert!(is_closed(&mut stream).await);
        }
        assert!(welcome(&rig, door).await.is_some());
    }
}

#[tokio::test]
async fn requests_that_are_garbage_too_long_or_too_slow_are_hung_up_on() {
    let rig = Rig::start().await;
    let (mut bystander, claim) = rig.listener().await;
    let line = format!("X-{}: y\r\n", "x".repeat(1_000));
    let giant = format!("GET /p2pdbg HTTP/1.1\r\n{}", line.repeat(64));
    let many = format!("GET /p2pdbg HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
    for door in DOORS {
        for bytes in [
            &giant,
            &many,
            &long,
            "GARBAGE\0\u{1}\r\n\r\n",
            "GET /p2pdbg HTTP/1.1\r\nHost",
        ] {
            let mut stream = knock(&rig, door).await;
            // It may be hung up on before all is written; what is not all is waited for, and not for ever.
            let _ = soon(stream.write_all(bytes.as_bytes())).await;
            let _ = soon(stream.flush()).await;
            let answer = head(&mut stream).await;
            assert!(!answer.contains("101"), "{door:?}: {answer}");
            assert!(is_closed(&mut stream).await);
        }
        assert!(welcome(&rig, door).await.is_some());
    }
    assert_eq!(bystander.listen(Some(claim.clone())).await, claim);
}

#[tokio::test]
async fn frames_that_lie_or_hold_no_tls_of_ours_end_the_connection() {
    let rig = Rig::with(Limits {
        greeting_within: Duration::from_secs(5),
        ..Limits::default()
    })
    .await;
    let endless = [&[0x82, 0xff][..], &(1_u64 << 63).to_be_bytes(), &[0; 4]].concat();
    let cases: [&[u8]; 6] = [
        &endless,
        // Unmasked, text, a reserved bit, what is no TLS, half a frame and then nothing.
        &[0x82, 0x02, 1, 2],
        &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'],
        &[0xc2, 0x82, 0, 0, 0, 0, 1, 2],
        &[0x82, 0x85, 0, 0, 0, 0, b'H', b'e', b'l', b'l', b'o'],
        &[0x82, 0xfe, 0x10],
    ];
    let rig = &rig;
    let through = |door| async move {
        for bytes in cases {
            let mut stream = knock(rig, door).await;
            soon(stream.write_all(request(door, &[]).as_bytes()))
                .await
                .unwrap();
            soon(stream.flush()).await.unwrap();
            assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
            let _ = soon(stream.write_all(bytes)).await;
            let _ = soon(stream.flush()).await;
            assert!(is_closed(&mut stream).await, "{door:?}: {bytes:?}");
        }
        let inside = enter(rig, door).await;
        assert!(shake_hands(rig, inside, b"h2").await.is_err());
        assert!(welcome(rig, door).await.is_some());
    };
    let [tls, plain, proxy] = DOORS.map(through);
    tokio::join!(tls, plain, proxy);
    assert_eq!(rig.server.counters().tcp_connections, 3);
}

#[tokio::test]
async fn address_that_a_proxy_names_counts_and_what_the_client_says_of_itself_does_not() {
    let rig = Rig::with(Limits {
        connections_per_address: 2,
        ..Limits::default()
    })
    .await;
    let one = Door::Proxy(&["192.0.2.7"]);
    let _first = welcome(&rig, one).await.unwrap();
    // The last line and its last element are the proxy's own.
    let _second = welcome(&rig, Door::Proxy(&["10.9.8.7", "10.9.8.7, 192.0.2.7"]))
        .await
        .unwrap();
    let lying = Door::Proxy(&["203.0.113.5, 192.0.2.7"]);
    let inside = enter(&rig, lying).await;
    assert!(shake_hands(&rig, inside, rendezvous::ALPN).await.is_err());
    let other = Door::Proxy(&["192.0.2.8"]);
    assert!(welcome(&rig, other).await.is_some());
}

#[tokio::test]
async fn proxy_that_names_nobody_is_told_so() {
    let rig = Rig::start().await;
    for named in [&[][..], &["unknown"], &["192.0.2.7, _hidden"]] {
        let door = Door::Proxy(named);
        let mut stream = knock(&rig, door).await;
        soon(stream.write_all(request(door, &[]).as_bytes()))
            .await
            .unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("X-Forwarded-For"), "{answer}");
    }
    // Nobody else is believed.
    let mut stream = knock(&rig, Door::Plain).await;
    let request = request(Door::Proxy(&["192.0.2.7"]), &[]);
    soon(stream.write_all(request.as_bytes())).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    let inside = WebStream::of_client(stream).await;
    let mut stream = shake_hands(&rig, inside, rendezvous::ALPN).await.unwrap();
    let (credential, agent) = (Credential::None, "test 1.0".into());
    let hello = ToRendezvous::Hello { credential, agent };
    soon(p2pdbg_frames::write(&mut stream, &hello))
        .await
        .unwrap();
    let Some(FromRendezvous::Welcome { observed, .. }) =
        soon(p2pdbg_frames::read(&mut stream)).await.unwrap()
    else {
        panic!("not welcome");
    };
    assert!(observed.ip().is_loopback());
}
