//! Row 5: from the start of `p2pdbg connect` to the first byte through, to the direct path, and a second connection.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Context,
    names::{AND_BACK, DIRECT_PATH, ROUND_TRIP, SECOND, STARTED, TO_DEBUGGEE},
};
use crate::{
    process::Process,
    results::Row,
    site::{Site, code_of, is_path},
    traffic,
};

pub(super) fn run(context: &mut Context) -> Result<Row> {
    let how = "both peers behind port-restricted NATs, paired by code; the IDE's connection waits with its first byte. \
               The rendezvous is as far from each peer as they are from each other, or half as far (on the way between \
               them)";
    let mut row = Row::new(5, "Start", how);
    for (rtt, between) in [
        (0, false),
        (40, false),
        (40, true),
        (200, false),
        (200, true),
    ] {
        let rounds = if rtt == 200 {
            context.rounds(3, 1)
        } else {
            context.rounds(7, 2)
        };
        let delay = Duration::from_millis(rtt) / 4;
        let public = if between { Duration::ZERO } else { delay };
        let site = Site::behind_nats(&context.tools, delay, public)?;
        let (_rendezvous, url) = site.rendezvous()?;
        // As far from the IDE's host as the debuggee's, over links of the same kind: what a round trip takes in this
        // lab.
        let echo = match between {
            true => None,
            false => Some(traffic::serve(&site.public, None)?),
        };
        let place = match (rtt, between) {
            (0, _) => "peer RTT 0 ms".to_owned(),
            (_, false) => format!("peer RTT {rtt} ms, rendezvous as far"),
            (_, true) => format!("peer RTT {rtt} ms, rendezvous half as far"),
        };
        for _ in 0..rounds {
            let times = measure(&site, &url)?;
            row.add(STARTED, &place, TO_DEBUGGEE, times.there);
            row.add(STARTED, &place, AND_BACK, times.back);
            row.add(STARTED, &place, DIRECT_PATH, times.direct);
            row.add(SECOND, &place, "of the same session", times.second);
            if let Some(port) = echo {
                row.add(SECOND, &place, ROUND_TRIP, round_trip(&site, port)?);
            }
        }
    }
    Ok(row)
}

/// Milliseconds that one message takes there and back over raw TCP, on a connection that stands.
fn round_trip(site: &Site, port: u16) -> Result<f64> {
    let mut standing = site.connect(site.public.ip(), port)?;
    traffic::ping(&mut standing, 200, 3)?;
    let began = Instant::now();
    traffic::ping(&mut standing, 200, 1)?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

struct Times {
    there: f64,
    back: f64,
    direct: f64,
    second: f64,
}

fn measure(site: &Site, url: &str) -> Result<Times> {
    let target = site.debuggee.tcp_listener((Ipv4Addr::LOCALHOST, 0))?;
    let target_port = target.local_addr()?.port();
    let state = format!("listen-{target_port}");
    let mut listen = site.peer("listen", &state, url)?;
    let first = format!("127.0.0.1:7001:localhost:{target_port}");
    let second = format!("127.0.0.1:7002:localhost:{}", site.service);
    listen.args(["-L", &first, "-L", &second]);
    let mut listen = Process::start("p2pdbg listen", listen)?;
    let code = code_of(&mut listen)?;
    // An identity that is there already: to make one is no part of a start.
    let state = "connect";
    let mut connect = site.peer("connect", state, url)?;
    connect.env("P2PDBG_CODE", code);
    let mut ide = site.connect(Ipv4Addr::LOCALHOST, 7001)?;
    ide.write_all(b"?")?;
    let (began, there, back, connect) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| -> Result<(Instant, TcpStream)> {
            let (mut debuggee, _) = target.accept()?;
            debuggee.set_nodelay(true)?;
            debuggee.read_exact(&mut [0])?;
            let there = Instant::now();
            debuggee.write_all(b"!")?;
            Ok((there, debuggee))
        });
        let began = Instant::now();
        let connect = Process::start("p2pdbg connect", connect)?;
        ide.set_read_timeout(Some(Duration::from_secs(20)))?;
        ide.read_exact(&mut [0])?;
        let back = Instant::now();
        let there = waiting.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        anyhow::Ok((began, there, back, connect))
    })?;
    let mut connect = connect;
    let (direct, _) = connect.event("path", is_path("direct"))?;
    listen.event("path", is_path("direct"))?;
    // The path has just been found; what comes at its beginning has passed after a moment.
    let mut warm = site.connect(Ipv4Addr::LOCALHOST, 7002)?;
    traffic::ping(&mut warm, 200, 3)?;
    let began_second = Instant::now();
    let mut second = site.connect(Ipv4Addr::LOCALHOST, 7002)?;
    traffic::ping(&mut second, 200, 1)?;
    let second = began_second.elapsed();
    let ms = |at: Instant| (at - began).as_secs_f64() * 1e3;
    Ok(Times {
        there: ms(there.0),
        back: ms(back),
        direct: ms(direct),
        second: second.as_secs_f64() * 1e3,
    })
}
