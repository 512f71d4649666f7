//! A stream of `p2pdbg pipe`: between its connection to the control socket and the session's end of the stream.
//!
//! The session is given one end of a pair of sockets and treats it as it does a debugger's TCP connection. What the
//! program writes to the control socket goes there as it is; what comes back goes out in frames, because the program
//! must know how the stream ended, which a Unix socket does not tell: there is no RST on it.

use std::io;

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_events::StreamState;
use p2pdbg_session::{PipeRequest, PipeTarget};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::oneshot,
};

use super::{protocol::Reply, reply};

/// Bytes of one frame, at the most.
const CHUNK: usize = 64 << 10;

/// What comes back on a stream, each a byte that says which; data has its length (32 bits, big-endian) and the bytes
/// after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// 0: bytes.
    Data(Vec<u8>),
    /// 1: the other end writes no more.
    Fin,
    /// 2: both directions have ended, every byte delivered.
    Closed,
    /// 3: the stream broke.
    Reset,
}

/// Reads a frame.
///
/// # Errors
/// If the connection ends, or brings what is no frame.
pub async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    Ok(match from.read_u8().await? {
        0 => {
            let length = usize::try_from(from.read_u32().await?).unwrap_or(usize::MAX);
            if length > CHUNK {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut bytes = vec![0; length];
            from.read_exact(&mut bytes).await?;
            Frame::Data(bytes)
        }
        1 => Frame::Fin,
        2 => Frame::Closed,
        3 => Frame::Reset,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}

/// This side of what a [`PipeRequest`] asks for.
pub(super) struct Ends {
    /// The other end of what the session has.
    stream: UnixStream,
    opened: oneshot::Receiver<Result<(), Failure>>,
    ended: oneshot::Receiver<StreamState>,
}

/// A request, and what this side keeps of it.
///
/// # Errors
/// If the operating system has no more sockets.
pub(super) fn request(to: PipeTarget) -> io::Result<(PipeRequest, Ends)> {
    let (opened_by, opened) = oneshot::channel();
    let (ended_by, ended) = oneshot::channel();
    let (stream, local) = UnixStream::pair()?;
    let request = PipeRequest {
        to,
        local,
        opened: opened_by,
        ended: ended_by,
    };
    let ends = Ends {
        stream,
        opened,
        ended,
    };
    Ok((request, ends))
}

impl Ends {
    /// Serves a stream to its end.
    pub(super) async fn serve(self, mut read: BufReader<OwnedReadHalf>, mut write: OwnedWriteHalf) {
        let opened = self.opened.await.unwrap_or_else(|_| {
            let why = "the session ended before the stream was open";
            Err(Failure::new(ErrorCode::NoSession, why))
        });
        let reply = match &opened {
            Ok(()) => Reply::Opened,
            Err(failure) => Reply::Refused(failure.clone()),
        };
        if reply::send(&mut write, &reply).await.is_err() || opened.is_err() {
            return;
        }
        let (from_stream, mut to_stream) = self.stream.into_split();
        let up = async {
            let copied = tokio::io::copy_buf(&mut read, &mut to_stream).await;
            // What the program writes no more, the other end will hear.
            let _ = to_stream.shutdown().await;
            if copied.is_err() {
                drop(to_stream);
            }
            std::future::pending::<()>().await;
        };
        let down = down(from_stream, &mut write, self.ended);
        tokio::select! {
            () = up => {}
            // Whoever reads no more is gone, and the stream ends with this task.
            _ = down => {}
        }
    }
}

async fn down(
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    ended: oneshot::Receiver<StreamState>,
) -> io::Result<()> {
    let mut buffer = vec![0; 5 + CHUNK];
    loop {
        let length = from.read(&mut buffer[5..]).await.unwrap_or(0);
        if length == 0 {
            break;
        }
        buffer[0] = 0;
        let prefix = u32::try_from(length).unwrap_or(0).to_be_bytes();
        buffer[1..5].copy_from_slice(&prefix);
        to.write_all(&buffer[..5 + length]).await?;
    }
    to.write_all(&[1]).await?;
    let end = match ended.await {
        Ok(StreamState::Closed) => 2,
        _ => 3,
    };
    to.write_all(&[end]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bridge between a program's connection and what the session would have.
    async fn bridged() -> (UnixStream, UnixStream, oneshot::Sender<StreamState>) {
        let (program, server) = UnixStream::pair().unwrap();
        let (request, ends) = request(PipeTarget::Port("localhost:1".parse().unwrap())).unwrap();
        let (read, write) = server.into_split();
        tokio::spawn(ends.serve(BufReader::new(read), write));
        request.opened.send(Ok(())).unwrap();
        let mut program = program;
        let mut reply = vec![0; crate::control::protocol::line(Reply::Opened).len()];
        program.read_exact(&mut reply).await.unwrap();
        (program, request.local, request.ended)
    }

    #[tokio::test]
    async fn each_direction_ends_on_its_own() {
        let (mut program, mut local, ended) = bridged().await;
        program.write_all(b"up").await.unwrap();
        program.shutdown().await.unwrap();
        let mut up = Vec::new();
        local.read_to_end(&mut up).await.unwrap();
        assert_eq!(up, b"up");
        local.write_all(b"down").await.unwrap();
        let read = read_frame(&mut program).await.unwrap();
        assert_eq!(read, Frame::Data(b"down".to_vec()));
        drop(local);
        assert_eq!(read_frame(&mut program).await.unwrap(), Frame::Fin);
        ended.send(StreamState::Closed).unwrap();
        assert_eq!(read_frame(&mut program).await.unwrap(), Frame::Closed);
    }

    #[tokio::test]
    async fn a_stream_that_broke_is_told_from_one_that_ended() {
        let (mut program, local, ended) = bridged().await;
        drop(local);
        assert_eq!(read_frame(&mut program).await.unwrap(), Frame::Fin);
        ended.send(StreamState::Reset).unwrap();
        assert_eq!(read_frame(&mut program).await.unwrap(), Frame::Reset);
        let (mut program, local, ended) = bridged().await;
        drop((local, ended));
        assert_eq!(read_frame(&mut program).await.unwrap(), Frame::Fin);
        assert_eq!(read_frame(&mut program).await.unwrap(), Frame::Reset);
    }

    #[tokio::test]
    async fn a_program_that_is_gone_takes_its_stream_with_it() {
        let (program, mut local, _ended) = bridged().await;
        drop(program);
        let mut rest = Vec::new();
        local.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        let chunk = vec![0; 1 << 20];
        while local.write_all(&chunk).await.is_ok() {}
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_is_none() {
        let mut bytes: &[u8] = &[0, 0xff, 0xff, 0xff, 0xff, 1];
        assert!(read_frame(&mut bytes).await.is_err());
        assert!(read_frame(&mut &[9][..]).await.is_err());
    }
}
