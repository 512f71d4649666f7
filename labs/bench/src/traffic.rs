//! What is carried: a service at one end that answers, swallows and pours, and clients that take the time.
//!
//! A request is 9 bytes: what is wanted, and a length. None of it depends on a connection being half closed, which some
//! of the programs compared do not pass on.

use std::{
    io::{self, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Barrier,
    time::{Duration, Instant},
};

use anyhow::Result;
use p2pdbg_natlab::Node;

/// The message comes back; the length is its own, with these 9 bytes.
const ECHO: u8 = b'e';
/// So many bytes follow, and one comes back.
const SWALLOW: u8 = b's';
/// So many bytes come back.
const POUR: u8 = b'p';

const HEADER: usize = 9;
const CHUNK: usize = 256 << 10;

/// Which way bulk goes, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the service.
    Up,
    /// From the service to the client.
    Down,
}

/// Serves on every address of a node until the process ends; gives the port. With the congestion control of that name,
/// or the kernel's own choice.
pub(crate) fn serve(node: &Node, congestion: Option<&str>) -> Result<u16> {
    let listener = node.tcp_listener((Ipv4Addr::UNSPECIFIED, 0))?;
    if let Some(name) = congestion {
        // Connections inherit it.
        socket2::SockRef::from(&listener).set_tcp_congestion(name.as_bytes())?;
    }
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || accept(&listener));
    Ok(port)
}

fn accept(listener: &TcpListener) {
    for stream in listener.incoming().map_while(Result::ok) {
        std::thread::spawn(move || answer(stream));
    }
}

fn answer(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut to = stream.try_clone()?;
    let mut from = BufReader::with_capacity(CHUNK, stream);
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut header = [0; HEADER];
        from.read_exact(&mut header)?;
        let [what, length @ ..] = header;
        let mut left = u64::from_le_bytes(length) as usize;
        match what {
            ECHO => {
                // As it was: the client sends the same again.
                buffer[..HEADER].copy_from_slice(&header);
                from.read_exact(&mut buffer[HEADER..left])?;
                to.write_all(&buffer[..left])?;
            }
            SWALLOW => {
                while left > 0 {
                    let most = left.min(CHUNK);
                    left -= from.read(&mut buffer[..most])?;
                }
                to.write_all(&[1])?;
            }
            _ => {
                while left > 0 {
                    let most = left.min(CHUNK);
                    to.write_all(&buffer[..most])?;
                    left -= most;
                }
            }
        }
    }
}

fn request(what: u8, length: usize) -> [u8; HEADER] {
    let mut header = [what; HEADER];
    header[1..].copy_from_slice(&(length as u64).to_le_bytes());
    header
}

/// Sends messages of so many bytes and awaits each; returns how long each took, in microseconds.
pub(crate) fn ping(stream: &mut TcpStream, size: usize, count: usize) -> io::Result<Vec<f64>> {
    let mut message = vec![0; size];
    message[..HEADER].copy_from_slice(&request(ECHO, size));
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        took.push(ping_once(stream, &mut message)?);
    }
    Ok(took)
}

/// The same until `stop` says so.
pub(crate) fn ping_until(
    stream: &mut TcpStream,
    size: usize,
    stop: impl Fn() -> bool,
) -> io::Result<Vec<f64>> {
    let mut message = vec![0; size];
    message[..HEADER].copy_from_slice(&request(ECHO, size));
    let mut took = Vec::new();
    while !stop() {
        took.push(ping_once(stream, &mut message)?);
    }
    Ok(took)
}

fn ping_once(stream: &mut TcpStream, message: &mut [u8]) -> io::Result<f64> {
    let began = Instant::now();
    stream.write_all(message)?;
    stream.read_exact(message)?;
    Ok(began.elapsed().as_secs_f64() * 1e6)
}

/// Moves so many bytes; returns how long that took.
pub(crate) fn bulk(stream: &mut TcpStream, way: Way, length: usize) -> io::Result<Duration> {
    let mut buffer = vec![0x5a; CHUNK];
    let mut left = length;
    let began = Instant::now();
    match way {
        Way::Up => {
            stream.write_all(&request(SWALLOW, length))?;
            while left > 0 {
                let most = left.min(CHUNK);
                stream.write_all(&buffer[..most])?;
                left -= most;
            }
            stream.read_exact(&mut buffer[..1])?;
        }
        Way::Down => {
            stream.write_all(&request(POUR, length))?;
            while left > 0 {
                let most = left.min(CHUNK);
                match stream.read(&mut buffer[..most])? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    read => left -= read,
                }
            }
        }
    }
    Ok(began.elapsed())
}

/// Moves so many bytes over each of several connections at once; returns Gbit/s of all together.
pub(crate) fn bulk_all(streams: &mut [TcpStream], way: Way, each: usize) -> io::Result<f64> {
    let start = Barrier::new(streams.len());
    let total = each * streams.len();
    let (began, ended) = std::thread::scope(|scope| {
        let start = &start;
        let workers: Vec<_> = streams
            .iter_mut()
            .map(|stream| {
                scope.spawn(move || {
                    start.wait();
                    let began = Instant::now();
                    bulk(stream, way, each)?;
                    Ok::<_, io::Error>((began, Instant::now()))
                })
            })
            .collect();
        let mut spans = Vec::new();
        for worker in workers {
            spans.push(worker.join().map_err(|_| io::ErrorKind::Other)??);
        }
        let began = spans.iter().map(|(began, _)| *began).min();
        let ended = spans.iter().map(|(_, ended)| *ended).max();
        began
            .zip(ended)
            .ok_or(io::Error::from(io::ErrorKind::Other))
    })?;
    Ok(gbits(total, ended - began))
}

/// Has the service send over each connection at once; returns the Mbit/s of each between `settle` and `settle` +
/// `measure`.
pub(crate) fn pour_beside(
    streams: &mut [TcpStream],
    settle: Duration,
    measure: Duration,
) -> io::Result<Vec<f64>> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = streams
            .iter_mut()
            .map(|stream| scope.spawn(move || pour_for(stream, settle, measure)))
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, io::Result<f64>>| {
            worker.join().map_err(|_| io::ErrorKind::Other)?
        };
        workers.into_iter().map(join).collect()
    })
}

fn pour_for(stream: &mut TcpStream, settle: Duration, measure: Duration) -> io::Result<f64> {
    let mut buffer = vec![0; CHUNK];
    // More than comes.
    stream.write_all(&request(POUR, 1 << 40))?;
    let began = Instant::now();
    let mut counted = 0;
    while began.elapsed() < settle + measure {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if began.elapsed() >= settle {
            counted += read;
        }
    }
    stream.shutdown(std::net::Shutdown::Both)?;
    Ok(gbits(counted, measure) * 1e3)
}

/// The rate of so many bytes in this time, in Gbit/s.
pub(crate) fn gbits(bytes: usize, took: Duration) -> f64 {
    bytes as f64 * 8.0 / took.as_secs_f64() / 1e9
}
