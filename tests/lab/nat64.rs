//! A host on a network with IPv6 alone, whose NAT64 leads to a rendezvous and a peer with IPv4 alone. The rendezvous is
//! named by its IPv4 address, so that the resolver's own translation of names helps nobody.
//!
//! The NAT64 is `tayga`, which translates addresses one to one, with the box's NAT of IPv4 behind it. The DNS64 knows
//! the one name by which its prefix is found.

use std::{
    fs,
    net::{Ipv6Addr, UdpSocket},
    path::PathBuf,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use p2pdbg_events::{PathKind, Via};
use p2pdbg_natlab::{Flow, Host, Lab, Nat, NatKind, Node, TwoNats};

use super::{
    DELAY, MEGABYTE, carried_by_the_rendezvous,
    harness::{
        Home, Setting, eventually,
        traffic::{accept, receive, say, send},
    },
    setting,
};

const TOOLS: [(&str, &str); 1] = [("tayga", "tayga")];

/// The interface to the translator.
const DEVICE: &str = "nat64";

/// `2001:db8:64::/96` with an address of `ipv4only.arpa` in it.
const ANSWER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0xc000, 0xaa);

/// A port-restricted NAT in front of the debuggee, and one that is a NAT64 too in front of the IDE. To be dropped
/// before the lab's namespaces are.
struct Rig {
    _nat64: Translator,
    dns64: Dns64,
    lab: TwoNats,
}

impl Rig {
    fn new(name: &str) -> Option<Self> {
        let lab = Lab::new_with_or_skip(name, &TOOLS)?;
        let nat = NatKind::PORT_RESTRICTED;
        let lab = TwoNats::new(lab, nat, nat, DELAY).unwrap();
        let nodes: [&Node; 2] = [&lab.ide, &lab.nat_a];
        for node in nodes {
            node.sysctl("ipv6/conf/all/disable_ipv6", "0").unwrap();
        }
        lab.nat_a.sysctl("ipv6/conf/all/forwarding", "1").unwrap();
        lab.nat_a
            .ip("addr add 2001:db8:1::1/64 dev lan nodad\n")
            .unwrap();
        let device = lab.ide.link().interface().to_owned();
        let node: &Node = &lab.ide;
        node.ip(&format!(
            "addr add 2001:db8:1::2/64 dev {device} nodad\nroute add default via 2001:db8:1::1\n"
        ))
        .unwrap();
        Some(Self {
            _nat64: Translator::start(&lab.nat_a),
            dns64: Dns64::start(&lab.ide),
            lab,
        })
    }

    /// Gives it back.
    fn with_ipv4(&self) {
        let (address, link) = (self.lab.ide.ip(), self.lab.ide.link());
        let [a, b, c, _] = address.octets();
        let (device, node): (_, &Node) = (link.interface(), &self.lab.ide);
        node.ip(&format!(
            "addr add {address}/24 dev {device}\nroute add default via {a}.{b}.{c}.1\n"
        ))
        .unwrap();
    }

    /// Takes IPv4 away from the IDE's host.
    fn without_ipv4(self) -> Self {
        let (address, link) = (self.lab.ide.ip(), self.lab.ide.link());
        let node: &Node = &self.lab.ide;
        node.ip(&format!("addr del {address}/24 dev {}\n", link.interface()))
            .unwrap();
        self
    }

    /// Packets of programs that have gone to the translator.
    fn translated(&self) -> u64 {
        let mut command = self.lab.nat_a.command("nft");
        let shown = command.args(["list", "table", "ip6", "spy"]).output();
        let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
        let mut words = shown.split_whitespace();
        let count = words.find(|word| *word == "packets").and(words.next());
        count.unwrap().parse().unwrap()
    }
}

struct Translator {
    tayga: Child,
    configuration: PathBuf,
}

impl Translator {
    fn start(nat: &Nat) -> Self {
        let configuration = std::env::temp_dir().join(format!("{}-tayga.conf", nat.namespace()));
        let text = format!(
            "tun-device {DEVICE}\nipv4-addr 192.168.255.1\nprefix 2001:db8:64::/96\n\
             dynamic-pool 192.168.255.0/24\n"
        );
        fs::write(&configuration, text).unwrap();
        let tayga = || {
            let mut command = nat.command("tayga");
            command.arg("-c").arg(&configuration);
            command
        };
        let made = tayga().arg("--mktun").output().unwrap();
        assert!(made.status.success(), "{made:?}");
        nat.ip(&format!(
            "link set {DEVICE} up\n\
             route add 192.168.255.0/24 dev {DEVICE}\n\
             route add 2001:db8:64::/96 dev {DEVICE}\n"
        ))
        .unwrap();
        nat.nft(&format!(
            "add rule inet filter forward iifname {DEVICE} accept\n\
             table ip6 spy {{ chain watch {{ type filter hook forward priority 0; \
             oifname {DEVICE} meta l4proto {{ tcp, udp }} counter; }}; }}"
        ))
        .unwrap();
        let running = tayga()
            .arg("-d")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let translator = Self {
            tayga: running,
            configuration,
        };
        eventually("the translator", || {
            let shown = nat.command("ip").args(["link", "show", DEVICE]).output();
            let shown = String::from_utf8_lossy(&shown.unwrap().stdout).into_owned();
            shown.contains("LOWER_UP").then_some(())
        });
        translator
    }
}

impl Drop for Translator {
    fn drop(&mut self) {
        let _ = self.tayga.kill();
        let _ = self.tayga.wait();
        let _ = fs::remove_file(&self.configuration);
    }
}

/// The resolver of a host, on the host itself.
struct Dns64 {
    socket: UdpSocket,
    /// How often it was asked for the name that has IPv4 alone.
    asked: Arc<AtomicUsize>,
    serving: Option<JoinHandle<()>>,
    /// What `ip netns exec` puts in the place of /etc/resolv.conf is in here.
    directory: PathBuf,
}

impl Dns64 {
    fn start(host: &Host) -> Self {
        let directory = PathBuf::from("/etc/netns").join(host.namespace());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("resolv.conf"), "nameserver ::1\n").unwrap();
        let socket = host.udp_socket((Ipv6Addr::LOCALHOST, 53)).unwrap();
        let asked = Arc::<AtomicUsize>::default();
        let serving = {
            let (socket, asked) = (socket.try_clone().unwrap(), Arc::clone(&asked));
            std::thread::spawn(move || serve(&socket, &asked))
        };
        Self {
            socket,
            asked,
            serving: Some(serving),
            directory,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Dns64 {
    fn drop(&mut self) {
        // Nothing at all has it end.
        let _ = self.socket.send_to(&[], (Ipv6Addr::LOCALHOST, 53));
        let _ = self.serving.take().map(JoinHandle::join);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn serve(socket: &UdpSocket, asked: &AtomicUsize) {
    const QUESTION: &[u8] = b"\x08ipv4only\x04arpa\0\0\x1c\0\x01";
    let mut buffer = [0; 512];
    while let Ok((length @ 12.., from)) = socket.recv_from(&mut buffer) {
        let query = &buffer[..length];
        let known = query[12..].starts_with(QUESTION);
        let end = query[12..].iter().position(|byte| *byte == 0);
        let Some(question) = end.and_then(|end| query.get(12..12 + end + 5)) else {
            continue;
        };
        let (code, answers) = if known { (0x80, 1) } else { (0x83, 0) };
        let mut answer = query[..2].to_vec();
        answer.extend([0x81, code, 0, 1, 0, answers, 0, 0, 0, 0]);
        answer.extend(question);
        if known {
            asked.fetch_add(1, Ordering::Relaxed);
            // The name of the question, AAAA, IN, a minute.
            answer.extend([0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16]);
            answer.extend(ANSWER.octets());
        }
        let _ = socket.send_to(&answer, from);
    }
}

#[test]
fn a_host_with_ipv6_alone_goes_direct_to_a_peer_with_ipv4_alone() {
    let Some(rig) = Rig::new("n64-direct").map(Rig::without_ipv4) else {
        return;
    };
    let carried = carried_by_the_rendezvous(&rig.lab, &setting(&rig.lab), PathKind::Direct);
    assert!(
        carried < MEGABYTE as u64,
        "the rendezvous carried {carried} bytes"
    );
    assert!(rig.dns64.asked() > 0 && rig.translated() > 0);
}

/// Sends some through a session that is relayed, at the listener's end like this.
#[track_caller]
fn relayed_via(setting: &Setting, via: Via) {
    let (port, target) = (setting.port(), setting.port());
    let debuggee = setting.debuggee.listen(target);
    let pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    pair.listener.relayed_via(via);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    say(&ide, &debuggee, "there");
    say(&debuggee, &ide, "and back");
    std::thread::scope(|scope| {
        scope.spawn(|| send(&ide, 1, MEGABYTE));
        receive(&debuggee, 1, MEGABYTE);
    });
}

#[test]
fn a_host_with_ipv6_alone_is_relayed_by_a_rendezvous_with_ipv4_alone() {
    let Some(rig) = Rig::new("n64-relay").map(Rig::without_ipv4) else {
        return;
    };
    let setting = setting(&rig.lab).with_path("relay");
    relayed_via(&setting, Via::Udp);
}

#[test]
fn a_host_with_ipv6_alone_is_relayed_over_tcp_where_udp_is_blocked() {
    let Some(rig) = Rig::new("n64-tcp").map(Rig::without_ipv4) else {
        return;
    };
    rig.lab.nat_a.block(Flow::udp()).unwrap();
    let setting = setting(&rig.lab);
    relayed_via(&setting, Via::Tcp);
}

#[test]
fn a_session_goes_direct_again_when_its_host_loses_ipv4_and_when_it_is_back() {
    let Some(rig) = Rig::new("n64-roam") else {
        return;
    };
    let setting = setting(&rig.lab);
    let (port, target) = (setting.port(), setting.port());
    let debuggee = setting.debuggee.listen(target);
    let pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    pair.listener.path(PathKind::Direct);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    let told = pair.listener.paths().len();
    assert_eq!(rig.translated(), 0);
    let rig = rig.without_ipv4();
    say(&ide, &debuggee, "through the NAT64");
    assert!(rig.translated() > 0);
    eventually("direct path through the NAT64", || {
        let paths = pair.listener.paths();
        let again = paths.len() > told && paths.last()?.kind == PathKind::Direct;
        again.then_some(())
    });
    rig.with_ipv4();
    eventually("end of the translation", || {
        let before = rig.translated();
        say(&ide, &debuggee, "there");
        say(&debuggee, &ide, "and back");
        (rig.translated() == before).then_some(())
    });
}

/// What `doctor` finds at the IDE's host.
fn examined(rig: &Rig) -> serde_json::Value {
    let setting = setting(&rig.lab);
    let home = Home::new();
    let mut command = rig.lab.ide.command(env!("CARGO_BIN_EXE_p2pdbg"));
    home.settle(&mut command);
    command.env("P2PDBG_RENDEZVOUS", setting.rendezvous.url().to_string());
    let output = command.args(["doctor", "--json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn doctor_reaches_a_rendezvous_with_ipv4_alone_from_a_host_with_ipv6_alone() {
    let Some(rig) = Rig::new("n64-doctor") else {
        return;
    };
    assert_eq!(examined(&rig)["ipv6"]["nat64"], false);
    let rig = rig.without_ipv4();
    let found = examined(&rig);
    assert_eq!(found["ipv6"]["nat64"], true, "{found}");
    assert_eq!(found["udp"], true, "{found}");
    for by in ["udp", "tcp"] {
        let probe = &found["rendezvous"][by];
        assert_eq!(probe["answers"], true, "{found}");
        assert!(probe["rtt_ms"].is_number(), "{found}");
    }
    let external = rig.lab.nat_a.external_ip().to_string();
    assert_eq!(found["nat"]["external"], serde_json::json!([external]));
}

#[test]
fn a_host_with_ipv4_translates_nothing() {
    let Some(rig) = Rig::new("n64-dual") else {
        return;
    };
    carried_by_the_rendezvous(&rig.lab, &setting(&rig.lab), PathKind::Direct);
    assert_eq!(
        (rig.translated(), rig.dns64.asked()),
        (0, 0),
        "packets through the NAT64, and questions about it"
    );
}
