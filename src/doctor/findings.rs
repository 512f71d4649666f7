//! What was found out, as values: the one serializer writes them for programs (docs/JSON.md), the one renderer for
//! people ([`super::screen`]). Fields are added, never renamed or removed.

use std::net::{IpAddr, SocketAddr};

use p2pdbg_base::Failure;
use p2pdbg_nat::{Class, Filtering, Mapping, Ports};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{debuggers::DebugPort, outlook::Outlook};

/// All that was found out; `--json` prints it as it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Findings {
    /// The version of this program.
    pub version: &'static str,
    /// Whether nothing is wrong that would keep a session from being set up.
    pub ok: bool,
    /// What is wrong with the rendezvous; none if it is well, or none is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The rendezvous, if one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rendezvous: Option<Rendezvous>,
    /// Whether UDP gets out and answers come back; none if nobody could be asked, or nobody answers over TCP either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<bool>,
    /// What is in front of this host towards IPv4; none if nobody could be asked, or nobody answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat: Option<Nat>,
    /// How servers see a TCP port of this host over IPv4; none if nobody answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_tcp: Option<DirectTcp>,
    /// How long the NAT keeps an idle mapping; none unless `--deep` measured it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Lifetime>,
    /// What IPv6 there is.
    pub ipv6: Ipv6,
    /// The largest IP packet that reaches the rendezvous; none if that was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<PathMtu>,
    /// By which protocols the gateway maps ports.
    pub gateway: Gateway,
    /// The proxy of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// What kind of network this is to a peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Class>,
    /// With whom this host goes direct; empty if its kind is not known.
    pub forecast: Vec<Forecast>,
    /// What would help, a sentence each.
    pub help: Vec<String>,
    /// The debug ports that were looked at.
    pub debug_ports: Vec<DebugPort>,
    /// What somebody should see to.
    pub warnings: Vec<String>,
}

/// The rendezvous as it is reached from here.
#[derive(Debug, Clone, Serialize)]
pub struct Rendezvous {
    /// Host and port of the URL.
    pub authority: String,
    /// All hosts that the URL names, where there are several: this is about the first that answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<OneHost>,
    /// Its addresses, as they were looked up.
    pub addresses: Vec<SocketAddr>,
    /// Whether STUN is answered over UDP, over either IP protocol.
    pub udp: Probe,
    /// Whether it completes a TLS handshake over TCP.
    pub tcp: Probe,
    /// Where it does not, whether it does inside a WebSocket, at port 443 or its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<Probe>,
    /// Whether it lets this host in.
    pub control: ControlConnection,
    /// How many addresses of one IP protocol it answers STUN at: with two, NATs are told apart exactly.
    pub stun_addresses: usize,
    /// Where it should answer STUN over IPv4 and does not, although it does elsewhere: a port that its firewall drops.
    pub silent: Vec<SocketAddr>,
    /// The private address at which it sees this host, although it is itself on the internet: something in front of it
    /// rewrites sources, so that what it sees is worthless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poor_view: Option<IpAddr>,
}

impl Rendezvous {
    /// Whether it answers over TCP, be it inside a WebSocket alone.
    pub(crate) fn answers_over_tcp(&self) -> bool {
        self.tcp.answers || self.answers_by_web_alone()
    }

    /// Whether what it answers over TCP is a WebSocket alone.
    pub(crate) fn answers_by_web_alone(&self) -> bool {
        self.web.as_ref().is_some_and(|web| web.answers)
    }
}

/// One of the hosts that the URL names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OneHost {
    /// Host and port, as the URL has them.
    pub authority: String,
    /// Whether it answers STUN over UDP.
    pub udp: Probe,
    /// Whether it answers over TCP; asked where none of the hosts answers over UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Probe>,
}

/// Whether something answered when it was asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// Whether it answered at all.
    pub answers: bool,
    /// The shortest round trip in milliseconds; none without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Why not, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What came of the control connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlConnection {
    /// The access key is good: this host may register.
    Welcome,
    /// This host may join by code; the URL has no access key.
    WelcomeWithoutKey,
    /// The rendezvous refused this host.
    Refused,
    /// It speaks another version, or is no rendezvous.
    Version,
    /// It has another certificate than the URL pins.
    Identity,
    /// It could not be reached.
    Unreachable,
}

/// What is in front of this host towards IPv4.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Nat {
    /// The address that this host sends from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<IpAddr>,
    /// The addresses that servers saw.
    pub external: Vec<IpAddr>,
    /// The address and port that the first server saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapped: Option<SocketAddr>,
    /// What an external port depends on (RFC 4787 section 4.1).
    #[serde(serialize_with = "or_unknown")]
    pub mapping: Option<Mapping>,
    /// Whether that is certain: not so if the servers have one address only.
    pub mapping_certain: bool,
    /// Who gets in (RFC 4787 section 5).
    #[serde(serialize_with = "or_unknown")]
    pub filtering: Option<Filtering>,
    /// Whether the filtering is certain, too.
    pub filtering_certain: bool,
    /// How external ports are chosen; none where nothing is translated.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "ports_as_json"
    )]
    pub ports: Option<Ports>,
    /// Whether two hosts behind the NAT reach each other by their external addresses; none where nothing is
    /// translated, or nothing could be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hairpin: Option<bool>,
    /// The row of the forecast; none if the servers are on this host or in its own network, which says nothing of what
    /// lies between it and the peers.
    #[serde(skip)]
    pub kind: Option<Class>,
}

/// What a direct path by TCP would have to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DirectTcp {
    /// The address and port that a server saw.
    pub mapped: SocketAddr,
    /// What the port depends on, as far as more than one server was there to ask.
    #[serde(serialize_with = "or_unknown")]
    pub mapping: Option<Mapping>,
}

/// A behaviour that may not have shown itself, in one word.
fn or_unknown<T: Serialize, S: Serializer>(
    seen: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match seen {
        Some(seen) => seen.serialize(serializer),
        None => serializer.serialize_str("unknown"),
    }
}

/// How ports are chosen: the word beside the figures, where the engine's own form nests them.
fn ports_as_json<S: Serializer>(ports: &Option<Ports>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    let word = match ports {
        Some(Ports::Preserved) => "preserved",
        Some(Ports::Sequential { .. }) => "sequential",
        Some(Ports::Block { .. }) => "block",
        Some(Ports::Random) => "random",
        Some(Ports::Unknown) | None => "unknown",
    };
    map.serialize_entry("allocation", word)?;
    match ports {
        Some(Ports::Sequential {
            stride,
            foreign_per_kilosecond,
        }) => {
            map.serialize_entry("stride", stride)?;
            let per_second = f64::from(*foreign_per_kilosecond) / 1e3;
            map.serialize_entry("foreign_per_second", &per_second)?;
        }
        Some(Ports::Block { first, last }) => {
            map.serialize_entry("first", first)?;
            map.serialize_entry("last", last)?;
        }
        _ => {}
    }
    map.end()
}

/// How long the NAT keeps an idle mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lifetime {
    /// It was still there after so many seconds.
    pub at_least_s: u64,
    /// It was gone after so many; none if it outlived the measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub less_than_s: Option<u64>,
}

/// IPv6 as this host has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ipv6 {
    /// Whether an interface has a global address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Whether the rendezvous answered over it; none if it has no such address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<bool>,
    /// Whether the address that it saw is this host's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untranslated: Option<bool>,
    /// Whether IPv4 is reached over it, through a NAT64: this host has no IPv4 of its own.
    pub nat64: bool,
}

/// The largest packet that reaches the rendezvous unfragmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PathMtu {
    /// In bytes, with the IP header. At least 1,228 are needed over IPv4 for a direct path and the relay over UDP.
    pub bytes: usize,
}

/// What the default gateway speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gateway {
    /// The gateway's address; none if there is no default route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The protocols that were asked.
    pub protocols: Vec<GatewayProtocol>,
}

/// One protocol by which ports are mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayProtocol {
    /// The protocol: `PCP`, `NAT-PMP` or `UPnP`.
    pub name: String,
    /// Whether the gateway speaks it.
    pub speaks: bool,
    /// The external address that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<IpAddr>,
    /// What it said if it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What the environment names as a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proxy {
    /// Host and port, without the password; none if it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What to expect of one kind of peer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Forecast {
    /// The kind of network that the peer is in.
    pub peer: Class,
    /// How the two get along.
    #[serde(flatten)]
    pub outlook: Outlook,
}
