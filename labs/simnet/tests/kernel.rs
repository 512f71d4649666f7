//! The engine on real sockets, through the Linux kernel's NATs: what the simulator promises has to hold there, too.
//!
//! Needs root and the kernel lab; skipped otherwise. The driver here is the smallest that will do: a thread for each
//! socket, a channel for the signals.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use p2pdbg_natlab::{Cable, Host, Impairments, Lab, NatKind};
use p2pdbg_punch::{Config, Engine, Input, LocalAddress, Output, Path, PunchKey, Role, SocketId};
use p2pdbg_stun::{Attribute, Class, Encoder, Message};

/// How often a reader looks whether its socket has been closed.
const READ_TIMEOUT: Duration = Duration::from_millis(100);

/// How long a pair is given. Far more than it needs: the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

enum Happened {
    Datagram(SocketId, SocketAddr, Vec<u8>),
    Signal(Vec<u8>),
    /// The other peer has its path.
    OtherIsDone,
}

/// A socket and the flag that ends its reader.
struct Open {
    socket: UdpSocket,
    closed: Arc<AtomicBool>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

struct Driver<'a> {
    host: &'a Host,
    engine: Engine,
    sockets: BTreeMap<SocketId, Open>,
    inbox: Receiver<Happened>,
    inbox_sender: Sender<Happened>,
    other: Sender<Happened>,
    path: Option<Path>,
}

impl<'a> Driver<'a> {
    fn new(
        host: &'a Host,
        config: Config,
        (inbox_sender, inbox): (Sender<Happened>, Receiver<Happened>),
        other: Sender<Happened>,
        seen: Ipv4Addr,
    ) -> Self {
        let seed = [config.role as u8 + 1; 32];
        let mut driver = Self {
            host,
            engine: Engine::new(config, seed, Instant::now()),
            sockets: BTreeMap::new(),
            inbox,
            inbox_sender,
            other,
            path: None,
        };
        let local = LocalAddress::from(IpAddr::V4(host.ip()));
        driver.handle(Input::LocalAddresses(&[local]));
        driver.handle(Input::PeerSeen(&[seen.into()]));
        driver.open(SocketId::V4);
        driver
    }

    fn open(&mut self, id: SocketId) {
        let socket = self.host.udp_socket((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
        let local = socket.local_addr().unwrap();
        let closed = Arc::new(AtomicBool::new(false));
        let (reader, stop, inbox) = (
            socket.try_clone().unwrap(),
            closed.clone(),
            self.inbox_sender.clone(),
        );
        thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((len, from)) = reader.recv_from(&mut buffer)
                    && inbox
                        .send(Happened::Datagram(id, from, buffer[..len].to_vec()))
                        .is_err()
                {
                    return;
                }
            }
        });
        self.sockets.insert(id, Open { socket, closed });
        self.handle(Input::SocketOpened { socket: id, local });
    }

    fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(Instant::now(), input);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send {
                    socket,
                    to,
                    ttl,
                    payload,
                } => {
                    let Some(open) = self.sockets.get(&socket) else {
                        continue;
                    };
                    if let Some(ttl) = ttl {
                        open.socket.set_ttl(ttl.into()).unwrap();
                    }
                    let _ = open.socket.send_to(&payload, to);
                    if ttl.is_some() {
                        open.socket.set_ttl(64).unwrap();
                    }
                }
                Output::Signal(bytes) => {
                    let _ = self.other.send(Happened::Signal(bytes));
                }
                Output::OpenSocket { socket, .. } => self.open(socket),
                Output::CloseSocket { socket } => {
                    self.sockets.remove(&socket);
                }
                Output::Nominated(path) => {
                    self.path = Some(path);
                    let _ = self.other.send(Happened::OtherIsDone);
                }
                Output::PathLost { reason } => panic!("lost the path: {reason:?}"),
                Output::TcpGather { .. } | Output::TcpDial { .. } | Output::TcpRest => {
                    unreachable!("TCP is not allowed here")
                }
                Output::Event(_) => {}
            }
        }
    }

    /// Runs until both peers have a path, or until the deadline.
    fn run(mut self) -> Option<Path> {
        let deadline = Instant::now() + DEADLINE;
        let mut other_is_done = false;
        while !(other_is_done && self.path.is_some()) {
            let now = Instant::now();
            if now >= deadline {
                return None;
            }
            let wake = self.engine.poll_timeout().unwrap_or(deadline).min(deadline);
            match self.inbox.recv_timeout(wake.saturating_duration_since(now)) {
                Ok(Happened::Datagram(socket, from, payload)) => {
                    let payload = &payload;
                    self.handle(Input::Datagram {
                        socket,
                        from,
                        payload,
                    });
                }
                Ok(Happened::Signal(bytes)) => self.handle(Input::PeerSignal(&bytes)),
                Ok(Happened::OtherIsDone) => other_is_done = true,
                Err(RecvTimeoutError::Timeout) => self.handle(Input::Timeout),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        self.path
    }
}

/// Answers STUN on a socket until the lab is gone.
fn serve(socket: UdpSocket, stop: Arc<AtomicBool>) {
    socket.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    let mut buffer = [0; 1500];
    while !stop.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let Ok(request) = Message::decode(&buffer[..len]) else {
            continue;
        };
        let mut out = [0; 64];
        let mut answer = Encoder::new(&mut out, Class::Success, request.transaction()).unwrap();
        answer.push(Attribute::XorMappedAddress(from)).unwrap();
        let _ = socket.send_to(answer.finish_with_fingerprint().unwrap(), from);
    }
}

/// Both peers' paths through two of the kernel's NATs, or `None` where there is no lab.
fn meet(controlling: NatKind, controlled: NatKind, cable: Cable) -> Option<[Option<Path>; 2]> {
    let lab = Lab::new_or_skip("punch")?;
    let internet = lab.internet().unwrap().with_cable(cable);
    let server = internet.host("server").unwrap();
    let nats = [("a", controlling), ("b", controlled)]
        .map(|(name, kind)| internet.nat(name, kind).unwrap());
    let hosts = [("one", 0), ("two", 1)].map(|(name, n)| nats[n].host(name).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let servers: Vec<SocketAddr> = [3478, 3479]
        .map(|port| {
            let socket = server.udp_socket((server.ip(), port)).unwrap();
            let (address, stop) = (socket.local_addr().unwrap(), stop.clone());
            thread::spawn(move || serve(socket, stop));
            address
        })
        .to_vec();
    let external = |n: usize| {
        if nats[n].kind().translates() {
            nats[n].external_ip()
        } else {
            hosts[n].ip()
        }
    };
    let (to_a, to_b) = (channel(), channel());
    let (for_a, for_b) = (to_a.0.clone(), to_b.0.clone());
    let config = |role| Config::new(role, PunchKey::new([9; 32]), servers.clone());
    let drive = |n: usize, role, inbox, other| {
        Driver::new(&hosts[n], config(role), inbox, other, external(1 - n)).run()
    };
    let drive = &drive;
    let paths = thread::scope(|scope| {
        let a = scope.spawn(move || drive(0, Role::Controlling, to_a, for_b));
        let b = scope.spawn(move || drive(1, Role::Controlled, to_b, for_a));
        [a.join().unwrap(), b.join().unwrap()]
    });
    stop.store(true, Ordering::Relaxed);
    Some(paths)
}

#[test]
fn every_pair_of_the_kernels_nats_that_can_meet_does() {
    let easy = [
        NatKind::NONE,
        NatKind::FIREWALL,
        NatKind::FULL_CONE,
        NatKind::ADDRESS_RESTRICTED,
        NatKind::PORT_RESTRICTED,
    ];
    let mut pairs: Vec<(NatKind, NatKind)> = easy
        .iter()
        .map(|&kind| (kind, NatKind::PORT_RESTRICTED))
        .collect();
    pairs.extend(
        easy[..4]
            .iter()
            .map(|&kind| (NatKind::SYMMETRIC_RANDOM, kind)),
    );
    pairs.push((NatKind::PORT_RESTRICTED, NatKind::SYMMETRIC_RANDOM));
    for (a, b) in pairs {
        let Some(paths) = meet(a, b, Cable::Veth) else {
            return;
        };
        let [Some(one), Some(two)] = paths else {
            panic!("{a} / {b}: {paths:?}")
        };
        assert_eq!(one.technique, two.technique, "{a} / {b}");
    }
}

#[test]
fn port_restricted_nats_with_ten_milliseconds_of_wire_on_each_side_are_punched() {
    let wire = Cable::Shaped(Impairments::delayed(Duration::from_millis(10)));
    let Some(paths) = meet(NatKind::PORT_RESTRICTED, NatKind::PORT_RESTRICTED, wire) else {
        return;
    };
    let [Some(one), Some(two)] = paths else {
        panic!("{paths:?}")
    };
    for path in [one, two] {
        assert!(path.rtt >= Duration::from_millis(40), "{path:?}");
    }
}
