//! The listening sockets as macOS, Windows and the BSDs show them, through the crate `listeners`.

use std::{io, net::SocketAddr};

use listeners::{Protocol, SocketState};

use super::{Client, ListeningSocket};

/// Whether something may listen on `port` that [`listening_on`] does not tell.
///
/// Windows shows every user's sockets, but `listeners` leaves out those whose process it cannot name: a program whose
/// name its code page cannot spell, say, or every program under Wine. Asked for a port, it fails with other words then
/// than for a port that nobody has. Elsewhere other users' sockets stay hidden unless root looks.
pub(super) fn may_hide(port: u16) -> bool {
    if !cfg!(windows) {
        return true;
    }
    match listeners::get_process_by_port(port, Protocol::TCP) {
        // It can be named, and stood in the list if it listened.
        Ok(_) => false,
        Err(error) => error.to_string() != NOBODY,
    }
}

/// What `listeners` says of a port that is in none of the tables it reads on Windows.
const NOBODY: &str = "No listener found on port";

/// Whether the ends of connections are seen.
pub(super) const SEES_CLIENTS: bool = false;

/// Nothing: the table that `listeners` reads does not tell a closed socket from one that is half closed.
pub(super) fn client(_: SocketAddr, _: SocketAddr) -> io::Result<Option<Client>> {
    Ok(None)
}

/// Nothing: whose they are is asked on Linux alone.
pub(super) fn all() -> io::Result<Vec<ListeningSocket>> {
    Ok(Vec::new())
}

/// The addresses of the TCP sockets that listen on `port`.
pub(super) fn listening_on(port: u16) -> io::Result<Vec<SocketAddr>> {
    let all = listeners::get_all().map_err(|error| io::Error::other(error.to_string()))?;
    let listening = all.into_iter().filter(|socket| {
        socket.protocol == Protocol::TCP
            && socket.state == SocketState::Listen
            && socket.socket.port() == port
    });
    Ok(listening.map(|socket| socket.socket).collect())
}
