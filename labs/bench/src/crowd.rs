//! The rendezvous without its limits for strangers, and a crowd that registers there: parts of the rows about the relay
//! and about idleness, each a process of its own so that it can be measured by itself.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use p2pdbg_identity::tls;
use p2pdbg_proto::{
    code::Nameplate,
    rendezvous::{Credential, FromRendezvous, Introduction, ToRendezvous},
    url::RendezvousUrl,
};
use p2pdbg_rendezvous::{Limits, Rate, Server, ServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout,
    RecvStream, SendStream, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::QuicClientConfig,
};
use tokio::task::JoinSet;

/// Handshakes of the crowd that go on at once.
const AT_ONCE: usize = 32;

/// Sockets that the crowd shares.
const SOCKETS: usize = 64;

/// How often peers keep their connection alive: as p2pdbg does.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// After how long a silence they give it up.
const SILENCE: Duration = Duration::from_secs(25);

/// Serves until it is killed. Says its URL, and then often what it has relayed.
pub(crate) fn serve(bind: SocketAddr, state: PathBuf) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let unlimited = Rate {
            burst: u32::MAX / 2,
            per_minute: u32::MAX / 2,
        };
        let limits = Limits {
            connections: 100_000,
            connections_per_address: 100_000,
            handshakes_per_address: 100_000,
            handshakes_unproven: 100_000,
            joins: unlimited,
            messages: unlimited,
            nameplates_per_key: 100_000,
            nameplates_per_connection: 100_000,
            // The crowd introduces itself and never confirms.
            pairing_within: Duration::from_secs(24 * 60 * 60),
            sessions_per_connection: 100_000,
            sessions_per_key: 100_000,
            sessions_per_voucher: 100_000,
            ..Limits::default()
        };
        let server = Server::start(ServerConfig {
            bind: vec![bind],
            alt_port: 0,
            state: Some(state),
            limits,
            ..ServerConfig::default()
        })
        .await?;
        println!("{}", server.url());
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let counters = server.counters();
            println!(
                "relayed {} {} {}",
                counters.relayed, counters.relayed_bytes, counters.dropped
            );
        }
    })
}

/// Registers so many listeners, says how long that took, then pairs some with newcomers; stays until it is killed.
pub(crate) fn crowd(url: &str, listeners: usize, pairs: usize) -> Result<()> {
    let url: RendezvousUrl = url.parse()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let strangers = Arc::new(Strangers::new(&url)?);
        let began = Instant::now();
        let key = url.access_key.clone().context("no access key")?;
        let credential = Credential::AccessKey(key);
        let registered = many(listeners, |index| {
            let (strangers, credential) = (strangers.clone(), credential.clone());
            async move {
                let mut peer = strangers.greet(index, credential).await?;
                let nameplate = peer.listen().await?;
                Ok((peer, nameplate))
            }
        })
        .await?;
        println!("registered {}", began.elapsed().as_secs_f64());
        let began = Instant::now();
        let nameplates: Vec<Nameplate> =
            registered.iter().map(|(_, nameplate)| *nameplate).collect();
        let joined = many(pairs.min(listeners), |index| {
            let (strangers, nameplate) = (strangers.clone(), nameplates[index]);
            async move {
                let mut peer = strangers.greet(index, Credential::None).await?;
                peer.say(&ToRendezvous::Join { nameplate }).await?;
                peer.introduced().await?;
                Ok(peer)
            }
        })
        .await?;
        println!("joined {}", began.elapsed().as_secs_f64());
        std::future::pending::<()>().await;
        drop((registered, joined));
        Ok(())
    })
}

async fn many<T: Send + 'static, F>(count: usize, one: impl Fn(usize) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>> + Send + 'static,
{
    let mut done = Vec::with_capacity(count);
    let mut tasks = JoinSet::new();
    for index in 0..count {
        if tasks.len() >= AT_ONCE
            && let Some(result) = tasks.join_next().await
        {
            done.push(result??);
        }
        tasks.spawn(one(index));
    }
    while let Some(result) = tasks.join_next().await {
        done.push(result??);
    }
    Ok(done)
}

/// Makes control connections to the rendezvous, many at once.
pub(crate) struct Strangers {
    endpoints: Vec<Endpoint>,
    config: ClientConfig,
    address: SocketAddr,
    host: String,
}

impl Strangers {
    /// To the rendezvous of this URL, whose host has to be an address.
    pub(crate) fn new(url: &RendezvousUrl) -> Result<Self> {
        let address = SocketAddr::new(url.host.parse()?, url.port);
        let mut acks = AckFrequencyConfig::default();
        acks.ack_eliciting_threshold(VarInt::from_u32(0));
        let mut transport = TransportConfig::default();
        transport
            .ack_frequency_config(Some(acks))
            .keep_alive_interval(Some(KEEP_ALIVE))
            .max_idle_timeout(Some(IdleTimeout::try_from(SILENCE)?));
        let tls = tls::control_client(url.fingerprint)?;
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(Arc::new(transport));
        let endpoints = (0..SOCKETS).map(|_| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            let mut config = EndpointConfig::default();
            config.grease_quic_bit(false);
            Endpoint::new(config, None, socket, Arc::new(TokioRuntime))
        });
        Ok(Self {
            endpoints: endpoints.collect::<Result<_, _>>()?,
            config,
            address,
            host: url.host.clone(),
        })
    }

    /// Connects, says hello with this credential and waits to be welcomed.
    pub(crate) async fn greet(&self, index: usize, credential: Credential) -> Result<Stranger> {
        let endpoint = &self.endpoints[index % SOCKETS];
        let connecting = endpoint.connect_with(self.config.clone(), self.address, &self.host)?;
        let connection = connecting.await?;
        let (send, receive) = connection.open_bi().await?;
        let mut stranger = Stranger {
            send,
            receive,
            _connection: connection,
        };
        let agent = "bench".to_owned();
        let hello = ToRendezvous::Hello { credential, agent };
        stranger.say(&hello).await?;
        match stranger.hear().await? {
            FromRendezvous::Welcome { .. } => Ok(stranger),
            other => bail!("not welcome: {other:?}"),
        }
    }
}

/// A control connection that has been welcomed.
pub(crate) struct Stranger {
    send: SendStream,
    receive: RecvStream,
    _connection: Connection,
}

impl Stranger {
    /// Sends one message.
    pub(crate) async fn say(&mut self, message: &ToRendezvous) -> Result<()> {
        Ok(p2pdbg_frames::write(&mut self.send, message).await?)
    }

    async fn hear(&mut self) -> Result<FromRendezvous> {
        let message = p2pdbg_frames::read(&mut self.receive).await?;
        message.context("the rendezvous ended the conversation")
    }

    /// Asks for a nameplate, and waits for it.
    pub(crate) async fn listen(&mut self) -> Result<Nameplate> {
        self.say(&ToRendezvous::Listen { claim: None }).await?;
        loop {
            if let FromRendezvous::Listening(claim) = self.hear().await? {
                return Ok(claim.nameplate);
            }
        }
    }

    /// Waits for the next introduction; other messages are passed over.
    pub(crate) async fn introduced(&mut self) -> Result<Introduction> {
        loop {
            match self.hear().await? {
                FromRendezvous::Introduced(introduction) => return Ok(introduction),
                FromRendezvous::Refused { refusal, .. } => bail!("refused: {refusal:?}"),
                _ => {}
            }
        }
    }
}
