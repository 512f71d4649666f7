//! The rendezvous' URL: `p2pdbg://ACCESSKEY@HOST:PORT,HOST:PORT#FINGERPRINT`.
//!
//! One text carries all that a peer needs: where the rendezvous is, the key that it asks of those who
//! register, and the fingerprint that pins its certificate, or that of the authority that signs the certificates of
//! several hosts. Only one host is obligatory.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::{fingerprint::Fingerprint, secret::Secret};

/// The port on which a rendezvous serves unless told otherwise: STUN's (RFC 8489 section 18.6).
pub const DEFAULT_PORT: u16 = 3478;

/// The second port on which a rendezvous answers STUN unless told otherwise.
pub const DEFAULT_ALT_PORT: u16 = 3479;

/// How a URL begins. Capital letters do not count.
const SCHEME: &str = "p2pdbg://";

/// What stands around a URL in a message or a line of a shell, and is none of it.
fn around(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '"' | '\'' | '`' | '\u{2018}'..='\u{201f}' | '<' | '>' | '(' | ')' | '.' | ';'
        )
}

/// What a peer must know to register at a rendezvous that is not `--open`.
pub type AccessKey = Secret<16>;

/// The most hosts that a URL names.
pub const MOST_HOSTS: usize = 8;

/// A host on which a rendezvous serves, and the port. Its text is `HOST:PORT`, with brackets around an IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostAt {
    /// A name or an address; an IPv6 address stands without brackets here.
    pub host: String,
    /// The port, of UDP and TCP.
    pub port: u16,
}

impl fmt::Display for HostAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.parse::<Ipv6Addr>() {
            Ok(v6) => write!(f, "[{v6}]:{port}"),
            Err(_) => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for HostAt {
    type Err = NotARendezvousUrl;

    fn from_str(text: &str) -> Result<Self, NotARendezvousUrl> {
        let (host, port) = parse_authority(text)?;
        Ok(Self { host, port })
    }
}

impl TryFrom<String> for HostAt {
    type Error = NotARendezvousUrl;

    fn try_from(text: String) -> Result<Self, NotARendezvousUrl> {
        text.parse()
    }
}

impl From<HostAt> for String {
    fn from(at: HostAt) -> Self {
        at.to_string()
    }
}

/// Where a rendezvous is and how it is recognised. `Display` shows it whole, key and all.
#[derive(Clone, PartialEq, Eq)]
pub struct RendezvousUrl {
    /// The key to register with; none at an open rendezvous, or for a peer that only joins.
    pub access_key: Option<AccessKey>,
    /// A name or an address; an IPv6 address stands without brackets here.
    pub host: String,
    /// The UDP port (and TCP port) of the rendezvous protocol, the relay and STUN.
    pub port: u16,
    /// Further hosts that serve the same; [`MOST_HOSTS`] with the first at the most.
    pub further: Vec<HostAt>,
    /// The pinned certificate, or that of the authority which has signed it; without it the certificate must chain to a
    /// root the system trusts.
    pub fingerprint: Option<Fingerprint>,
}

impl RendezvousUrl {
    /// The same rendezvous without the access key: what may be shown to the peer.
    pub fn without_key(&self) -> Self {
        Self {
            access_key: None,
            ..self.clone()
        }
    }

    /// `HOST:PORT` of the first host, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        self.first().to_string()
    }

    /// All hosts that it names, in its order.
    pub fn hosts(&self) -> Vec<HostAt> {
        std::iter::once(self.first())
            .chain(self.further.iter().cloned())
            .collect()
    }

    /// The same rendezvous at this host of it alone.
    pub fn at(&self, at: &HostAt) -> Self {
        Self {
            access_key: self.access_key.clone(),
            host: at.host.clone(),
            port: at.port,
            further: Vec::new(),
            fingerprint: self.fingerprint,
        }
    }

    fn first(&self) -> HostAt {
        HostAt {
            host: self.host.clone(),
            port: self.port,
        }
    }
}

impl fmt::Display for RendezvousUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("p2pdbg://")?;
        if let Some(key) = &self.access_key {
            write!(f, "{}@", BASE64URL_NOPAD.encode(key.expose()))?;
        }
        f.write_str(&self.authority())?;
        for further in &self.further {
            write!(f, ",{further}")?;
        }
        if let Some(fingerprint) = &self.fingerprint {
            write!(f, "#{fingerprint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RendezvousUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.access_key.as_ref().map_or("", |_| "<key>@");
        write!(f, "p2pdbg://{key}{}", self.authority())
    }
}

/// Why a text is not a rendezvous' URL. The messages never repeat the access key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotARendezvousUrl {
    /// It does not begin with `p2pdbg://`.
    #[error("a rendezvous URL begins with p2pdbg://")]
    Scheme,
    /// There is a blank or the end of a line in it, as a message has it that was broken into lines.
    #[error("there is a blank in the rendezvous URL")]
    Blank,
    /// It is the example of the documents.
    #[error(
        "that is the rendezvous URL of the documents, with HOST, FINGERPRINT and ACCESSKEY for what yours has"
    )]
    Example,
    /// There is no host, or it has characters that no host name has.
    #[error("the host in the rendezvous URL is missing or malformed")]
    Host,
    /// It names more hosts than [`MOST_HOSTS`], or one twice.
    #[error(
        "a rendezvous URL names {MOST_HOSTS} hosts at the most, with commas between, and none twice"
    )]
    Hosts,
    /// The host is an IPv6 address without brackets, so that nobody can tell where it ends and the port begins.
    #[error("an IPv6 address stands in brackets in a URL: {0}")]
    Brackets(String),
    /// The port is not a number from 1 to 65535.
    #[error("the port in the rendezvous URL is not a number from 1 to 65535")]
    Port,
    /// The access key is not 22 characters of base64url.
    #[error(
        "the access key in the rendezvous URL is damaged: it has 22 characters of A-Z, a-z, 0-9, - and _"
    )]
    AccessKey,
    /// The fingerprint is not 43 characters of base64url.
    #[error(
        "the fingerprint in the rendezvous URL is damaged: after # stand 43 characters of A-Z, a-z, 0-9, - and _"
    )]
    Fingerprint,
}

impl FromStr for RendezvousUrl {
    type Err = NotARendezvousUrl;

    /// Reads a URL as people paste it: in the quotes of a shell or of a message, with a full stop behind it, or with
    /// what sets the variable before it.
    fn from_str(text: &str) -> Result<Self, NotARendezvousUrl> {
        let scheme = |text: &str| text.get(..SCHEME.len()).map(str::to_ascii_lowercase);
        let text = text.trim();
        let text = text.strip_prefix("export ").unwrap_or(text).trim_start();
        let text = text.strip_prefix("P2PDBG_RENDEZVOUS=").unwrap_or(text);
        let text = text.trim_matches(around);
        if scheme(text).as_deref() != Some(SCHEME) {
            return Err(NotARendezvousUrl::Scheme);
        }
        let rest = &text[SCHEME.len()..];
        if rest.contains(char::is_whitespace) {
            return Err(NotARendezvousUrl::Blank);
        }
        if rest.contains("FINGERPRINT") || rest.contains("ACCESSKEY@") {
            return Err(NotARendezvousUrl::Example);
        }
        let (rest, fingerprint) = match rest.split_once('#') {
            Some((rest, text)) => {
                let pinned = text.parse().map_err(|_| NotARendezvousUrl::Fingerprint)?;
                (rest, Some(pinned))
            }
            None => (rest, None),
        };
        let (access_key, authority) = match rest.rsplit_once('@') {
            Some((key, authority)) => (Some(parse_access_key(key)?), authority),
            None => (None, rest),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let mut hosts = Vec::new();
        for text in authority.split(',') {
            let at: HostAt = text.parse()?;
            if hosts.len() == MOST_HOSTS || hosts.contains(&at) {
                return Err(NotARendezvousUrl::Hosts);
            }
            hosts.push(at);
        }
        let HostAt { host, port } = hosts.remove(0);
        Ok(Self {
            access_key,
            host,
            port,
            further: hosts,
            fingerprint,
        })
    }
}

fn parse_access_key(text: &str) -> Result<AccessKey, NotARendezvousUrl> {
    let bytes = BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| NotARendezvousUrl::AccessKey)?;
    let bytes = bytes.try_into().map_err(|_| NotARendezvousUrl::AccessKey)?;
    Ok(AccessKey::from_bytes(bytes))
}

fn parse_authority(authority: &str) -> Result<(String, u16), NotARendezvousUrl> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or(NotARendezvousUrl::Host)?;
        let host: Ipv6Addr = host.parse().map_err(|_| NotARendezvousUrl::Host)?;
        let port = match rest {
            "" => DEFAULT_PORT,
            _ => parse_port(rest.strip_prefix(':').ok_or(NotARendezvousUrl::Port)?)?,
        };
        return Ok((host.to_string(), port));
    }
    if let Some(meant) = with_brackets(authority) {
        return Err(NotARendezvousUrl::Brackets(meant));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (authority, DEFAULT_PORT),
    };
    let plausible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || host.len() > 253 || !host.chars().all(plausible) {
        return Err(NotARendezvousUrl::Host);
    }
    Ok((host.to_owned(), port))
}

/// What somebody meant who wrote an IPv6 address as if it were a name: the end of it may be the port.
fn with_brackets(authority: &str) -> Option<String> {
    let bare = |text: &str| {
        let text = text.split('%').next().unwrap_or_default();
        text.parse::<Ipv6Addr>().ok()
    };
    let whole = bare(authority).map(|address| format!("p2pdbg://[{address}]"));
    let with_port = authority.rsplit_once(':').and_then(|(host, port)| {
        let port = parse_port(port).ok()?;
        // What is short may as well be a group of the address.
        let address = bare(host).filter(|_| whole.is_none() || port >= 1000)?;
        Some(format!("p2pdbg://[{address}]:{port}"))
    });
    match (with_port, whole) {
        (Some(one), Some(other)) => Some(format!("{one}, or {other}")),
        (one, other) => one.or(other),
    }
}

fn parse_port(text: &str) -> Result<u16, NotARendezvousUrl> {
    match text.parse() {
        Ok(0) | Err(_) => Err(NotARendezvousUrl::Port),
        Ok(port) => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> RendezvousUrl {
        RendezvousUrl {
            access_key: Some(AccessKey::random()),
            host: "rdv.example.org".into(),
            port: 4000,
            further: Vec::new(),
            fingerprint: Some(Fingerprint::of_certificate(b"certificate")),
        }
    }

    #[test]
    fn a_url_reads_back_as_it_was_written() {
        let url = full();
        assert_eq!(url.to_string().parse(), Ok(url.clone()));
        let v6 = RendezvousUrl {
            host: "2001:db8::1".into(),
            ..url.without_key()
        };
        assert_eq!(v6.authority(), "[2001:db8::1]:4000");
        assert_eq!(v6.to_string().parse(), Ok(v6));
    }

    #[test]
    fn a_url_may_be_pasted_with_what_stands_around_it() {
        let url = full();
        for text in [
            format!("export P2PDBG_RENDEZVOUS='{url}'"),
            format!("P2PDBG_RENDEZVOUS={url}"),
            format!("\u{201c}{url}\u{201d}"),
            format!(" `{url}`.\n"),
            format!("<{url}>;"),
            url.to_string().replace("p2pdbg://", "P2PDBG://"),
        ] {
            assert_eq!(text.parse(), Ok(url.clone()), "{text}");
        }
    }

    #[test]
    fn only_the_host_is_obligatory() {
        let url: RendezvousUrl = "p2pdbg://192.0.2.7".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port), ("192.0.2.7", DEFAULT_PORT));
        assert_eq!((url.access_key, url.fingerprint), (None, None));
    }

    #[test]
    fn several_hosts_stand_with_commas_between_and_each_has_a_port_of_its_own() {
        let text = "p2pdbg://a.example,192.0.2.7:4000,[2001:db8::1]";
        let url: RendezvousUrl = text.parse().unwrap();
        let hosts: Vec<String> = url.hosts().iter().map(HostAt::to_string).collect();
        let expected = ["a.example:3478", "192.0.2.7:4000", "[2001:db8::1]:3478"];
        assert_eq!(hosts, expected);
        assert_eq!(url.to_string().parse(), Ok(url.clone()));
        let second = url.at(&url.further[0]);
        assert_eq!(second.to_string(), "p2pdbg://192.0.2.7:4000");
        let wrong = |text: &str| text.parse::<RendezvousUrl>().unwrap_err();
        assert_eq!(wrong("p2pdbg://a,"), NotARendezvousUrl::Host);
        assert_eq!(wrong("p2pdbg://a,b,a"), NotARendezvousUrl::Hosts);
        assert_eq!(
            wrong("p2pdbg://a,b,c,d,e,f,g,h,i"),
            NotARendezvousUrl::Hosts
        );
    }

    #[test]
    fn debug_shows_neither_key_nor_fingerprint() {
        let url = full();
        assert_eq!(format!("{url:?}"), "p2pdbg://<key>@rdv.example.org:4000");
    }

    #[test]
    fn what_is_not_a_url_says_which_part_is_wrong() {
        let wrong = |text: &str| text.parse::<RendezvousUrl>().unwrap_err();
        assert_eq!(wrong("https://a"), NotARendezvousUrl::Scheme);
        assert_eq!(wrong("p2pdbg://"), NotARendezvousUrl::Host);
        assert_eq!(wrong("p2pdbg://a b"), NotARendezvousUrl::Blank);
        assert_eq!(
            wrong("p2pdbg://HOST:3478#FINGERPRINT"),
            NotARendezvousUrl::Example
        );
        assert_eq!(wrong("p2pdbg://a:0"), NotARendezvousUrl::Port);
        assert_eq!(wrong("p2pdbg://a:http"), NotARendezvousUrl::Port);
        assert_eq!(wrong("p2pdbg://key@a"), NotARendezvousUrl::AccessKey);
        assert_eq!(wrong("p2pdbg://a#print"), NotARendezvousUrl::Fingerprint);
        assert_eq!(wrong("p2pdbg://[::1"), NotARendezvousUrl::Host);
    }

    #[test]
    fn an_ipv6_address_without_brackets_is_shown_with_them() {
        for (text, address) in [
            ("p2pdbg://2001:db8::1", "[2001:db8::1]"),
            ("p2pdbg://::1", "[::1]"),
            ("p2pdbg://fe80::1%eth0", "[fe80::1]"),
            ("p2pdbg://2001:db8::1:3478", "[2001:db8::1]:3478"),
            (
                "p2pdbg://2001:db8:1:2:3:4:5:6:40000",
                "[2001:db8:1:2:3:4:5:6]:40000",
            ),
        ] {
            let fault = text.parse::<RendezvousUrl>().unwrap_err().to_string();
            assert!(
                fault.contains(&format!("p2pdbg://{address}")),
                "{text}: {fault}"
            );
        }
    }
}
