//! As much of HTTP/1.1 as a gateway needs: one request on a connection, an answer of bounded length in bounded time.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::Fault;

/// The longest answer that is read, in bytes: descriptions of routers have some ten thousand.
const LONGEST: u64 = 128 << 10;

/// The longest time for a request and its answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Paths are short, in bytes.
const LONGEST_PATH: usize = 512;

/// An `http` URL with an IPv4 address for a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Url {
    pub(super) server: SocketAddrV4,
    pub(super) path: String,
}

impl Url {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("HTTP://"))?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let server = match authority.split_once(':') {
            Some((ip, port)) => SocketAddrV4::new(ip.parse().ok()?, port.parse().ok()?),
            None => SocketAddrV4::new(authority.parse::<Ipv4Addr>().ok()?, 80),
        };
        is_path(path).then(|| Self {
            server,
            path: path.to_owned(),
        })
    }
}

/// The path that `reference`, found in the document at `base`, leads to on the same server; `None` if it leads to
/// another one.
pub(super) fn path_at(base: &Url, reference: &str) -> Option<String> {
    if reference.contains("://") {
        let url = Url::parse(reference)?;
        return (url.server == base.server).then_some(url.path);
    }
    let path = match reference.strip_prefix('/') {
        Some(_) => reference.to_owned(),
        None => {
            let directory = base.path.rfind('/').map_or("", |at| &base.path[..at]);
            format!("{directory}/{reference}")
        }
    };
    is_path(&path).then_some(path)
}

/// Whether it can stand in a request line.
fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= LONGEST_PATH
        && path.bytes().all(|b| b.is_ascii_graphic())
}

/// An answer of the gateway, of bounded length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Fetches a document; anything but status 200 is a refusal.
pub(super) async fn get(url: &Url) -> Result<Response, Fault> {
    let (server, path) = (url.server, &url.path);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    let response = exchange(server, request).await?;
    match response.status {
        200 => Ok(response),
        status => Err(Fault::Refused(format!("HTTP status {status}"))),
    }
}

/// Calls an action (UPnP Device Architecture 1.1, section 3.2).
pub(super) async fn post(
    server: SocketAddrV4,
    path: &str,
    action: &str,
    body: &str,
) -> Result<Response, Fault> {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {server}\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
         SOAPAction: {action}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    exchange(server, request).await
}

async fn exchange(server: SocketAddrV4, request: String) -> Result<Response, Fault> {
    let answer = async {
        let mut connection = TcpStream::connect(server).await?;
        connection.write_all(request.as_bytes()).await?;
        read_answer(&mut connection).await
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(bytes)) => {
            parse(&bytes).ok_or_else(|| Fault::Useless("what it sends is no HTTP".to_owned()))
        }
        Ok(Err(error)) => {
            tracing::trace!(%error, "no answer over HTTP");
            Err(Fault::Silent)
        }
        Err(_) => Err(Fault::Silent),
    }
}

/// Reads until the answer is complete or ends; some gateways keep the connection open.
async fn read_answer(connection: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut limited = connection.take(LONGEST);
    loop {
        if limited.read_buf(&mut bytes).await? == 0 || is_complete(&bytes) {
            return Ok(bytes);
        }
    }
}

fn is_complete(bytes: &[u8]) -> bool {
    let Some((head, body)) = split_head(bytes) else {
        return false;
    };
    let length = header(head, "content-length").and_then(|text| text.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
        || (is_chunked(head) && body.ends_with(b"0\r\n\r\n"))
}

pub(super) fn parse(bytes: &[u8]) -> Option<Response> {
    let (head, body) = split_head(bytes)?;
    let mut status_line = head.lines().next()?.split_ascii_whitespace();
    if !status_line.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let status = status_line.next()?.parse().ok()?;
    let body = if is_chunked(head) {
        unchunk(body)
    } else {
        body.to_vec()
    };
    Some(Response {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

fn split_head(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut found = fields.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim())
}

fn is_chunked(head: &str) -> bool {
    header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
}

/// Joins the chunks (RFC 9112 section 7.1), as many as are whole.
fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok();
        let size = size.and_then(|line| line.split(';').next());
        let size = size.and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
        let after = &rest[end + 2..];
        match size {
            Some(size) if size > 0 && size <= after.len() => {
                body.extend_from_slice(&after[..size]);
                rest = after.get(size + 2..).unwrap_or_default();
            }
            _ => break,
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_an_address_and_a_path() {
        let url = Url::parse("http://10.0.0.1/a/b.xml").unwrap();
        assert_eq!(url.server, "10.0.0.1:80".parse().unwrap());
        assert_eq!(url.path, "/a/b.xml");
        assert_eq!(Url::parse("http://10.0.0.1:81").unwrap().path, "/");
        for bad in [
            "ftp://10.0.0.1/",
            "http://name/",
            "http://10.0.0.1:x/",
            "http://[::1]/",
        ] {
            assert_eq!(Url::parse(bad), None, "{bad}");
        }
        assert_eq!(Url::parse("http://10.0.0.1/a\r\nHost: evil"), None);
    }

    #[test]
    fn a_reference_stays_on_its_server() {
        let base = Url::parse("http://10.0.0.1:80/dir/root.xml").unwrap();
        let at = |reference: &str| path_at(&base, reference);
        assert_eq!(at("/ctl").unwrap(), "/ctl");
        assert_eq!(at("ctl").unwrap(), "/dir/ctl");
        assert_eq!(at("http://10.0.0.1/ctl").unwrap(), "/ctl");
        assert_eq!(at("http://10.0.0.2/ctl"), None);
        assert_eq!(at("/ctl HTTP/1.0"), None);
        assert_eq!(at(&format!("/{}", "a".repeat(600))), None);
    }

    #[test]
    fn an_answer_is_whole_when_its_length_has_come() {
        let answer = b"HTTP/1.1 500 No\r\ncontent-LENGTH: 3\r\n\r\nabc";
        assert!(is_complete(answer));
        assert!(!is_complete(&answer[..answer.len() - 1]));
        let response = parse(answer).unwrap();
        assert_eq!((response.status, response.body.as_str()), (500, "abc"));
    }

    #[test]
    fn chunks_are_joined() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n<a><\r\n3;x=y\r\n/a>\r\n0\r\n\r\n";
        assert!(is_complete(answer));
        assert_eq!(parse(answer).unwrap().body, "<a></a>");
    }

    #[test]
    fn garbage_is_no_answer() {
        for garbage in [
            &b""[..],
            b"\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"\xff\xfe\r\n\r\n",
            b"SSH-2.0\r\n\r\n",
        ] {
            assert_eq!(parse(garbage), None);
        }
        let lying = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx";
        assert_eq!(parse(lying).unwrap().body, "");
    }
}
