//! A link at whose rendezvous' address something else answers over QUIC for a while.

use quinn::{Endpoint, crypto::rustls::QuicServerConfig};
use tokio_util::task::AbortOnDropHandle;

use super::{
    names::{again, stopped},
    *,
};

/// What speaks QUIC there, and another protocol inside.
async fn of_another_protocol(address: SocketAddr) -> (Endpoint, AbortOnDropHandle<()>) {
    let identity = Identity::load_or_make(&StateDir::in_memory()).unwrap();
    let mut tls = tls::stream_server(&identity).unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let starting = async {
        loop {
            match Endpoint::server(config.clone(), address) {
                Ok(endpoint) => return endpoint,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let endpoint = soon(starting).await;
    let serving = endpoint.clone();
    let task = tokio::spawn(async move {
        while let Some(incoming) = serving.accept().await {
            let _ = incoming.await;
        }
    });
    (endpoint, AbortOnDropHandle::new(task))
}

/// What the link says of who answers; that nobody does is passed over.
async fn said_of_who_answers(link: &mut Link) -> LinkError {
    let said = async {
        loop {
            match down(link).await {
                LinkError::Lost(_) | LinkError::Unreachable { .. } => {}
                error => return error,
            }
        }
    };
    soon(said).await
}

#[tokio::test]
async fn rendezvous_in_whose_place_another_protocol_answers_for_a_while_is_reached_again() {
    let rig = Rig::start().await;
    let url = rig.url();
    let mut link = open(url.clone(), Transports::Any, &Changes::silent());
    up(&mut link).await;
    let (address, state) = stopped(rig);
    let other = of_another_protocol(address).await;
    link.nudge();
    let error = said_of_who_answers(&mut link).await;
    let LinkError::ForNow(why) = &error else {
        panic!("{error}");
    };
    assert!(matches!(**why, LinkError::Version { .. }), "{why}");
    // At a first start it is the last word.
    let mut first = open(url, Transports::Any, &Changes::silent());
    let error = down(&mut first).await;
    assert!(matches!(error, LinkError::Version { .. }), "{error}");
    assert!(soon(first.event()).await.is_none());
    drop(other);
    let _server = again(address, &state).await;
    link.nudge();
    soon(up(&mut link)).await;
}

#[tokio::test]
async fn rendezvous_in_whose_place_another_certificate_answers_for_a_while_is_reached_again() {
    let rig = Rig::start().await;
    let mut link = open(rig.url(), Transports::Any, &Changes::silent());
    up(&mut link).await;
    let (address, ours) = stopped(rig);
    let theirs = state();
    let other = again(address, &theirs).await;
    link.nudge();
    let error = said_of_who_answers(&mut link).await;
    let LinkError::ForNow(why) = &error else {
        panic!("{error}");
    };
    assert!(matches!(**why, LinkError::Identity { .. }), "{why}");
    drop(other);
    let _server = again(address, &ours).await;
    link.nudge();
    soon(up(&mut link)).await;
}
