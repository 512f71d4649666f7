//! The local end of a stream: the debugger's TCP connection, set as debuggers need it.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use socket2::SockRef;
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// The most that is read at once, in bytes.
const READ: usize = 64 << 10;

/// How long a connection lingers whose program has not read everything yet.
const LINGER: std::time::Duration = std::time::Duration::from_secs(30);

/// A buffer with less room than this is replaced rather than filled up, in bytes.
const LEAST_ROOM: usize = 4 << 10;

/// Splits a connection into its two directions, with Nagle's algorithm off: a debugger waits for every answer.
///
/// # Errors
/// If the operating system does not know the connection any more.
pub(super) fn split(connection: TcpStream) -> io::Result<(LocalReader, LocalWriter)> {
    connection.set_nodelay(true)?;
    let (read, write) = connection.into_split();
    let reader = LocalReader {
        half: read,
        buffer: BytesMut::new(),
    };
    Ok((reader, LocalWriter { half: write }))
}

/// Breaks a connection: the local program sees a RST instead of a FIN.
pub(super) fn break_off(reader: LocalReader, writer: LocalWriter) {
    let _ = SockRef::from(reader.half.as_ref()).set_linger(Some(std::time::Duration::ZERO));
    // Dropped as it is, the writing half would send a FIN first.
    writer.half.forget();
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
    half: OwnedReadHalf,
    buffer: BytesMut,
}

impl LocalReader {
    /// Reads at most `limit` bytes; `None` at the end. Cancelling it loses nothing.
    ///
    /// Immediate acknowledgements are switched on anew before each read, because the kernel switches them off by
    /// itself: pydevd writes a header and a body with Nagle's algorithm on, and each message would wait 40 ms for
    /// a delayed acknowledgement.
    ///
    /// # Errors
    /// If the connection was reset.
    pub(super) async fn read(&mut self, limit: usize) -> io::Result<Option<Bytes>> {
        loop {
            self.acknowledge_at_once();
            if self.buffer.capacity() < LEAST_ROOM.min(limit) {
                self.buffer = BytesMut::with_capacity(READ);
            }
            let mut room = (&mut self.buffer).limit(limit);
            match self.half.try_read_buf(&mut room) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(self.buffer.split().freeze())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.half.readable().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn acknowledge_at_once(&self) {
        #[cfg(target_os = "linux")]
        {
            // Fails only on a connection that is gone, which the read will tell.
            let _ = SockRef::from(self.half.as_ref()).set_tcp_quickack(true);
        }
    }
}

/// What the local program reads.
#[derive(Debug)]
pub(super) struct LocalWriter {
    half: OwnedWriteHalf,
}

impl LocalWriter {
    /// Writes some of `data`, taking what was written off its front; returns how much that was. Cancelling it
    /// loses nothing.
    ///
    /// # Errors
    /// If the connection is gone.
    pub(super) async fn write(&mut self, data: &mut Bytes) -> io::Result<usize> {
        self.half.write_buf(data).await
    }

    /// Ends this direction with a FIN; the other goes on.
    ///
    /// # Errors
    /// If the connection is gone.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        self.half.shutdown().await
    }
}
