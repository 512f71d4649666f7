//! The listening sockets as macOS, Windows and the BSDs show them, through the crate `listeners`.

use std::{io, net::SocketAddr};

use listeners::{Protocol, SocketState};

use super::{Client, ListeningSocket};

/// Windows shows every user's sockets; elsewhere other users' stay hidden unless root looks.
pub(super) const SEES_EVERYTHING: bool = cfg!(windows);

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
