//! Dialling the target of a forward, for as long as it takes.

use std::{
    io,
    time::{Duration, Instant},
};

use p2pdbg_base::{Host, HostPort};
use p2pdbg_net::listening::{self, Presence};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::{net::TcpStream, sync::Semaphore};

use crate::Connection;

/// Between two attempts at an address of this host.
const LOCAL_PAUSE: Duration = Duration::from_millis(100);

/// Between two attempts at another host.
const REMOTE_PAUSE: Duration = Duration::from_secs(1);

/// How long another host may take to answer.
const REMOTE_PATIENCE: Duration = Duration::from_secs(10);

/// Those who wait for one target: one of them tries at a time, so that a thousand cost no more than one.
#[derive(Debug)]
pub struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

/// Connects to the target, trying again until something listens there.
///
/// Only called when a debugger's connection waits at the other end: an attempt that is refused disturbs nobody, and
/// the one that is accepted is used, so no debugger ever sees a connection without a session. `waiting` is called
/// once, when the first attempt has failed.
pub async fn dial(
    target: &HostPort,
    turns: &Turns,
    waiting: impl FnOnce(&io::Error),
) -> Connection {
    let mut took = Duration::ZERO;
    match dial_once(target, &mut took).await {
        Ok(connection) => return connection,
        Err(error) => waiting(&error),
    }
    // It is never closed.
    let _turn = turns.0.acquire().await.ok();
    loop {
        if let Ok(connection) = dial_once(target, &mut took).await {
            return connection;
        }
        let pause = if target.is_loopback() || target.socket().is_some() {
            LOCAL_PAUSE
        } else {
            REMOTE_PAUSE
        };
        tokio::time::sleep(listening::rest_after(pause, took)).await;
    }
}

/// Makes one attempt. `took` is set to how long it has kept the thread busy with a look at who listens.
async fn dial_once(target: &HostPort, took: &mut Duration) -> io::Result<Connection> {
    match target.socket() {
        #[cfg(unix)]
        Some(path) => UnixStream::connect(path).await.map(Connection::Unix),
        #[cfg(not(unix))]
        Some(_) => Err(io::ErrorKind::Unsupported.into()),
        None => dial_port(target, took).await.map(Connection::Tcp),
    }
}

async fn dial_port(target: &HostPort, took: &mut Duration) -> io::Result<TcpStream> {
    let began = Instant::now();
    let seen = listening::look(target);
    *took = began.elapsed();
    let addresses = match seen {
        Ok(Presence::Listening(listening)) => Some(vec![listening.dial]),
        // A connection waits, so an attempt disturbs nobody; and what no socket of this namespace shows may be there
        // all the same, where the kernel sends it on (Docker, podman, hostPort).
        Ok(Presence::Absent | Presence::Unknown) | Err(_) => target.addresses(),
    };
    let attempt = async {
        match (&target.host, addresses) {
            (_, Some(addresses)) => TcpStream::connect(&addresses[..]).await,
            (Host::Name(name), None) => TcpStream::connect((name.as_str(), target.port)).await,
            (_, None) => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    };
    let connection = tokio::time::timeout(REMOTE_PATIENCE, attempt)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    if connection.local_addr()? == connection.peer_addr()? {
        // TCP lets a socket connect to itself (RFC 9293 section 3.5) if its own port happens to be the one it dials.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::TcpSocket;

    use super::*;

    /// A socket that has its port, and refuses whoever comes until it listens.
    fn closed() -> (TcpSocket, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[tokio::test]
    async fn dialling_waits_until_something_listens() {
        let (closed, address) = closed();
        let (told, heard) = tokio::sync::oneshot::channel();
        let dialling = tokio::spawn(async move {
            let turns = Turns::default();
            dial(&HostPort::from(address), &turns, |_| {
                told.send(()).unwrap();
            })
            .await
        });
        heard.await.unwrap();
        let listener = closed.listen(8).unwrap();
        listener.accept().await.unwrap();
        dialling.await.unwrap();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn dialling_a_unix_socket_waits_until_something_listens_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        // One that a process has left behind refuses as one that is not there does.
        drop(tokio::net::UnixListener::bind(&path).unwrap());
        let target: HostPort = path.to_str().unwrap().parse().unwrap();
        let (told, heard) = tokio::sync::oneshot::channel();
        let dialling = tokio::spawn(async move {
            let turns = Turns::default();
            dial(&target, &turns, |_| told.send(()).unwrap()).await
        });
        heard.await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        listener.accept().await.unwrap();
        assert!(matches!(dialling.await.unwrap(), Connection::Unix(_)));
    }

    #[tokio::test]
    async fn dialling_goes_on_for_those_who_wait_when_the_one_that_tries_is_gone() {
        let (closed, address) = closed();
        let target = HostPort::from(address);
        let turns = std::sync::Arc::new(Turns::default());
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let (told, heard) = tokio::sync::oneshot::channel();
            let (turns, target) = (turns.clone(), target.clone());
            waiting.push(tokio::spawn(async move {
                dial(&target, &turns, |_| told.send(()).unwrap()).await
            }));
            heard.await.unwrap();
        }
        // It is its turn, and its client gives up.
        waiting.remove(0).abort();
        let listener = closed.listen(8).unwrap();
        for dialling in waiting {
            listener.accept().await.unwrap();
            dialling.await.unwrap();
        }
    }
}
