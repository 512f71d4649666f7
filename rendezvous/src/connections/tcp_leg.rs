//! A leg of the relay over TCP: a connection that carries one member's datagrams.
//!
//! The connection's task proves nothing and decides nothing: JOIN goes to the datapath, which owns the relay's table,
//! and so do the datagrams. What comes back waits in an [`Outbox`], which the datapath drops when the leg has gone.
//! Reading stops while the datapath is busy, so that TCP slows the member down; writing never slows anybody else.

use std::{io, net::IpAddr, time::Duration};

use bytes::{Buf, BytesMut};
use p2pdbg_proto::{
    relay::{LegId, RelayFrame, RelayRefusal},
    relay_stream::{self, Join, encode_packet, split_packet},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Notify,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

use crate::{
    connections::{
        handshake_limits::Established,
        intake::Intake,
        stream_io::{Patient, close_gently},
    },
    counters::Tallies,
    relay::{
        TcpLegId,
        outbox::{Backlog, Batch},
        tcp_leg_input::{Legs, TcpLegInput},
    },
};

/// What is read or written at once, in bytes.
const CHUNK: usize = 16 * 1024;

/// How long a member may take to make room for one chunk.
const WRITE_WITHIN: Duration = Duration::from_secs(20);

/// Carries a leg until either side ends it.
pub(crate) async fn carry<S>(
    tls: TlsStream<S>,
    ip: IpAddr,
    place: &Established,
    legs: &Legs,
    intake: &Intake,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Dropped with this, wherever it is then, it tells the datapath.
    let mut stream = legs.open();
    let exported =
        tls.get_ref()
            .1
            .export_keying_material([0; 32], relay_stream::EXPORTER_LABEL, None);
    let (reader, mut writer) = tokio::io::split(tls);
    let mut reader = Packets::new(Patient::new(reader, intake.limits.idle));
    let join = timeout(intake.limits.greeting_within, reader.join()).await;
    let (Ok(exported), Ok(Ok(join))) = (exported, join) else {
        tracing::debug!(stream = stream.id.0, "no leg was asked for");
        return intake.tallies.tcp_failed.add(1);
    };
    let leg = join.leg;
    let asked = stream.ask(ip, join, exported, intake.limits.leg_queue_bytes);
    let Some((answer, backlog)) = asked.await else {
        return;
    };
    let bound = matches!(answer, RelayFrame::Bound { .. });
    if bound {
        place.is_bound();
    }
    if bound && write_frame(&mut writer, &answer).await.is_ok() {
        tracing::debug!(stream = stream.id.0, "a leg is bound over TCP");
        let orphaned = pass_on(
            stream.id,
            &mut reader,
            backlog,
            &mut writer,
            legs,
            &intake.tallies,
        );
        if orphaned.await {
            let _ = write_frame(&mut writer, &unknown(leg)).await;
        }
    } else {
        intake.tallies.tcp_failed.add(1);
        let _ = write_frame(&mut writer, &answer).await;
    }
    drop(stream);
    close_gently(reader.inner, writer).await;
}

/// Passes on what goes both ways until either side ends it; whether the relay did, to which the leg is unknown now.
async fn pass_on<R: AsyncRead + Unpin>(
    stream: TcpLegId,
    reader: &mut Packets<R>,
    backlog: Backlog,
    writer: &mut (impl AsyncWrite + Unpin),
    legs: &Legs,
    tallies: &Tallies,
) -> bool {
    let asked = Notify::new();
    tokio::select! {
        ended = reader.forward(stream, legs, &asked) => {
            tracing::debug!(stream = stream.0, ?ended, "a leg over TCP ended");
            false
        }
        orphaned = deliver(backlog, writer, &asked, tallies) => orphaned,
    }
}

fn unknown(leg: LegId) -> RelayFrame {
    let reason = RelayRefusal::UnknownLeg;
    RelayFrame::Refused { leg, reason }
}

async fn write_frame(writer: &mut (impl AsyncWrite + Unpin), frame: &RelayFrame) -> io::Result<()> {
    let mut bytes = Vec::new();
    encode_packet(&frame.encode(), &mut bytes);
    write(writer, &bytes).await
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let write = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    timeout(WRITE_WITHIN, write)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Writes what waits, as much at once as fits; whether the leg has gone, rather than the connection.
async fn deliver(
    mut backlog: Backlog,
    writer: &mut (impl AsyncWrite + Unpin),
    asked: &Notify,
    tallies: &Tallies,
) -> bool {
    let mut bytes = Vec::with_capacity(2 * CHUNK);
    loop {
        bytes.clear();
        let mut dropped = 0;
        let mut next = tokio::select! {
            batch = backlog.next() => match batch {
                Some(batch) => Some(batch),
                None => return true,
            },
            () = asked.notified() => {
                encode_packet(&[], &mut bytes);
                None
            }
        };
        while let Some(batch) = next {
            for datagram in batch.datagrams() {
                if !encode_packet(datagram, &mut bytes) {
                    dropped += 1;
                }
            }
            next = None;
            if bytes.len() < CHUNK {
                next = backlog.try_next();
            }
        }
        tallies.dropped.add(dropped);
        if write(writer, &bytes).await.is_err() {
            return false;
        }
    }
}

/// What a member sends, cut into packets.
struct Packets<R> {
    inner: R,
    /// What has come and is not taken yet: less than a packet, and what was read behind it.
    pending: BytesMut,
}

impl<R: AsyncRead + Unpin> Packets<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            pending: BytesMut::new(),
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.pending.reserve(CHUNK);
        match self.inner.read_buf(&mut self.pending).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn join(&mut self) -> io::Result<Join> {
        loop {
            if let Some((packet, rest)) = split_packet(&self.pending).map_err(malformed)? {
                let join = Join::decode(packet).map_err(malformed)?;
                let taken = self.pending.len() - rest.len();
                self.pending.advance(taken);
                return Ok(join);
            }
            self.fill().await?;
        }
    }

    /// Passes on what comes until the connection ends or breaks the protocol.
    async fn forward(&mut self, stream: TcpLegId, legs: &Legs, asked: &Notify) -> io::Result<()> {
        loop {
            while let Some(batch) = self.take_batch(asked)? {
                let input = TcpLegInput::Datagrams(stream, batch);
                if legs.datapath.send(input).await.is_err() {
                    return Ok(());
                }
            }
            self.fill().await?;
        }
    }

    /// As many whole packets as are of one length, and one shorter one behind them: what a datagram socket can send in
    /// one go.
    fn take_batch(&mut self, asked: &Notify) -> io::Result<Option<Batch>> {
        let mut bytes = Vec::new();
        let mut stride = 0;
        let mut rest = &self.pending[..];
        while let Some((packet, behind)) = split_packet(rest).map_err(malformed)? {
            match packet.first() {
                None => asked.notify_one(),
                Some(64..) => {
                    if bytes.is_empty() {
                        stride = packet.len();
                    }
                    if packet.len() > stride {
                        break;
                    }
                    bytes.extend_from_slice(packet);
                }
                // Nothing else of what a UDP port takes is taken here.
                Some(_) => return Err(malformed("a packet that is no datagram of QUIC")),
            }
            rest = behind;
            if !packet.is_empty() && packet.len() < stride {
                break;
            }
        }
        let taken = self.pending.len() - rest.len();
        self.pending.advance(taken);
        let batch = Batch {
            bytes: bytes.into(),
            stride,
        };
        Ok((!batch.bytes.is_empty()).then_some(batch))
    }
}

fn malformed(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(packets: &[Vec<u8>]) -> Vec<(usize, usize)> {
        let mut reader = Packets::new(tokio::io::empty());
        let mut bytes = Vec::new();
        for packet in packets {
            assert!(encode_packet(packet, &mut bytes));
        }
        reader.pending.extend_from_slice(&bytes);
        let asked = Notify::new();
        std::iter::from_fn(|| reader.take_batch(&asked).unwrap())
            .map(|batch| (batch.bytes.len(), batch.stride))
            .collect()
    }

    #[test]
    fn datagrams_of_one_length_go_on_together_and_the_first_shorter_one_ends_the_batch() {
        let datagram = |length| vec![64; length];
        let packets = [1_200, 1_200, 700, 1_200, 1_300, 1_300].map(datagram);
        assert_eq!(
            batches(&packets),
            [(3_100, 1_200), (1_200, 1_200), (2_600, 1_300)]
        );
    }

    #[test]
    fn an_empty_packet_is_no_datagram() {
        assert_eq!(batches(&[vec![], vec![64; 10], vec![]]), [(10, 10)]);
    }

    #[test]
    fn what_is_not_quic_is_not_taken() {
        let mut reader = Packets::new(tokio::io::empty());
        reader.pending.extend_from_slice(&[0, 1, 5]);
        assert!(reader.take_batch(&Notify::new()).is_err());
    }
}
