//! By which way the bytes go, and what becomes of them when it ends.

use p2pdbg_events::{PathKind, Via, WarningCode};

use super::world::{Debuggee, Peer, Rendezvous, dial, echo, name_of, state};

/// A megabyte of which no two parts are the same.
fn bulk() -> Vec<u8> {
    (0..250_000_u32)
        .flat_map(|at| at.wrapping_mul(0x9e37_79b9).to_be_bytes())
        .collect()
}

/// Brings a megabyte there and back where only `path` may be used; by what it went, as both ends were told.
async fn over(path: &str) -> [(PathKind, Via); 2] {
    let rendezvous = Rendezvous::start().await;
    let [ide, web] = [(); 2].map(|()| state());
    let debuggee = Debuggee::start("debuggee").await;
    let options = ["--path", path, "-L", &debuggee.forward];
    let mut listener = Peer::listen(&rendezvous, ide.path(), &options);
    let code = listener.code().await;
    let mut connector = Peer::connect(&rendezvous, web.path(), &[&code, "--path", path]);
    let mut ide = dial(&listener.port().await).await;
    assert_eq!(name_of(&mut ide, 8).await, "debuggee");
    let bulk = bulk();
    assert!(echo(&mut ide, &bulk).await == bulk);
    let [here, there] = [
        listener.path(|_| true).await,
        connector.path(|_| true).await,
    ];
    [(here.kind, here.via), (there.kind, there.via)]
}

#[tokio::test]
async fn relay_alone_carries_a_megabyte_over_udp() {
    assert_eq!(over("relay").await, [(PathKind::Relay, Via::Udp); 2]);
}

#[tokio::test]
async fn relay_over_tcp_carries_a_megabyte_without_udp() {
    assert_eq!(over("relay-tcp").await, [(PathKind::Relay, Via::Tcp); 2]);
}

#[tokio::test]
async fn direct_path_alone_carries_a_megabyte() {
    assert_eq!(over("direct").await, [(PathKind::Direct, Via::Udp); 2]);
}

/// A stream over the relay by `path`, the rendezvous started again, and the stream going on.
async fn restart(path: &str) {
    let mut rendezvous = Rendezvous::start().await;
    let [ide, web] = [(); 2].map(|()| state());
    let debuggee = Debuggee::start("debuggee").await;
    let options = ["--path", path, "-L", &debuggee.forward];
    let mut listener = Peer::listen(&rendezvous, ide.path(), &options);
    let code = listener.code().await;
    let mut connector = Peer::connect(&rendezvous, web.path(), &[&code, "--path", path]);
    let mut ide = dial(&listener.port().await).await;
    assert_eq!(name_of(&mut ide, 8).await, "debuggee");
    rendezvous.stop().await;
    listener.warned(WarningCode::RendezvousLost).await;
    connector.warned(WarningCode::RendezvousLost).await;
    let bulk = bulk();
    let (back, ()) = tokio::join!(echo(&mut ide, &bulk), rendezvous.start_again());
    assert!(back == bulk);
}

#[tokio::test]
async fn stream_over_the_relay_goes_on_when_the_rendezvous_was_started_again() {
    restart("relay").await;
}

#[tokio::test]
async fn stream_over_the_relays_tcp_goes_on_when_the_rendezvous_was_started_again() {
    restart("relay-tcp").await;
}

#[tokio::test]
async fn direct_stream_does_not_notice_that_the_rendezvous_is_gone() {
    let mut rendezvous = Rendezvous::start().await;
    let [ide, web] = [(); 2].map(|()| state());
    let debuggee = Debuggee::start("debuggee").await;
    let mut listener = Peer::listen(&rendezvous, ide.path(), &["-L", &debuggee.forward]);
    let code = listener.code().await;
    let mut connector = Peer::connect(&rendezvous, web.path(), &[&code]);
    let mut ide = dial(&listener.port().await).await;
    assert_eq!(name_of(&mut ide, 8).await, "debuggee");
    for peer in [&mut listener, &mut connector] {
        peer.path(|path| path.kind == PathKind::Direct).await;
    }
    rendezvous.stop().await;
    listener.warned(WarningCode::RendezvousLost).await;
    let bulk = bulk();
    assert!(echo(&mut ide, &bulk).await == bulk);
    // A new connection needs the rendezvous no more than an old one.
    let mut another = dial(&p2pdbg_base::HostPort::from(ide.peer_addr().unwrap())).await;
    assert_eq!(name_of(&mut another, 8).await, "debuggee");
}
