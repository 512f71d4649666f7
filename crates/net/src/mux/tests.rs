use super::*;

fn batch_of(datagrams: &[&[u8]]) -> (Vec<u8>, RecvMeta) {
    let batch = datagrams.concat();
    let meta = RecvMeta {
        addr: "127.0.0.1:9".parse().unwrap(),
        stride: datagrams[0].len(),
        len: batch.len(),
        ..RecvMeta::default()
    };
    (batch, meta)
}

fn mux() -> (Arc<MuxSocket>, mpsc::Receiver<Datagram>) {
    let (others, received) = mpsc::channel(8);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    (
        MuxSocket::new(socket, SocketId(0), &Nat64::default(), others).unwrap(),
        received,
    )
}

#[tokio::test]
async fn socket_without_quic_hands_on_what_is_not_quic_until_an_endpoint_takes_it() {
    let (mux, mut others) = mux();
    let task = tokio::spawn({
        let mux = Arc::clone(&mux);
        async move { mux.receive_without_quic().await }
    });
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = mux.local_addr().unwrap();
    for payload in [&[1, 2][..], &[70, 3], &[5]] {
        peer.send_to(payload, to).unwrap();
    }
    assert_eq!(others.recv().await.unwrap().payload, [1, 2]);
    assert_eq!(others.recv().await.unwrap().payload, [5]);
    mux.give_to_quic();
    peer.send_to(&[70, 4], to).unwrap();
    task.await.unwrap();
    // The one that ended it was not received by it.
    let (mut buffer, mut meta) = ([0; 100], [RecvMeta::default()]);
    let received = std::future::poll_fn(|cx| {
        mux.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)
    });
    assert_eq!(received.await.unwrap(), 1);
    assert_eq!(buffer[..meta[0].len], [70, 4]);
}

/// The next datagrams of a socket with their times to live.
#[cfg(target_os = "linux")]
fn with_times_to_live(socket: &UdpSocket, count: usize) -> Vec<(Vec<u8>, i32)> {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

    let receive = || {
        let (mut buffer, mut control) = ([0; 100], [0; 64]);
        let mut buffers = [IoSliceMut::new(&mut buffer)];
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
        let message =
            recvmsg::<SockaddrStorage>(fd, &mut buffers, Some(&mut control), flags).unwrap();
        let hops = message.cmsgs().unwrap().find_map(|told| match told {
            ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
                Some(hops)
            }
            _ => None,
        });
        let (length, hops) = (message.bytes, hops.unwrap());
        (buffer[..length].to_vec(), hops)
    };
    (0..count).map(|_| receive()).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn check_that_is_to_die_on_its_way_does_not_take_a_batch_of_quic_with_it() {
    use nix::sys::socket::{getsockopt, setsockopt, sockopt};

    let any = ["127.0.0.1:0", "[::1]:0"];
    for at in any {
        let [own, peer] = [(); 2].map(|()| UdpSocket::bind(at).unwrap());
        peer.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let usual = match at == any[0] {
            true => {
                setsockopt(&peer, sockopt::Ipv4RecvTtl, &true).unwrap();
                getsockopt(&peer, sockopt::Ipv4Ttl).unwrap()
            }
            false => {
                setsockopt(&peer, sockopt::Ipv6RecvHopLimit, &true).unwrap();
                getsockopt(&peer, sockopt::Ipv6Ttl).unwrap()
            }
        };
        let (others, _received) = mpsc::channel(8);
        let mux = MuxSocket::new(own, SocketId(0), &Nat64::default(), others).unwrap();
        let to = peer.local_addr().unwrap();
        let batch = [64; 80];
        // A full one, which waits for what comes behind it.
        mux.try_send(&Transmit {
            destination: to,
            ecn: None,
            contents: &batch,
            segment_size: Some(8),
            src_ip: None,
        })
        .unwrap();
        mux.send(to, b"check", Some(3)).unwrap();
        mux.send(to, b"another", None).unwrap();
        let mut expected = vec![(batch[..8].to_vec(), usual); 10];
        expected.extend([(b"check".to_vec(), 3), (b"another".to_vec(), usual)]);
        assert_eq!(with_times_to_live(&peer, 12), expected, "{at}");
    }
}

#[tokio::test]
async fn marks_are_kept_where_an_answer_waits_that_a_stopped_process_has_not_read() {
    let (mux, _others) = mux();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (to, mark) = (peer.local_addr().unwrap(), Some(EcnCodepoint::Ect0));
    let asked = Instant::now();
    assert_eq!(mux.mark(to, mark, asked), mark);
    peer.send_to(&[70], mux.local_addr().unwrap()).unwrap();
    let woken = asked + Duration::from_millis(300);
    assert_eq!(mux.mark(to, mark, woken), mark, "it waits to be read");
    let (mut buffer, mut meta) = ([0; 100], [RecvMeta::default()]);
    std::future::poll_fn(|cx| mux.poll_udp(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta))
        .await
        .unwrap();
    assert_eq!(mux.mark(to, mark, woken), None, "it came without a mark");
}

#[tokio::test]
async fn datagrams_leave_singly_for_a_while_and_together_again_on_another_network() {
    let (mux, _others) = mux();
    let together = mux.max_transmit_segments();
    mux.send_singly();
    assert_eq!(mux.max_transmit_segments(), 1);
    mux.on_network_changed();
    assert_eq!(mux.max_transmit_segments(), together);
    mux.set_singly(Some(Instant::now()));
    assert_eq!(mux.max_transmit_segments(), together, "it was long ago");
}

/// A socket that has no room.
#[derive(Debug)]
struct Full;

impl UdpPoller for Full {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn batches_and_room_are_those_of_both_sides_where_a_nat64_is_used() {
    let (others, _received) = mpsc::channel(8);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nat64 = Nat64::of_common_prefix();
    let mux = MuxSocket::new(socket, SocketId(0), &nat64, others).unwrap();
    assert_eq!(mux.sides().count(), 1);
    // Opens the other side; whether it arrives does not matter.
    drop(mux.send("192.0.2.1:9".parse().unwrap(), b"hello", None));
    assert_eq!(mux.sides().count(), 2);
    let mut writable = Writable {
        udp: Some(Box::pin(Full)),
        clat: None,
        room: None,
        mux,
    };
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let polled = Pin::new(&mut writable).poll_writable(&mut cx);
    assert!(polled.is_pending(), "the other side alone was asked");
    assert!(writable.clat.is_some());
}

#[tokio::test]
async fn a_batch_of_quic_passes_untouched() {
    let (mux, mut others) = mux();
    let (mut batch, mut meta) = batch_of(&[&[64, 1], &[255, 2], &[128]]);
    mux.keep_quic(&mut batch, &mut meta);
    assert_eq!((meta.len, others.try_recv().is_err()), (5, true));
}

#[tokio::test]
async fn what_is_not_quic_is_taken_out_of_a_mixed_batch() {
    let (mux, mut others) = mux();
    let (mut batch, mut meta) = batch_of(&[&[64, 1], &[1, 9], &[70, 2], &[5]]);
    mux.keep_quic(&mut batch, &mut meta);
    assert_eq!(batch[..meta.len], [64, 1, 70, 2]);
    assert_eq!(others.try_recv().unwrap().payload, [1, 9]);
    assert_eq!(others.try_recv().unwrap().payload, [5]);
}
