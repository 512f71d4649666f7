//! The way in behind a reverse proxy on this host (`--web`): HTTP in the clear on loopback.
//!
//! The proxy keeps slow and half-made requests to itself, so nothing is counted before the head of a request has come.
//! From then on it is an attempt like any other, from the address that the proxy names.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    connections::{
        handshake_limits::{Transport, Verdict},
        intake::Intake,
        tcp::{KEEPALIVE, NOT_SENT, Services, hold_out, inner_handshake},
    },
    web::{Asker, Site, serve},
};

/// The port, and what its peers get.
pub(crate) struct WebEntrance {
    pub(crate) listener: TcpListener,
    /// What follows on a connection.
    pub(crate) services: Services,
}

/// Accepts connections until `stop`, then waits for those that there are to end.
pub(crate) async fn accept(entrance: WebEntrance, intake: Arc<Intake>, stop: CancellationToken) {
    let WebEntrance { listener, services } = entrance;
    let services = Arc::new(services);
    // What the proxy has asked and not said completely: it has no reason to leave many so.
    let heads = Arc::new(Semaphore::new(intake.limits.handshakes));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match (accepted, heads.clone().try_acquire_owned()) {
                (Ok((stream, remote)), Ok(head)) if remote.ip().to_canonical().is_loopback() => {
                    let greet = greet(stream, head, services.clone(), intake.clone(), stop.clone());
                    connections.spawn(greet);
                }
                (Ok(_), _) => intake.tallies.connections_refused.add(1),
                (Err(error), _) => hold_out(&intake, &error).await,
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Answers the request, and serves what follows if that is an upgrade.
async fn greet(
    stream: TcpStream,
    head: OwnedSemaphorePermit,
    services: Arc<Services>,
    intake: Arc<Intake>,
    stop: CancellationToken,
) {
    p2pdbg_frames::set_up_tcp(&stream, KEEPALIVE, NOT_SENT);
    let site = Site {
        offer: services.offer.as_deref(),
        tallies: &intake.tallies,
    };
    let asked = tokio::select! {
        asked = serve(stream, Asker::Named, site) => asked,
        () = stop.cancelled() => return,
    };
    drop(head);
    let Some((from, inside)) = asked else {
        return;
    };
    let admitted = intake
        .admission
        .judge(Instant::now(), Transport::Tcp, from, true);
    let Verdict::Accept(handshake) = admitted else {
        return intake.tallies.connections_refused.add(1);
    };
    handshake.spoke();
    let tls = tokio::select! {
        tls = inner_handshake(inside, &services, &intake) => tls,
        () = handshake.crowded_out() => return intake.tallies.connections_refused.add(1),
        () = stop.cancelled() => return,
    };
    let Ok(tls) = tls else {
        return intake.tallies.tcp_failed.add(1);
    };
    let Some(place) = handshake.complete() else {
        return intake.tallies.connections_refused.add(1);
    };
    // The proxy knows the port, and nobody needs it.
    let remote = SocketAddr::new(from, 0);
    services
        .serve(tls, remote, None, &place, &intake, &stop)
        .await;
}
