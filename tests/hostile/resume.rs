//! Tunnels that must not take over.

use std::time::Duration;

use p2pdbg_base::PathPolicy;
use p2pdbg_identity::Identity;
use p2pdbg_path::{Introduction, PathCommand, PathEvent, Paths};
use p2pdbg_proto::{
    rendezvous::{Role, ToRendezvous},
    tunnel::close,
};
use quinn::{Connection, ConnectionError};

use crate::{
    friend::{Talk, context, dials_as},
    harness::PATIENCE,
    scene::{EPOCH, Scene},
    stranger::{Guest, socket_of_peer},
};

/// Waits until the listener ends a connection.
async fn ended(connection: &Connection) -> ConnectionError {
    let ended = tokio::time::timeout(PATIENCE, connection.closed()).await;
    ended.expect("the listener refuses it")
}

/// The same, and sees with what code it does.
async fn refused(connection: &Connection, code: u32) {
    match ended(connection).await {
        ConnectionError::ApplicationClosed(close) => {
            assert_eq!(close.error_code, code.into());
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_of_an_old_epoch_is_refused() {
    let scene = Scene::begin().await;
    for epoch in [EPOCH, EPOCH - 16, 1, 0] {
        let connection = scene.friend.knock().await;
        let hello = scene.friend.hello(&connection, epoch);
        let talk = Talk::begin(connection, &hello).await;
        refused(&talk.connection, close::OLD_EPOCH).await;
    }
    scene.unmoved("of an earlier tunnel").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_was_recorded_opens_nothing_a_second_time() {
    let scene = Scene::begin().await;
    let recorded = scene.friend.knock().await;
    let opening = scene.friend.hello(&recorded, EPOCH + 1);
    // The same bytes over another connection of the same two certificates.
    let connection = scene.friend.knock().await;
    let talk = Talk::begin(connection, &opening).await;
    refused(&talk.connection, close::PROTOCOL).await;
    scene.unmoved("without this session's key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_knows_where_the_session_is_opens_nothing() {
    let scene = Scene::begin().await;
    let stranger = Identity::ephemeral().unwrap();
    let config = dials_as(&stranger, &scene.friend);
    let endpoint = socket_of_peer(scene.friend.listener).endpoint;
    for _ in 0..20 {
        let connecting = endpoint.connect_with(config.clone(), scene.friend.listener, "p2pdbg");
        // The client's part of the handshake ends before its certificate is judged.
        if let Ok(connection) = connecting.unwrap().await {
            let why = ended(&connection).await;
            assert!(matches!(why, ConnectionError::ConnectionClosed(_)), "{why}");
        }
    }
    scene.unmoved("without this session's key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_whom_the_rendezvous_introduces_opens_nothing() {
    let scene = Scene::begin().await;
    let mut guest = Guest::hello(scene.setting.rendezvous.url()).await;
    // Only the two peers and the rendezvous know the handle.
    guest
        .say(&ToRendezvous::Meet {
            handle: scene.friend.met.keys.resume.clone(),
            role: Role::Connector,
            already: None,
        })
        .await;
    let introduction = guest.introduced().await;
    let session = introduction.session;
    for payload in [b"no signal".to_vec(), vec![0; 64], Vec::new()] {
        guest.say(&ToRendezvous::Signal { session, payload }).await;
    }
    let context = context(scene.setting.rendezvous.url(), PathPolicy::Relay);
    let mut paths = Paths::open(context).unwrap();
    paths.command(PathCommand::Introduced(Introduction {
        leg: introduction.leg,
        rendezvous: scene.friend.met.at.rendezvous,
        stun: Vec::new(),
        peer_seen: Vec::new(),
        peer_bound: true,
        over_tcp: false,
    }));
    let (socket, relay) = loop {
        if let Some(PathEvent::Relay { socket, remote, .. }) = paths.event().await {
            break (socket, remote);
        }
    };
    let config = dials_as(&Identity::ephemeral().unwrap(), &scene.friend);
    // The listener binds its leg when it hears of the introduction, which may be a little later.
    loop {
        let connecting = socket
            .endpoint
            .connect_with(config.clone(), relay, "p2pdbg");
        let Ok(connection) = connecting.unwrap().await else {
            continue;
        };
        let why = ended(&connection).await;
        assert!(matches!(why, ConnectionError::ConnectionClosed(_)), "{why}");
        break;
    }
    guest.say(&ToRendezvous::Leave { session }).await;
    scene.unmoved("without this session's key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_half_made_resumes_leave_the_session_as_it_was() {
    let mut scene = Scene::begin().await;
    let endpoint = socket_of_peer(scene.friend.listener).endpoint;
    let mut half_made = Vec::new();
    for _ in 0..1_000 {
        // With the right certificate: the most that one can do without ever proving the key.
        let connecting =
            endpoint.connect_with(scene.friend.dials(), scene.friend.listener, "p2pdbg");
        half_made.push(connecting.unwrap());
        if half_made.len() % 100 == 0 {
            scene.works().await;
        }
    }
    scene.counted("never finished");
    drop(half_made);
    endpoint.close(0_u32.into(), b"");
    // An honest tunnel comes up as soon as there is room again.
    let next = loop {
        let connecting = scene.friend.try_knock().await;
        let Ok(connection) = connecting else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let hello = scene.friend.hello(&connection, EPOCH + 1);
        let mut talk = Talk::begin(connection, &hello).await;
        talk.hear().await;
        break talk;
    };
    assert!(next.connection.close_reason().is_none());
}
