//! A rendezvous from which nothing is heard, and what this host can tell of why.

use std::io;

use super::*;
use crate::names::Names;

/// A link to a rendezvous of that name, which leads there.
fn led_to(at: SocketAddr) -> Link {
    let names = Names::asking(move |_| Box::pin(async move { io::Result::Ok(vec![at]) }));
    let url: RendezvousUrl = format!("p2pdbg://rdv.example.org:{}", at.port())
        .parse()
        .unwrap();
    let config = LinkConfig {
        route: TcpRoute::new(&url).knowing(names),
        url,
        transports: Transports::Tcp,
    };
    Link::open(config, Credential::None, &Changes::silent())
}

#[tokio::test]
async fn name_that_leads_to_nobody_or_to_this_host_is_told_of() {
    let nobody: SocketAddr = "0.0.0.0:3478".parse().unwrap();
    let error = down(&mut led_to(nobody)).await;
    assert!(
        matches!(&error, LinkError::Misled { ip, .. } if *ip == nobody.ip()),
        "{error}"
    );
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = down(&mut led_to(closed)).await;
    assert!(
        matches!(&error, LinkError::Misled { ip, .. } if *ip == closed.ip()),
        "{error}"
    );
    assert!(error.is_passing());
}

#[tokio::test]
async fn proxy_that_opens_a_connection_by_which_nothing_comes_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await;
            kept.push(stream);
        }
    });
    let url: RendezvousUrl = "p2pdbg://192.0.2.7:3478".parse().unwrap();
    let config = LinkConfig {
        route: TcpRoute::new(&url).by(proxy),
        url,
        transports: Transports::Tcp,
    };
    let mut link = Link::open(config, Credential::None, &Changes::silent());
    let error = down(&mut link).await;
    assert!(matches!(error, LinkError::BehindProxy { .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.contains(&proxy.to_string()) && said.contains("192.0.2.7:3478"),
        "{said}"
    );
}
