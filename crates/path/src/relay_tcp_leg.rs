//! A leg of the relay over TCP: the connection, and the task that carries datagrams between it and the detour.
//!
//! When it is opened and what it is used for is decided elsewhere ([`super::relay`]). It ends when the connection does,
//! when the relay has nothing more for this leg, or when nothing is heard for too long.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};
use p2pdbg_base::{Silence, tcp_silence::ASK};
use p2pdbg_net::tcp_detour::{Arrival, Backlog, Outbox, outbox};
use p2pdbg_proto::{
    relay::{LegGrant, RelayFrame, RelayRefusal},
    relay_stream::{EXPORTER_LABEL, Join, encode_packet, split_packet},
};
use p2pdbg_rendezvous_client::{Stream, TcpRoute};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    LegTransport,
    packets::{CHUNK, fill, take_packet},
};

/// How long the relay may take to answer JOIN.
const ANSWER: Duration = Duration::from_secs(6);

/// How long the relay may take to answer when there is reason to doubt that it is there.
const DOUBT: Duration = Duration::from_secs(2);

/// What became of a connection.
#[derive(Debug)]
pub(super) enum TcpLegEvent {
    /// The leg is bound to it, which is carried so: what goes to the relay may be put in here.
    Bound(Outbox, LegTransport),
    /// The relay refuses the leg, or takes it back.
    Refused(RelayRefusal),
    /// There is none, or no more.
    Ended(String),
}

/// A handle on the task; dropping it ends the connection.
#[derive(Debug)]
pub(super) struct RelayTcpLeg {
    doubt: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

/// What a connection is made with.
pub(super) struct LegStreamConfig {
    /// Tells its events from those of others, and it from earlier ones at the relay: they grow.
    pub(super) id: u64,
    /// The way to the relay.
    pub(super) route: TcpRoute,
    pub(super) address: SocketAddr,
    pub(super) grant: LegGrant,
    /// Takes what comes from the relay.
    pub(super) arrivals: mpsc::Sender<Arrival>,
    /// Takes what becomes of the connection.
    pub(super) events: mpsc::Sender<(u64, TcpLegEvent)>,
}

impl RelayTcpLeg {
    /// Begins to connect.
    pub(super) fn open(config: LegStreamConfig) -> Self {
        let doubt = Arc::new(Notify::new());
        let task = tokio::spawn(run(config, Arc::clone(&doubt)));
        Self {
            doubt,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Asks whether the connection lives; it ends soon if not.
    pub(super) fn check(&self) {
        self.doubt.notify_one();
    }
}

async fn run(config: LegStreamConfig, doubt: Arc<Notify>) {
    let (id, events) = (config.id, config.events.clone());
    let end = match carry(config, &doubt).await {
        Ok(refusal) => TcpLegEvent::Refused(refusal),
        Err(why) => TcpLegEvent::Ended(why),
    };
    let _ = events.send((id, end)).await;
}

/// Carries the leg until the relay takes it back.
///
/// # Errors
/// Why there is no connection, or no more.
async fn carry(config: LegStreamConfig, doubt: &Notify) -> Result<RelayRefusal, String> {
    let words = |error: io::Error| error.to_string();
    let connected = config.route.leg(config.address).await;
    let mut stream = connected.map_err(|error| error.to_string())?;
    let transport = match stream.get_ref().0.is_web() {
        true => LegTransport::Web,
        false => LegTransport::Tcp,
    };
    let mut pending = BytesMut::new();
    let joined = timeout(ANSWER, join(&mut stream, &config, &mut pending)).await;
    match joined
        .map_err(|_| "the relay does not answer")?
        .map_err(words)?
    {
        // JOIN has arrived, and so may the rest.
        RelayFrame::Bound { .. } => stream.get_ref().0.delivery().begin(),
        RelayFrame::Refused { reason, .. } => return Ok(reason),
        _ => return Err("the relay broke the protocol".into()),
    }
    let (outbox, backlog) = outbox();
    let bound = (config.id, TcpLegEvent::Bound(outbox, transport));
    if config.events.send(bound).await.is_err() {
        return Err("nobody needs it".into());
    }
    let (heard, last_heard) = watch::channel(Instant::now());
    let ask = Notify::new();
    let (reader, writer) = tokio::io::split(stream);
    tokio::select! {
        ended = receive(reader, pending, &config, heard) => ended.map_err(words),
        sent = send(writer, backlog, &ask) => Err(sent.err().map_or("nobody needs it".into(), words)),
        () = watch_over(last_heard, doubt, &ask) => Err("the relay has gone silent".into()),
    }
}

async fn join(
    stream: &mut Stream,
    config: &LegStreamConfig,
    pending: &mut BytesMut,
) -> io::Result<RelayFrame> {
    let session = stream.get_ref().1;
    let exported = session
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
        .map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    let join = Join::new(&config.grant, config.id, &exported);
    encode_packet(&join.encode(), &mut bytes);
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    loop {
        if let Some((packet, rest)) = split_packet(pending).map_err(io::Error::other)? {
            let frame = RelayFrame::decode(packet).map_err(io::Error::other)?;
            let taken = pending.len() - rest.len();
            pending.advance(taken);
            return Ok(frame);
        }
        fill(stream, pending).await?;
    }
}

/// Passes on what the relay sends, until it takes the leg back.
pub(super) async fn receive(
    mut reader: impl AsyncRead + Unpin,
    mut pending: BytesMut,
    config: &LegStreamConfig,
    heard: watch::Sender<Instant>,
) -> io::Result<RelayRefusal> {
    loop {
        while let Some(packet) = take_packet(&mut pending)? {
            match packet.first() {
                None => {}
                Some(64..) => {
                    let from = config.address;
                    let arrival = Arrival {
                        from,
                        bytes: packet,
                    };
                    if config.arrivals.send(arrival).await.is_err() {
                        return Err(io::Error::other("nobody needs it"));
                    }
                }
                Some(_) => match RelayFrame::decode(&packet) {
                    Ok(RelayFrame::Refused { reason, .. }) => return Ok(reason),
                    _ => return Err(io::Error::other("the relay broke the protocol")),
                },
            }
        }
        fill(&mut reader, &mut pending).await?;
        heard.send_replace(Instant::now());
    }
}

/// Writes what waits, as much at once as fits, until nobody puts anything in any more.
pub(super) async fn send(
    mut writer: impl AsyncWrite + Unpin,
    mut backlog: Backlog,
    ask: &Notify,
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(2 * CHUNK);
    loop {
        bytes.clear();
        let mut next = tokio::select! {
            batch = backlog.next() => match batch {
                Some(batch) => Some(batch),
                // The leg is carried otherwise now; what comes by this way is still welcome.
                None => std::future::pending().await,
            },
            () = ask.notified() => {
                encode_packet(&[], &mut bytes);
                None
            }
        };
        while let Some(batch) = next {
            for datagram in batch.datagrams() {
                encode_packet(datagram, &mut bytes);
            }
            next = if bytes.len() < CHUNK {
                backlog.try_next()
            } else {
                None
            };
        }
        writer.write_all(&bytes).await?;
        writer.flush().await?;
    }
}

/// Asks now and then, and at once when there is doubt; ends when there is no answer.
pub(super) async fn watch_over(mut heard: watch::Receiver<Instant>, doubt: &Notify, ask: &Notify) {
    let mut rhythm = tokio::time::interval_at(Instant::now() + ASK, ASK);
    let mut silence = Silence::new(heard.borrow().into_std(), DOUBT);
    loop {
        silence.on_heard(heard.borrow_and_update().into_std());
        tokio::select! {
            _ = rhythm.tick() => ask.notify_one(),
            () = doubt.notified() => {
                silence.on_doubt(Instant::now().into_std());
                ask.notify_one();
            }
            () = tokio::time::sleep_until(silence.given_up().into()) => {
                if silence.is_lost(Instant::now().into_std()) {
                    return;
                }
                ask.notify_one();
            }
            changed = heard.changed() => if changed.is_err() {
                return;
            }
        }
    }
}
