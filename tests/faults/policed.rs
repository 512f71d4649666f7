//! A network that polices UDP far below what it gives TCP.

use std::time::Instant;

use p2pdbg_events::{Event, PathKind, PathReport, Via};
use p2pdbg_natlab::{Flow, Nat, TwoNats};

use crate::{
    harness::traffic::{accept, receive, send},
    session::{both_at_once, setting, two_nats},
};

/// 0.1 Mbit/s, in kilobytes a second.
const POLICED: u32 = 12;

const LENGTH: usize = 2 << 20;

/// A direct path is found, and then UDP is policed at a NAT; what the debuggee sends gets through all the same.
#[track_caller]
fn starves(name: &'static str, nat: impl Fn(&TwoNats) -> &Nat) {
    let Some(lab) = two_nats(name) else {
        return;
    };
    let setting = setting(&lab);
    let port = setting.port();
    let target = setting.debuggee.listen(port);
    let pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{port}")], port);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&target);
    for peer in [&pair.listener, &pair.connector] {
        peer.path(PathKind::Direct);
    }
    nat(&lab).block(Flow::udp().faster_than(POLICED)).unwrap();
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| send(&debuggee, 1, LENGTH));
        receive(&ide, 1, LENGTH);
    });
    println!(
        "{name}: 2 MiB within {:.1} s; over UDP alone: 175 s",
        began.elapsed().as_secs_f64()
    );
    // Before the direct path was found the relay was used, too, and for another reason.
    let yielded = |path: &PathReport| {
        let relayed = path.kind == PathKind::Relay;
        (relayed && path.why.contains("the direct path")).then(|| path.why.clone())
    };
    let why = pair
        .connector
        .event("a relay after the direct path", |event| match event {
            Event::Path(path) => yielded(path),
            _ => None,
        });
    println!("{name}: {why}");
    // A path that went silent as well was lost as any other, and nothing was measured by which TCP would be sought.
    if !why.contains("carries") {
        return;
    }
    // What is policed is UDP, so both ends find a direct path by TCP meanwhile, and the streams go on by it.
    for peer in [&pair.listener, &pair.connector] {
        peer.event("a direct path by TCP", |event| match event {
            Event::Path(path) => {
                (path.kind == PathKind::Direct && path.via == Via::Tcp).then_some(())
            }
            _ => None,
        });
    }
    std::thread::scope(|scope| {
        scope.spawn(|| send(&debuggee, 2, LENGTH));
        receive(&ide, 2, LENGTH);
    });
}

#[test]
fn direct_path_policed_far_below_the_relay_yields_to_it() {
    both_at_once(
        || starves("policed-a", |lab| &lab.nat_a),
        || starves("policed-b", |lab| &lab.nat_b),
    );
}
