//! A rendezvous whose name only the HTTP proxy knows.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

use p2pdbg_events::{PathKind, Via};

use crate::harness::{
    Setting,
    traffic::{accept, say},
};

/// Opens connections to a name that nobody else can resolve, and to nothing else.
fn serve(name: String, address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    let name: Arc<str> = name.into();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let name = Arc::clone(&name);
            std::thread::spawn(move || open(client.ok()?, &name, address));
        }
    });
    proxy
}

fn open(mut client: TcpStream, name: &str, address: SocketAddr) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let wanted = format!("CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n");
    if !head.starts_with(wanted.as_bytes()) {
        let refusal = b"HTTP/1.1 403 Forbidden\r\n\r\n";
        return client.write_all(refusal).ok();
    }
    let mut server = TcpStream::connect(address).ok()?;
    let opened = b"HTTP/1.1 200 Connection established\r\n\r\n";
    client.write_all(opened).ok()?;
    let (mut from, mut to) = (client.try_clone().ok()?, server.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Write)
    });
    std::io::copy(&mut server, &mut client).ok()?;
    client.shutdown(Shutdown::Write).ok()
}

#[test]
fn a_rendezvous_that_only_the_proxy_can_name_serves_all_the_same() {
    let setting = Setting::loopback();
    let mut url = setting.rendezvous.url().clone();
    let address = SocketAddr::from(([127, 0, 0, 1], url.port));
    url.host = "rendezvous.invalid".into();
    let proxy = serve(url.authority(), address).to_string();
    let (port, target) = (setting.port(), setting.port());
    let debuggee = setting.debuggee.listen(target);
    let listener = setting
        .listener()
        .args(["-L", &format!("{port}:localhost:{target}")])
        .args(["--path", "relay"])
        .env("P2PDBG_RENDEZVOUS", url.to_string())
        .env("ALL_PROXY", &proxy)
        .start();
    let connector = setting
        .connector_with(&listener.code())
        .args(["--path", "relay"])
        .env("P2PDBG_RENDEZVOUS", url.without_key().to_string())
        .env("ALL_PROXY", &proxy)
        .start();
    for peer in [&listener, &connector] {
        let path = peer.path(PathKind::Relay);
        assert_eq!((path.via, path.remote), (Via::Tcp, None));
    }
    connector.forward(port);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    say(&ide, &debuggee, "through the proxy");
    say(&debuggee, &ide, "and back");
}
