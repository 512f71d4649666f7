//! Row 9: messages and bulk on a path that loses packets at random.

use std::{net::TcpStream, time::Duration};

use anyhow::Result;
use p2pdbg_natlab::Impairments;

use super::{Context, debuggers::debugpy_step, names::LONG_FAT};
use crate::{
    contenders::{Contender, Kind},
    results::Row,
    site::Site,
    stats::percentile,
    traffic::{self, Way},
};

/// The shares of packets that are lost in each direction, in percent.
const LOSSES: [u32; 3] = [1, 5, 10];

/// One way; the round trip is twice that.
const DELAY: Duration = Duration::from_millis(20);

/// How many messages go before it is the next one's turn.
const TURN: usize = 20;

pub(super) fn run(context: &mut Context) -> Result<Row> {
    let how = "RTT 40 ms, and each packet is lost with this probability in either direction. 200 bytes and their answer, \
               one at a time, in turns of 20; the first turn does not count. Bulk from the debuggee's end, in turns. ssh \
               has the kernel's BBR";
    let mut row = Row::new(9, "Loss", how);
    for loss in LOSSES {
        let site = Site::far(&context.tools, Impairments::NONE, Duration::ZERO)?;
        for host in [&site.ide, &site.debuggee] {
            host.sysctl("ipv4/tcp_congestion_control", "bbr")?;
        }
        // The programs meet on the path as it is but for the losses, which some of them would not survive.
        let link = Impairments::delayed(DELAY);
        site.debuggee.link().impair(link)?;
        let kinds = [Kind::Raw, Kind::Ssh, Kind::Dumbpipe, Kind::Direct];
        let contenders = Contender::all(&site, &kinds, site.service);
        let lossy = link.with_loss(f64::from(loss) / 100.0);
        site.debuggee.link().impair(lossy)?;
        let column = format!("{loss} % lost");
        ping(context, &site, &contenders, &mut row, &column)?;
        bulk(context, &site, &contenders, &mut row, &column)?;
        drop(contenders);
        debugger(context, &site, &mut row, &column);
    }
    Ok(row)
}

fn ping(
    context: &Context,
    site: &Site,
    contenders: &[Contender],
    row: &mut Row,
    column: &str,
) -> Result<()> {
    let turns = context.rounds(25, 10);
    let mut streams = Vec::new();
    for contender in contenders {
        streams.push((contender.kind, contender.connect(site)?, Vec::new()));
    }
    for turn in 0..=turns {
        for (_, stream, all) in &mut streams {
            let took = traffic::ping(stream, 200, TURN)?;
            if turn > 0 {
                all.extend(took);
            }
        }
    }
    for (kind, _, mut all) in streams {
        all.sort_by(f64::total_cmp);
        for percent in [50.0, 99.0] {
            let table = format!("200 B there and back, ms, p{percent}");
            let value = percentile(&all, percent) / 1e3;
            row.add(&table, kind.name(), column, value);
        }
    }
    Ok(())
}

/// A step with the views that an IDE asks for, which are some six questions in turn.
fn debugger(context: &Context, site: &Site, row: &mut Row, column: &str) {
    let Some(python) = &context.tools.python else {
        return;
    };
    for _ in 0..context.rounds(3, 1) {
        for kind in [Kind::Raw, Kind::Ssh, Kind::Direct] {
            match debugpy_step(site, python, kind) {
                Ok(step) => row.add("a step of debugpy, ms", kind.name(), column, step),
                Err(error) => eprintln!("debugpy by {}: {error:#}", kind.name()),
            }
        }
    }
}

fn bulk(
    context: &Context,
    site: &Site,
    contenders: &[Contender],
    row: &mut Row,
    column: &str,
) -> Result<()> {
    let length = if context.quick { 4 << 20 } else { 10 << 20 };
    let cubic = traffic::serve(&site.debuggee, Some("cubic"))?;
    let bbr = traffic::serve(&site.debuggee, Some("bbr"))?;
    let mut measure = |who: &str, stream: &mut TcpStream, length: usize| -> Result<()> {
        let took = traffic::bulk(stream, Way::Down, length)?;
        row.add(LONG_FAT, who, column, traffic::gbits(length, took) * 1e3);
        Ok(())
    };
    for _ in 0..context.rounds(3, 1) {
        for contender in contenders {
            if contender.kind == Kind::Raw {
                let ip = site.debuggee.ip();
                // At a few Mbit/s, or less: a part says as much.
                let mut stream = site.connect(ip, cubic)?;
                measure("raw TCP with CUBIC", &mut stream, length / 16)?;
                let mut stream = site.connect(ip, bbr)?;
                measure("raw TCP with BBR", &mut stream, length)?;
            } else {
                let shorter = if contender.kind == Kind::Dumbpipe {
                    16
                } else {
                    1
                };
                let mut stream = contender.connect(site)?;
                measure(contender.kind.name(), &mut stream, length / shorter)?;
            }
        }
    }
    Ok(())
}
