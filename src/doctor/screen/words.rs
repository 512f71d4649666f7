//! Single findings in words.

use p2pdbg_nat::{Filtering, Mapping, Ports};

use super::{
    super::{
        findings::{ControlConnection, DirectTcp, Nat, Proxy, Rendezvous},
        outlook::Outlook,
    },
    layout::Tone,
};

pub(super) fn access(rendezvous: &Rendezvous) -> (Tone, &'static str) {
    match rendezvous.control {
        ControlConnection::Welcome => (Tone::Good, "welcome, with the access key"),
        ControlConnection::WelcomeWithoutKey => (
            Tone::Good,
            "welcome, to join by code (no access key is given)",
        ),
        ControlConnection::Refused => (Tone::Bad, "refused"),
        ControlConnection::Version => (Tone::Bad, "what answers is no rendezvous of this version"),
        ControlConnection::Identity => (
            Tone::Bad,
            "its certificate is not the one that was expected",
        ),
        ControlConnection::Unreachable => (Tone::Bad, "not reached"),
    }
}

pub(super) fn mapping(nat: &Nat) -> String {
    let words = match (nat.mapping, nat.mapping_certain) {
        (Some(Mapping::Untranslated), _) => "the address outside is this host's own",
        (Some(Mapping::EndpointIndependent), true) => "one outside port for all destinations",
        (Some(Mapping::EndpointIndependent), false) => {
            "one outside port for all ports of one server; for other addresses it cannot be told"
        }
        (Some(Mapping::AddressDependent), true) => "another outside port for every address",
        (Some(Mapping::AddressDependent), false) => {
            "another outside port for every address, or port"
        }
        (Some(Mapping::AddressAndPortDependent), _) => {
            "another outside port for every destination (\"symmetric\")"
        }
        (None, _) => "fewer than two servers answered",
    };
    format!("{}: {words}", nat.mapping.map_or("unknown", Mapping::word))
}

pub(super) fn filtering(nat: &Nat) -> String {
    let words = match (nat.filtering, nat.filtering_certain) {
        (Some(Filtering::EndpointIndependent), _) => "lets everybody in who knows the port",
        (Some(Filtering::AddressDependent), true) => "lets in addresses that were sent to",
        (Some(Filtering::AddressDependent), false) => {
            "lets in addresses that were sent to, at least; the rest cannot be told"
        }
        (Some(Filtering::AddressAndPortDependent), _) => "lets in only answers",
        (None, _) => "the server cannot answer from elsewhere",
    };
    format!(
        "{}: {words}",
        nat.filtering.map_or("unknown", Filtering::word)
    )
}

pub(super) fn allocation(ports: Ports) -> String {
    match ports {
        Ports::Preserved => "preserved: the same outside as inside".to_owned(),
        Ports::Sequential {
            stride,
            foreign_per_kilosecond,
        } => {
            let foreign_per_second = f64::from(foreign_per_kilosecond) / 1e3;
            let others = match foreign_per_second >= 0.5 {
                true => format!(", {foreign_per_second:.0} a second taken by others"),
                false => String::new(),
            };
            format!("sequential: counted by {stride}{others}")
        }
        Ports::Block { first, last } => {
            format!("out of a block: about {first} to {last}")
        }
        Ports::Random => "random".to_owned(),
        Ports::Unknown => "too little was seen".to_owned(),
    }
}

/// Whether a direct path by TCP may be had, without UDP.
pub(super) fn direct_tcp(tcp: &DirectTcp) -> &'static str {
    match tcp.mapping {
        Some(Mapping::Untranslated) => {
            "no NAT: peers connect to this host, unless a firewall forbids it"
        }
        Some(Mapping::EndpointIndependent) => {
            "one outside port for all destinations: direct paths without UDP may work"
        }
        Some(_) => {
            "another outside port for each destination: without UDP, direct to a peer that can be connected to alone"
        }
        None => {
            "direct paths without UDP may work, if its outside port is the same for all destinations (one server \
             asked, so not told)"
        }
    }
}

pub(super) fn proxy_in_words(proxy: &Proxy) -> String {
    match (&proxy.address, &proxy.why) {
        (Some(address), _) => format!("{address}; TCP goes through it"),
        (None, why) => why.clone().unwrap_or_default(),
    }
}

pub(super) fn in_short(outlook: Outlook) -> String {
    match outlook {
        Outlook::Direct { seconds, technique } => {
            format!("direct in {seconds:.1} s ({})", technique.name())
        }
        Outlook::Sometimes {
            percent,
            percent_in_an_hour,
            ..
        } => format!("direct: {percent} % at once, {percent_in_an_hour} % in 1 h"),
        Outlook::Relayed => "through the relay".to_owned(),
    }
}
