//! Addresses of the hosts' own, and what becomes of a search when one vanishes.

use std::{
    fs,
    net::{Ipv6Addr, SocketAddr},
};

use p2pdbg_events::PathKind;
use p2pdbg_natlab::{Flow, Host, Lab, NatKind, Network, TwoNats};

use crate::{
    DELAY,
    harness::{
        Setting, eventually,
        traffic::{accept, say},
    },
    place, setting,
};

/// A session that says something and gives the technique of its direct path at both ends.
#[track_caller]
fn technique(setting: &Setting) -> [Option<String>; 2] {
    meet(setting).map(|(technique, _)| technique)
}

/// The same, with the other end's address as the listener and the connector have it.
#[track_caller]
pub(super) fn meet(setting: &Setting) -> [(Option<String>, Option<SocketAddr>); 2] {
    let (port, target) = (setting.port(), setting.port());
    let listening = setting.debuggee.listen(target);
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["-L", &forward], port);
    let opened = setting.ide.connect(port);
    say(&opened, &accept(&listening), "directly");
    [&pair.listener, &pair.connector].map(|peer| {
        let path = peer.path(PathKind::Direct);
        (path.technique, path.remote)
    })
}

/// Two hosts on the LAN of a home that cannot hairpin, and the rendezvous, all with IPv4 alone; between the two hosts
/// IPv4 does not pass.
fn two_hosts_without_ipv4_between_them(net: &Network) -> (Host, [Host; 2]) {
    let rdv = net.host("rdv").unwrap();
    let home = net.nat("home", NatKind::PORT_RESTRICTED).unwrap();
    let hosts = ["ide", "dbg"].map(|name| home.host(name).unwrap());
    let between = Flow::between(hosts[0].ip(), hosts[1].ip());
    for host in &hosts {
        host.block(between).unwrap();
    }
    (rdv, hosts)
}

/// Gives an interface of a host this IPv6 address and no other.
fn give_ipv6(host: &Host, interface: &str, address: &str) {
    let own = format!("ipv6/conf/{interface}");
    host.sysctl(&format!("{own}/addr_gen_mode"), "1").unwrap();
    host.sysctl(&format!("{own}/disable_ipv6"), "0").unwrap();
    (**host)
        .ip(&format!("addr add {address}/64 dev {interface} nodad"))
        .unwrap();
}

/// The number of an interface with an IPv6 address, which is the scope of its link-local addresses.
fn index_of(host: &Host, interface: &str) -> u32 {
    let list = host
        .enter(|| fs::read_to_string("/proc/thread-self/net/if_inet6"))
        .unwrap()
        .unwrap();
    let line = list.lines().find(|line| line.ends_with(interface)).unwrap();
    let index = line.split_whitespace().nth(1).unwrap();
    u32::from_str_radix(index, 16).unwrap()
}

#[test]
fn where_both_ends_have_ipv6_it_is_used_past_their_nats_and_through_their_firewalls() {
    let Some(lab) = Lab::new_or_skip("v6") else {
        return;
    };
    let net = lab.dual_stack_internet().unwrap().with_delay(DELAY);
    let rdv = net.host("rdv").unwrap();
    let homes = ["a", "b"].map(|name| net.nat(name, NatKind::SYMMETRIC_RANDOM).unwrap());
    let [ide, debuggee] = homes.map(|home| home.host(&format!("{}-host", home.name())).unwrap());
    let address = rdv.ip().into();
    let setting = Setting::of(place(&ide), place(&debuggee), place(&rdv), address);
    let ipv6 = Some("ipv6".to_owned());
    assert_eq!(technique(&setting), [ipv6.clone(), ipv6]);
}

#[test]
fn on_a_lan_where_ipv4_does_not_pass_two_peers_meet_at_their_unique_local_addresses() {
    let Some(lab) = Lab::new_or_skip("ula") else {
        return;
    };
    let net = lab.internet().unwrap().with_delay(DELAY);
    let (rdv, [ide, debuggee]) = two_hosts_without_ipv4_between_them(&net);
    give_ipv6(&ide, "eth0", "fd12:3456:789a:1::a");
    give_ipv6(&debuggee, "eth0", "fd12:3456:789a:1::b");
    let address = rdv.ip().into();
    let setting = Setting::of(place(&ide), place(&debuggee), place(&rdv), address);
    for ((technique, remote), peer) in meet(&setting)
        .into_iter()
        .zip(["fd12:3456:789a:1::b", "fd12:3456:789a:1::a"])
    {
        assert_eq!(technique.as_deref(), Some("lan"));
        assert_eq!(
            remote.map(|remote| remote.ip()),
            Some(peer.parse().unwrap())
        );
    }
}

#[test]
fn on_a_link_where_nothing_else_passes_two_peers_meet_at_their_link_local_addresses() {
    let Some(lab) = Lab::new_or_skip("fe80") else {
        return;
    };
    let net = lab.internet().unwrap().with_delay(DELAY);
    let (rdv, [ide, debuggee]) = two_hosts_without_ipv4_between_them(&net);
    give_ipv6(&ide, "eth0", "fe80::a");
    // The debuggee's host has another link, with an address of the same network.
    let spare = "link add spare type veth peer name nowhere\n\
                 link set nowhere up\n\
                 link set spare up";
    (*debuggee).ip(spare).unwrap();
    give_ipv6(&debuggee, "spare", "fe80::1:b");
    give_ipv6(&debuggee, "eth0", "fe80::b");
    let address = rdv.ip().into();
    let setting = Setting::of(place(&ide), place(&debuggee), place(&rdv), address);
    for (((technique, remote), peer), host) in meet(&setting)
        .into_iter()
        .zip(["fe80::b", "fe80::a"])
        .zip([&ide, &debuggee])
    {
        assert_eq!(technique.as_deref(), Some("lan"));
        let Some(SocketAddr::V6(remote)) = remote else {
            panic!("{remote:?}");
        };
        assert_eq!(*remote.ip(), peer.parse::<Ipv6Addr>().unwrap());
        assert_eq!(remote.scope_id(), index_of(host, "eth0"));
    }
}

#[test]
fn two_peers_on_one_host_meet_on_it() {
    let Some(lab) = Lab::new_or_skip("one-host") else {
        return;
    };
    let net = lab.internet().unwrap().with_delay(DELAY);
    let rdv = net.host("rdv").unwrap();
    let home = net.nat("home", NatKind::SYMMETRIC_RANDOM).unwrap();
    let host = home.host("host").unwrap();
    let address = rdv.ip().into();
    let setting = Setting::of(place(&host), place(&host), place(&rdv), address);
    let same = Some("same-host".to_owned());
    assert_eq!(technique(&setting), [same.clone(), same]);
}

#[test]
fn an_interface_that_vanishes_in_the_midst_of_a_search_ends_neither_session_nor_search() {
    let Some(lab) = Lab::new_or_skip("vanish") else {
        return;
    };
    let (hard, easy) = (NatKind::SYMMETRIC_RANDOM, NatKind::PORT_RESTRICTED);
    let lab = TwoNats::new(lab, hard, easy, DELAY).unwrap();
    let setting = setting(&lab);
    let listener = setting.listener().start();
    let connector = setting.connector_with(&listener.code()).start();
    eventually("a search has begun", || {
        setting
            .transcript
            .text()
            .contains("SearchBegan")
            .then_some(())
    });
    let link = lab.ide.link();
    lab.ide.detach(&link).unwrap();
    lab.ide.attach(lab.nat_a.lan()).unwrap();
    listener.path(PathKind::Direct);
    connector.path(PathKind::Direct);
}
