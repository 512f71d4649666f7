//! UPnP Internet Gateway Device: finding it (SSDP), and asking it for mappings (SOAP over HTTP).
//!
//! Anything on the LAN can answer the search. Only a device at a private address that names a description at that same
//! address is listened to, so that no answer makes this host send requests elsewhere.

mod http;
mod ssdp;
mod xml;

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

use self::http::Response;
use super::{Fault, InsidePort, Mapping, gateway::Gateway, is_public, is_well_known};

/// External ports that are tried before the gateway counts as full.
const PORTS: usize = 4;

/// Descriptions that are read before there is no gateway among those who answered.
const DEVICES: usize = 4;

/// Services of one device that are asked for their address: a DSL modem lists one for each circuit that it could have.
const CONNECTIONS: usize = 8;

/// How long something better is looked for than what has been found: less than anybody waits who has this asked.
const LOOKS: Duration = Duration::from_secs(3);

/// What a mapping is called in the gateway's list.
const DESCRIPTION: &str = "p2pdbg";

/// Taken for the lifetime of a mapping that the gateway only makes for ever.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// The services that map ports, the newest first.
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// An argument is not what it should be (UPnP Device Architecture 1.1, section 3.2.2).
const INVALID_ARGS: u32 = 402;
/// There is no such mapping (WANIPConnection, table of error codes).
const NO_SUCH_ENTRY: u32 = 714;
const CONFLICT: u32 = 718;
const PERMANENT_ONLY: u32 = 725;

/// Where and how to ask for mappings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MappingService {
    server: SocketAddrV4,
    path: String,
    service: &'static str,
    local: Ipv4Addr,
    /// Whether it has shown that it makes mappings for ever alone.
    for_ever_alone: bool,
}

/// A service that maps ports, and the external address that it has told.
type Found = (MappingService, Option<Ipv4Addr>);

/// Looks for a gateway that maps ports, and has a public address if any that is found has one: a router may list a
/// connection that is not in use before the one that is.
pub(super) async fn discover(gateway: Gateway) -> Result<Found, Fault> {
    let mut looking = Looking {
        local: gateway.local,
        best: Err(Fault::Silent),
        until: Instant::now() + LOOKS,
    };
    let mut search = ssdp::Search::begin(gateway).await?;
    for _ in 0..DEVICES {
        let Some(Some(location)) = looking.in_time(search.next()).await else {
            break;
        };
        looking.look_at(&location).await;
        if worth(&looking.best) == Worth::Public {
            break;
        }
    }
    looking.best
}

/// What has been found so far. Whoever waits for it gives up on all of it, so what has been found is not kept from him
/// for long by others that may never answer.
struct Looking {
    local: Ipv4Addr,
    best: Result<Found, Fault>,
    /// Until when something better is looked for.
    until: Instant,
}

impl Looking {
    /// What comes of `future`; none if that takes too long while there is something already.
    async fn in_time<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        match self.best {
            Ok(_) => timeout_at(self.until, future).await.ok(),
            Err(_) => Some(future.await),
        }
    }

    /// Looks at what the device described at `location` has to offer.
    async fn look_at(&mut self, location: &http::Url) {
        let services = match self.in_time(http::get(location)).await {
            Some(Ok(description)) => services_in(location, &description.body),
            Some(Err(fault)) => return self.add(Err(fault)),
            None => return,
        };
        if services.is_empty() {
            let fault = Fault::Useless("the device maps no ports".to_owned());
            return self.add(Err(fault));
        }
        for (service, path) in services {
            let service = MappingService {
                server: location.server,
                path,
                service,
                local: self.local,
                for_ever_alone: false,
            };
            let Some(external) = self.in_time(service.external_address()).await else {
                return;
            };
            self.add(external.map(|external| (service, external)));
            if worth(&self.best) == Worth::Public {
                return;
            }
        }
    }

    /// Keeps the one of more use, and of equals the one that came first; of two that are of none, why the other is.
    fn add(&mut self, other: Result<Found, Fault>) {
        if self.best.is_err() || worth(&other) > worth(&self.best) {
            self.best = other;
        }
    }
}

/// Of how much use something is that was found.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// It is none, or does not answer.
    None,
    /// A connection without an address: it is not up.
    Idle,
    /// With another NAT above it, which a person can be told.
    Inside,
    Public,
}

fn worth(found: &Result<Found, Fault>) -> Worth {
    match found {
        Err(_) => Worth::None,
        Ok((_, Some(ip))) if is_public(*ip) => Worth::Public,
        Ok((_, Some(ip))) if !ip.is_unspecified() => Worth::Inside,
        Ok(_) => Worth::Idle,
    }
}

/// The services in a description that map ports, the newest kind first, each with the path of its control URL; those
/// that lead to another server are left out.
fn services_in(location: &http::Url, description: &str) -> Vec<(&'static str, String)> {
    let ranked = xml::elements(description, "service").filter_map(|element| {
        let kind = xml::text(element, "serviceType")?;
        let rank = SERVICES.iter().position(|service| *service == kind)?;
        let url = xml::unescape(xml::text(element, "controlURL")?);
        Some((rank, http::path_at(location, &url)?))
    });
    let mut ranked: Vec<_> = ranked.collect();
    // In the description's order where they are alike.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.truncate(CONNECTIONS);
    let named = ranked
        .into_iter()
        .map(|(rank, path)| (SERVICES[rank], path));
    named.collect()
}

/// Reads a datagram as an answer to a search; for the fuzz target alone.
pub(super) fn read_answer(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = ssdp::read(text);
    }
}

/// Reads what came on a connection as a device's description; for the fuzz target alone.
pub(super) fn read_document(bytes: &[u8]) {
    let location = http::Url::parse("http://192.0.2.1/root.xml");
    if let (Some(location), Some(response)) = (location, http::parse(bytes)) {
        let services = services_in(&location, &response.body);
        assert!(services.len() <= CONNECTIONS);
        for (_, path) in services {
            assert!(path.starts_with('/') && !path.contains(['\r', '\n', ' ']));
        }
    }
}

impl MappingService {
    /// The external address; none while the gateway has none.
    pub(super) async fn external_address(&self) -> Result<Option<Ipv4Addr>, Fault> {
        let response = self.call("GetExternalIPAddress", &[]).await?;
        let text = xml::text(&response.body, "NewExternalIPAddress");
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Makes a mapping to `port` of this host, at the external port `wanted` or another. `tried` is the external port
    /// that is to be removed, whatever becomes of this.
    pub(super) async fn map(
        &mut self,
        port: InsidePort,
        wanted: u16,
        lifetime: Duration,
        tried: &mut u16,
    ) -> Result<Mapping, Fault> {
        let ip = self
            .external_address()
            .await?
            .ok_or_else(|| Fault::Useless("it has no external address".to_owned()))?;
        let mut fault = Fault::Refused("others have the ports that were tried".to_owned());
        let mut external = wanted;
        for _ in 0..PORTS {
            match self.map_at(external, port, lifetime, tried).await {
                Ok(Some(lifetime)) => {
                    let external = SocketAddrV4::new(ip, external);
                    return Ok(Mapping { external, lifetime });
                }
                Ok(None) => {}
                Err(Fault::Silent) => return Err(Fault::Silent),
                Err(other) => fault = other,
            }
            external = another_port();
        }
        Err(fault)
    }

    /// Maps one external port; gives the lifetime, or `None` if the port is somebody else's.
    async fn map_at(
        &mut self,
        external: u16,
        port: InsidePort,
        lifetime: Duration,
        tried: &mut u16,
    ) -> Result<Option<Duration>, Fault> {
        let may_be_ours = match self.owner(external, port).await? {
            Owner::Us | Owner::Nobody => true,
            Owner::Another => false,
            // Some gateways tell no description. Who has made it here before may make it again.
            Owner::SameHost => *tried == external,
            Owner::Unknown => *tried == external || !is_well_known(external),
        };
        if !may_be_ours {
            return Ok(None);
        }
        *tried = external;
        let lifetime = match self.add_for(external, port, lifetime).await {
            Ok(lifetime) => lifetime,
            Err(Refusal::Code(CONFLICT)) => {
                *tried = 0;
                return Ok(None);
            }
            Err(refusal) => return Err(refusal.into()),
        };
        // Some say yes and leave the port to whoever had it.
        if self.owner(external, port).await? == Owner::Another {
            *tried = 0;
            return Ok(None);
        }
        Ok(Some(lifetime))
    }

    /// Adds a mapping for that time, or for ever at a gateway that makes no others; gives the lifetime.
    async fn add_for(
        &mut self,
        external: u16,
        port: InsidePort,
        lifetime: Duration,
    ) -> Result<Duration, Refusal> {
        if !self.for_ever_alone {
            match self.add(external, port, lifetime).await {
                // Some say so, and some that the lease is no argument.
                Err(Refusal::Code(PERMANENT_ONLY | INVALID_ARGS)) => {}
                added => return added.map(|()| lifetime),
            }
        }
        self.add(external, port, Duration::ZERO).await?;
        self.for_ever_alone = true;
        Ok(FOR_EVER)
    }

    async fn add(
        &self,
        external: u16,
        port: InsidePort,
        lifetime: Duration,
    ) -> Result<(), Refusal> {
        let arguments = [
            ("NewRemoteHost", String::new()),
            ("NewExternalPort", external.to_string()),
            ("NewProtocol", port.protocol().to_owned()),
            ("NewInternalPort", port.number().to_string()),
            ("NewInternalClient", self.local.to_string()),
            ("NewEnabled", "1".to_owned()),
            ("NewPortMappingDescription", DESCRIPTION.to_owned()),
            ("NewLeaseDuration", lifetime.as_secs().to_string()),
        ];
        self.ask("AddPortMapping", &arguments).await.map(|_| ())
    }

    /// Whose an external port is.
    async fn owner(&self, external: u16, port: InsidePort) -> Result<Owner, Fault> {
        let entry = match self
            .ask("GetSpecificPortMappingEntry", &entry(external, port))
            .await
        {
            Ok(response) => response.body,
            Err(Refusal::Code(NO_SUCH_ENTRY)) => return Ok(Owner::Nobody),
            // Not every gateway has this question; adding will tell.
            Err(Refusal::Code(_)) => return Ok(Owner::Unknown),
            Err(Refusal::Fault(fault)) => return Err(fault),
        };
        let client = xml::text(&entry, "NewInternalClient");
        let client = client.and_then(|text| text.parse::<Ipv4Addr>().ok());
        let inside = xml::text(&entry, "NewInternalPort");
        let inside = inside.and_then(|text| text.parse::<u16>().ok());
        Ok(match (client, inside) {
            (Some(client), Some(inside)) if (client, inside) == (self.local, port.number()) => {
                match xml::text(&entry, "NewPortMappingDescription") {
                    Some(DESCRIPTION) => Owner::Us,
                    _ => Owner::SameHost,
                }
            }
            (Some(_), Some(_)) => Owner::Another,
            _ => Owner::Unknown,
        })
    }

    /// Removes a mapping.
    pub(super) async fn unmap(&self, external: u16, port: InsidePort) -> Result<(), Fault> {
        self.call("DeletePortMapping", &entry(external, port))
            .await?;
        Ok(())
    }

    async fn call(&self, action: &str, arguments: &[(&str, String)]) -> Result<Response, Fault> {
        Ok(self.ask(action, arguments).await?)
    }

    async fn ask(&self, action: &str, arguments: &[(&str, String)]) -> Result<Response, Refusal> {
        let service = self.service;
        let arguments: String = arguments
            .iter()
            .map(|(name, value)| format!("<{name}>{value}</{name}>"))
            .collect();
        let body = format!(
            "<?xml version=\"1.0\"?>\r\n\
             <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
             <u:{action} xmlns:u=\"{service}\">{arguments}</u:{action}></s:Body></s:Envelope>\r\n"
        );
        let soap_action = format!("\"{service}#{action}\"");
        let response = http::post(self.server, &self.path, &soap_action, &body).await?;
        if response.status == 200 {
            return Ok(response);
        }
        let code = xml::text(&response.body, "errorCode").and_then(|text| text.parse().ok());
        Err(match code {
            Some(code) => Refusal::Code(code),
            None => Fault::Refused(format!("HTTP status {}", response.status)).into(),
        })
    }
}

/// How a mapping is named.
fn entry(external: u16, port: InsidePort) -> [(&'static str, String); 3] {
    [
        ("NewRemoteHost", String::new()),
        ("NewExternalPort", external.to_string()),
        ("NewProtocol", port.protocol().to_owned()),
    ]
}

/// A random one of the dynamic ports (RFC 6335 section 6).
fn another_port() -> u16 {
    let [a, b] = p2pdbg_proto::secret::random_bytes();
    0xc000 | u16::from_be_bytes([a, b])
}

#[derive(Debug, PartialEq, Eq)]
enum Owner {
    Us,
    /// It leads to our port, and is not called what ours are: the user may have made it for another program.
    SameHost,
    Nobody,
    Another,
    Unknown,
}

enum Refusal {
    /// UPnP's error code: 718, say, for a port that is taken.
    Code(u32),
    Fault(Fault),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Fault(fault) => fault,
            Refusal::Code(code) => Self::Refused(match code {
                606 => "not authorized".to_owned(),
                728 => "it has no room for more mappings".to_owned(),
                501 => "action failed".to_owned(),
                code => format!("UPnP error {code}"),
            }),
        }
    }
}
