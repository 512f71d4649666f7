//! A stream of `p2pdbg pipe`: between its connection to the control socket and the session's end of the stream.
//!
//! The session is given one end of a connection within this process and treats it as it does a debugger's TCP
//! connection. Over the control socket the bytes go in frames, both ways.

use std::io;

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_events::StreamState;
use p2pdbg_forward::Within;
use p2pdbg_session::{PipeRequest, PipeTarget};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::oneshot,
};

use super::{
    frames::{CHUNK, Frame, read_frame, write_data, write_frame},
    protocol::Reply,
    reply,
};

/// This side of what a [`PipeRequest`] asks for.
pub(super) struct Ends {
    /// The other end of what the session has.
    stream: Within,
    opened: oneshot::Receiver<Result<(), Failure>>,
    ended: oneshot::Receiver<StreamState>,
}

/// A request, and what this side keeps of it.
pub(super) fn request(to: PipeTarget) -> (PipeRequest, Ends) {
    let (opened_by, opened) = oneshot::channel();
    let (ended_by, ended) = oneshot::channel();
    let (stream, local) = Within::pair();
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
    (request, ends)
}

impl Ends {
    /// Serves a stream to its end.
    pub(super) async fn serve(
        self,
        mut read: impl AsyncRead + Unpin,
        mut write: impl AsyncWrite + Unpin,
    ) {
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
        let (from_stream, to_stream) = tokio::io::split(self.stream);
        tokio::select! {
            // A program that is gone takes its stream with it, whatever it had to say.
            () = up(&mut read, to_stream) => {}
            _ = down(from_stream, &mut write, self.ended) => {}
        }
    }
}

/// What the program writes, until it is gone.
async fn up(from: &mut (impl AsyncRead + Unpin), mut to: impl AsyncWrite + Unpin) {
    let mut takes_more = true;
    while let Ok(frame) = read_frame(from).await {
        match frame {
            // What the other end takes no more is read for nothing: it may still have something to say.
            Frame::Data(bytes) if takes_more => takes_more = to.write_all(&bytes).await.is_ok(),
            Frame::Data(_) => {}
            Frame::Fin => {
                // What the program writes no more, the other end will hear.
                let _ = to.shutdown().await;
                takes_more = false;
            }
            Frame::Closed | Frame::Reset => return,
        }
    }
}

async fn down(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    ended: oneshot::Receiver<StreamState>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        if length == 0 {
            break;
        }
        write_data(to, &buffer[..length]).await?;
    }
    write_frame(to, &Frame::Fin).await?;
    let end = match ended.await {
        Ok(StreamState::Closed) => Frame::Closed,
        _ => Frame::Reset,
    };
    write_frame(to, &end).await
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    /// A bridge between a program's connection and what the session would have.
    async fn bridged() -> (DuplexStream, Within, oneshot::Sender<StreamState>) {
        let (program, server) = tokio::io::duplex(CHUNK);
        let (request, ends) = request(PipeTarget::Port("localhost:1".parse().unwrap()));
        let (read, write) = tokio::io::split(server);
        tokio::spawn(ends.serve(read, write));
        request.opened.send(Ok(())).unwrap();
        let mut program = program;
        let mut reply = vec![0; crate::control_socket::protocol::line(Reply::Opened).len()];
        program.read_exact(&mut reply).await.unwrap();
        (program, request.local, request.ended)
    }

    #[tokio::test]
    async fn each_direction_ends_on_its_own() {
        let (mut program, mut local, ended) = bridged().await;
        write_data(&mut program, b"up").await.unwrap();
        write_frame(&mut program, &Frame::Fin).await.unwrap();
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
}
