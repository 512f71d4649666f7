//! Somebody who has the only place at the rendezvous while a session comes back.

use std::time::{Duration, Instant};

use p2pdbg_proto::rendezvous::{Credential, ToRendezvous};
use rustix::process::Signal;

use crate::{
    harness::{
        Place, Ports, RendezvousCommand, Setting, Transcript,
        traffic::{accept, say},
    },
    stranger::Guest,
};

/// For how long the place is taken.
const TAKEN: Duration = Duration::from_secs(6);

/// A pause after a refusal for now, and what a session takes to be introduced and to move.
const SOON: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_session_comes_back_soon_after_the_only_place_is_free() {
    let ports = Ports::default();
    let transcript = Transcript::new();
    // Not where the port is marked as taken.
    let bind = format!("127.0.0.9:{}", ports.next());
    let rendezvous = RendezvousCommand::new(&Place::Here, &bind, "127.0.0.9", &transcript)
        .args(["--max-sessions", "1"])
        .start();
    let here = || Place::Here;
    let mut setting =
        Setting::at(here(), here(), here(), rendezvous, transcript).with_path("relay");
    let (port, target) = (setting.port(), setting.port());
    let pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    let target = setting.debuggee.listen(target);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&target);
    say(&ide, &debuggee, "before");
    for peer in [&pair.listener, &pair.connector] {
        peer.signal(Signal::STOP);
    }
    setting.rendezvous.process().kill();
    setting.rendezvous.start_again();
    let url = setting.rendezvous.url();
    let mut listener = Guest::hello(url).await;
    let nameplate = listener.listen().await;
    let mut joiner = Guest::hello_with(url, Credential::None).await;
    joiner.say(&ToRendezvous::Join { nameplate }).await;
    let session = joiner.introduced().await.session;
    for peer in [&pair.listener, &pair.connector] {
        peer.signal(Signal::CONT);
    }
    tokio::time::sleep(TAKEN).await;
    joiner.say(&ToRendezvous::Leave { session }).await;
    let free = Instant::now();
    say(&ide, &debuggee, "after");
    let took = free.elapsed();
    println!("back {took:?} after the place was free");
    assert!(took < SOON, "{took:?}");
}
