//! The control connection, dialled again whenever it is lost.
//!
//! One task owns the connection. It says hello, then passes messages both ways, and reports when the connection
//! comes up and goes down so that its owner registers again; the rendezvous keeps nothing for a peer that is
//! gone. Between attempts it waits a little longer each time, up to [`LONGEST_WAIT`], or until it is nudged. When this
//! host's network changes, it begins a new attempt at once, or carries the connection that it has over to a new socket.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use p2pdbg_wire::{
    control::{Credential, FromRendezvous, Refusal, ToRendezvous, close},
    frame,
    url::RendezvousUrl,
};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    LinkError,
    dial::{Dialed, dial},
};
use crate::net::changes::{Changes, Listener};

/// The first wait after a lost connection.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// An attempt that is older when the network changes is begun anew: its packets are repeated ever more rarely.
const FRESH: Duration = Duration::from_millis(500);

/// How long the rendezvous may take to answer the hello.
const GREETING: Duration = Duration::from_secs(6);

/// How many messages may wait in either direction.
const QUEUE: usize = 256;

/// What the link tells its owner.
#[derive(Debug)]
pub enum LinkEvent {
    /// The connection stands, and the rendezvous knows nothing of this peer yet.
    Up {
        /// This peer's address as the rendezvous sees it.
        observed: SocketAddr,
        /// Where the rendezvous is reached: the address of the relay too.
        rendezvous: SocketAddr,
        /// Where it answers STUN.
        stun: Vec<SocketAddr>,
    },
    /// The rendezvous says something.
    Message(FromRendezvous),
    /// An attempt failed, or the connection was lost. The link tries again unless the error is final.
    Down(LinkError),
}

/// A handle on the link; dropping it ends the connection.
#[derive(Debug)]
pub struct Link {
    outgoing: mpsc::Sender<ToRendezvous>,
    events: mpsc::Receiver<LinkEvent>,
    credentials: tokio::sync::watch::Sender<Credential>,
    closing: CancellationToken,
    nudged: Arc<Notify>,
    task: AbortOnDropHandle<()>,
}

impl Link {
    /// Begins to connect, with what lets this peer in at first.
    pub fn open(url: RendezvousUrl, credential: Credential, changes: &Changes) -> Self {
        let (outgoing, to_send) = mpsc::channel(QUEUE);
        let (report, events) = mpsc::channel(QUEUE);
        let (credentials, credential) = tokio::sync::watch::channel(credential);
        let closing = CancellationToken::new();
        let nudged = Arc::new(Notify::new());
        let driver = Driver {
            nudged: Arc::clone(&nudged),
            changes: changes.subscribe(),
            url,
            credential,
            to_send,
            report,
            closing: closing.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(driver.run()));
        Self {
            outgoing,
            events,
            credentials,
            closing,
            nudged,
            task,
        }
    }

    /// Tries again at once, if the link is waiting to.
    pub fn nudge(&self) {
        self.nudged.notify_waiters();
    }

    /// The next event; `None` when the link has given up after a final error.
    pub async fn event(&mut self) -> Option<LinkEvent> {
        self.events.recv().await
    }

    /// Queues a message. While the connection is down it goes nowhere: what matters is said again after
    /// [`LinkEvent::Up`].
    pub fn send(&self, message: ToRendezvous) {
        if self.outgoing.try_send(message).is_err() {
            tracing::debug!("dropped a message to the rendezvous: the queue is full");
        }
    }

    /// What lets this peer in at the next connection.
    pub fn use_credential(&self, credential: Credential) {
        self.credentials.send_replace(credential);
    }

    /// Says goodbye after what is queued has been sent.
    pub async fn close(self) {
        self.closing.cancel();
        // The driver bounds its own goodbye.
        let _ = self.task.await;
    }
}

struct Driver {
    nudged: Arc<Notify>,
    changes: Listener,
    url: RendezvousUrl,
    credential: tokio::sync::watch::Receiver<Credential>,
    to_send: mpsc::Receiver<ToRendezvous>,
    report: mpsc::Sender<LinkEvent>,
    closing: CancellationToken,
}

impl Driver {
    async fn run(mut self) {
        let closing = self.closing.clone();
        let mut wait = FIRST_WAIT;
        loop {
            let Some(attempt) = self.connect_anew().await else {
                return;
            };
            self.changes.forget();
            let error = match attempt {
                Ok(connected) => {
                    let began = Instant::now();
                    match self.converse(connected).await {
                        Some(error) => {
                            if began.elapsed() >= LONGEST_WAIT {
                                wait = FIRST_WAIT;
                            }
                            error
                        }
                        None => return,
                    }
                }
                Err(error) => error,
            };
            let lasting = !error.is_passing();
            let pause = match &error {
                LinkError::Refused {
                    refusal: Refusal::Limit { retry_after_s },
                    ..
                } => Duration::from_secs((*retry_after_s).into()).max(wait),
                _ => wait,
            };
            if self.report.send(LinkEvent::Down(error)).await.is_err() || lasting {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.nudged.notified() => {}
                _ = self.changes.changed() => wait = FIRST_WAIT,
                () = closing.cancelled() => return,
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Connects, and begins once more when the network changes meanwhile; `None` if the owner closes the link.
    async fn connect_anew(&mut self) -> Option<Result<Connected, LinkError>> {
        let mut changes = self.changes.clone();
        let closing = self.closing.clone();
        loop {
            let began = Instant::now();
            let attempt = self.connect();
            tokio::pin!(attempt);
            let result = loop {
                tokio::select! {
                    result = &mut attempt => break Some(result),
                    _ = changes.changed() => if began.elapsed() >= FRESH { break None },
                    () = closing.cancelled() => return None,
                }
            };
            if result.is_some() {
                return result;
            }
        }
    }

    async fn connect(&mut self) -> Result<Connected, LinkError> {
        let dialed = dial(&self.url).await?;
        let lost = LinkError::lost;
        let (send, recv) = dialed.connection.open_bi().await.map_err(|e| lost(&e))?;
        let mut connected = Connected { dialed, send, recv };
        let hello = ToRendezvous::Hello {
            credential: self.credential.borrow_and_update().clone(),
            agent: concat!("p2pdbg/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        connected.write(&hello).await?;
        let answer = tokio::time::timeout(GREETING, read(&mut connected.recv))
            .await
            .map_err(|_| LinkError::Unreachable {
                authority: self.url.authority(),
            })??;
        match answer {
            FromRendezvous::Welcome { observed, stun } => {
                let up = LinkEvent::Up {
                    observed,
                    rendezvous: connected.dialed.connection.remote_address(),
                    stun,
                };
                // What was queued for the connection before this one has lost its meaning.
                while self.to_send.try_recv().is_ok() {}
                let _ = self.report.send(up).await;
                Ok(connected)
            }
            FromRendezvous::Refused { refusal } => Err(LinkError::Refused {
                authority: self.url.authority(),
                refusal,
            }),
            _ => Err(LinkError::Version {
                authority: self.url.authority(),
            }),
        }
    }

    /// Passes messages until the connection is lost (why) or the owner closes the link (`None`).
    async fn converse(&mut self, connected: Connected) -> Option<LinkError> {
        let Connected {
            dialed,
            mut send,
            mut recv,
        } = connected;
        let report = self.report.clone();
        let mut reader = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                match read(&mut recv).await {
                    Ok(message) => {
                        if report.send(LinkEvent::Message(message)).await.is_err() {
                            return LinkError::Lost("nobody listens to it".into());
                        }
                    }
                    Err(error) => return error,
                }
            }
        }));
        let error = loop {
            tokio::select! {
                ended = &mut reader => {
                    break ended.unwrap_or_else(|e| LinkError::lost(&e));
                }
                message = self.to_send.recv() => {
                    let Some(message) = message else { break LinkError::Lost("closed".into()) };
                    if let Err(error) = write(&mut send, &message).await {
                        break error;
                    }
                }
                _ = self.changes.changed() => dialed.move_to_new_socket(),
                () = self.closing.cancelled() => {
                    while let Ok(message) = self.to_send.try_recv() {
                        let _ = write(&mut send, &message).await;
                    }
                    let _ = send.finish();
                    // It closes once it has read all of it. If this end closed first, what was not read would be lost.
                    let closed = dialed.connection.closed();
                    let _ = tokio::time::timeout(Duration::from_millis(500), closed).await;
                    dialed.connection.close(VarInt::from_u32(close::DONE), b"");
                    let _ = tokio::time::timeout(Duration::from_millis(200), dialed.endpoint.wait_idle()).await;
                    return None;
                }
            }
        };
        dialed.connection.close(VarInt::from_u32(close::DONE), b"");
        Some(error)
    }
}

struct Connected {
    dialed: Dialed,
    send: SendStream,
    recv: RecvStream,
}

impl Connected {
    async fn write(&mut self, message: &ToRendezvous) -> Result<(), LinkError> {
        write(&mut self.send, message).await
    }
}

async fn write(send: &mut SendStream, message: &ToRendezvous) -> Result<(), LinkError> {
    let mut bytes = Vec::new();
    frame::encode(message, &mut bytes).map_err(|e| LinkError::Local(e.to_string()))?;
    send.write_all(&bytes)
        .await
        .map_err(|e| LinkError::lost(&e))
}

async fn read(recv: &mut RecvStream) -> Result<FromRendezvous, LinkError> {
    let lost = LinkError::lost;
    let mut prefix = [0; frame::PREFIX];
    recv.read_exact(&mut prefix).await.map_err(|e| lost(&e))?;
    let length = frame::body_length(prefix).map_err(|e| lost(&e))?;
    let mut body = vec![0; length];
    recv.read_exact(&mut body).await.map_err(|e| lost(&e))?;
    frame::decode(&body).map_err(|e| lost(&e))
}
