//! The HTTP proxy through which this host may open TCP connections (CONNECT, RFC 9110 section 9.3.6), as the
//! environment names it.
//!
//! `HTTPS_PROXY` counts before `ALL_PROXY`, each in lower case before upper case, and `NO_PROXY` lists hosts that are
//! reached without; a rendezvous on this very host always is. User and password are for the proxy alone: no message and
//! no log repeats them.

use std::{fmt, net::IpAddr, time::Duration};

use data_encoding::BASE64;
use p2pdbg_proto::url::HostAt;
use p2pdbg_web::{HeadFault, read_head};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// How long the proxy may take to open the connection.
const PATIENCE: Duration = Duration::from_secs(8);

/// How every answer in HTTP/1 begins.
const HTTP: &[u8] = b"HTTP/";

/// Where a proxy listens whose URL names no port.
const DEFAULT_PORT: u16 = 80;

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    /// Its name or address; an IPv6 address without brackets.
    host: String,
    port: u16,
    /// The value of Proxy-Authorization: a secret, in no message and no log.
    authorization: Option<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.authorization.as_ref().map_or("", |_| "<secret>@");
        write!(f, "http://{who}{self}")
    }
}

/// `HOST:PORT`, without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What the environment names and this program cannot use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAProxy {
    /// It is of another protocol than HTTP, such as SOCKS.
    #[error("{0} names a proxy of a kind that is not supported; only http:// is")]
    Scheme(&'static str),
    /// No URL of a proxy at all.
    #[error("{0} is no URL of a proxy, such as http://proxy.example.org:3128")]
    Malformed(&'static str),
}

/// Why the proxy did not open the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// It wants to know who asks (407).
    #[error("it asks for a user and a password")]
    Unauthorized,
    /// It knows who asks, and does not accept it (407).
    #[error("it does not accept the user and the password")]
    WrongPassword,
    /// It takes no user and password: what it offers in their place is not spoken here.
    #[error(
        "it wants NTLM, Kerberos or another proof of who asks, which p2pdbg does not speak; run a local helper (cntlm, \
         px) and name that in HTTPS_PROXY"
    )]
    OtherProof,
    /// It does not open connections there (403, 405).
    #[error("it does not allow connections to {0}")]
    Forbidden(String),
    /// It cannot reach the rendezvous (500 to 504).
    #[error("it cannot reach {0}")]
    Unreachable(String),
    /// It answers with another status than those above.
    #[error("it answers with status {0}")]
    Status(u16),
    /// No HTTP, or a head without end.
    #[error("it does not answer as an HTTP proxy does")]
    NotHttp,
    /// It did not answer in time.
    #[error("it does not answer")]
    Silent,
    /// The connection to it broke.
    #[error("the connection to it was lost")]
    Lost,
}

impl Proxy {
    /// The proxy that this program's environment names for connections to that host and port.
    ///
    /// # Errors
    /// [`NotAProxy`].
    pub(super) fn from_environment(host: &str, port: u16) -> Result<Option<Self>, NotAProxy> {
        Self::choose(|name| std::env::var(name).ok(), host, port)
    }

    /// Where it is.
    pub(super) fn at(&self) -> HostAt {
        HostAt {
            host: self.host.clone(),
            port: self.port,
        }
    }

    fn choose(
        variable: impl Fn(&str) -> Option<String>,
        host: &str,
        port: u16,
    ) -> Result<Option<Self>, NotAProxy> {
        let set = |name: &&str| variable(name).filter(|value| !value.trim().is_empty());
        let ip = host.parse::<IpAddr>();
        if host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback()) {
            return Ok(None);
        }
        let exempt = ["no_proxy", "NO_PROXY"].iter().find_map(set);
        if exempt.is_some_and(|list| is_exempt(&list, host, port)) {
            return Ok(None);
        }
        let names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
        let found = names.iter().find_map(|name| Some((*name, set(name)?)));
        found
            .map(|(name, value)| Self::parse(name, value.trim()))
            .transpose()
    }

    pub(super) fn parse(name: &'static str, url: &str) -> Result<Self, NotAProxy> {
        let malformed = NotAProxy::Malformed(name);
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(NotAProxy::Scheme(name)),
            None => url,
        };
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (who, place) = match rest.rsplit_once('@') {
            Some((who, place)) => (Some(who), place),
            None => (None, rest),
        };
        let authorization = match who {
            Some(who) => {
                let (user, password) = who.split_once(':').unwrap_or((who, ""));
                let decode = |text| percent_decode(text).ok_or(malformed);
                let plain = [&decode(user)?[..], b":", &decode(password)?].concat();
                Some(format!("Basic {}", BASE64.encode(&plain)))
            }
            None => None,
        };
        let (host, port) = split_port(place).ok_or(malformed)?;
        let is_name =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(malformed);
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.unwrap_or(DEFAULT_PORT),
            authorization,
        })
    }

    /// Has the proxy open a connection to `authority` over this one.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) async fn open(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        authority: &str,
    ) -> Result<(), Refused> {
        self.open_within(PATIENCE, stream, authority).await
    }

    async fn open_within(
        &self,
        patience: Duration,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        authority: &str,
    ) -> Result<(), Refused> {
        let exchange = async {
            let request = self.request(authority);
            let written = stream.write_all(request.as_bytes()).await;
            written.map_err(|_| Refused::Lost)?;
            stream.flush().await.map_err(|_| Refused::Lost)?;
            let head = read_answer(stream).await?;
            match self.judge(status(&head).ok_or(Refused::NotHttp)?, authority) {
                Err(Refused::Unauthorized | Refused::WrongPassword) if !takes_password(&head) => {
                    Err(Refused::OtherProof)
                }
                judged => judged,
            }
        };
        timeout(patience, exchange)
            .await
            .unwrap_or(Err(Refused::Silent))
    }

    fn request(&self, authority: &str) -> String {
        let agent = concat!("p2pdbg/", env!("CARGO_PKG_VERSION"));
        let mut request =
            format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {agent}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        request
    }

    fn judge(&self, status: u16, authority: &str) -> Result<(), Refused> {
        let to = || authority.to_owned();
        Err(match status {
            200..=299 => return Ok(()),
            // Some say 401, which is not theirs to say, when a password is wrong.
            401 | 407 if self.authorization.is_some() => Refused::WrongPassword,
            401 | 407 => Refused::Unauthorized,
            403 | 405 => Refused::Forbidden(to()),
            500..=504 => Refused::Unreachable(to()),
            status => Refused::Status(status),
        })
    }
}

/// The head of what a proxy answers in the end: some send a page with a refusal, and its head is enough.
async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Refused> {
    loop {
        let head = match read_head(stream).await {
            Ok(head) => head,
            // Some close after a refusal without ending the head; its first line tells all the same.
            Err(HeadFault::Lost(head)) if head.contains(&b'\n') => head,
            Err(HeadFault::Lost(head)) if HTTP.starts_with(&head) || head.starts_with(HTTP) => {
                return Err(Refused::Lost);
            }
            Err(HeadFault::Lost(_) | HeadFault::NotHttp) => return Err(Refused::NotHttp),
        };
        // The answer is still to come (RFC 9110 section 15.2); 101 is one.
        if !matches!(status(&head), Some(100 | 102..=199)) {
            return Ok(head);
        }
    }
}

/// Whether a proxy that wants to know who asks takes a user and a password: unless it offers other schemes alone (RFC
/// 9110 section 11.7.1).
fn takes_password(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head);
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let offers = fields.filter(|(name, _)| name.trim().eq_ignore_ascii_case("proxy-authenticate"));
    // Several may stand in one field, and parameters have commas between them too.
    let mut offers = offers.flat_map(|(_, value)| value.split(',')).peekable();
    let is_basic = |offer: &str| {
        let scheme = offer.split_ascii_whitespace().next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"))
    };
    offers.peek().is_none() || offers.any(is_basic)
}

/// The status in the first line (RFC 9112 section 4).
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    let mut words = line.split_ascii_whitespace();
    words.next()?;
    let status = words.next()?;
    let digits = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| status.parse().ok()).flatten()
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?,
        None => match place.find(':') {
            Some(at) => place.split_at(at),
            None => (place, ""),
        },
    };
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port.parse().ok().filter(|port| *port != 0)?))),
        None => rest.is_empty().then_some((host, None)),
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        if first == b'%' {
            let (hex, behind) = behind.split_first_chunk::<2>()?;
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let value = digit(hex[0])? * 16 + digit(hex[1])?;
            bytes.push(u8::try_from(value).ok()?);
            rest = behind;
        } else {
            bytes.push(first);
            rest = behind;
        }
    }
    Some(bytes)
}

/// Whether `NO_PROXY` names the host: itself, a domain that it is in (`example.org`, `.example.org`, `*.example.org`),
/// its address or network, or `*`; with a port, for that port alone.
fn is_exempt(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let ip: Option<IpAddr> = host.parse().ok();
    list.split([',', ' '])
        .map(|entry| entry.trim().to_ascii_lowercase())
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            if entry == "*" {
                return true;
            }
            if let Some(ip) = ip {
                if let Ok(same) = entry.parse::<IpAddr>() {
                    return same == ip;
                }
                if let Some((network, length)) = entry.split_once('/') {
                    let network = network.parse().ok();
                    let length = length.parse().ok();
                    return network
                        .zip(length)
                        .is_some_and(|(network, length)| contains(network, length, ip));
                }
            }
            let Some((name, its_port)) = split_port(&entry) else {
                return false;
            };
            // As many write a domain, and many other programs read it.
            let name = name.strip_prefix("*.").unwrap_or(name);
            let name = name.trim_start_matches('.').trim_end_matches('.');
            let inside = host
                .strip_suffix(name)
                .is_some_and(|rest| rest.is_empty() || (ip.is_none() && rest.ends_with('.')));
            !name.is_empty() && inside && its_port.is_none_or(|its_port| its_port == port)
        })
}

fn contains(network: IpAddr, length: u32, ip: IpAddr) -> bool {
    let (network, ip, bits) = match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            (network.to_bits().into(), ip.to_bits().into(), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => (network.to_bits(), ip.to_bits(), 128),
        _ => return false,
    };
    let differing: u128 = network ^ ip;
    length <= bits && (length == 0 || differing >> (bits - length) == 0)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn choose(variables: &[(&str, &str)], host: &str) -> Result<Option<Proxy>, NotAProxy> {
        let find = |name: &str| {
            let found = variables.iter().find(|(its, _)| *its == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Proxy::choose(find, host, 3478)
    }

    fn place(variables: &[(&str, &str)]) -> String {
        choose(variables, "rdv.example.org")
            .unwrap()
            .map_or("none".into(), |proxy| proxy.to_string())
    }

    #[test]
    fn https_proxy_counts_before_all_proxy_and_what_is_empty_not_at_all() {
        assert_eq!(place(&[]), "none");
        assert_eq!(place(&[("HTTPS_PROXY", "")]), "none");
        let all = ("ALL_PROXY", "http://all.example.org:1");
        let https = ("HTTPS_PROXY", "http://proxy.example.org:3128/");
        assert_eq!(place(&[all, https]), "proxy.example.org:3128");
        assert_eq!(place(&[all, ("https_proxy", " ")]), "all.example.org:1");
        assert_eq!(place(&[("all_proxy", "10.0.0.1")]), "10.0.0.1:80");
        assert_eq!(place(&[("all_proxy", "HTTP://[::1]:8080")]), "[::1]:8080");
    }

    #[test]
    fn a_rendezvous_on_this_host_is_reached_without_a_proxy() {
        for host in ["localhost", "127.0.0.1", "::1"] {
            assert_eq!(choose(&[("HTTPS_PROXY", "http://proxy")], host), Ok(None));
        }
    }

    #[test]
    fn user_and_password_are_decoded_and_never_shown() {
        let url = "http://an%40na:s%3Acret%25@proxy:3128";
        let proxy = choose(&[("https_proxy", url)], "host").unwrap().unwrap();
        let expected = format!("Basic {}", BASE64.encode(b"an@na:s:cret%"));
        assert_eq!(proxy.authorization.as_deref(), Some(&expected[..]));
        assert!(proxy.request("host:3478").contains(&expected));
        assert_eq!(
            format!("{proxy:?} {proxy}"),
            "http://<secret>@proxy:3128 proxy:3128"
        );
        // A password may hold what separates, as some people write it.
        let proxy = choose(&[("https_proxy", "u:p@ss:word@proxy")], "host");
        let expected = format!("Basic {}", BASE64.encode(b"u:p@ss:word"));
        assert_eq!(proxy.unwrap().unwrap().authorization, Some(expected));
    }

    #[test]
    fn what_is_no_http_proxy_is_named_without_being_repeated() {
        let chosen = |url| choose(&[("HTTPS_PROXY", url)], "host").unwrap_err();
        for url in ["socks5://u:secret@host:1080", "https://host"] {
            assert_eq!(chosen(url), NotAProxy::Scheme("HTTPS_PROXY"));
        }
        for url in [
            "http://",
            "http://host:0",
            "http://host:99999",
            "http://u:%zz@host",
            "a b",
            "http://[::1",
        ] {
            assert_eq!(chosen(url), NotAProxy::Malformed("HTTPS_PROXY"), "{url}");
        }
    }

    #[test]
    fn no_proxy_exempts_hosts_domains_addresses_and_networks() {
        for (list, host, exempt) in [
            ("*", "rdv.example.org", true),
            ("other, rdv.example.org", "RDV.example.org", true),
            ("example.org", "rdv.example.org", true),
            (".example.org", "rdv.example.org", true),
            ("*.example.org", "rdv.example.org", true),
            ("*.example.org:443", "rdv.example.org", false),
            ("*.ample.org", "rdv.example.org", false),
            ("*.", "rdv.example.org", false),
            ("ample.org", "rdv.example.org", false),
            ("rdv.example.org:3478", "rdv.example.org", true),
            ("rdv.example.org:443", "rdv.example.org", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("2.7", "192.0.2.7", false),
            ("192.0.2.0/24", "192.0.2.7", true),
            ("192.0.2.0/32", "192.0.2.7", false),
            ("0.0.0.0/0", "192.0.2.7", true),
            ("2001:db8::/32", "2001:db8::7", true),
            ("2001:db8::/129", "2001:db8::7", false),
            (" , ", "rdv.example.org", false),
        ] {
            let variables = [("NO_PROXY", list), ("HTTPS_PROXY", "http://proxy")];
            assert_eq!(
                choose(&variables, host).unwrap().is_none(),
                exempt,
                "{list} {host}"
            );
        }
    }

    async fn open(answer: &[u8], url: &str) -> Result<(), Refused> {
        let proxy = choose(&[("https_proxy", url)], "host").unwrap().unwrap();
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(answer).await.unwrap();
        // What was not read can be found again; nothing more comes.
        far.shutdown().await.unwrap();
        proxy.open(&mut near, "rdv:3478").await?;
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"behind");
        Ok(())
    }

    #[tokio::test]
    async fn a_connection_that_the_proxy_opens_begins_right_behind_its_head() {
        for head in [
            &b"HTTP/1.1 200 Connection established\r\n\r\n"[..],
            b"HTTP/1.0 200\r\nProxy-agent: tinyproxy\r\n\r\n",
            b"HTTP/1.1 204 x\n\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let answer = [head, b"behind"].concat();
            assert_eq!(open(&answer, "proxy").await, Ok(()));
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_by_its_status() {
        let answer = |status: &str| format!("HTTP/1.1 {status}\r\nX: y\r\n\r\n<html>").into_bytes();
        let with = |status: &'static str, url: &'static str| async move {
            open(&answer(status), url).await
        };
        let to = || "rdv:3478".to_owned();
        assert_eq!(with("407 x", "proxy").await, Err(Refused::Unauthorized));
        assert_eq!(
            with("407 x", "u:p@proxy").await,
            Err(Refused::WrongPassword)
        );
        assert_eq!(with("403 x", "proxy").await, Err(Refused::Forbidden(to())));
        assert_eq!(
            with("502 x", "proxy").await,
            Err(Refused::Unreachable(to()))
        );
        assert_eq!(with("302 x", "proxy").await, Err(Refused::Status(302)));
        assert_eq!(
            open(b"HTTP/1.1 503 x\r\n", "proxy").await,
            Err(Refused::Unreachable(to()))
        );
    }

    #[tokio::test]
    async fn proxy_that_takes_no_password_is_told_of_as_one() {
        for (offers, expected) in [
            (
                "Proxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM\r\n",
                Refused::OtherProof,
            ),
            (
                "Proxy-Authenticate: Digest realm=\"Basic\", nonce=\"x\"\r\n",
                Refused::OtherProof,
            ),
            (
                "Proxy-Authenticate: NTLM\r\nProxy-Authenticate: basic realm=\"x\"\r\n",
                Refused::WrongPassword,
            ),
            (
                "Proxy-Authenticate: Negotiate, Basic realm=\"x\"\r\n",
                Refused::WrongPassword,
            ),
        ] {
            let answer = format!("HTTP/1.1 407 x\r\n{offers}\r\n");
            let refused = open(answer.as_bytes(), "u:p@proxy").await;
            assert_eq!(refused, Err(expected), "{offers}");
        }
        let answer = b"HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\n\r\n";
        assert_eq!(open(answer, "proxy").await, Err(Refused::OtherProof));
    }

    #[tokio::test]
    async fn garbage_and_heads_without_end_are_no_answer() {
        let endless = [
            b"HTTP/1.1 200 OK\r\n".to_vec(),
            vec![b'x'; p2pdbg_web::LONGEST_HEAD + 10],
        ]
        .concat();
        for garbage in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            // A SOCKS proxy that closes.
            b"\x05\xff",
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 2\xff0\r\n\r\n",
            b"HTTP/1.1 20000 x\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
            &endless,
        ] {
            assert_eq!(open(garbage, "proxy").await, Err(Refused::NotHttp));
        }
        assert_eq!(open(b"", "proxy").await, Err(Refused::Lost));
    }

    #[tokio::test]
    async fn a_proxy_that_dawdles_is_given_up() {
        let proxy = choose(&[("https_proxy", "proxy")], "host")
            .unwrap()
            .unwrap();
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(b"HTTP/1.1 200 ").await.unwrap();
        let patience = Duration::from_millis(50);
        let opened = proxy.open_within(patience, &mut near, "rdv:3478");
        assert_eq!(opened.await, Err(Refused::Silent));
    }
}
