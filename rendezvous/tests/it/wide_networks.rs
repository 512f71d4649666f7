//! One stranger with many addresses or many slow connections, at the program as an operator runs it: bounds that are
//! everybody's.
#![cfg(target_os = "linux")]

use std::{
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use p2pdbg_identity::tls;
use p2pdbg_proto::{
    code::Nameplate,
    rendezvous::{self, Credential, FromRendezvous, Refusal, ToRendezvous},
    url::RendezvousUrl,
};
use p2pdbg_web::WebStream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    program::Running,
    support::{free, soon, state_dir},
};

/// A program that takes a while to be fetched, and the script beside it.
const PROGRAM: &str = "p2pdbg-x86_64-linux";
const LENGTH: u64 = 32 << 20;

/// A GET from this address of this host, of which next to nothing is read; the first line of the answer.
async fn fetch(from: [u8; 4], at: SocketAddr) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.bind(SocketAddr::new(from.into(), 0)).unwrap();
    let mut stream = soon(socket.connect(at)).await.unwrap();
    let request = format!("GET /offer/{PROGRAM} HTTP/1.1\r\nHost: {at}\r\n\r\n");
    soon(stream.write_all(request.as_bytes())).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn slow_downloads_of_one_address_or_two_keep_nobody_else_from_fetching() {
    let (state, offer) = (state_dir(), state_dir());
    fs::write(offer.path().join("run.sh"), "echo\n").unwrap();
    let program = File::create(offer.path().join(PROGRAM)).unwrap();
    program.set_len(LENGTH).unwrap();
    let offer = offer.path().to_str().unwrap();
    let running = Running::start(state.path(), &["--bind", "127.0.0.1:0", "--offer", offer]);
    let at: SocketAddr = running.url().authority().parse().unwrap();
    let mut held = Vec::new();
    for stranger in [[127, 0, 0, 66], [127, 0, 0, 67]] {
        let mut answers = Vec::new();
        for _ in 0..16 {
            let (stream, answer) = fetch(stranger, at).await;
            held.push(stream);
            answers.push(answer.contains(" 200 "));
        }
        let granted = answers.iter().filter(|granted| **granted).count();
        println!("one address holds {granted} downloads at once");
        assert_eq!(granted, 8);
    }
    let (mut honest, answer) = fetch([127, 0, 1, 1], at).await;
    assert!(answer.contains(" 200 "), "{answer}");
    let mut all = Vec::new();
    soon(honest.read_to_end(&mut all)).await.unwrap();
    assert!(all.len() as u64 > LENGTH);
}

/// A peer by WebSocket, as a reverse proxy says that it comes from this address; nothing if it is turned away.
async fn peer(
    web: SocketAddr,
    url: &RendezvousUrl,
    from: IpAddr,
) -> Option<TlsStream<WebStream<TcpStream>>> {
    let mut stream = soon(TcpStream::connect(web)).await.unwrap();
    let request = format!(
        "GET /p2pdbg HTTP/1.1\r\nHost: rdv\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         X-Forwarded-For: {from}\r\n\r\n"
    );
    soon(stream.write_all(request.as_bytes())).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.ok()?);
    }
    let mut config = tls::control_client(url.fingerprint).unwrap();
    config.alpn_protocols = vec![rendezvous::ALPN.to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let name = tls::SERVER_NAME.try_into().unwrap();
    let inside = WebStream::of_client(stream).await;
    let mut peer = soon(connector.connect(name, inside)).await.ok()?;
    let (credential, agent) = (Credential::None, "test 1.0".into());
    say(&mut peer, &ToRendezvous::Hello { credential, agent }).await;
    let welcome = hear(&mut peer).await;
    assert!(
        matches!(welcome, FromRendezvous::Welcome { .. }),
        "{welcome:?}"
    );
    Some(peer)
}

async fn say(peer: &mut TlsStream<WebStream<TcpStream>>, message: &ToRendezvous) {
    soon(p2pdbg_frames::write(peer, message)).await.unwrap();
}

async fn hear(peer: &mut TlsStream<WebStream<TcpStream>>) -> FromRendezvous {
    soon(p2pdbg_frames::read(peer)).await.unwrap().unwrap()
}

#[tokio::test]
async fn who_commands_a_48_guesses_nameplates_four_times_as_often_as_one_address() {
    let state = state_dir();
    let web = free();
    let bind = ["--bind", "127.0.0.1:0", "--web", &web.to_string()];
    let running = Running::start(state.path(), &bind);
    let url = running.url();
    // Of a rendezvous where nobody listens.
    let nameplate = Nameplate::random();
    let began = Instant::now();
    let mut guesses = 0;
    for n in 0..40 {
        let from = format!("2001:db8:1:{:x}::1", n * 0x0101).parse().unwrap();
        let mut stranger = peer(web, &url, from).await.unwrap();
        for _ in 0..4 {
            say(&mut stranger, &ToRendezvous::Join { nameplate }).await;
            match hear(&mut stranger).await {
                FromRendezvous::Refused {
                    refusal: Refusal::NameplateUnknown,
                    ..
                } => guesses += 1,
                FromRendezvous::Refused {
                    refusal: Refusal::Limit { .. },
                    ..
                } => break,
                other => panic!("{other:?}"),
            }
        }
    }
    // Four times fifteen at once and thirty a minute, of which a guess costs five.
    let more = began.elapsed().as_secs_f64() * 4.0 * 30.0 / 60.0 / 5.0;
    println!("40 networks of a /48 got {guesses} guesses");
    assert!(
        guesses >= 12 && f64::from(guesses) <= 12.0 + more + 1.0,
        "{guesses}"
    );
    // Others are not held to that.
    let mut other = peer(web, &url, "2001:db8:2::1".parse().unwrap())
        .await
        .unwrap();
    say(&mut other, &ToRendezvous::Join { nameplate }).await;
    assert!(matches!(
        hear(&mut other).await,
        FromRendezvous::Refused {
            refusal: Refusal::NameplateUnknown,
            ..
        }
    ));
}
