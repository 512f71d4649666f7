//! The rendezvous where nothing passes but the web: TLS with its pin as ever, inside a WebSocket, inside the TLS of the
//! web at port 443, through the proxy if there is one.
//!
//! It is the last resort: it costs twice the round trips. So it begins when TCP alone has failed, or when nothing has
//! accepted the connection for [`LATER`]; once it was what worked, both begin at once, and whichever is there first
//! wins.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use p2pdbg_identity::web_tls;
use p2pdbg_proto::url::RendezvousUrl;
use rustls::ClientConfig;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::{
    LinkError,
    tcp_or_web::TcpOrWeb,
    tls::{HANDSHAKE, Stream, TcpRoute, local},
};

/// Where the web is, and where a proxy opens connections to if it does so anywhere.
const PORT: u16 = 443;

/// How much later than TCP alone: within the patience of one who needs the rendezvous now.
const LATER: Duration = Duration::from_secs(1);

/// TCP alone is tried again this much later when nothing answered, for as long as something else is waited for.
const AGAIN: Duration = Duration::from_millis(500);

impl TcpRoute {
    /// By TCP alone or by WebSocket, whichever is there first. TCP alone is tried again until then, and for as long as
    /// the other is on its way.
    pub(super) async fn race(
        &self,
        address: Option<SocketAddr>,
        config: ClientConfig,
        again_until: Instant,
    ) -> Result<Stream, LinkError> {
        let config = Arc::new(config);
        let (alone_failed, web_failed) = (CancellationToken::new(), CancellationToken::new());
        let connected = AtomicBool::new(false);
        let alone = async {
            loop {
                let error = match self.alone(address, config.clone(), &connected).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => error,
                };
                alone_failed.cancel();
                // A rendezvous that is just starting again refuses at once.
                let is_silent = matches!(
                    error,
                    LinkError::Unreachable { .. } | LinkError::BehindProxy { .. }
                );
                let again = Instant::now() + AGAIN < again_until || !web_failed.is_cancelled();
                if !is_silent || !again {
                    return Err(error);
                }
                sleep(AGAIN).await;
            }
        };
        let web = async {
            if !self.went_by_web() {
                let _ = timeout(LATER, alone_failed.cancelled()).await;
                // A rendezvous that accepts and is slow to say anything has a crowd at its door, which a second
                // handshake would only make larger.
                if connected.load(Ordering::Relaxed) {
                    alone_failed.cancelled().await;
                }
            }
            // What accepts connections at the port of the URL, and does not answer there as the rendezvous does, may be
            // a box that takes everything for the web. What does not will not do so for a WebSocket either.
            let at_own_port = connected.load(Ordering::Relaxed) || self.went_by_web();
            self.web(address, config.clone(), at_own_port).await
        };
        tokio::pin!(alone, web);
        let (mut of_alone, mut of_web) = (None, None);
        loop {
            match (&of_alone, &of_web) {
                (Some(alone), Some(web)) => return Err(worse(alone, web).clone()),
                (_, Some(_)) => web_failed.cancel(),
                _ => {}
            }
            tokio::select! {
                stream = &mut alone, if of_alone.is_none() => match stream {
                    Ok(stream) => return Ok(self.note(stream)),
                    Err(error) => of_alone = Some(error),
                },
                stream = &mut web, if of_web.is_none() => match stream {
                    Ok(stream) => return Ok(self.note(stream)),
                    Err(error) => of_web = Some(error),
                },
            }
        }
    }

    /// By WebSocket, at port 443 and, if so wished, at the port of the URL.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn web(
        &self,
        address: Option<SocketAddr>,
        config: Arc<ClientConfig>,
        at_own_port: bool,
    ) -> Result<Stream, LinkError> {
        let mut attempts = JoinSet::new();
        let own = self.url().port;
        let elsewhere = Some(PORT).filter(|port| *port != own);
        for port in elsewhere.into_iter().chain(at_own_port.then_some(own)) {
            let (route, config) = (self.clone(), config.clone());
            attempts.spawn(async move { route.web_at(port, address, config).await });
        }
        let mut worst: Option<LinkError> = None;
        let first = async {
            while let Some(ended) = attempts.join_next().await {
                match ended {
                    Ok(Ok(stream)) => return Some(stream),
                    Ok(Err(error)) if worst.as_ref().is_none_or(|w| error.says() >= w.says()) => {
                        worst = Some(error);
                    }
                    Ok(Err(_)) | Err(_) => {}
                }
            }
            None
        };
        let stream = timeout(HANDSHAKE, first).await.ok().flatten();
        stream.ok_or_else(|| worst.unwrap_or_else(|| self.unreachable()))
    }

    async fn web_at(
        &self,
        port: u16,
        address: Option<SocketAddr>,
        config: Arc<ClientConfig>,
    ) -> Result<Stream, LinkError> {
        let place = RendezvousUrl {
            port,
            ..self.url().clone()
        };
        let authority = place.authority();
        let failed = |why: String| LinkError::Web {
            authority: authority.clone(),
            why,
        };
        let address = address.map(|address| SocketAddr::new(address.ip(), port));
        let stream = self.tcp(address, &authority).await?;
        let outer = TlsConnector::from(Arc::new(web_tls::client().map_err(|e| local(&e))?));
        let outer = outer.connect(self.name()?, stream).await;
        let outer = outer.map_err(|_| failed("what answers there speaks no TLS".to_owned()))?;
        let host = authority.strip_suffix(":443").unwrap_or(&authority);
        let web = p2pdbg_web::ask(outer, host).await;
        let web = web.map_err(|error| failed(error.to_string()))?;
        self.shake_hands(TcpOrWeb::web(web), config).await
    }
}

/// The error that says more. Who answers in the place of the rendezvous even inside a WebSocket does so on purpose.
fn worse<'a>(alone: &'a LinkError, web: &'a LinkError) -> &'a LinkError {
    let is_on_purpose = matches!(web, LinkError::InItsPlace(_));
    match web.says() + u8::from(is_on_purpose) > alone.says() {
        true => web,
        false => alone,
    }
}
