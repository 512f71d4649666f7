//! What strangers without a key may cost others, at the program as an operator runs it.
#![cfg(unix)]

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    relay::{LegGrant, RelayFrame, bind_mac},
    rendezvous::{Credential, FromRendezvous, Handle, Introduction, Refusal, Role, ToRendezvous},
    secret::Secret,
    url::RendezvousUrl,
};

use crate::{
    operator::ask,
    program::Running,
    support::{Peer, Wire, endpoint_on, state_dir},
};

const ANY: [&str; 2] = ["--bind", "127.0.0.1:0"];

fn meet(handle: &Handle, role: Role) -> ToRendezvous {
    let handle = handle.clone();
    ToRendezvous::Meet {
        handle,
        role,
        already: None,
    }
}

/// A listener with the key, a joiner without, and the session between them.
async fn join(running: &Running) -> (Peer, Peer, Introduction) {
    let mut listener = running.peer_with(running.key()).await;
    let nameplate = listener.listen(None).await.nameplate;
    let mut joiner = running.peer_with(Credential::None).await;
    joiner.say(&ToRendezvous::Join { nameplate }).await;
    let introduction = joiner.introduced().await;
    listener.introduced().await;
    (listener, joiner, introduction)
}

#[tokio::test]
async fn two_strangers_who_joined_a_code_without_its_words_get_no_voucher_and_meet_nowhere() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let handle = Secret::random();
    let mut strangers = Vec::new();
    for role in [Role::Listener, Role::Connector] {
        let (listener, mut joiner, Introduction { session, .. }) = join(&running).await;
        // It claims to have paired, which the listener does not say.
        joiner.say(&ToRendezvous::Confirmed { session }).await;
        let heard = joiner.told().await;
        let vouched = |m: &FromRendezvous| matches!(m, FromRendezvous::Vouched { .. });
        assert!(!heard.iter().any(vouched), "{heard:?}");
        joiner.say(&ToRendezvous::Leave { session }).await;
        strangers.push((joiner, role, listener));
    }
    for (stranger, role, _) in &mut strangers {
        stranger.say(&meet(&handle, *role)).await;
        assert_eq!(stranger.refused().await, Refusal::NobodyThere);
    }
}

#[tokio::test]
async fn two_strangers_with_vouchers_wait_at_one_handle_and_are_not_introduced() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let handle = Secret::random();
    let mut bearers = Vec::new();
    for role in [Role::Listener, Role::Connector] {
        let (mut listener, mut joiner, Introduction { session, .. }) = join(&running).await;
        for peer in [&mut listener, &mut joiner] {
            peer.say(&ToRendezvous::Confirmed { session }).await;
        }
        let voucher = loop {
            if let FromRendezvous::Vouched { voucher } = joiner.hear().await {
                break voucher;
            }
        };
        let mut bearer = running.peer_with(Credential::Voucher(voucher)).await;
        bearer.say(&meet(&handle, role)).await;
        assert_eq!(bearer.told().await, []);
        bearers.push(bearer);
    }
    // They are there: somebody with the key meets either.
    let mut friend = running.peer_with(running.key()).await;
    friend.say(&meet(&handle, Role::Listener)).await;
    friend.introduced().await;
}

#[tokio::test]
async fn a_voucher_that_is_shown_by_many_keeps_nobody_out_who_has_its_key() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let url = ask(state.path(), &["keys", "add", "team-a", "--peers", "8"]);
    let url: RendezvousUrl = url.trim().parse().unwrap();
    let key = Credential::AccessKey(url.access_key.clone().unwrap());
    let mut listener = running.peer_with(key.clone()).await;
    let nameplate = listener.listen(None).await.nameplate;
    let mut joiner = running.peer_with(Credential::None).await;
    joiner.say(&ToRendezvous::Join { nameplate }).await;
    let session = joiner.introduced().await.session;
    listener.introduced().await;
    for peer in [&mut listener, &mut joiner] {
        peer.say(&ToRendezvous::Confirmed { session }).await;
    }
    let voucher = loop {
        if let FromRendezvous::Vouched { voucher } = joiner.hear().await {
            break voucher;
        }
    };
    // The newest by the voucher make the older ones go, and leave places for all the others of the key.
    let mut held = Vec::new();
    for credential in [vec![Credential::Voucher(voucher); 20], vec![key; 5]].concat() {
        let at = url.authority().parse().unwrap();
        let mut peer = Peer::connect(at, url.fingerprint.unwrap()).await;
        peer.hello(credential).await;
        let welcome = peer.hear().await;
        assert!(
            matches!(welcome, FromRendezvous::Welcome { .. }),
            "{welcome:?}"
        );
        held.push(peer);
    }
    // The listener is there still, and hears it behind what it is told of the joiner.
    listener.say(&ToRendezvous::Listen { claim: None }).await;
    while !matches!(listener.hear().await, FromRendezvous::Listening(_)) {}
}

#[tokio::test]
async fn a_member_that_floods_its_session_starves_no_other_session_of_the_same_listener() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let mut listener = running.peer_with(running.key()).await;
    let mut members = Vec::new();
    for _ in 0..2 {
        let nameplate = listener.listen(None).await.nameplate;
        let mut member = running.peer_with(Credential::None).await;
        member.say(&ToRendezvous::Join { nameplate }).await;
        let session = member.introduced().await.session;
        listener.introduced().await;
        for peer in [&mut listener, &mut member] {
            peer.say(&ToRendezvous::Confirmed { session }).await;
            peer.told().await;
        }
        // What the other's confirmation brought.
        listener.told().await;
        members.push((member, session));
    }
    let (mut quiet, spared) = members.pop().unwrap();
    let (mut loud, flooded) = members.pop().unwrap();
    // More than waits for one session, while the listener reads nothing.
    for number in 0..100 {
        let (session, payload) = (spared, vec![number]);
        quiet.say(&ToRendezvous::Signal { session, payload }).await;
        let (session, payload) = (flooded, vec![0; 16_000]);
        loud.say(&ToRendezvous::Signal { session, payload }).await;
    }
    let mut heard = Vec::new();
    while heard.len() < 100 {
        match listener.hear().await {
            FromRendezvous::Signal { session, payload } if session == spared => {
                heard.extend(payload);
            }
            FromRendezvous::PeerLeft { session, .. } => assert_ne!(session, spared),
            _ => {}
        }
    }
    assert_eq!(heard, Vec::from_iter(0..100));
}

#[tokio::test]
async fn the_legs_of_a_stranger_are_gone_with_its_session_however_it_ends() {
    for close in [true, false] {
        let state = state_dir();
        let running = Running::start(state.path(), &ANY);
        let mut listener = running.peer_with(running.key()).await;
        let nameplate = listener.listen(None).await.nameplate;
        let mut joiner = running.peer_with(Credential::None).await;
        joiner.say(&ToRendezvous::Join { nameplate }).await;
        let introduction = joiner.introduced().await;
        listener.introduced().await;
        let relay = running.url().authority().parse().unwrap();
        let wire = Wire::new();
        wire.bind_leg(relay, &introduction.leg).await;
        if close {
            joiner.close(0);
        } else {
            drop(joiner);
        }
        loop {
            if let FromRendezvous::PeerLeft { .. } = listener.hear().await {
                break;
            }
        }
        wire.leg_is_gone(relay, introduction.leg.leg).await;
    }
}

/// So many times the stranger's leg is bound, each time from where it was not a moment ago, while others meet.
const BINDS: u64 = 3_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_binds_its_leg_without_end_keeps_no_other_session_from_hearing_of_its_own() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let relay = running.url().authority().parse().unwrap();
    let mut listener = running.peer_with(running.key()).await;
    let nameplate = listener.listen(None).await.nameplate;
    let mut stranger = running.peer_with(Credential::None).await;
    stranger.say(&ToRendezvous::Join { nameplate }).await;
    let leg = stranger.introduced().await.leg;
    let bound = Arc::new(AtomicU64::new(0));
    let floods = Vec::from_iter((0..4).map(|_| {
        let (leg, bound) = (leg.clone(), bound.clone());
        tokio::spawn(async move {
            let wire = Wire::new();
            loop {
                wire.bind_again(relay, &leg).await;
                bound.fetch_add(1, Ordering::Relaxed);
            }
        })
    }));
    let mut slowest = Duration::ZERO;
    while bound.load(Ordering::Relaxed) < BINDS {
        let handle = Secret::random();
        let mut friend = running.peer_with(running.key()).await;
        friend.say(&meet(&handle, Role::Listener)).await;
        assert_eq!(friend.told().await, []);
        let mut other = running.peer_with(running.key()).await;
        other.say(&meet(&handle, Role::Connector)).await;
        let theirs = other.introduced().await.leg;
        friend.introduced().await;
        Wire::new().bind_leg(relay, &theirs).await;
        let began = Instant::now();
        let heard = friend.hear().await;
        slowest = slowest.max(began.elapsed());
        assert!(
            matches!(heard, FromRendezvous::PeerSeen { .. }),
            "{heard:?}"
        );
    }
    println!("heard of a leg within {slowest:?}");
    assert!(floods.iter().all(|flood| !flood.is_finished()));
    for flood in floods {
        flood.abort();
    }
}

/// Members that bind their legs over and over, and how often each does.
const MEMBERS: usize = 6;
const BINDS_OF_EACH: usize = 240;

#[tokio::test]
async fn members_that_bind_their_legs_without_end_fill_no_queue_of_the_listener_but_their_own() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let relay = running.url().authority().parse().unwrap();
    let fingerprint = running.url().fingerprint.unwrap();
    let mut listener = Peer::connect_deaf(relay, fingerprint, 1_024).await;
    listener.hello(running.key()).await;
    let heard = listener.hear().await;
    assert!(matches!(heard, FromRendezvous::Welcome { .. }));
    let handles = Vec::from_iter((0..MEMBERS).map(|_| Secret::random()));
    for handle in &handles {
        listener.say(&meet(handle, Role::Listener)).await;
    }
    assert_eq!(listener.told().await, []);
    let mut members = Vec::new();
    for handle in &handles {
        let mut member = running.peer_with(running.key()).await;
        member.say(&meet(handle, Role::Connector)).await;
        let Introduction { leg, session, .. } = member.introduced().await;
        let wire = Wire::new();
        for _ in 0..BINDS_OF_EACH {
            wire.bind_leg(relay, &leg).await;
        }
        // What the relay saw has been told by then.
        assert_eq!(member.told().await, []);
        members.push((member, session));
    }
    // Everybody is still there, and each session is.
    let heard = listener.told().await;
    for (member, session) in &mut members {
        let of_this = |m: &&FromRendezvous| matches!(m, FromRendezvous::PeerSeen { session: of, .. } if of == session);
        assert!(heard.iter().any(|m| of_this(&m)));
        let (session, payload) = (*session, vec![7]);
        let signal = ToRendezvous::Signal {
            session,
            payload: payload.clone(),
        };
        member.say(&signal).await;
        let signal = FromRendezvous::Signal { session, payload };
        assert_eq!(listener.hear().await, signal);
    }
}

/// A socket, and the same once more for what others send with its address as their source.
fn socket_and_its_forger() -> (UdpSocket, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let forger = socket.try_clone().unwrap();
    (socket, forger)
}

/// The genuine first frame of a leg, from wherever it is sent.
fn begin(leg: &LegGrant) -> Vec<u8> {
    let mac = bind_mac(leg);
    RelayFrame::Bind { leg: leg.leg, mac }.encode()
}

#[tokio::test]
async fn a_bind_with_the_forged_source_of_a_control_connection_takes_nothing_from_it() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let relay = running.url().authority().parse().unwrap();
    let (socket, forger) = socket_and_its_forger();
    let fingerprint = running.url().fingerprint.unwrap();
    let mut victim = Peer::connect_from(endpoint_on(socket), relay, fingerprint).await;
    victim.hello(running.key()).await;
    assert!(matches!(
        victim.hear().await,
        FromRendezvous::Welcome { .. }
    ));
    let (_listener, _stranger, Introduction { leg, .. }) = join(&running).await;
    for _ in 0..3 {
        // Of the same flow as what follows, so it is read before.
        forger.send_to(&begin(&leg), relay).unwrap();
        assert_eq!(victim.told().await, []);
    }
}

#[tokio::test]
async fn a_bind_with_a_forged_source_keeps_nobody_from_dialling_from_there() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let relay = running.url().authority().parse().unwrap();
    let (_listener, _stranger, Introduction { leg, .. }) = join(&running).await;
    let (socket, forger) = socket_and_its_forger();
    forger.send_to(&begin(&leg), relay).unwrap();
    let fingerprint = running.url().fingerprint.unwrap();
    let victim = Peer::connect_from(endpoint_on(socket), relay, fingerprint);
    let forge = async {
        // It goes on for as long as the other dials.
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        loop {
            pace.tick().await;
            forger.send_to(&begin(&leg), relay).unwrap();
        }
    };
    tokio::select! {
        _ = victim => {}
        () = forge => {}
    }
}
