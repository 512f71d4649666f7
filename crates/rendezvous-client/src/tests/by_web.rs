//! The link where nothing passes but the web, through boxes that open TLS.

use p2pdbg_identity::web_tls;
use p2pdbg_web::WebStream;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;

/// The certificate of somebody else.
fn stranger() -> Identity {
    let state = state();
    let dir = StateDir::open(Some(state.path()), "stranger").unwrap();
    Identity::load_or_make(&dir).unwrap()
}

/// A port without UDP whose TCP connections are served so.
async fn port<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (u16, UdpSocket)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, silent) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(silent) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            break (listener, silent);
        }
    };
    let number = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    (number, silent)
}

/// A box that opens TLS by a certificate of its own, as companies have them, and passes on what is inside if it is
/// HTTP.
async fn opener(config: ServerConfig, to: SocketAddr) -> (u16, UdpSocket) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    port(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut near) = acceptor.accept(stream).await else {
                return;
            };
            let mut first = [0; 4];
            if near.read_exact(&mut first).await.is_err() || &first != b"GET " {
                return;
            }
            let connector = TlsConnector::from(Arc::new(web_tls::client().unwrap()));
            let far = TcpStream::connect(to).await.unwrap();
            let name = "rdv.example.org".try_into().unwrap();
            let mut far = connector.connect(name, far).await.unwrap();
            far.write_all(&first).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    })
    .await
}

#[tokio::test]
async fn where_a_box_opens_tls_the_rendezvous_is_reached_by_websocket() {
    let rig = Rig::start().await;
    // One chooses what it knows of what is offered, another does not look at that, and the third is old.
    let identity = stranger();
    let choosy = web_tls::server(&identity).unwrap();
    let mut blind = choosy.clone();
    blind.alpn_protocols.clear();
    let old = ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key())
        .unwrap();
    for config in [choosy, blind, old] {
        let (port, _silent) = opener(config, rig.server.addresses()[0]).await;
        let url = RendezvousUrl { port, ..rig.url() };
        let route = TcpRoute::new(&url);
        let config = LinkConfig {
            url,
            route: route.clone(),
            transports: Transports::Any,
        };
        let mut link = Link::open(config, Credential::None, &Changes::silent());
        assert!(up(&mut link).await);
        listens(&mut link).await;
        let leg = soon(route.leg(([127, 0, 0, 1], port).into()))
            .await
            .unwrap();
        assert!(leg.get_ref().0.is_web());
        link.close().await;
    }
}

#[tokio::test]
async fn where_tcp_reaches_the_rendezvous_as_it_is_nothing_goes_by_websocket() {
    let rig = Rig::start().await;
    let url = rig.url();
    let at = rig.server.addresses()[0];
    let leg = soon(TcpRoute::new(&url).leg(at)).await.unwrap();
    assert!(!leg.get_ref().0.is_web());
    let by_web = TcpRoute::new(&url);
    let web = soon(by_web.control_by(Way::Web, Some(at))).await.unwrap();
    assert!(web.get_ref().0.is_web());
}

#[tokio::test]
async fn box_that_opens_the_tls_inside_the_websocket_too_is_refused_and_hears_nothing() {
    let rig = Rig::start().await;
    let identity = Arc::new(stranger());
    let (heard, mut hearing) = tokio::sync::mpsc::unbounded_channel();
    let (port, _silent) = port(move |stream| {
        let (identity, heard) = (identity.clone(), heard.clone());
        async move {
            let outer = TlsAcceptor::from(Arc::new(web_tls::server(&identity).unwrap()));
            let Ok(mut stream) = outer.accept(stream).await else {
                return;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let key = head
                .lines()
                .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
            let answer = format!(
                "HTTP/1.1 101 Go on\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\n\r\n",
                p2pdbg_web::accept(key.unwrap())
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            let inside = WebStream::of_server(stream).await;
            let inner = TlsAcceptor::from(Arc::new(tls::stream_server(&identity).unwrap()));
            let said = match inner.accept(inside).await {
                Ok(mut stream) => {
                    let mut said = Vec::new();
                    let _ = stream.read_to_end(&mut said).await;
                    Some(said)
                }
                Err(_) => None,
            };
            let _ = heard.send((head, said));
        }
    })
    .await;
    let url = RendezvousUrl {
        port,
        access_key: Some(p2pdbg_proto::secret::Secret::random()),
        ..rig.url()
    };
    let key = url.access_key.clone().unwrap();
    let config = LinkConfig {
        route: TcpRoute::new(&url),
        transports: Transports::Tcp,
        url,
    };
    let credential = Credential::AccessKey(key.clone());
    let mut link = Link::open(config, credential, &Changes::silent());
    let error = down(&mut link).await;
    let LinkError::InItsPlace(spoken) = &error else {
        panic!("{error}");
    };
    assert!(
        matches!(**spoken, LinkError::Identity { pinned: true, .. }),
        "{error}"
    );
    let (head, said) = soon(hearing.recv()).await.unwrap();
    // TLS 1.3: a server may be through with its part before the client has refused it, and hears nothing more.
    assert_eq!(said.unwrap_or_default(), b"");
    let key = data_encoding::BASE64URL_NOPAD.encode(key.expose());
    assert!(!head.contains(&key), "{head}");
}

#[tokio::test]
async fn web_server_that_is_no_rendezvous_is_said_to_be_none() {
    let rig = Rig::start().await;
    let identity = stranger();
    let acceptor = TlsAcceptor::from(Arc::new(web_tls::server(&identity).unwrap()));
    let (port, _silent) = port(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(page).await;
        }
    })
    .await;
    let url = RendezvousUrl { port, ..rig.url() };
    let address = Some(([127, 0, 0, 1], port).into());
    let error = soon(TcpRoute::new(&url).control_by(Way::Web, address))
        .await
        .unwrap_err();
    let said = error.to_string();
    assert!(said.contains("answers with status 404"), "{said}");
    assert!(error.is_passing());
    let mut link = open(url, Transports::Tcp, &Changes::silent());
    link.send(ToRendezvous::Listen { claim: None });
    let error = down(&mut link).await;
    assert!(matches!(error, LinkError::InItsPlace(_)), "{error}");
}
