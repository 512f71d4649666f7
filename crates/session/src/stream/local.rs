//! The local end of a stream: the debugger's TCP connection, set as debuggers need it; or another part of this program,
//! which needs nothing.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{BufMut, Bytes, BytesMut};
pub(crate) use p2pdbg_forward::Connection;
use p2pdbg_forward::{OtherEnd, Within};
use p2pdbg_net::{listening, tcp_reset::reset_when_dropped};
#[cfg(unix)]
use rustix::event::{PollFd, PollFlags, Timespec};
#[cfg(unix)]
use tokio::net::unix;
use tokio::{
    io::{self as tokio_io, AsyncReadExt, AsyncWriteExt},
    net::tcp,
};

/// The most that is read at once, in bytes.
const READ: usize = 64 << 10;

/// Chunks that are written by one call to the operating system.
const SLICES: usize = 64;

/// A program that has waited for an answer so often in a row sends each message in one piece.
const TURNS: u32 = 32;

/// How long a connection lingers whose program has not read everything yet.
const LINGER: std::time::Duration = std::time::Duration::from_secs(30);

/// A buffer with less room than this is replaced rather than filled up, in bytes.
const LEAST_ROOM: usize = 4 << 10;

#[derive(Debug)]
enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    #[cfg(unix)]
    Unix(unix::OwnedReadHalf),
    Within(tokio_io::ReadHalf<Within>, OtherEnd),
}

#[derive(Debug)]
enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    #[cfg(unix)]
    Unix(unix::OwnedWriteHalf),
    Within(tokio_io::WriteHalf<Within>),
}

/// Splits a connection into its two directions, with Nagle's algorithm off: a debugger waits for every answer.
///
/// # Errors
/// If the operating system does not know the connection any more.
pub(super) fn split(connection: Connection) -> io::Result<(LocalReader, LocalWriter)> {
    let (read, write) = match connection {
        Connection::Tcp(connection) => {
            connection.set_nodelay(true)?;
            let (read, write) = connection.into_split();
            (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
        }
        #[cfg(unix)]
        Connection::Unix(connection) => {
            let (read, write) = connection.into_split();
            (ReadHalf::Unix(read), WriteHalf::Unix(write))
        }
        Connection::Within(connection) => {
            let other = connection.other();
            let (read, write) = tokio_io::split(connection);
            (ReadHalf::Within(read, other), WriteHalf::Within(write))
        }
    };
    let written = Arc::<AtomicBool>::default();
    let reader = LocalReader {
        half: read,
        buffer: BytesMut::new(),
        written: Arc::clone(&written),
        turns: 0,
    };
    let writer = LocalWriter {
        half: write,
        written,
    };
    Ok((reader, writer))
}

/// Breaks a connection: the local program sees a RST instead of a FIN. Others have none; the session tells.
pub(super) fn break_off(reader: LocalReader, writer: LocalWriter) {
    if let ReadHalf::Tcp(half) = &reader.half {
        reset_when_dropped(half.as_ref());
    }
    if let WriteHalf::Tcp(half) = writer.half {
        // Dropped as it is, the writing half would send a FIN first.
        half.forget();
    }
}

/// Lets a connection end whose outgoing direction has ended: the local program may still be reading, and what it
/// writes goes nowhere.
pub(super) async fn linger(mut reader: LocalReader, writer: LocalWriter) {
    let ended = async { while let Ok(Some(_)) = reader.read(READ).await {} };
    let _ = tokio::time::timeout(LINGER, ended).await;
    drop(writer);
}

/// What the local program writes.
#[derive(Debug)]
pub(super) struct LocalReader {
    half: ReadHalf,
    buffer: BytesMut,
    /// Whether the program was written to since it was last read from.
    written: Arc<AtomicBool>,
    /// How often in a row reads and writes have taken turns.
    turns: u32,
}

impl LocalReader {
    /// Reads at most `limit` bytes; `None` at the end. Cancelling it loses nothing.
    ///
    /// What was read is acknowledged at once, and that is asked for anew each time, because the kernel switches it off
    /// by itself: pydevd writes a header and a body with Nagle's algorithm on, and each message would wait 40 ms for
    /// a delayed acknowledgement. A program that has waited for an answer each time does not write like that; as long
    /// as it goes on so, the answer brings the acknowledgement.
    ///
    /// # Errors
    /// If the connection was reset.
    pub(super) async fn read(&mut self, limit: usize) -> io::Result<Option<Bytes>> {
        if self.buffer.capacity() < LEAST_ROOM.min(limit) {
            self.buffer = BytesMut::with_capacity(READ);
        }
        // Looks for more only when this filled all there was room for, unlike `try_read_buf`.
        let mut room = (&mut self.buffer).limit(limit);
        let read = match &mut self.half {
            ReadHalf::Tcp(half) => half.read_buf(&mut room).await?,
            #[cfg(unix)]
            ReadHalf::Unix(half) => half.read_buf(&mut room).await?,
            ReadHalf::Within(half, _) => half.read_buf(&mut room).await?,
        };
        self.turns = match self.written.swap(false, Ordering::Relaxed) {
            true => self.turns.saturating_add(1),
            false => 0,
        };
        if self.turns < TURNS {
            self.acknowledge_at_once();
        }
        Ok((read > 0).then(|| self.buffer.split().freeze()))
    }

    /// Whether the local program has closed its connection, and not only ended what it writes. `false` where that
    /// cannot be seen.
    pub(super) fn program_has_left(&self) -> bool {
        match &self.half {
            ReadHalf::Tcp(half) => {
                let (program, here) = (half.peer_addr(), half.local_addr());
                let (Ok(program), Ok(here)) = (program, here) else {
                    return true;
                };
                listening::client(program, here).is_some_and(|client| client.is_closed)
            }
            // A Unix socket hangs up only when the other end is closed.
            #[cfg(unix)]
            ReadHalf::Unix(half) => {
                let mut look = [PollFd::new(half.as_ref(), PollFlags::empty())];
                let seen = rustix::event::poll(&mut look, Some(&Timespec::default()));
                seen.is_ok() && look[0].revents().contains(PollFlags::HUP)
            }
            ReadHalf::Within(_, other) => other.has_left(),
        }
    }

    fn acknowledge_at_once(&self) {
        #[cfg(target_os = "linux")]
        {
            // Fails only on a connection that is gone, which the read will tell.
            if let ReadHalf::Tcp(half) = &self.half {
                let _ = socket2::SockRef::from(half.as_ref()).set_tcp_quickack(true);
            }
        }
    }
}

/// What the local program reads.
#[derive(Debug)]
pub(super) struct LocalWriter {
    half: WriteHalf,
    written: Arc<AtomicBool>,
}

impl LocalWriter {
    /// Writes some of the chunks of `data`, moving what was written from their front to `taken`; returns how much that
    /// was. Cancelling it loses nothing.
    ///
    /// # Errors
    /// If the connection is gone.
    pub(super) async fn write(
        &mut self,
        data: &mut VecDeque<Bytes>,
        mut taken: impl FnMut(Bytes),
    ) -> io::Result<usize> {
        let written = {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slice, chunk) in slices.iter_mut().zip(&*data) {
                *slice = IoSlice::new(chunk);
                count += 1;
            }
            let slices = &slices[..count];
            match &mut self.half {
                WriteHalf::Tcp(half) => half.write_vectored(slices).await?,
                #[cfg(unix)]
                WriteHalf::Unix(half) => half.write_vectored(slices).await?,
                WriteHalf::Within(half) => half.write_vectored(slices).await?,
            }
        };
        self.written.store(true, Ordering::Relaxed);
        let mut left = written;
        while left > 0
            && let Some(first) = data.front_mut()
        {
            let part = first.split_to(left.min(first.len()));
            if first.is_empty() {
                data.pop_front();
            }
            left -= part.len();
            taken(part);
        }
        Ok(written)
    }

    /// Ends this direction with a FIN; the other goes on.
    ///
    /// # Errors
    /// If the connection is gone.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        match &mut self.half {
            WriteHalf::Tcp(half) => half.shutdown().await,
            #[cfg(unix)]
            WriteHalf::Unix(half) => half.shutdown().await,
            WriteHalf::Within(half) => half.shutdown().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    async fn joined() -> (TcpStream, LocalReader, LocalWriter) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let program = TcpStream::connect(listener.local_addr().unwrap());
        let (program, accepted) = tokio::join!(program, listener.accept());
        let (reader, writer) = split(Connection::Tcp(accepted.unwrap().0)).unwrap();
        (program.unwrap(), reader, writer)
    }

    #[tokio::test]
    async fn a_program_that_writes_twice_before_it_reads_is_acknowledged_at_once_again() {
        let (mut program, mut reader, mut writer) = joined().await;
        for _ in 0..=TURNS {
            program.write_all(b"question").await.unwrap();
            assert_eq!(reader.read(READ).await.unwrap().unwrap(), "question");
            let mut answer = VecDeque::from([Bytes::from_static(b"answer")]);
            writer.write(&mut answer, drop).await.unwrap();
        }
        assert!(reader.turns >= TURNS, "every answer was waited for");
        for piece in ["header", "body"] {
            program.write_all(piece.as_bytes()).await.unwrap();
            assert_eq!(reader.read(READ).await.unwrap().unwrap(), piece);
        }
        assert_eq!(reader.turns, 0);
    }
}
