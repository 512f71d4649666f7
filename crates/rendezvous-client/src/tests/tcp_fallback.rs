//! A link over QUIC whose network stops letting UDP pass.

use super::*;

/// Carries datagrams between one peer and the rendezvous until it is cut, and gives what it had then: a port that is
/// open and silent.
fn forward(near: UdpSocket, to: SocketAddr) -> (Arc<Notify>, tokio::task::JoinHandle<UdpSocket>) {
    let cut = Arc::new(Notify::new());
    let switch = Arc::clone(&cut);
    let task = tokio::spawn(async move {
        let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (mut there, mut back) = ([0; 2048], [0; 2048]);
        let mut peer = None;
        loop {
            tokio::select! {
                Ok((length, from)) = near.recv_from(&mut there) => {
                    peer = Some(from);
                    far.send_to(&there[..length], to).await.unwrap();
                }
                Ok(length) = far.recv(&mut back) => if let Some(peer) = peer {
                    near.send_to(&back[..length], peer).await.unwrap();
                },
                () = switch.notified() => return near,
            }
        }
    });
    (cut, task)
}

/// A link that has come up over QUIC, on a way that can be cut for UDP.
async fn over_quic(rig: &Rig) -> (Link, Arc<Notify>, tokio::task::JoinHandle<UdpSocket>) {
    let to = rig.server.addresses()[0];
    let (address, udp, _) = tcp_alone(to).await;
    let (cut, task) = forward(udp, to);
    let url = rig.url().at(&address.to_string().parse().unwrap());
    let mut link = open(url, Transports::Any, &Changes::silent());
    assert!(!up(&mut link).await, "over QUIC");
    (link, cut, task)
}

#[tokio::test]
async fn link_that_is_needed_goes_over_to_tcp_where_udp_passes_no_more() {
    let rig = Rig::start().await;
    let (mut link, cut, task) = over_quic(&rig).await;
    cut.notify_one();
    let _silent = task.await.unwrap();
    link.nudge();
    // QUIC alone would be given up for silence, and not told of in these words.
    assert!(matches!(down(&mut link).await, LinkError::ByTcp));
    assert!(up(&mut link).await, "over TCP");
    listens(&mut link).await;
}

#[tokio::test]
async fn link_that_goes_over_to_tcp_begins_with_what_its_owner_has_said_since() {
    let rig = Rig::start().await;
    let (mut link, cut, task) = over_quic(&rig).await;
    link.begin_with(vec![ToRendezvous::Join {
        nameplate: Nameplate::random(),
    }]);
    cut.notify_one();
    let _silent = task.await.unwrap();
    link.nudge();
    assert!(matches!(down(&mut link).await, LinkError::ByTcp));
    // As the owner of a link does.
    link.begin_with(Vec::new());
    match soon(link.event()).await {
        Some(LinkEvent::Up { told, .. }) => assert_eq!(told, []),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn link_that_is_needed_stays_over_quic_where_that_answers() {
    let rig = Rig::start().await;
    let (mut link, _cut, _task) = over_quic(&rig).await;
    for _ in 0..3 {
        link.nudge();
        listens(&mut link).await;
    }
    assert_eq!(rig.server.counters().tcp_connections, 0);
}

#[tokio::test]
async fn link_over_tcp_that_is_needed_is_given_up_before_one_that_merely_waits() {
    let rig = Rig::start().await;
    let (address, _udp, silence) = tcp_alone(rig.server.addresses()[0]).await;
    let url = rig.url().at(&address.to_string().parse().unwrap());
    let mut links = [(); 2].map(|()| open(url.clone(), Transports::Tcp, &Changes::silent()));
    for link in &mut links {
        assert!(up(link).await, "over TCP");
    }
    silence.notify_waiters();
    let [needed, waits] = &mut links;
    needed.nudge();
    tokio::select! {
        error = down(needed) => assert!(matches!(error, LinkError::Lost(_)), "{error}"),
        error = down(waits) => panic!("it was not in doubt: {error}"),
    }
}
