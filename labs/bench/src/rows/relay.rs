//! Row 7: the relay by itself.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use p2pdbg_proto::{
    control::{Credential, ToRendezvous},
    relay::{LegGrant, RelayFrame, answer_mac},
    url::RendezvousUrl,
};
use quinn::udp::{Transmit, UdpSocketState};

use super::{
    Context,
    names::{LATENCY, RELAY_COST},
};
use crate::{
    crowd::{Stranger, Strangers},
    process::Process,
    results::Row,
    site::Site,
    stats::percentile,
    vitals::Vitals,
};

/// What QUIC's first byte looks like.
const QUIC: u8 = 0x40;

pub(super) fn run(context: &mut Context) -> Result<Row> {
    let how = "datagrams from one bound leg to the other, in batches of ten as QUIC sends them, as fast as the sender \
               can; what arrives in a second, by the processor time that the rendezvous spent on it";
    let mut row = Row::new(7, "The relay alone", how);
    let site = Site::near(&context.tools)?;
    let rounds = context.rounds(5, 2);
    for sessions in [1, 1_000] {
        let (mut server, url) = site.bench_rendezvous(&format!("relay-{sessions}"))?;
        let url: RendezvousUrl = url.parse()?;
        let relay = SocketAddr::new(url.host.parse()?, url.port);
        let legs = site.ide.enter(|| legs(&url, relay, sessions))??;
        for _ in 0..rounds {
            for size in [1_200, 200] {
                let line = format!(
                    "{size} B, {sessions} {}",
                    if sessions == 1 { "session" } else { "sessions" }
                );
                let (bytes, packets, cpu) = flood(&mut server, &legs, relay, size)?;
                row.add(RELAY_COST, &line, "Gbit", bytes * 8.0 / 1e9 / cpu);
                row.add(RELAY_COST, &line, "packets", packets / cpu);
            }
            if sessions == 1 {
                let [a, b] = &legs.sockets[0];
                let relayed = ping(a, b, relay, relay)?;
                let (to_b, to_a) = (b.local_addr()?, a.local_addr()?);
                let ip = site.ide.ip();
                let direct = ping(a, b, (ip, to_b.port()).into(), (ip, to_a.port()).into())?;
                row.add(LATENCY, "straight", "RTT", direct);
                row.add(LATENCY, "by the relay", "RTT", relayed);
                row.add(LATENCY, "added, each way", "RTT", (relayed - direct) / 2.0);
            }
        }
    }
    Ok(row)
}

/// Sessions, with both legs of each bound to sockets; and what keeps them alive.
struct Legs {
    sockets: Vec<[UdpSocket; 2]>,
    _members: [Stranger; 2],
    _strangers: Strangers,
    _runtime: tokio::runtime::Runtime,
}

fn legs(url: &RendezvousUrl, relay: SocketAddr, sessions: usize) -> Result<Legs> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (grants, members, strangers) = runtime.block_on(async {
        let strangers = Strangers::new(url)?;
        let key = url.access_key.clone().context("no access key")?;
        let mut listener = strangers.greet(0, Credential::AccessKey(key)).await?;
        let mut connector = strangers.greet(1, Credential::None).await?;
        let mut grants = Vec::new();
        for _ in 0..sessions {
            let nameplate = listener.listen().await?;
            connector.say(&ToRendezvous::Join { nameplate }).await?;
            let ours = listener.introduced().await?.leg;
            grants.push([ours, connector.introduced().await?.leg]);
        }
        anyhow::Ok((grants, [listener, connector], strangers))
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
    let RelayFrame::Challenge { cookie, .. } = ask(&RelayFrame::Bind { leg, mac: [0; 32] })? else {
        bail!("no challenge");
    };
    let mac = answer_mac(grant, &cookie);
    match ask(&RelayFrame::Answer { leg, cookie, mac })? {
        RelayFrame::Bound { .. } => Ok(socket),
        other => bail!("not bound: {other:?}"),
    }
}

/// Sends for a second from one leg of each session, by turns. Gives bytes, packets and processor seconds.
fn flood(
    server: &mut Process,
    legs: &Legs,
    relay: SocketAddr,
    size: usize,
) -> Result<(f64, f64, f64)> {
    let state = UdpSocketState::new((&legs.sockets[0][0]).into())?;
    let segments = state.max_gso_segments().min(10);
    let batch = vec![QUIC; size * segments];
    let (before, relayed_before) = (Vitals::of(server.id())?, relayed(server)?);
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        for [from, _] in &legs.sockets {
            for _ in 0..(64 / legs.sockets.len()).max(1) {
                let transmit = Transmit {
                    destination: relay,
                    ecn: None,
                    contents: &batch,
                    segment_size: (segments > 1).then_some(size),
                    src_ip: None,
                };
                // A full queue empties by itself.
                let _ = state.try_send(from.into(), &transmit);
            }
            // Nobody reads: a full receive buffer drops what comes, and costs the relay the same.
        }
    }
    let (after, counted) = (Vitals::of(server.id())?, relayed(server)?);
    let bytes = counted.1 - relayed_before.1;
    let cpu = after.cpu_since(&before);
    Ok((bytes, counted.0 - relayed_before.0, cpu))
}

/// Packets and bytes that the relay has passed on, as it says next.
fn relayed(server: &mut Process) -> Result<(f64, f64)> {
    server.forget();
    // The line after the next: the next may be half a second old.
    let mut lines = 0;
    let (_, counted) = server.find("relayed", |line| {
        let mut words = line.strip_prefix("relayed ")?.split_whitespace();
        lines += 1;
        let packets: f64 = words.next()?.parse().ok()?;
        let bytes: f64 = words.next()?.parse().ok()?;
        (lines > 1).then_some((packets, bytes))
    })?;
    Ok(counted)
}

/// The median of many round trips between two sockets; each sends to where the other is reached.
fn ping(a: &UdpSocket, b: &UdpSocket, to_b: SocketAddr, to_a: SocketAddr) -> Result<f64> {
    let over = Arc::new(AtomicBool::new(false));
    let (far, told) = (b.try_clone()?, over.clone());
    far.set_read_timeout(Some(Duration::from_millis(200)))?;
    drain(a)?;
    drain(b)?;
    far.set_read_timeout(Some(Duration::from_millis(200)))?;
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while !told.load(Ordering::Relaxed) {
            if let Ok((length, _)) = far.recv_from(&mut buffer) {
                let _ = far.send_to(&buffer[..length], to_a);
            }
        }
    });
    a.set_read_timeout(Some(Duration::from_secs(1)))?;
    let (message, mut buffer) = ([QUIC; 1_200], [0; 2_048]);
    let mut took = Vec::new();
    for _ in 0..3_000 {
        let began = Instant::now();
        a.send_to(&message, to_b)?;
        // One that is lost is not counted.
        if a.recv_from(&mut buffer).is_ok() {
            took.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    over.store(true, Ordering::Relaxed);
    let _ = answering.join();
    took.sort_by(f64::total_cmp);
    Ok(percentile(&took, 50.0))
}

fn drain(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    while socket.recv(&mut [0; 2_048]).is_ok() {}
    socket.set_nonblocking(false)
}
