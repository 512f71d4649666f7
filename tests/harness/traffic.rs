//! Bytes that tell when one of them is missing, repeated or out of order.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
};

use super::{PATIENCE, eventually};

/// Bytes that are written and read at once.
pub const BLOCK: usize = 64 * 1024;

/// A stream of bytes: blocks of which each begins with its number, and for the rest looks like noise.
#[derive(Debug)]
pub struct Numbered {
    block: Vec<u8>,
    number: u64,
}

impl Numbered {
    /// Another stream for each seed.
    pub fn new(seed: u64) -> Self {
        // xorshift64; the noise has no period within a block.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self {
            block: noise.take(BLOCK / 8).flatten().collect(),
            number: 0,
        }
    }

    /// The next block.
    pub fn next(&mut self) -> &[u8] {
        self.block[..8].copy_from_slice(&self.number.to_le_bytes());
        self.number += 1;
        &self.block
    }
}

/// Waits for the next connection.
#[track_caller]
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let connection = eventually("connection", || match listener.accept() {
        Ok((connection, _)) => Some(connection),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("cannot accept: {error}"),
    });
    connection.set_nonblocking(false).unwrap();
    connection
}

/// Writes the first `length` bytes of the stream of `seed`, and leaves the connection open.
pub fn send(mut to: &TcpStream, seed: u64, length: usize) {
    let mut stream = Numbered::new(seed);
    let mut left = length;
    while left > 0 {
        let block = stream.next();
        let part = &block[..left.min(BLOCK)];
        to.write_all(part)
            .unwrap_or_else(|error| panic!("{left} of {length} bytes not written: {error}"));
        left -= part.len();
    }
}

/// Reads the first `length` bytes of the stream of `seed`.
#[track_caller]
pub fn receive(mut from: &TcpStream, seed: u64, length: usize) {
    from.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = Numbered::new(seed);
    let mut buffer = vec![0; BLOCK];
    let mut done = 0;
    while done < length {
        let part = &mut buffer[..(length - done).min(BLOCK)];
        from.read_exact(part)
            .unwrap_or_else(|error| panic!("{done} of {length} bytes read: {error}"));
        let expected = &stream.next()[..part.len()];
        assert!(part == expected, "wrong bytes at {done} of {length}");
        done += part.len();
    }
}

/// Reads the end of the stream, and nothing before it.
#[track_caller]
pub fn receive_end(mut from: &TcpStream) {
    from.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut more = [0];
    match from.read(&mut more) {
        Ok(0) => {}
        other => panic!("no end of the stream: {other:?}"),
    }
}

/// Reads the RST of a connection that was broken off.
#[track_caller]
pub fn receive_reset(mut from: &TcpStream) {
    from.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut more = [0; 1024];
    loop {
        match from.read(&mut more) {
            Ok(1..) => {}
            Ok(0) => panic!("the stream ended well"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("not reset: {error}"),
        }
    }
}

/// Says something short and hears it.
#[track_caller]
pub fn say(mut from: &TcpStream, mut to: &TcpStream, what: &str) {
    from.write_all(what.as_bytes()).unwrap();
    to.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = vec![0; what.len()];
    to.read_exact(&mut heard)
        .unwrap_or_else(|error| panic!("{what:?} was not heard: {error}"));
    assert_eq!(String::from_utf8_lossy(&heard), what);
}

/// Ends this end's direction of a connection.
pub fn finish(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Breaks a connection off with a RST.
pub fn reset(stream: TcpStream) {
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
}
