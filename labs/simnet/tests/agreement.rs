//! The simulator's NATs against the kernel's: one STUN probe script, run on both, must come to the same verdict.
//!
//! Needs root and the kernel lab; skipped otherwise, except for the simulator's half. Nothing is timed: that a packet
//! did not get through is shown by a later one that did. Only where nothing gets through at all, patience runs out.
#![cfg(target_os = "linux")]

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use p2pdbg_natlab::{Host, Lab};
use p2pdbg_simnet::{Allocation, Filtering, HostId, Link, Mapping, NatKind, NetworkId, World};
use p2pdbg_stun::{Attribute, Class, Encoder, Message, TransactionId};

/// What the script finds out.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    mapping: Mapping,
    filtering: Filtering,
    preserves_ports: bool,
    hairpins: bool,
}

/// Where the three servers answer: two ports of one address, and another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Main,
    OtherPort,
    OtherAddress,
}

/// A place where the script can be run: sockets of a host behind the NAT, a second host behind it, and the servers.
trait Bench {
    /// An inside socket with this name, which is also what its port is derived from.
    fn port(&mut self, socket: u16) -> SocketAddr;
    /// Asks a server how it sees an inside socket.
    fn ask(&mut self, socket: u16, server: Server) -> Option<SocketAddr>;
    /// Sends these from servers to an address, one after the other, and says which of them the inside socket got. The
    /// last one must get through.
    fn knock(&mut self, socket: u16, servers: &[Server], at: SocketAddr) -> Vec<Server>;
    /// Sends from the second inside host to an address, and says how the inside socket saw the sender.
    fn hairpin(&mut self, socket: u16, at: SocketAddr) -> Option<SocketAddr>;
}

/// The script. `None`: UDP does not pass.
fn probe(bench: &mut impl Bench) -> Option<Verdict> {
    let inside = bench.port(1);
    let first = bench.ask(1, Server::Main)?;
    let other_port = bench.ask(1, Server::OtherPort)?;
    let other_address = bench.ask(1, Server::OtherAddress)?;
    let mapping = if first == inside {
        Mapping::Untranslated
    } else if first != other_port {
        Mapping::AddressAndPortDependent
    } else if first != other_address {
        Mapping::AddressDependent
    } else {
        Mapping::EndpointIndependent
    };
    let mapped = bench.ask(2, Server::Main)?;
    let got = bench.knock(
        2,
        &[Server::OtherAddress, Server::OtherPort, Server::Main],
        mapped,
    );
    let filtering = match got[..] {
        [Server::Main] => Filtering::AddressAndPortDependent,
        [Server::OtherPort, Server::Main] => Filtering::AddressDependent,
        [Server::OtherAddress, Server::OtherPort, Server::Main] => Filtering::EndpointIndependent,
        _ => panic!("{got:?} got through"),
    };
    // Anybody must be let in for a hairpin to be seen, so the script knocks from inside first.
    let third = bench.ask(3, Server::Main)?;
    let hairpins = third != bench.port(3) && bench.hairpin(3, third).is_some();
    Some(Verdict {
        mapping,
        filtering,
        preserves_ports: first.port() == inside.port(),
        hairpins,
    })
}

fn question(number: u16) -> Vec<u8> {
    let mut id = [0; 12];
    id[..2].copy_from_slice(&number.to_be_bytes());
    let mut buffer = [0; 64];
    let request = Encoder::new(&mut buffer, Class::Request, TransactionId(id)).unwrap();
    request.finish_with_fingerprint().unwrap().to_vec()
}

fn answer(request: &[u8], from: SocketAddr) -> Vec<u8> {
    let request = Message::decode(request).unwrap();
    let mut buffer = [0; 64];
    let mut answer = Encoder::new(&mut buffer, Class::Success, request.transaction()).unwrap();
    answer.push(Attribute::XorMappedAddress(from)).unwrap();
    answer.finish_with_fingerprint().unwrap().to_vec()
}

fn mapped(answer: &[u8]) -> Option<SocketAddr> {
    Message::decode(answer).ok()?.mapped_address()
}

const LAST: &[u8] = b"knock";

struct Simulated {
    world: World,
    servers: [HostId; 2],
    inside: HostId,
    second: HostId,
}

impl Simulated {
    fn new(kind: NatKind, seed: u64) -> Self {
        let mut world = World::new(seed);
        let link = Link::with_delay(Duration::from_millis(1));
        let servers = [0, 1].map(|_| world.add_host(NetworkId::INTERNET, link));
        let (_, lan) = world.add_nat(NetworkId::INTERNET, kind, link);
        let [inside, second] = [0, 1].map(|_| world.add_host(lan, link));
        Self {
            world,
            servers,
            inside,
            second,
        }
    }

    fn server(&self, server: Server) -> (HostId, u16) {
        match server {
            Server::Main => (self.servers[0], 3478),
            Server::OtherPort => (self.servers[0], 3479),
            Server::OtherAddress => (self.servers[1], 3478),
        }
    }

    /// The next packet that arrives at a host's port.
    fn receive(&mut self, host: HostId, port: u16) -> Option<(SocketAddr, Vec<u8>)> {
        let until = self.world.now() + Duration::from_secs(1);
        while let Some(delivery) = self.world.run_until(until) {
            if (delivery.host, delivery.port) == (host, port) {
                return Some((delivery.from, delivery.payload));
            }
        }
        None
    }
}

impl Bench for Simulated {
    fn port(&mut self, socket: u16) -> SocketAddr {
        (self.world.ip(self.inside), 40_000 + socket).into()
    }

    fn ask(&mut self, socket: u16, server: Server) -> Option<SocketAddr> {
        let (host, port) = self.server(server);
        let to = SocketAddr::new(self.world.ip(host), port);
        self.world
            .send(self.inside, 40_000 + socket, to, None, question(socket));
        let (from, request) = self.receive(host, port)?;
        self.world
            .send(host, port, from, None, answer(&request, from));
        mapped(&self.receive(self.inside, 40_000 + socket)?.1)
    }

    fn knock(&mut self, socket: u16, servers: &[Server], at: SocketAddr) -> Vec<Server> {
        for &server in servers {
            let (host, port) = self.server(server);
            self.world.send(host, port, at, None, LAST.to_vec());
        }
        let mut got = Vec::new();
        while let Some((from, _)) = self.receive(self.inside, 40_000 + socket) {
            let is_from = |s: &&Server| {
                let (host, port) = self.server(**s);
                from == SocketAddr::new(self.world.ip(host), port)
            };
            got.extend(servers.iter().find(is_from).copied());
        }
        got
    }

    fn hairpin(&mut self, socket: u16, at: SocketAddr) -> Option<SocketAddr> {
        // Whoever filters by endpoint has to have sent to the second host's own mapping first.
        let (host, port) = self.server(Server::Main);
        let to = SocketAddr::new(self.world.ip(host), port);
        self.world.send(self.second, 50_000, to, None, question(9));
        let (second, _) = self.receive(host, port)?;
        self.world
            .send(self.inside, 40_000 + socket, second, None, LAST.to_vec());
        self.world
            .send(self.second, 50_000, at, None, LAST.to_vec());
        self.receive(self.inside, 40_000 + socket)
            .map(|(from, _)| from)
    }
}

struct Kernel {
    servers: [(SocketAddr, UdpSocket); 3],
    inside: Host,
    second: Host,
    sockets: Vec<(u16, UdpSocket)>,
    _lab: Lab,
}

/// How long a packet may take that will come, and how long one is waited for that will not.
const PATIENCE: Duration = Duration::from_millis(500);

impl Kernel {
    fn new(kind: NatKind) -> Option<Self> {
        let lab = Lab::new_or_skip("agreement")?;
        let internet = lab.internet().unwrap();
        let hosts = ["server", "other"].map(|name| internet.host(name).unwrap());
        let nat = internet.nat("nat", kind).unwrap();
        let server = |host: &Host| {
            let socket = host.udp_socket((IpAddr::V4(host.ip()), 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            (socket.local_addr().unwrap(), socket)
        };
        Some(Self {
            servers: [server(&hosts[0]), server(&hosts[0]), server(&hosts[1])],
            inside: nat.host("inside").unwrap(),
            second: nat.host("second").unwrap(),
            sockets: Vec::new(),
            _lab: lab,
        })
    }

    fn server(&self, server: Server) -> &(SocketAddr, UdpSocket) {
        &self.servers[server as usize]
    }

    fn socket(&mut self, socket: u16) -> UdpSocket {
        if let Some((_, known)) = self.sockets.iter().find(|(n, _)| *n == socket) {
            return known.try_clone().unwrap();
        }
        let opened = self
            .inside
            .udp_socket((IpAddr::V4(self.inside.ip()), 0))
            .unwrap();
        opened.set_read_timeout(Some(PATIENCE)).unwrap();
        self.sockets.push((socket, opened.try_clone().unwrap()));
        opened
    }
}

fn receive(socket: &UdpSocket) -> Option<(SocketAddr, Vec<u8>)> {
    let mut buffer = [0; 1500];
    let (len, from) = socket.recv_from(&mut buffer).ok()?;
    Some((from, buffer[..len].to_vec()))
}

impl Bench for Kernel {
    fn port(&mut self, socket: u16) -> SocketAddr {
        self.socket(socket).local_addr().unwrap()
    }

    fn ask(&mut self, socket: u16, server: Server) -> Option<SocketAddr> {
        let inside = self.socket(socket);
        let (address, server) = self.server(server);
        inside.send_to(&question(socket), address).ok()?;
        let (from, request) = receive(server)?;
        server.send_to(&answer(&request, from), from).ok()?;
        mapped(&receive(&inside)?.1)
    }

    fn knock(&mut self, socket: u16, servers: &[Server], at: SocketAddr) -> Vec<Server> {
        let inside = self.socket(socket);
        let mut got = Vec::new();
        // The last one's packet is the sign that the others' would have come. On several processors it may overtake
        // them: what was late in the first round comes in the second.
        for _ in 0..2 {
            for &server in servers {
                self.server(server).1.send_to(LAST, at).unwrap();
            }
            while let Some((from, _)) = receive(&inside) {
                let known = servers.iter().find(|&&s| self.server(s).0 == from);
                got.extend(known.filter(|s| !got.contains(*s)).copied());
                if known.is_some() && known == servers.last() {
                    break;
                }
            }
        }
        servers
            .iter()
            .filter(|s| got.contains(s))
            .copied()
            .collect()
    }

    fn hairpin(&mut self, socket: u16, at: SocketAddr) -> Option<SocketAddr> {
        let inside = self.socket(socket);
        let second = self
            .second
            .udp_socket((IpAddr::V4(self.second.ip()), 0))
            .unwrap();
        let (address, server) = self.server(Server::Main);
        second.send_to(&question(9), address).ok()?;
        let (second_mapped, _) = receive(server)?;
        inside.send_to(LAST, second_mapped).ok()?;
        second.send_to(LAST, at).ok()?;
        receive(&inside).map(|(from, _)| from)
    }
}

/// The kinds that the kernel can play.
fn kernel_kinds() -> Vec<NatKind> {
    vec![
        NatKind::NONE,
        NatKind::FIREWALL,
        NatKind::FULL_CONE,
        NatKind::FULL_CONE.with_hairpin(),
        NatKind::ADDRESS_RESTRICTED,
        NatKind::PORT_RESTRICTED,
        NatKind::PORT_RESTRICTED.with_hairpin(),
        NatKind::PORT_RESTRICTED.with_allocation(Allocation::Random),
        NatKind::SYMMETRIC_RANDOM,
        NatKind::UDP_BLOCKED,
    ]
}

#[test]
fn the_simulator_and_the_kernel_come_to_the_same_verdict() {
    for kind in kernel_kinds() {
        let simulated = probe(&mut Simulated::new(kind, 1));
        let Some(mut kernel) = Kernel::new(kind) else {
            return;
        };
        assert_eq!(simulated, probe(&mut kernel), "{kind}");
    }
}

#[test]
fn every_simulated_kind_is_what_it_is_called() {
    let mut kinds = kernel_kinds();
    kinds.extend([NatKind::SYMMETRIC_SEQUENTIAL, NatKind::SYMMETRIC_BLOCK]);
    kinds.push(NatKind {
        mapping: Mapping::AddressDependent,
        ..NatKind::SYMMETRIC_RANDOM
    });
    for kind in kinds {
        for seed in 0..20 {
            let verdict = probe(&mut Simulated::new(kind, seed));
            let expected = (!kind.blocks_udp).then_some((kind.mapping, kind.filtering));
            assert_eq!(
                verdict.as_ref().map(|v| (v.mapping, v.filtering)),
                expected,
                "{kind}, seed {seed}"
            );
            if let Some(verdict) = verdict {
                let preserves = kind.allocation == Allocation::Preserving;
                assert_eq!(
                    (verdict.preserves_ports, verdict.hairpins),
                    (
                        preserves,
                        kind.hairpin && kind.mapping == Mapping::EndpointIndependent
                    ),
                    "{kind}, seed {seed}"
                );
            }
        }
    }
}
