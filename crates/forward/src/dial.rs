//! Dialling the target of a forward, for as long as it takes.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_base::{Host, HostPort};
use p2pdbg_net::{
    listening::{self, Presence},
    lookup::{look_up, look_up_family},
};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};

use crate::Connection;

/// Between two attempts at an address of this host.
const LOCAL_PAUSE: Duration = Duration::from_millis(100);

/// Between two attempts at another host.
const REMOTE_PAUSE: Duration = Duration::from_secs(1);

/// How long another host may take to answer, and its name to be looked up.
const REMOTE_PATIENCE: Duration = Duration::from_secs(10);

/// How long the addresses are waited for that a name has in the family whose answer was not prompt.
const LATE_FAMILY: Duration = Duration::from_secs(1);

/// How long one address of several may take, unless it is the last: for an answer, or for one to a second SYN.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(3);

/// Those who wait for one target: one of them tries at a time, so that a thousand cost no more than one.
#[derive(Debug)]
pub struct Turns {
    /// Of those whose target has not listened.
    waiting: Semaphore,
    /// Of those that are new, where a name has to be looked up.
    new: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            waiting: Semaphore::new(1),
            new: Semaphore::new(1),
        }
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
    match dial_first(target, turns, &mut took).await {
        Ok(connection) => return connection,
        Err(error) => waiting(&error),
    }
    // It is never closed.
    let _turn = turns.waiting.acquire().await.ok();
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

/// Makes the first attempt, one after the other where the resolver is asked; whoever is kept waiting long has failed.
async fn dial_first(
    target: &HostPort,
    turns: &Turns,
    took: &mut Duration,
) -> io::Result<Connection> {
    let _turn = match needs_lookup(target) {
        true => {
            let turn = timeout(REMOTE_PATIENCE, turns.new.acquire()).await;
            turn.map_err(|_| io::ErrorKind::TimedOut)?.ok()
        }
        false => None,
    };
    dial_once(target, took).await
}

/// Whether the resolver is to be asked where the target is.
fn needs_lookup(target: &HostPort) -> bool {
    target.socket().is_none() && target.addresses().is_none()
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
    let connection = match (&target.host, addresses) {
        (_, Some(addresses)) => connect_any(&addresses, REMOTE_PATIENCE).await?,
        (Host::Name(name), None) => connect_by_name(name.as_str(), target.port).await?,
        (_, None) => return Err(io::ErrorKind::AddrNotAvailable.into()),
    };
    if connection.local_addr()? == connection.peer_addr()? {
        // TCP lets a socket connect to itself (RFC 9293 section 3.5) if its own port happens to be the one it dials.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(connection)
}

/// Connects to the first of a name's addresses that answers; where all are of one family and none does, to one of the
/// other, whose answer may only have been late (RFC 8305 section 3).
async fn connect_by_name(name: &str, port: u16) -> io::Result<TcpStream> {
    let found = timeout(REMOTE_PATIENCE, look_up(name, port)).await;
    let found = found.map_err(|_| io::ErrorKind::TimedOut)??;
    let late = |v4| async move {
        let late = timeout(LATE_FAMILY, look_up_family(name, port, v4)).await;
        late.ok().and_then(Result::ok).unwrap_or_default()
    };
    connect_or_late(&found, late).await
}

async fn connect_or_late<Late: Future<Output = Vec<SocketAddr>>>(
    found: &[SocketAddr],
    late: impl FnOnce(bool) -> Late,
) -> io::Result<TcpStream> {
    let failure = match connect_any(found, REMOTE_PATIENCE).await {
        Ok(connection) => return Ok(connection),
        Err(failure) => failure,
    };
    let is_v4 = found.first().is_some_and(SocketAddr::is_ipv4);
    if found.iter().any(|address| address.is_ipv4() != is_v4) {
        return Err(failure);
    }
    let late = late(!is_v4).await;
    let connected = connect_any(&late, REMOTE_PATIENCE).await;
    connected.map_err(|_| failure)
}

/// Connects to the first of these addresses that answers, within `patience` for all of them. One that does not answer
/// leaves the next ones their share.
///
/// One after the other, and never two at once: a debuggee that two of them lead to would see a connection without a
/// session.
async fn connect_any(addresses: &[SocketAddr], patience: Duration) -> io::Result<TcpStream> {
    let until = Instant::now() + patience;
    let mut failure = io::ErrorKind::AddrNotAvailable.into();
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            break;
        }
        let share = match u32::try_from(left) {
            Ok(1) | Err(_) => rest,
            Ok(left) => (rest / left).min(ADDRESS_PATIENCE),
        };
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn family_whose_answer_was_late_is_dialled_where_the_other_does_not_answer() {
        let (_closed, dead) = closed();
        let listener = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        let late = |v4: bool| async move {
            assert!(!v4, "the other family");
            vec![live]
        };
        let connection = connect_or_late(&[dead], late).await.unwrap();
        assert_eq!(connection.peer_addr().unwrap(), live);
        let none = connect_or_late(&[dead], |_| async { Vec::new() }).await;
        assert_eq!(none.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let asked = |_| async { panic!("both families were there") };
        connect_or_late(&[dead, dead_v6()], asked)
            .await
            .unwrap_err();
    }

    /// An address of IPv6 that refuses.
    fn dead_v6() -> SocketAddr {
        let socket = std::net::TcpListener::bind("[::1]:0").unwrap();
        socket.local_addr().unwrap()
    }

    /// An address that does not answer: its queue is full. What fills it.
    #[cfg(target_os = "linux")]
    async fn silent() -> (SocketAddr, tokio::net::TcpListener, [TcpStream; 2]) {
        let (socket, address) = closed();
        // One more than it is told.
        let listener = socket.listen(1).unwrap();
        let queued = [
            TcpStream::connect(address).await.unwrap(),
            TcpStream::connect(address).await.unwrap(),
        ];
        (address, listener, queued)
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn address_that_does_not_answer_leaves_time_for_the_next() {
        let (dead, _listener, _queued) = silent().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        let patience = Duration::from_secs(2);
        let connection = connect_any(&[dead, dead, live], patience).await.unwrap();
        assert_eq!(connection.peer_addr().unwrap(), live);
        let error = connect_any(&[dead], Duration::from_millis(200)).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
