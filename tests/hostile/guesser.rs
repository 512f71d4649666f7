//! A rendezvous that guesses at the words of those who come to it, as often as they let it.
//!
//! It answers in the other peer's place, with words of its own, begins four exchanges at once, and breaks the link as
//! soon as it has what it wants to see: a confirmation, which tells whether the guess was right.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use p2pdbg_base::ErrorCode;
use p2pdbg_identity::{Identity, tls};
use p2pdbg_pairing::{Exchange, Next};
use p2pdbg_proto::{
    code::{Code, Nameplate, Words},
    fingerprint::Fingerprint,
    frame,
    relay::{LegGrant, LegId},
    rendezvous::{
        FromRendezvous, Introduction, MeetingPoint as Meeting, NameplateClaim, Role, SessionId,
        ToRendezvous,
    },
    secret::{Secret, random_bytes},
    signal::Signal,
    url::{AccessKey, RendezvousUrl},
};
use quinn::{
    Connection, Endpoint, RecvStream, SendStream, ServerConfig, crypto::rustls::QuicServerConfig,
};
use tokio::runtime::Runtime;

use crate::harness::Setting;

/// Exchanges that it begins at once: as many as a peer has.
const AT_ONCE: usize = 4;

/// A rendezvous that guesses, and how often it has.
struct Guesser {
    url: RendezvousUrl,
    guesses: Arc<AtomicUsize>,
    _runtime: Runtime,
}

impl Guesser {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let identity = Identity::ephemeral().unwrap();
        let crypto = QuicServerConfig::try_from(tls::control_server(&identity).unwrap()).unwrap();
        let config = ServerConfig::with_crypto(Arc::new(crypto));
        let _guard = runtime.enter();
        let endpoint = Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();
        let url = RendezvousUrl {
            access_key: Some(AccessKey::random()),
            host: "127.0.0.1".into(),
            port: endpoint.local_addr().unwrap().port(),
            further: Vec::new(),
            fingerprint: Some(identity.fingerprint()),
        };
        let guesses = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&guesses);
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        Victim::serve(connection, &count).await;
                    }
                });
            }
        });
        Self {
            url,
            guesses,
            _runtime: runtime,
        }
    }

    fn guesses(&self) -> usize {
        self.guesses.load(Ordering::Relaxed)
    }
}

/// One connection of somebody who takes it for a rendezvous.
struct Victim {
    connection: Connection,
    send: SendStream,
    exchanges: HashMap<SessionId, Exchange>,
    /// Confirmations seen on this connection.
    seen: usize,
}

impl Victim {
    /// Guesses until it has seen what it can, and breaks the connection.
    async fn serve(connection: Connection, guesses: &AtomicUsize) -> Option<()> {
        let (send, mut receive) = connection.accept_bi().await.ok()?;
        let mut victim = Self {
            connection,
            send,
            exchanges: HashMap::new(),
            seen: 0,
        };
        loop {
            let message = read(&mut receive).await?;
            victim.on_message(message, guesses).await?;
            if victim.seen >= AT_ONCE {
                victim.connection.close(0_u32.into(), b"");
                return None;
            }
        }
    }

    async fn on_message(&mut self, message: ToRendezvous, guesses: &AtomicUsize) -> Option<()> {
        match message {
            ToRendezvous::Hello { .. } => {
                let welcome = FromRendezvous::Welcome {
                    observed: self.connection.remote_address(),
                    stun: Vec::new(),
                    up_s: 1_000,
                };
                self.say(&welcome).await
            }
            ToRendezvous::Join { nameplate } => {
                for _ in 0..AT_ONCE {
                    self.begin(nameplate, Role::Connector).await?;
                }
                Some(())
            }
            ToRendezvous::Listen { claim } => {
                let claim = claim.unwrap_or_else(|| NameplateClaim {
                    nameplate: Nameplate::random(),
                    voucher: vec![1],
                });
                let nameplate = claim.nameplate;
                self.say(&FromRendezvous::Listening(claim)).await?;
                for _ in 0..AT_ONCE {
                    self.begin(nameplate, Role::Listener).await?;
                }
                Some(())
            }
            ToRendezvous::Signal { session, payload } => {
                self.on_signal(session, &payload, guesses).await
            }
            _ => Some(()),
        }
    }

    /// Introduces a peer, in its role, to one that knows other words.
    async fn begin(&mut self, nameplate: Nameplate, role: Role) -> Option<()> {
        let session = SessionId(random_bytes());
        let introduction = Introduction {
            session,
            place: Meeting::Nameplate(nameplate),
            role,
            peer_seen: Vec::new(),
            leg: LegGrant {
                leg: LegId(random_bytes()),
                key: Secret::random(),
            },
            prepared: None,
        };
        self.say(&FromRendezvous::Introduced(introduction)).await?;
        let words = Words::random();
        let code = Code { nameplate, words };
        let own = Fingerprint::from_bytes(random_bytes());
        let (exchange, first) = Exchange::by_code(role.other(), &code, own);
        self.exchanges.insert(session, exchange);
        self.signal(session, &first).await
    }

    async fn on_signal(
        &mut self,
        session: SessionId,
        payload: &[u8],
        guesses: &AtomicUsize,
    ) -> Option<()> {
        let Some(exchange) = self.exchanges.remove(&session) else {
            return Some(());
        };
        let confirms = matches!(frame::decode(payload), Ok(Signal::Confirm { .. }));
        if confirms {
            // Right or wrong: it can tell.
            guesses.fetch_add(1, Ordering::Relaxed);
            self.seen += 1;
        }
        let step = exchange.handle_payload(payload);
        let wrong = matches!(step.next, Next::Failed(p2pdbg_pairing::Failure::WrongWord));
        if wrong && !confirms {
            // A listener has judged the guess, which tells the same.
            guesses.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(reply) = &step.reply {
            self.signal(session, reply).await?;
        }
        if let Next::Wait(exchange) = step.next {
            self.exchanges.insert(session, exchange);
        }
        Some(())
    }

    async fn signal(&mut self, session: SessionId, signal: &Signal) -> Option<()> {
        let payload = frame::encode_body(signal).unwrap();
        self.say(&FromRendezvous::Signal { session, payload }).await
    }

    async fn say(&mut self, message: &FromRendezvous) -> Option<()> {
        let mut bytes = Vec::new();
        frame::encode(message, &mut bytes).unwrap();
        self.send.write_all(&bytes).await.ok()
    }
}

async fn read(receive: &mut RecvStream) -> Option<ToRendezvous> {
    let mut prefix = [0; frame::PREFIX];
    receive.read_exact(&mut prefix).await.ok()?;
    let mut body = vec![0; frame::body_length(prefix).ok()?];
    receive.read_exact(&mut body).await.ok()?;
    frame::decode(&body).ok()
}

/// docs/SECURITY.md says five at the most.
#[test]
fn a_rendezvous_that_breaks_every_link_sees_five_confirmations_of_one_connect_at_the_most() {
    let setting = Setting::loopback();
    let guesser = Guesser::start();
    let code = Code {
        nameplate: Nameplate::random(),
        words: Words::random(),
    };
    let mut connector = setting
        .connector_with(&code)
        .env("P2PDBG_RENDEZVOUS", guesser.url.without_key().to_string())
        .start();
    let failure = connector.fails(ErrorCode::CodeRefused);
    assert!(failure.message.contains("guessing"), "{failure:?}");
    // The last may be overtaken by the end of the program.
    assert!(
        (4..=5).contains(&guesser.guesses()),
        "{}",
        guesser.guesses()
    );
}

/// docs/SECURITY.md says one guess for each code, and five codes.
#[test]
fn a_rendezvous_that_guesses_at_a_listener_gets_one_guess_a_code_and_five_codes() {
    let setting = Setting::loopback();
    let guesser = Guesser::start();
    let mut listener = setting
        .listener()
        .args(["-L", "0:localhost:9"])
        .env("P2PDBG_RENDEZVOUS", guesser.url.to_string())
        .start();
    let failure = listener.fails(ErrorCode::CodeRefused);
    assert!(failure.message.contains("five codes"), "{failure:?}");
    // What was said of the last may be overtaken by the end of the program.
    assert!(
        (4..=5).contains(&guesser.guesses()),
        "{}",
        guesser.guesses()
    );
}
