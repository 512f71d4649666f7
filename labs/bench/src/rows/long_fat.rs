//! Row 6: long, fat and lossy paths.

use std::{net::TcpStream, time::Duration};

use anyhow::Result;
use p2pdbg_natlab::Impairments;

use super::{
    Context,
    names::{LONG_FAT, LOSSY},
};
use crate::{
    contenders::{Contender, Kind},
    results::Row,
    site::Site,
    traffic::{self, Way},
};

pub(super) fn run(context: &mut Context) -> Result<Row> {
    let how = "one connection, from the debuggee's end, over shaped links; in turns. Raw TCP with cubic; ssh with the kernel's own choice";
    let mut row = Row::new(6, "Long, fat and lossy", how);
    let ms = Duration::from_millis;
    // The loss is on one of the two links, in both directions.
    let cases = [
        (
            LOSSY,
            Impairments::delayed(ms(20)).with_loss(0.01),
            3 << 19,
            3,
        ),
        (
            "RTT 100 ms, 1 Gbit/s",
            Impairments::delayed(ms(50))
                .with_rate(1_000_000_000)
                .with_queue(6 << 20),
            100 << 20,
            2,
        ),
    ];
    for (name, impairments, length, rounds) in cases {
        let rounds = context.rounds(rounds, 1);
        let site = Site::far(&context.tools, Impairments::NONE, Duration::ZERO)?;
        site.debuggee.link().impair(impairments)?;
        let kinds = [Kind::Raw, Kind::Ssh, Kind::Dumbpipe, Kind::Direct];
        let contenders = Contender::all(&site, &kinds, site.service);
        let cubic = traffic::serve(&site.debuggee, Some("cubic"))?;
        // Where the kernel has it.
        let bbr = &traffic::serve(&site.debuggee, Some("bbr"));
        for _ in 0..rounds {
            for contender in &contenders {
                let mut stream = match contender.kind {
                    // The end that sends decides.
                    Kind::Raw => site.connect(site.debuggee.ip(), cubic)?,
                    _ => contender.connect(&site)?,
                };
                measure(&mut row, name, contender.kind.name(), &mut stream, length)?;
            }
            if let Ok(port) = bbr {
                let mut stream = site.connect(site.debuggee.ip(), *port)?;
                measure(&mut row, name, "raw TCP with BBR", &mut stream, length)?;
            }
        }
    }
    Ok(row)
}

fn measure(
    row: &mut Row,
    case: &str,
    who: &str,
    stream: &mut TcpStream,
    length: usize,
) -> Result<()> {
    let took = traffic::bulk(stream, Way::Down, length)?;
    row.add(LONG_FAT, who, case, traffic::gbits(length, took) * 1e3);
    Ok(())
}
