//! `p2pdbg doctor` behind NATs of every kind that the kernel can be: it tells them apart.

use std::{io::Write as _, net::Ipv4Addr, process::Command};

use p2pdbg_natlab::{Host, Impairments, Lab, Mtu, Nat, NatKind, Network, Node};
use serde_json::Value;

use super::{
    DELAY,
    harness::{Home, Place, Rendezvous, RendezvousCommand, Transcript},
    place,
    proxy::Hosts,
};

/// A rendezvous on the internet, with one address or two.
struct Clinic {
    rendezvous: Rendezvous,
    net: Network,
    rdv: Host,
    _lab: Lab,
}

impl Clinic {
    fn open(name: &str, addresses: usize) -> Option<Self> {
        let lab = Lab::new_or_skip(name)?;
        let net = lab.internet().unwrap().with_delay(DELAY);
        let rdv = net.host("rdv").unwrap();
        let first = rdv.ip();
        let second: Option<Ipv4Addr> = (addresses > 1).then(|| rdv.link().add_address().unwrap());
        let bind = format!("{first}:3478");
        let arguments = second.map(|ip| ["--alt-ip".to_owned(), ip.to_string()]);
        let transcript = Transcript::new();
        let rendezvous =
            RendezvousCommand::new(&place(&rdv), &bind, &first.to_string(), &transcript)
                .args(arguments.into_iter().flatten())
                .start();
        Some(Self {
            rendezvous,
            net,
            rdv,
            _lab: lab,
        })
    }

    /// A host behind a NAT of that kind.
    fn home(&self, name: &str, kind: NatKind) -> (Nat, Host) {
        let nat = self.net.nat(name, kind).unwrap();
        let host = nat.host(&format!("{name}-h")).unwrap();
        if kind.hairpin {
            // Where the kernel filters on the bridge, it sends no frame back through the port that it came by. A real
            // router's two hosts are on two ports; here both sockets are on one.
            nat.ip("link set dev p0 type bridge_slave hairpin on")
                .unwrap();
        }
        (nat, host)
    }

    /// A host that answers STUN and is not the rendezvous in question, with its address.
    fn another_stun_server(&self) -> (Host, Rendezvous, String) {
        let host = self.net.host("stun").unwrap();
        let address = host.ip().to_string();
        let transcript = Transcript::new();
        let bind = format!("{address}:3478");
        let server = RendezvousCommand::new(&place(&host), &bind, &address, &transcript).start();
        (host, server, address)
    }

    /// Runs the doctor there; what it says, and its exit status.
    fn examine(&self, host: &Host, arguments: &[&str]) -> (Value, Option<i32>) {
        let url = self.rendezvous.url().to_string();
        let home = Home::new();
        let mut command: Command = host.command(env!("CARGO_BIN_EXE_p2pdbg"));
        home.settle(&mut command);
        command.env("P2PDBG_RENDEZVOUS", url);
        let output = command
            .args(["doctor", "--json"])
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let findings = serde_json::from_str(&text).unwrap_or_else(|fault| {
            panic!("{fault}: {text:?}, {error:?}");
        });
        (findings, output.status.code())
    }
}

/// The NAT that the findings tell of, in a line: mapping, filtering, allocation, hairpin and kind.
fn nat(findings: &Value) -> String {
    let nat = &findings["nat"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let sure = |what: &str| match nat[format!("{what}_certain")].as_bool() {
        Some(true) => text(&nat[what]),
        _ => format!("{}?", text(&nat[what])),
    };
    [
        sure("mapping"),
        sure("filtering"),
        text(&nat["ports"]["allocation"]),
        nat["hairpin"].to_string(),
        text(&findings["kind"]),
    ]
    .join(" / ")
}

/// Examines a host behind each of these kinds, all at once.
#[track_caller]
fn diagnoses(name: &str, addresses: usize, expected: &[(NatKind, &str)]) {
    let Some(clinic) = Clinic::open(name, addresses) else {
        return;
    };
    let homes: Vec<_> = expected
        .iter()
        .enumerate()
        .map(|(n, (kind, _))| clinic.home(&format!("n{n}"), *kind))
        .collect();
    let found: Vec<(Value, Option<i32>)> = std::thread::scope(|scope| {
        let clinic = &clinic;
        let examinations: Vec<_> = homes
            .iter()
            .map(|(_, host)| scope.spawn(move || clinic.examine(host, &[])))
            .collect();
        examinations
            .into_iter()
            .map(|e| e.join().unwrap())
            .collect()
    });
    for (((kind, expected), (nat_box, _)), (findings, status)) in
        expected.iter().zip(&homes).zip(&found)
    {
        assert_eq!(nat(findings), *expected, "{kind:?}: {findings:#}");
        assert_eq!(*status, Some(0), "{findings:#}");
        assert_eq!(findings["rendezvous"]["stun_addresses"], addresses);
        assert_eq!(findings["rendezvous"]["control"], "welcome");
        assert_eq!(findings["path_mtu"]["bytes"], 1500, "{findings:#}");
        let rtt = findings["rendezvous"]["udp"]["rtt_ms"].as_f64().unwrap();
        assert!(rtt >= 4.0 * DELAY.as_secs_f64() * 1e3, "{rtt} ms");
        if kind.translates() {
            let external = &findings["nat"]["external"];
            assert_eq!(
                *external,
                serde_json::json!([nat_box.external_ip().to_string()])
            );
        }
    }
}

#[test]
fn with_two_addresses_the_doctor_tells_every_kind_for_certain() {
    let full_cone = NatKind::FULL_CONE.with_hairpin();
    diagnoses(
        "doc-two",
        2,
        &[
            (
                NatKind::NONE,
                "none / endpoint-independent / - / null / open",
            ),
            (
                NatKind::FIREWALL,
                "none / address-and-port-dependent / - / null / port-restricted",
            ),
            (
                full_cone,
                "endpoint-independent / endpoint-independent / preserved / true / full-cone",
            ),
            (
                NatKind::ADDRESS_RESTRICTED,
                "endpoint-independent / address-dependent / preserved / false / address-restricted",
            ),
            (
                NatKind::PORT_RESTRICTED,
                "endpoint-independent / address-and-port-dependent / preserved / false / port-restricted",
            ),
            (
                NatKind::SYMMETRIC_RANDOM,
                "address-and-port-dependent / address-and-port-dependent / random / false / random",
            ),
        ],
    );
}

#[test]
fn with_one_address_the_doctor_says_what_it_cannot_tell() {
    diagnoses(
        "doc-one",
        1,
        &[
            (
                NatKind::FULL_CONE,
                "endpoint-independent? / address-dependent? / preserved / false / address-restricted",
            ),
            (
                NatKind::PORT_RESTRICTED,
                "endpoint-independent? / address-and-port-dependent / preserved / false / port-restricted",
            ),
            (
                NatKind::SYMMETRIC_RANDOM,
                "address-and-port-dependent / address-and-port-dependent / random / false / random",
            ),
        ],
    );
}

#[test]
fn behind_two_nats_the_doctor_sees_the_harder_one() {
    let Some(clinic) = Clinic::open("doc-cgn", 2) else {
        return;
    };
    let carrier = clinic.net.carrier_nat("cgn", NatKind::SYMMETRIC_RANDOM);
    let carrier = carrier.unwrap();
    let router = carrier.nat("home", NatKind::PORT_RESTRICTED).unwrap();
    let host = router.host("host").unwrap();
    let (findings, status) = clinic.examine(&host, &[]);
    let expected =
        "address-and-port-dependent / address-and-port-dependent / random / false / random";
    assert_eq!(nat(&findings), expected, "{findings:#}");
    assert_eq!(status, Some(0));
    assert_eq!(
        findings["nat"]["external"],
        serde_json::json!([carrier.external_ip().to_string()])
    );
}

#[test]
fn where_udp_is_blocked_the_doctor_says_so_and_that_tcp_gets_through() {
    let Some(clinic) = Clinic::open("doc-blocked", 1) else {
        return;
    };
    let (_nat, host) = clinic.home("office", NatKind::UDP_BLOCKED);
    let (findings, _) = clinic.examine(&host, &[]);
    assert_eq!(findings["udp"], false, "{findings:#}");
    assert_eq!(findings["kind"], "udp-blocked");
    assert_eq!(findings["rendezvous"]["udp"]["answers"], false);
    assert_eq!(findings["rendezvous"]["tcp"]["answers"], true);
    let relayed = |row: &Value| row["outlook"] == "relayed";
    assert!(findings["forecast"].as_array().unwrap().iter().all(relayed));
    let help = findings["help"].as_array().unwrap();
    assert!(
        help.iter()
            .any(|line| line.as_str().unwrap().contains("Allow outgoing UDP"))
    );
}

/// Whether one of the sentences of help has this in it.
fn helps(findings: &Value, part: &str) -> bool {
    let help = findings["help"].as_array().unwrap();
    help.iter()
        .any(|line| line.as_str().unwrap().contains(part))
}

#[test]
fn a_rendezvous_with_a_poor_view_is_named_and_another_server_shows_the_nat() {
    let Some(clinic) = Clinic::open("doc-view", 1) else {
        return;
    };
    // As a container's proxy or a load balancer does: whoever comes seems to come from it.
    let rewrite = "add table ip view
        add chain ip view in { type nat hook input priority 100; }
        add rule ip view in meta l4proto udp snat to 172.18.0.1";
    clinic.rdv.nft(rewrite).unwrap();
    let (_nat, host) = clinic.home("home", NatKind::PORT_RESTRICTED);
    let (findings, status) = clinic.examine(&host, &[]);
    assert_eq!(
        findings["rendezvous"]["poor_view"], "172.18.0.1",
        "{findings:#}"
    );
    assert_eq!(findings["rendezvous"]["udp"]["answers"], true);
    assert_eq!(findings["nat"], Value::Null, "{findings:#}");
    assert_eq!(findings["forecast"], serde_json::json!([]), "{findings:#}");
    // Nor could it be told from a rendezvous in a home, which sees whoever is at home as they are.
    for possible in ["rewrites sources", "in this host's own network"] {
        assert!(helps(&findings, possible), "{findings:#}");
    }
    assert_eq!(status, Some(0));

    let (_stun, _server, address) = clinic.another_stun_server();
    let (findings, _) = clinic.examine(&host, &["--stun", &address]);
    assert_eq!(
        findings["rendezvous"]["poor_view"], "172.18.0.1",
        "{findings:#}"
    );
    assert_eq!(findings["kind"], "port-restricted", "{findings:#}");
}

#[test]
fn ports_of_the_rendezvous_that_a_firewall_drops_are_told_from_a_network_without_udp() {
    let Some(clinic) = Clinic::open("doc-ports", 1) else {
        return;
    };
    let (_nat, host) = clinic.home("home", NatKind::PORT_RESTRICTED);
    let drops = |which: &str| {
        format!(
            "add table ip closed
            flush table ip closed
            add chain ip closed in {{ type filter hook input priority 0; }}
            add rule ip closed in {which} drop"
        )
    };
    clinic.rdv.nft(&drops("udp dport != 3478")).unwrap();
    let (findings, _) = clinic.examine(&host, &[]);
    // The harness has it take any free port for its second.
    let silent = findings["rendezvous"]["silent"].as_array().unwrap();
    assert_eq!(silent.len(), 1, "{findings:#}");
    let silent = silent[0].as_str().unwrap();
    assert_eq!(findings["kind"], "port-restricted", "{findings:#}");
    assert!(
        helps(&findings, &format!("open UDP {silent} too")),
        "{findings:#}"
    );

    // With another server that answers it is the rendezvous' port, and not this network.
    clinic.rdv.nft(&drops("meta l4proto udp")).unwrap();
    let (findings, _) = clinic.examine(&host, &[]);
    assert!(helps(&findings, "Allow outgoing UDP"), "{findings:#}");
    let (_stun, _server, address) = clinic.another_stun_server();
    let (findings, _) = clinic.examine(&host, &["--stun", &address]);
    assert_eq!(findings["udp"], true, "{findings:#}");
    assert!(helps(&findings, "open its UDP port"), "{findings:#}");
    assert!(!helps(&findings, "Allow outgoing UDP"), "{findings:#}");
}

#[test]
fn a_narrow_path_is_measured_to_the_word_whether_or_not_a_router_says_so() {
    let Some(clinic) = Clinic::open("doc-mtu", 1) else {
        return;
    };
    for (name, bytes, icmp) in [
        ("hole", 1280, false),
        ("honest", 1420, true),
        ("odd", 1368, false),
    ] {
        let (nat, host) = clinic.home(name, NatKind::PORT_RESTRICTED);
        let narrow = Impairments {
            delay: DELAY,
            mtu: Some(Mtu { bytes, icmp }),
            ..Impairments::NONE
        };
        nat.uplink().impair(narrow).unwrap();
        let (findings, status) = clinic.examine(&host, &[]);
        assert_eq!(findings["path_mtu"]["bytes"], bytes, "{findings:#}");
        assert_eq!(status, Some(0));
    }
}

/// What the doctor says is wrong, with what to do about it.
fn problem(findings: &Value) -> String {
    let error = &findings["error"];
    format!("{} ({})", error["message"], error["hint"])
}

#[test]
fn network_that_leads_to_nobody_is_told_of_and_the_rendezvous_is_not_blamed() {
    let Some(clinic) = Clinic::open("doc-offline", 1) else {
        return;
    };
    let (_nat, host) = clinic.home("home", NatKind::PORT_RESTRICTED);
    let node: &Node = &host;
    node.ip("route del default\n").unwrap();
    let (findings, status) = clinic.examine(&host, &[]);
    assert!(
        problem(&findings).contains("this host has no route"),
        "{findings:#}"
    );
    assert_eq!(status, Some(4));
    for blamed in ["runs", "Name a rendezvous"] {
        assert!(!helps(&findings, blamed), "{findings:#}");
    }

    // As resolvers block names, and as a portal has all of them lead to itself.
    let (_nat, host) = clinic.home("blocked", NatKind::PORT_RESTRICTED);
    let url = clinic.rendezvous.url().to_string();
    let (before, behind) = url.split_at(url.find('@').unwrap() + 1);
    let fingerprint = &behind[behind.find('#').unwrap()..];
    let named = |name: &str| format!("{before}{name}{fingerprint}");
    let lines = [
        "0.0.0.0 nobody.example",
        "127.0.0.1 itself.example",
        "192.168.99.99 portal.example",
    ];
    let _hosts = Hosts::of(&host, &lines.map(str::to_owned));
    for (name, told) in [
        (
            "nobody.example",
            "leads to 0.0.0.0 here, which is no host's address",
        ),
        (
            "itself.example",
            "leads to 127.0.0.1 here, which is this host itself",
        ),
        (
            "portal.example",
            "leads to 192.168.99.99 here, a private address",
        ),
    ] {
        let (findings, _) = clinic.examine(&host, &["--rendezvous", &named(name)]);
        assert!(problem(&findings).contains(told), "{findings:#}");
        assert!(helps(&findings, "resolver"), "{findings:#}");
        assert!(!helps(&findings, "firewalls"), "{findings:#}");
    }
    // One has been named, and is found nowhere.
    let (findings, _) = clinic.examine(&host, &["--rendezvous", &named("unknown.example")]);
    assert!(
        problem(&findings).contains("has no address"),
        "{findings:#}"
    );
    assert!(!helps(&findings, "Name a rendezvous"), "{findings:#}");
}

#[test]
fn page_that_a_network_shows_in_place_of_the_rendezvous_is_told_of_as_sessions_tell_of_it() {
    let Some(clinic) = Clinic::open("doc-portal", 1) else {
        return;
    };
    let (nat, host) = clinic.home("hotel", NatKind::UDP_BLOCKED);
    let node: &Node = &nat;
    let portal = Place::Node(node.clone()).enter(|| std::net::TcpListener::bind("0.0.0.0:8080"));
    let portal = portal.unwrap();
    nat.nft(
        "add table ip portal
        add chain ip portal in { type nat hook prerouting priority -110; }
        add rule ip portal in iifname \"lan\" meta l4proto tcp redirect to :8080",
    )
    .unwrap();
    std::thread::spawn(move || {
        for mut guest in portal.incoming().flatten() {
            let page = b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n";
            let _ = guest.write_all(page);
        }
    });
    let (findings, status) = clinic.examine(&host, &[]);
    assert_eq!(
        findings["error"]["code"], "rendezvous_version",
        "{findings:#}"
    );
    assert_eq!(findings["rendezvous"]["control"], "version", "{findings:#}");
    assert!(helps(&findings, "login in a browser"), "{findings:#}");
    assert!(!helps(&findings, "firewalls"), "{findings:#}");
    assert_eq!(status, Some(4));
}

#[test]
fn a_rendezvous_that_does_not_answer_or_lets_nobody_in_is_a_4() {
    let Some(mut clinic) = Clinic::open("doc-away", 1) else {
        return;
    };
    let (_nat, host) = clinic.home("home", NatKind::PORT_RESTRICTED);
    let wrong = clinic.rendezvous.url().to_string();
    let (key, rest) = wrong.split_once('@').unwrap();
    let other = if key.ends_with('A') { 'Q' } else { 'A' };
    let wrong = format!("{}{other}@{rest}", &key[..key.len() - 1]);
    let (findings, status) = clinic.examine(&host, &["--rendezvous", &wrong]);
    assert_eq!(
        findings["error"]["code"], "rendezvous_refused",
        "{findings:#}"
    );
    assert_eq!(findings["rendezvous"]["control"], "refused");
    // All the rest is told none the less.
    assert_eq!(findings["kind"], "port-restricted");
    assert_eq!(status, Some(4));

    clinic.rendezvous.process().kill();
    let (findings, status) = clinic.examine(&host, &[]);
    assert_eq!(
        findings["error"]["code"], "rendezvous_unreachable",
        "{findings:#}"
    );
    assert_eq!(findings["ok"], false);
    assert_eq!(findings["rendezvous"]["udp"]["answers"], false);
    assert_eq!(findings["rendezvous"]["tcp"]["answers"], false);
    assert_eq!(findings["kind"], Value::Null, "{findings:#}");
    assert_eq!(status, Some(4));
}

#[test]
fn the_lifetime_of_an_idle_mapping_is_measured_on_request() {
    let Some(clinic) = Clinic::open("doc-deep", 1) else {
        return;
    };
    // The shortest that the doctor tries to tell apart.
    let kind = NatKind::PORT_RESTRICTED.with_timeout(std::time::Duration::from_secs(12));
    let (_nat, host) = clinic.home("home", kind);
    let (findings, status) = clinic.examine(&host, &["--deep"]);
    let lifetime = &findings["lifetime"];
    assert_eq!(lifetime["at_least_s"], 10, "{findings:#}");
    assert_eq!(lifetime["less_than_s"], 15, "{findings:#}");
    let help = findings["help"].as_array().unwrap();
    assert!(
        help.iter()
            .any(|line| line.as_str().unwrap().contains("forgets"))
    );
    assert_eq!(status, Some(0));
}
