//! Another way to the rendezvous, where the one that there is does not answer and its owner needs it.
//!
//! Where there are other hosts, they are the way. A single host that QUIC has reached may still be there over TCP: a
//! network can stop letting UDP pass at any time, and QUIC alone would find out after half a minute. So TCP is tried
//! beside QUIC, and takes its place where it gets through and QUIC, asked once more, does not. In an outage neither
//! does, and nothing has changed when it is over.

use std::{future::pending, pin::Pin, time::Duration};

use p2pdbg_proto::url::HostAt;

use super::{connection::Connection, dial::Dialling};

/// A connection to one of the hosts.
pub(super) type Reached = (HostAt, Connection);

type Attempt = Pin<Box<dyn Future<Output = Option<Reached>> + Send>>;

/// What there is besides a connection.
pub(super) enum TcpFallback {
    /// Other hosts, all of which are dialled when this one is lost.
    Hosts,
    /// The same host over TCP.
    Tcp(Box<TcpBesideQuic>),
    /// Nothing: TCP carries it already, or there is nothing else.
    Nothing,
}

/// TCP beside QUIC.
pub(super) struct TcpBesideQuic {
    host: HostAt,
    dialling: Dialling,
    attempt: Option<Attempt>,
    /// One that has come up, and waits for whether QUIC answers.
    reached: Option<Reached>,
}

impl TcpBesideQuic {
    /// This host is dialled in this way, which is over TCP alone.
    pub(super) fn new(host: HostAt, dialling: Dialling) -> Self {
        Self {
            host,
            dialling,
            attempt: None,
            reached: None,
        }
    }

    /// Begins an attempt, unless one is under way or has come up.
    fn begin(&mut self) {
        if self.attempt.is_none() && self.reached.is_none() {
            let (dialling, hosts) = (self.dialling.clone(), vec![self.host.clone()]);
            self.attempt = Some(Box::pin(async move {
                dialling.dial_in_order(hosts, Duration::ZERO).await.ok()
            }));
        }
    }
}

impl TcpFallback {
    /// Tries it, where that can be done before the connection is given up; whether it can.
    pub(super) fn begin(&mut self) -> bool {
        match self {
            Self::Tcp(by_tcp) => {
                by_tcp.begin();
                true
            }
            Self::Hosts | Self::Nothing => false,
        }
    }

    /// Waits until TCP has got through, and keeps that; for ever where it does not. Cancel-safe.
    pub(super) async fn reach(&mut self) {
        let Self::Tcp(by_tcp) = self else {
            return pending().await;
        };
        let Some(attempt) = &mut by_tcp.attempt else {
            return pending().await;
        };
        let reached = attempt.await;
        by_tcp.attempt = None;
        by_tcp.reached = reached;
        if by_tcp.reached.is_none() {
            pending().await
        }
    }

    /// The connection is heard: nothing else is needed.
    pub(super) fn forget(&mut self) {
        if let Self::Tcp(by_tcp) = self {
            (by_tcp.attempt, by_tcp.reached) = (None, None);
        }
    }

    /// What has come up over TCP.
    pub(super) fn take(&mut self) -> Option<Reached> {
        match self {
            Self::Tcp(by_tcp) => by_tcp.reached.take(),
            Self::Hosts | Self::Nothing => None,
        }
    }
}
