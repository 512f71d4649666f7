//! Networks that let nothing but the web through: everything works by WebSocket, and is said to.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use p2pdbg_events::{PathKind, Via};
use p2pdbg_identity::{Identity, StateDir, web_tls};
use p2pdbg_natlab::{Flow, Host, Lab, Nat, NatKind, TwoNats};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    DELAY, MEGABYTE,
    harness::{
        BEHIND_IT, Home, Nginx, Pair, Setting,
        traffic::{accept, receive, say, send},
    },
    place,
};

fn lab(name: &str) -> Option<TwoNats> {
    let lab = Lab::new_or_skip(name)?;
    let nat = NatKind::PORT_RESTRICTED;
    Some(TwoNats::new(lab, nat, nat, DELAY).unwrap())
}

fn setting<const N: usize>(lab: &TwoNats, arguments: [&str; N]) -> Setting {
    let host = lab.rdv.ip().to_string();
    let (ide, debuggee, rdv) = (place(&lab.ide), place(&lab.debuggee), place(&lab.rdv));
    Setting::with_rendezvous(ide, debuggee, rdv, &host, arguments)
}

/// Lets TCP to port 443 of that host out of a network, and nothing else.
fn https_alone(nat: &Nat, to: Ipv4Addr) {
    nat.nft(&format!(
        "table ip https {{ chain forward {{ type filter hook forward priority 0; policy drop; \
         ip daddr {to} tcp dport 443 accept; ip saddr {to} tcp sport 443 accept; }}; }}"
    ))
    .unwrap();
}

/// A company's proxy: opens connections to port 443 alone, opens the TLS on them by an authority of its own, which
/// nobody here knows, and passes on what is HTTP inside.
struct Opener {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Opener {
    const PORT: u16 = 3128;

    fn start(host: &Host) -> Self {
        let node = (**host).clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Sockets belong to the host on whose thread they are opened.
            node.enter(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime.unwrap().block_on(async {
                    let listener = TcpListener::bind(("0.0.0.0", Self::PORT)).await.unwrap();
                    ready.send(()).unwrap();
                    tokio::select! {
                        () = Self::serve(listener) => {}
                        () = stopped.cancelled() => {}
                    }
                });
            })
        });
        is_ready.recv().unwrap();
        Self {
            address: SocketAddr::new(host.ip().into(), Self::PORT),
            _stop: stop.drop_guard(),
        }
    }

    async fn serve(listener: TcpListener) {
        let files = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(&files.path().join("authority")), "opener").unwrap();
        let identity = Identity::load_or_make(&state).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(web_tls::server(&identity).unwrap()));
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Self::open(stream, acceptor.clone()));
        }
    }

    async fn open(mut near: TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(near.read_u8().await?);
        }
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let wanted = head
            .strip_prefix("CONNECT ")
            .and_then(|rest| rest.split(' ').next());
        let Some(wanted) = wanted.filter(|wanted| wanted.ends_with(":443")) else {
            return near.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
        };
        let far = TcpStream::connect(wanted).await?;
        near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .await?;
        let mut near = acceptor.accept(near).await?;
        let mut first = [0; 4];
        near.read_exact(&mut first).await?;
        if &first != b"GET " {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let connector = TlsConnector::from(Arc::new(web_tls::client().map_err(io::Error::other)?));
        let name = "rdv.example.org".try_into().map_err(io::Error::other)?;
        let mut far = connector.connect(name, far).await?;
        far.write_all(&first).await?;
        copy_bidirectional(&mut near, &mut far).await.map(drop)
    }
}

/// Sends some both ways.
fn talk(setting: &Setting, forwarded: (u16, u16)) {
    let (port, target) = forwarded;
    let debuggee = setting.debuggee.listen(target);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    for round in 0..20 {
        say(&ide, &debuggee, &format!("there, round {round}"));
        say(&debuggee, &ide, &format!("and back, round {round}"));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| send(&ide, 1, MEGABYTE));
        scope.spawn(|| send(&debuggee, 2, MEGABYTE));
        scope.spawn(|| receive(&debuggee, 1, MEGABYTE));
        receive(&ide, 2, MEGABYTE);
    });
}

#[test]
fn debuggee_behind_a_proxy_that_opens_tls_is_debugged_by_websocket() {
    let Some(lab) = lab("web-proxy") else {
        return;
    };
    let proxy = lab.nat_b.host("proxy").unwrap();
    lab.nat_b.block(Flow::udp()).unwrap();
    lab.nat_b
        .block(Flow::between(lab.debuggee.ip(), lab.rdv.ip()))
        .unwrap();
    let setting = setting(&lab, ["--bind", "0.0.0.0:443"]);
    let opener = Opener::start(&proxy);
    let forwarded = (setting.port(), setting.port());
    let forward = format!("{}:localhost:{}", forwarded.0, forwarded.1);
    let listener = setting.listener().args(["-L", &forward]).start();
    let connector = setting
        .connector_with(&listener.code())
        .env("HTTPS_PROXY", format!("http://{}", opener.address))
        .start();
    connector.forward(forwarded.0);
    let path = connector.path(PathKind::Relay);
    assert_eq!(path.via, Via::WebSocket);
    assert!(path.why.contains("UDP"), "{}", path.why);
    println!("relayed by WebSocket after {} ms", path.after_ms);
    // The other end has UDP, and uses it.
    listener.relayed_via(Via::Udp);
    talk(&setting, forwarded);
}

#[test]
fn where_https_alone_passes_at_both_ends_a_session_goes_through_nginx() {
    let Some(lab) = lab("web-nginx").filter(|_| Nginx::is_installed()) else {
        return;
    };
    for nat in [&lab.nat_a, &lab.nat_b] {
        https_alone(nat, lab.rdv.ip());
    }
    let setting = setting(&lab, BEHIND_IT);
    let _nginx = Nginx::start(&setting.public, &setting.transcript);
    let forwarded = (setting.port(), setting.port());
    let forward = format!("{}:localhost:{}", forwarded.0, forwarded.1);
    let Pair {
        listener,
        connector,
    } = setting.pair_with_port(["-L", &forward], forwarded.0);
    for peer in [&listener, &connector] {
        let path = peer.path(PathKind::Relay);
        assert_eq!(path.via, Via::WebSocket);
        println!(
            "{}: relayed by WebSocket after {} ms",
            peer.name(),
            path.after_ms
        );
    }
    talk(&setting, forwarded);
    let home = Home::new();
    let mut doctor = setting.debuggee.command(env!("CARGO_BIN_EXE_p2pdbg"));
    home.settle(&mut doctor);
    let url = setting.rendezvous.url().to_string();
    let examined = doctor
        .args(["doctor", "--json"])
        .env("P2PDBG_RENDEZVOUS", url)
        .output();
    let found: serde_json::Value = serde_json::from_slice(&examined.unwrap().stdout).unwrap();
    let rendezvous = &found["rendezvous"];
    assert_eq!(found["ok"], true, "{found}");
    assert_eq!(rendezvous["tcp"]["answers"], false, "{found}");
    assert_eq!(rendezvous["web"]["answers"], true, "{found}");
    assert!(
        found["help"].to_string().contains("by WebSocket"),
        "{found}"
    );
}
