//! One who has found the nameplate of a code and knows none of its words.

use std::sync::Arc;

use p2pdbg_base::PathPolicy;
use p2pdbg_identity::{Identity, tls};
use p2pdbg_pairing::Exchange;
use p2pdbg_path::{Introduction, PathCommand, PathEvent, PathSocket, Paths};
use p2pdbg_proto::{
    code::{Code, Words},
    fingerprint::Fingerprint,
    frame,
    rendezvous::{self, Credential, Role, ToRendezvous},
    signal::Signal,
    url::RendezvousUrl,
};
use quinn::{ConnectionError, ServerConfig, crypto::rustls::QuicServerConfig};

use crate::{friend::context, harness::Setting, stranger::Guest};

struct Joiner {
    guest: Guest,
    introduction: rendezvous::Introduction,
}

impl Joiner {
    /// Joins without a key, and is introduced.
    async fn join(url: &RendezvousUrl, code: &Code) -> Self {
        let mut guest = Guest::hello_with(url, Credential::None).await;
        let nameplate = code.nameplate;
        guest.say(&ToRendezvous::Join { nameplate }).await;
        let introduction = guest.introduced().await;
        Self {
            guest,
            introduction,
        }
    }

    async fn signal(&mut self, payload: Vec<u8>) {
        let session = self.introduction.session;
        let signal = ToRendezvous::Signal { session, payload };
        self.guest.say(&signal).await;
    }

    /// The certificate that the listener claims to have.
    async fn listener(&mut self) -> Fingerprint {
        let said = match self.introduction.prepared.take() {
            Some(prepared) => prepared,
            None => self.guest.told().await,
        };
        match frame::decode(&said).unwrap() {
            Signal::Pake { fingerprint, .. } => fingerprint,
            other => panic!("{other:?}"),
        }
    }

    /// A socket that is bound to the joiner's leg of the relay.
    async fn bind_leg(&self, url: &RendezvousUrl) -> (Paths, PathSocket) {
        let mut paths = Paths::open(context(url, PathPolicy::Relay)).unwrap();
        paths.command(PathCommand::Introduced(Introduction {
            leg: self.introduction.leg.clone(),
            rendezvous: (url.host.parse::<std::net::IpAddr>().unwrap(), url.port).into(),
            stun: Vec::new(),
            peer_seen: Vec::new(),
            peer_bound: true,
            over_tcp: false,
        }));
        loop {
            if let Some(PathEvent::Relay { socket, .. }) = paths.event().await {
                return (paths, socket);
            }
        }
    }
}

/// A listener with a code.
fn listener(setting: &Setting) -> (crate::harness::Peer, Code) {
    let listener = setting.listener().args(["-L", "0:localhost:9"]).start();
    let code = listener.code();
    (listener, code)
}

/// Sees that the code is as good as ever.
fn pairs(setting: &Setting, listener: &crate::harness::Peer, code: &Code) {
    let connector = setting.connector_with(code).start();
    listener.paired();
    connector.paired();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_without_the_words_is_called_and_not_shown_the_certificate_of_the_listener() {
    let setting = Setting::loopback();
    let url = setting.rendezvous.url().without_key();
    let (listener, code) = listener(&setting);
    let mut joiner = Joiner::join(&url, &code).await;
    let identity = Identity::ephemeral().unwrap();
    let guess = Code {
        nameplate: code.nameplate,
        words: Words::random(),
    };
    let (_, first) = Exchange::by_code(Role::Connector, &guess, identity.fingerprint());
    joiner.signal(frame::encode_body(&first).unwrap()).await;
    let (_paths, socket) = joiner.bind_leg(&url).await;
    let tls = tls::tunnel_server(&identity, joiner.listener().await).unwrap();
    let quic = QuicServerConfig::try_from(tls).unwrap();
    let config = ServerConfig::with_crypto(Arc::new(quic));
    socket.endpoint.set_server_config(Some(config));
    let call = socket.endpoint.accept().await.expect("a call");
    // It was answered by the owner of the certificate that the listener was told.
    match call.accept().unwrap().await {
        Err(ConnectionError::ConnectionClosed(_)) => {}
        Err(other) => panic!("{other}"),
        Ok(shown) => panic!("shown: {}", shown.peer_identity().is_some()),
    }
    let session = joiner.introduction.session;
    joiner.guest.say(&ToRendezvous::Leave { session }).await;
    pairs(&setting, &listener, &code);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_without_the_words_who_talks_without_end_costs_the_listener_one_exchange() {
    let setting = Setting::loopback();
    let url = setting.rendezvous.url().without_key();
    let (listener, code) = listener(&setting);
    let mut joiner = Joiner::join(&url, &code).await;
    for _ in 0..250 {
        joiner.signal(vec![0; 16_000]).await;
    }
    pairs(&setting, &listener, &code);
}
