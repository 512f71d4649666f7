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

use self::http::Response;
use super::{Fault, InsidePort, Mapping, gateway::Gateway};

/// External ports that are tried before the gateway counts as full.
const PORTS: usize = 4;

/// Descriptions that are read before there is no gateway among those who answered.
const DEVICES: usize = 4;

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

/// There is no such mapping (WANIPConnection, table of error codes).
const NO_SUCH_ENTRY: u32 = 714;
const CONFLICT: u32 = 718;
const PERMANENT_ONLY: u32 = 725;

/// Where and how to ask for mappings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Control {
    server: SocketAddrV4,
    path: String,
    service: &'static str,
    local: Ipv4Addr,
}

/// Looks for a gateway that maps ports.
pub(super) async fn discover(gateway: Gateway) -> Result<Control, Fault> {
    let mut search = ssdp::Search::begin(gateway).await?;
    let mut fault = Fault::Silent;
    for _ in 0..DEVICES {
        let Some(location) = search.next().await else {
            break;
        };
        match describe(gateway.local, &location).await {
            Ok(control) => return Ok(control),
            Err(unfit) => fault = unfit,
        }
    }
    Err(fault)
}

/// Reads the description at `location`.
async fn describe(local: Ipv4Addr, location: &http::Url) -> Result<Control, Fault> {
    let description = http::get(location).await?;
    let useless = || Fault::Useless("the device maps no ports".to_owned());
    let (service, path) = service_in(location, &description.body).ok_or_else(useless)?;
    Ok(Control {
        server: location.server,
        path,
        service,
        local,
    })
}

/// The newest service in a description that maps ports, and the path of its control URL, if that is on the same server.
fn service_in(location: &http::Url, description: &str) -> Option<(&'static str, String)> {
    let services = xml::elements(description, "service");
    let (rank, url) = services
        .filter_map(|element| {
            let kind = xml::text(element, "serviceType")?;
            let rank = SERVICES.iter().position(|service| *service == kind)?;
            Some((rank, xml::text(element, "controlURL")?))
        })
        .min_by_key(|(rank, _)| *rank)?;
    let path = http::path_at(location, &xml::unescape(url))?;
    Some((SERVICES[rank], path))
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
    if let (Some(location), Some(response)) = (location, http::parse(bytes))
        && let Some((_, path)) = service_in(&location, &response.body)
    {
        assert!(path.starts_with('/') && !path.contains(['\r', '\n', ' ']));
    }
}

impl Control {
    /// The external address; none while the gateway has none.
    pub(super) async fn external_address(&self) -> Result<Option<Ipv4Addr>, Fault> {
        let response = self.call("GetExternalIPAddress", &[]).await?;
        let text = xml::text(&response.body, "NewExternalIPAddress");
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Makes a mapping to `port` of this host, at the external port `wanted` or another. `tried` is the external port
    /// that is to be removed, whatever becomes of this.
    pub(super) async fn map(
        &self,
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
        &self,
        external: u16,
        port: InsidePort,
        lifetime: Duration,
        tried: &mut u16,
    ) -> Result<Option<Duration>, Fault> {
        if self.owner(external, port).await? == Owner::Another {
            return Ok(None);
        }
        *tried = external;
        let added = match self.add(external, port, lifetime).await {
            Err(Refusal::Code(PERMANENT_ONLY)) => self
                .add(external, port, Duration::ZERO)
                .await
                .map(|()| FOR_EVER),
            added => added.map(|()| lifetime),
        };
        let lifetime = match added {
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
                Owner::Us
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
