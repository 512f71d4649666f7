//! Which session of a `p2pdbg listen` that runs on this host a command is for, and asking that process.

use std::fmt::Display;

use p2pdbg_base::{ErrorCode, Failure, HostPort};
use p2pdbg_events::snapshot::{ForwardSnapshot, ForwardStanding, SessionCommand, SessionSnapshot};
use p2pdbg_forward::{Direction, Preset};

use crate::control_socket::{self, Client, protocol};

/// Connects to the one listener that has a session, with that peer if one is named.
async fn find(peer: Option<&str>) -> Result<Client, Failure> {
    look(peer).await.map(|(client, _)| client)
}

/// Connects to it, and has it open a stream of that session, which then goes on where its answers came.
pub(super) async fn open(
    peer: Option<&str>,
    request: &protocol::Request,
) -> Result<Client, Failure> {
    match ask(peer, request).await? {
        (client, protocol::Reply::Opened) => Ok(client),
        _ => Err(lost(&"it answers what was not asked")),
    }
}

/// Connects to it and asks it something that may take its time; a refusal is an error.
async fn ask(
    peer: Option<&str>,
    request: &protocol::Request,
) -> Result<(Client, protocol::Reply), Failure> {
    let mut client = find(peer).await?;
    let reply = client.ask_at_length(request).await;
    match reply.map_err(|error| lost(&error))? {
        protocol::Reply::Refused(failure) => Err(failure),
        reply => Ok((client, reply)),
    }
}

/// Has the listener open a port for a debugger that listens on this port of the debuggee's loopback.
pub(super) async fn forward(
    peer: Option<&str>,
    port: u16,
    debugger: Preset,
) -> Result<HostPort, Failure> {
    let request = protocol::Request::Forward {
        port,
        debugger,
        peer: peer.map(str::to_owned),
    };
    match ask(peer, &request).await? {
        (_, protocol::Reply::Forwarded { listen }) => Ok(listen),
        _ => Err(lost(&"it answers what was not asked")),
    }
}

/// Where a forward to this port of the debuggee's loopback is open here.
pub(super) fn leading_to(session: &SessionSnapshot, port: u16) -> Option<HostPort> {
    let mut forwards = forwards(session).filter(|forward| forward.to.port == port);
    forwards.find_map(|forward| forward.listen.as_ref()?.address().cloned())
}

/// The forwards that stand and lead from a port here to the debuggee's loopback.
pub(super) fn forwards(session: &SessionSnapshot) -> impl Iterator<Item = &ForwardSnapshot> {
    session.forwards.iter().filter(|forward| {
        forward.direction == Direction::ToDebuggee
            && matches!(forward.state, ForwardStanding::Up | ForwardStanding::Closed)
            && forward.listen.is_some()
            && forward.to.is_loopback()
    })
}

/// The same as [`find`], with how the session is.
pub(super) async fn look(peer: Option<&str>) -> Result<(Client, SessionSnapshot), Failure> {
    let mut found: Vec<(Client, Vec<SessionSnapshot>)> = Vec::new();
    let (mut listens, mut connects) = (false, false);
    for socket in control_socket::running()? {
        let Ok(mut client) = Client::connect(&socket).await else {
            continue;
        };
        let Ok(protocol::Reply::Status(process)) = client.ask(&protocol::Request::Status).await
        else {
            continue;
        };
        if process.command != SessionCommand::Listen {
            connects = true;
            continue;
        }
        listens = true;
        let is_meant = |s: &SessionSnapshot| peer.is_none_or(|peer| peer == s.peer.to_string());
        let sessions: Vec<_> = process.sessions.into_iter().filter(is_meant).collect();
        if !sessions.is_empty() {
            found.push((client, sessions));
        }
    }
    if found
        .iter()
        .map(|(_, sessions)| sessions.len())
        .sum::<usize>()
        > 1
    {
        let sessions = found.iter().flat_map(|(_, sessions)| sessions);
        let names: Vec<String> = sessions.map(|s| s.peer.to_string()).collect();
        let message = format!(
            "there are sessions with several peers: {}",
            names.join(", ")
        );
        return Err(Failure::new(ErrorCode::Usage, message).hint("choose one by --peer NAME"));
    }
    let found = found
        .pop()
        .and_then(|(client, mut s)| Some((client, s.pop()?)));
    found.ok_or_else(|| {
        if connects && !listens {
            let message = "p2pdbg connect runs here: this command is for the IDE's host";
            return Failure::new(ErrorCode::NoSession, message)
                .hint("run it there, beside p2pdbg listen");
        }
        let message = match (listens, peer) {
            (false, _) => "no p2pdbg listen of yours runs on this host".to_owned(),
            (true, None) => "the p2pdbg listen that runs here has no session yet".to_owned(),
            (true, Some(peer)) => format!("there is no session with {peer:?}"),
        };
        Failure::new(ErrorCode::NoSession, message)
            .hint("start p2pdbg listen here and p2pdbg connect on the debuggee's host first")
    })
}

pub(super) fn lost(error: &dyn Display) -> Failure {
    let message = format!("lost the p2pdbg listen that runs here: {error}");
    Failure::new(ErrorCode::ControlSocket, message)
}
