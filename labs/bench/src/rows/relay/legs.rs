//! Sessions whose legs are bound to sockets of the bench.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use p2pdbg_proto::{
    relay::{LegGrant, RelayFrame, answer_mac},
    rendezvous::{Credential, ToRendezvous},
    url::RendezvousUrl,
};

use crate::crowd::{Stranger, Strangers};

/// Sessions, with both legs of each bound to sockets; and what keeps them alive.
pub(super) struct Legs {
    pub(super) sockets: Vec<[UdpSocket; 2]>,
    _members: Vec<Stranger>,
    _strangers: Strangers,
    _runtime: tokio::runtime::Runtime,
}

pub(super) fn legs(url: &RendezvousUrl, relay: SocketAddr, sessions: usize) -> Result<Legs> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (grants, members, strangers) = runtime.block_on(async {
        let strangers = Strangers::new(url)?;
        let key = url.access_key.clone().context("no access key")?;
        let mut listener = strangers.greet(0, Credential::AccessKey(key)).await?;
        let (mut connectors, mut grants) = (Vec::new(), Vec::new());
        for index in 0..sessions {
            // One each: of the same two connections the newest session takes the place of those before it.
            let mut connector = strangers.greet(1 + index, Credential::None).await?;
            let nameplate = listener.listen().await?;
            connector.say(&ToRendezvous::Join { nameplate }).await?;
            let ours = listener.introduced().await?.leg;
            grants.push([ours, connector.introduced().await?.leg]);
            connectors.push(connector);
        }
        connectors.push(listener);
        anyhow::Ok((grants, connectors, strangers))
    })?;
    let both = grants
        .iter()
        .map(|[a, b]| Ok([bind(relay, a)?, bind(relay, b)?]));
    Ok(Legs {
        sockets: both.collect::<Result<_>>()?,
        _members: members,
        _strangers: strangers,
        _runtime: runtime,
    })
}

fn bind(relay: SocketAddr, grant: &LegGrant) -> Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let ask = |frame: &RelayFrame| -> Result<RelayFrame> {
        let mut buffer = [0; 2_048];
        socket.send_to(&frame.encode(), relay)?;
        let (length, _) = socket.recv_from(&mut buffer)?;
        RelayFrame::decode(&buffer[..length])
            .with_context(|| format!("{:02x?}", &buffer[..length.min(20)]))
    };
    let leg = grant.leg;
    let cookie = match ask(&RelayFrame::Bind { leg, mac: [0; 32] })? {
        RelayFrame::Challenge { cookie, .. } => cookie,
        other => bail!("no challenge: {other:?}"),
    };
    let mac = answer_mac(grant, &cookie);
    match ask(&RelayFrame::Answer { leg, cookie, mac })? {
        RelayFrame::Bound { .. } => Ok(socket),
        other => bail!("not bound: {other:?}"),
    }
}
