//! One TCP connection to a peer: its proof, and then its datagrams, each behind its length.

use std::{io, net::SocketAddr, time::Duration};

use bytes::BytesMut;
use p2pdbg_net::{
    mux::Datagram,
    tcp_detour::{Arrival, Backlog},
};
use p2pdbg_proto::{address::canonical, relay_stream::encode_packet, secret::random_bytes};
use p2pdbg_punch::{PunchKey, Role, SocketId, TcpProof};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use crate::packets::{CHUNK, fill, take_packet};

/// How long the proof may take, from when the connection stands.
const PROOF: Duration = Duration::from_secs(3);

/// The proof's messages are no longer than this, in bytes, and nothing follows them before it is complete.
const LONGEST_PROOF: usize = 128;

/// How long what has arrived may take to be handed on once nothing can be sent any more.
const LEFT_OVER: Duration = Duration::from_secs(1);

/// A connection that leads to the peer.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(super) stream: TcpStream,
    /// What came right behind the proof.
    pub(super) pending: BytesMut,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// Whether this end made it.
    pub(super) dialled: bool,
}

/// A connection whose other end has begun as the peer does, and has not proved to be it.
#[derive(Debug)]
pub(super) struct Greeted {
    begun: Proven,
    proof: TcpProof,
    until: Instant,
}

/// Has the other end prove to be the peer, and proves the same to it.
///
/// # Errors
/// If it is not, breaks the protocol, or takes too long.
pub(super) async fn prove(
    stream: TcpStream,
    key: &PunchKey,
    role: Role,
    dialled: bool,
) -> io::Result<Proven> {
    greet(stream, key, role, dialled).await?.prove().await
}

/// The first half of it: waits for the first word of the other end.
///
/// # Errors
/// If it is not the peer's, or takes too long.
pub(super) async fn greet(
    stream: TcpStream,
    key: &PunchKey,
    role: Role,
    dialled: bool,
) -> io::Result<Greeted> {
    let until = Instant::now() + PROOF;
    let mut begun = Proven {
        local: stream.local_addr()?,
        remote: stream.peer_addr()?,
        stream,
        pending: BytesMut::new(),
        dialled,
    };
    let mut proof = TcpProof::new(key, role, dialled, random_bytes());
    let greeting = async {
        if let Some(hello) = proof.begin() {
            say(&mut begun.stream, &hello).await?;
        }
        begun.step(&mut proof).await
    };
    timeout_at(until, greeting)
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    Ok(Greeted {
        begun,
        proof,
        until,
    })
}

impl Greeted {
    /// The rest of it.
    ///
    /// # Errors
    /// If the other end is not the peer, or takes too long.
    pub(super) async fn prove(mut self) -> io::Result<Proven> {
        let proving = async {
            while !self.begun.step(&mut self.proof).await? {}
            io::Result::Ok(())
        };
        timeout_at(self.until, proving)
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(self.begun)
    }
}

impl Proven {
    /// Takes the next message of the proof and answers it; whether that was the last.
    async fn step(&mut self, proof: &mut TcpProof) -> io::Result<bool> {
        loop {
            if let Some(packet) = take_packet(&mut self.pending)? {
                let step = proof.handle(&packet).map_err(io::Error::other)?;
                if let Some(reply) = step.reply {
                    say(&mut self.stream, &reply).await?;
                }
                return Ok(step.proven);
            }
            if self.pending.len() > LONGEST_PROOF {
                return Err(io::ErrorKind::InvalidData.into());
            }
            fill(&mut self.stream, &mut self.pending).await?;
        }
    }
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::new();
    encode_packet(message, &mut bytes);
    stream.write_all(&bytes).await
}

/// What a connection's datagrams go to and come from.
pub(super) struct Ends {
    pub(super) socket: SocketId,
    /// Takes datagrams of QUIC, as the detour of the socket has them.
    pub(super) arrivals: mpsc::Sender<Arrival>,
    /// Takes what is not QUIC's: checks and their answers.
    pub(super) others: mpsc::Sender<Datagram>,
    /// QUIC's that are to leave.
    pub(super) backlog: Backlog,
    /// Checks that are to leave, before QUIC's.
    pub(super) checks: mpsc::Receiver<Vec<u8>>,
}

/// Carries datagrams until the connection ends, or nobody needs it.
///
/// # Errors
/// What ended it.
pub(super) async fn carry(proven: Proven, ends: Ends) -> io::Result<()> {
    let from = canonical(proven.remote);
    let (reader, writer) = proven.stream.into_split();
    let Ends {
        socket,
        arrivals,
        others,
        backlog,
        checks,
    } = ends;
    carry_between(
        receive(reader, proven.pending, (socket, from), arrivals, others),
        send(writer, backlog, checks),
    )
    .await
}

/// Until either ends. What had arrived before sending failed is handed on.
async fn carry_between(
    receiving: impl Future<Output = io::Result<()>>,
    sending: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    tokio::pin!(receiving);
    let failed = tokio::select! {
        received = &mut receiving => return received,
        sent = sending => sent,
    };
    if failed.is_err() {
        let _ = timeout(LEFT_OVER, receiving).await;
    }
    failed
}

async fn receive(
    mut reader: impl AsyncRead + Unpin,
    mut pending: BytesMut,
    (socket, from): (SocketId, SocketAddr),
    arrivals: mpsc::Sender<Arrival>,
    others: mpsc::Sender<Datagram>,
) -> io::Result<()> {
    loop {
        while let Some(bytes) = take_packet(&mut pending)? {
            match bytes.first() {
                Some(64..) => {
                    if arrivals.send(Arrival { from, bytes }).await.is_err() {
                        return Ok(());
                    }
                }
                Some(0..=3) => {
                    let payload = bytes.to_vec();
                    // What does not fit is dropped, as by any network.
                    let _ = others.try_send(Datagram {
                        socket,
                        from,
                        payload,
                    });
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        fill(&mut reader, &mut pending).await?;
    }
}

async fn send(
    mut writer: impl AsyncWrite + Unpin,
    mut backlog: Backlog,
    mut checks: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(2 * CHUNK);
    loop {
        bytes.clear();
        tokio::select! {
            biased;
            check = checks.recv() => match check {
                Some(check) => {
                    encode_packet(&check, &mut bytes);
                }
                None => return Ok(()),
            },
            batch = backlog.next() => match batch {
                Some(batch) => batch.datagrams().for_each(|datagram| {
                    encode_packet(datagram, &mut bytes);
                }),
                None => return Ok(()),
            },
        }
        while bytes.len() < CHUNK
            && let Some(batch) = backlog.try_next()
        {
            batch.datagrams().for_each(|datagram| {
                encode_packet(datagram, &mut bytes);
            });
        }
        writer.write_all(&bytes).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_arrived_before_sending_failed_is_handed_on() {
        let mut arrived = Vec::new();
        for byte in 0..4 {
            encode_packet(&[64 + byte; 1_200], &mut arrived);
        }
        // The other end has closed after its last words.
        let reader = std::io::Cursor::new(arrived);
        let (arrivals, mut quic) = mpsc::channel(1);
        let (others, _checks) = mpsc::channel(1);
        let from = SocketAddr::from(([192, 0, 2, 1], 7));
        let socket = SocketId::of_stream(0);
        let receiving = receive(reader, BytesMut::new(), (socket, from), arrivals, others);
        let sending = std::future::ready(Err(io::ErrorKind::BrokenPipe.into()));
        let carrying = tokio::spawn(carry_between(receiving, sending));
        for byte in 0..4 {
            let arrival = quic.recv().await.unwrap();
            assert_eq!(arrival.bytes[..], [64 + byte; 1_200]);
        }
        assert!(carrying.await.unwrap().is_err());
    }
}
