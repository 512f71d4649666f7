//! A leg at a relay besides the home's, in virtual time but for its socket.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, UdpSocket},
    time::{Duration, Instant},
};

use p2pdbg_net::{mux::Datagram, nat64::Nat64};
use p2pdbg_proto::{
    relay::{LegId, RelayFrame, RelayRefusal},
    secret::Secret,
};
use p2pdbg_punch::SocketId;
use tokio::sync::mpsc;

use crate::{near_leg::NearLeg, *};

const LEG: LegId = LegId([3; 16]);

struct Bench {
    leg: NearLeg,
    sockets: HashMap<SocketId, PathSocket>,
    relay: UdpSocket,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let (others, _) = mpsc::channel(1);
        let any = Ipv4Addr::UNSPECIFIED.into();
        let socket = PathSocket::open(SocketId::V4, any, &Nat64::default(), others).unwrap();
        let relay = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        relay
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self {
            leg: NearLeg::default(),
            sockets: HashMap::from([(SocketId::V4, socket)]),
            relay,
            now: Instant::now(),
        }
    }

    fn granted() -> Self {
        let mut bench = Self::new();
        let near = NearRelay {
            address: bench.relay.local_addr().unwrap(),
            leg: LegGrant {
                leg: LEG,
                key: Secret::from_bytes([9; 32]),
            },
            ticket: vec![5; 60],
        };
        bench.leg.set(Some(near), bench.now);
        bench
    }

    /// Lets time pass until something is told, or nothing is due any more.
    fn told(&mut self) -> Vec<PathEvent> {
        loop {
            let told = self.leg.flush(&self.sockets, self.now);
            match self.leg.poll_timeout() {
                Some(at) if told.is_empty() => self.now = self.now.max(at),
                _ => return told,
            }
            self.leg.handle_timeout(self.now);
        }
    }

    /// What the relay receives next.
    fn received(&self) -> RelayFrame {
        let mut bytes = [0; 2_048];
        let length = self.relay.recv(&mut bytes).unwrap();
        RelayFrame::decode(&bytes[..length]).unwrap()
    }

    fn says(&mut self, frame: &RelayFrame) {
        let datagram = Datagram {
            socket: SocketId::V4,
            from: self.relay.local_addr().unwrap(),
            payload: frame.encode(),
        };
        self.leg.handle_frame(&datagram, self.now);
    }

    fn bind(&mut self) -> Vec<PathEvent> {
        self.leg.handle_timeout(self.now);
        assert!(self.leg.flush(&self.sockets, self.now).is_empty());
        assert!(matches!(self.received(), RelayFrame::Bind { leg: LEG, .. }));
        self.says(&RelayFrame::Challenge {
            leg: LEG,
            cookie: [1; 32],
        });
        self.leg.flush(&self.sockets, self.now);
        assert!(matches!(
            self.received(),
            RelayFrame::Answer { leg: LEG, .. }
        ));
        self.says(&RelayFrame::Bound {
            leg: LEG,
            lifetime_s: 300,
        });
        self.told()
    }
}

#[tokio::test]
async fn leg_that_is_bound_is_told_with_where_the_relay_is_and_ends_when_that_refuses_it() {
    let mut bench = Bench::granted();
    let at = bench.relay.local_addr().unwrap();
    let told = bench.bind();
    let is_there =
        |event: &PathEvent| matches!(event, PathEvent::NearRelay { remote, .. } if *remote == at);
    assert!(told.iter().any(is_there), "{told:?}");
    bench.says(&RelayFrame::Refused {
        leg: LEG,
        reason: RelayRefusal::UnknownLeg,
    });
    let told = bench.leg.flush(&bench.sockets, bench.now);
    assert!(
        matches!(told[..], [PathEvent::NearGone { leg: LEG }]),
        "{told:?}"
    );
    assert_eq!(bench.leg.poll_timeout(), None);
}

#[tokio::test]
async fn relay_that_does_not_answer_is_given_up_after_five_seconds_again_after_a_doubt() {
    for doubted in [false, true] {
        let mut bench = Bench::granted();
        let mut began = bench.now;
        if doubted {
            bench.bind();
            bench.now += Duration::from_secs(60);
            began = bench.now;
            bench.leg.rebind(bench.now);
        }
        let told = bench.told();
        assert!(
            matches!(told[..], [PathEvent::NearGone { leg: LEG }]),
            "{told:?}"
        );
        assert_eq!(bench.now - began, Duration::from_secs(5));
    }
}

#[tokio::test]
async fn what_comes_from_elsewhere_binds_nothing_and_a_leg_may_be_taken_back() {
    let mut bench = Bench::granted();
    bench.relay = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    bench.says(&RelayFrame::Bound {
        leg: LEG,
        lifetime_s: 300,
    });
    bench.sockets.clear();
    bench.leg.handle_timeout(bench.now);
    let told = bench.leg.flush(&bench.sockets, bench.now);
    assert!(
        matches!(told[..], [PathEvent::NearGone { leg: LEG }]),
        "no socket: {told:?}"
    );
    let mut bench = Bench::granted();
    bench.leg.set(None, bench.now);
    assert_eq!(bench.leg.poll_timeout(), None);
    bench.leg.rebind(bench.now);
    assert!(bench.told().is_empty());
}
