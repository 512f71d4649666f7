//! Port mapping, with the real gateway daemon: two hosts whose NATs choose every port at random, which no punching
//! brings together, meet at a port that one of the gateways maps.
#![cfg(target_os = "linux")]

#[path = "../harness/mod.rs"]
mod harness;

use std::time::Duration;

use harness::{
    Pair, Place, Setting, eventually,
    traffic::{accept, say},
};
use p2pdbg_events::PathKind;
use p2pdbg_natlab::{Gateway, Host, Lab, Nat, NatKind, PortMapping};

/// On each of the three links to the internet.
const DELAY: Duration = Duration::from_millis(10);

/// The lab's internet: the daemon refuses to map at addresses that stand in documentation.
const PREFIX: [u8; 3] = [26, 0, 0];

const RANDOM: NatKind = NatKind::SYMMETRIC_RANDOM;

/// Two hosts behind NATs with random ports, and a rendezvous.
struct TwoHomes {
    setting: Setting,
    ide_home: Nat,
    debuggee_home: Nat,
    ide: Host,
    _lab: Lab,
}

impl TwoHomes {
    fn new(name: &str) -> Option<Self> {
        let lab = Lab::new_with_or_skip(name, &Gateway::TOOLS)?;
        let net = lab.internet_at(PREFIX).unwrap().with_delay(DELAY);
        let rdv = net.host("rdv").unwrap();
        let ide_home = net.nat("ide-home", RANDOM).unwrap();
        let debuggee_home = net.nat("dbg-home", RANDOM).unwrap();
        let ide = ide_home.host("ide").unwrap();
        let debuggee = debuggee_home.host("dbg").unwrap();
        let place = |host: &Host| Place::Node((**host).clone());
        let [ide_at, debuggee_at, rdv_at] = [&ide, &debuggee, &rdv].map(place);
        let host = rdv.ip().to_string();
        Some(Self {
            // Who is let out to the web alone reaches it as well.
            setting: Setting::with_rendezvous(
                ide_at,
                debuggee_at,
                rdv_at,
                &host,
                ["--bind", "0.0.0.0:443"],
            ),
            ide_home,
            debuggee_home,
            ide,
            _lab: lab,
        })
    }

    /// A session in which something is said.
    fn session(&self) -> Pair {
        let (port, target) = (self.setting.port(), self.setting.port());
        let listening = self.setting.debuggee.listen(target);
        let forward = format!("{port}:localhost:{target}");
        let pair = self.setting.pair_with_port(["-L", &forward], port);
        let opened = self.setting.ide.connect(port);
        say(&opened, &accept(&listening), "through the gateway");
        pair
    }
}

#[track_caller]
fn is_mapped(pair: &Pair) {
    for peer in [&pair.listener, &pair.connector] {
        let path = peer.path(PathKind::Direct);
        assert_eq!(path.technique.as_deref(), Some("port-mapping"));
    }
}

#[track_caller]
fn goes_direct_by(name: &str, by: PortMapping, maps: impl Fn(&TwoHomes) -> &Nat) {
    let Some(homes) = TwoHomes::new(name) else {
        return;
    };
    let gateway = maps(&homes).map_ports(by).unwrap();
    let mut pair = homes.session();
    is_mapped(&pair);
    assert_eq!(gateway.mappings().unwrap(), 1);
    pair.listener.stop();
    // The other end is told, and ends by itself.
    pair.connector.exit_status();
    eventually("the mapping is given back", || {
        (gateway.mappings().unwrap() == 0).then_some(())
    });
}

#[test]
fn two_random_nats_go_direct_through_a_port_that_pcp_mapped_and_give_it_back() {
    let by = PortMapping {
        pcp: true,
        ..PortMapping::NONE
    };
    goes_direct_by("map-pcp", by, |homes| &homes.ide_home);
}

#[test]
fn two_random_nats_go_direct_through_a_port_that_nat_pmp_mapped_and_give_it_back() {
    let by = PortMapping {
        nat_pmp: true,
        ..PortMapping::NONE
    };
    goes_direct_by("map-pmp", by, |homes| &homes.debuggee_home);
}

#[test]
fn two_random_nats_go_direct_through_a_port_that_upnp_mapped_and_give_it_back() {
    let by = PortMapping {
        upnp: true,
        ..PortMapping::NONE
    };
    goes_direct_by("map-upnp", by, |homes| &homes.ide_home);
}

#[test]
fn peer_whose_network_lets_out_https_alone_comes_to_the_port_of_https_that_a_gateway_maps() {
    let Some(homes) = TwoHomes::new("map-https") else {
        return;
    };
    homes
        .debuggee_home
        .nft(
            "table inet https { chain forward { type filter hook forward priority -10; \
             iifname lan meta l4proto tcp tcp dport 443 accept; iifname lan drop; }; }",
        )
        .unwrap();
    let gateway = homes.ide_home.map_ports(PortMapping::ALL).unwrap();
    let mut pair = homes.session();
    for peer in [&pair.listener, &pair.connector] {
        let path = peer.path(PathKind::Direct);
        assert_eq!(path.technique.as_deref(), Some("tcp-port-mapping"));
    }
    pair.listener.stop();
    pair.connector.exit_status();
    eventually("the mappings are given back", || {
        (gateway.mappings().unwrap() == 0).then_some(())
    });
}

#[test]
fn of_a_gateway_that_speaks_everything_one_mapping_is_taken_at_each_end() {
    let Some(homes) = TwoHomes::new("map-all") else {
        return;
    };
    let gateways = [&homes.ide_home, &homes.debuggee_home]
        .map(|home| home.map_ports(PortMapping::ALL).unwrap());
    let mut pair = homes.session();
    is_mapped(&pair);
    eventually("both gateways have mapped one port", || {
        (gateways.each_ref().map(|g| g.mappings().unwrap()) == [1, 1]).then_some(())
    });
    pair.listener.stop();
    pair.connector.exit_status();
    eventually("the mappings are given back", || {
        (gateways.each_ref().map(|g| g.mappings().unwrap()) == [0, 0]).then_some(())
    });
}

#[test]
fn a_mapping_that_the_gateway_forgot_is_made_anew_when_the_link_has_been_down() {
    let Some(homes) = TwoHomes::new("map-anew") else {
        return;
    };
    let gateway = homes.ide_home.map_ports(PortMapping::ALL).unwrap();
    let pair = homes.session();
    is_mapped(&pair);
    gateway.forget().unwrap();
    assert_eq!(gateway.mappings().unwrap(), 0);
    homes.ide.link().down().unwrap();
    homes.ide.link().up().unwrap();
    eventually("the port is mapped again", || {
        (gateway.mappings().unwrap() == 1).then_some(())
    });
    drop(pair);
}

#[test]
fn with_no_port_mapping_the_gateway_is_not_asked() {
    let Some(homes) = TwoHomes::new("map-none") else {
        return;
    };
    let gateway = homes.ide_home.map_ports(PortMapping::ALL).unwrap();
    let setting = &homes.setting;
    let listener = setting.listener().args(["--no-port-mapping"]).start();
    let connector = setting
        .connector_with(&listener.code())
        .args(["--no-port-mapping"])
        .start();
    eventually("everything else has been tried", || {
        let said = setting.transcript.text();
        said.contains("AttemptFailed").then_some(())
    });
    assert_eq!(gateway.mappings().unwrap(), 0);
    drop(connector);
}
