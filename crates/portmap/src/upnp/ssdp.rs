//! Finding devices: SSDP (UPnP Device Architecture 1.1, section 1.3).

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use p2pdbg_proto::address::Reach;
use socket2::SockRef;
use tokio::{net::UdpSocket, time::Instant};

use super::http::Url;
use crate::{Fault, gateway::Gateway};

const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), PORT);
const PORT: u16 = 1900;

/// What is looked for; devices of version 2 answer to version 1, but not all do.
const TARGETS: [&str; 2] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
];

/// When the question is repeated, and when the search ends.
const REPEAT: Duration = Duration::from_millis(400);
const END: Duration = Duration::from_millis(1600);

/// Answers are short, in bytes.
const LONGEST: usize = 2048;

/// Answers that are read in all: a LAN may be full of devices, or one device of answers.
const ANSWERS: usize = 64;

pub(super) struct Search {
    socket: UdpSocket,
    gateway: Gateway,
    seen: HashSet<Url>,
    repeat_at: Option<Instant>,
    end: Instant,
    left: usize,
}

impl Search {
    /// Asks everybody on the LAN, and the gateway itself.
    pub(super) async fn begin(gateway: Gateway) -> Result<Self, Fault> {
        let silent = |error: std::io::Error| {
            tracing::trace!(%error, "cannot search for UPnP devices");
            Fault::Silent
        };
        let socket = UdpSocket::bind((gateway.local, 0)).await.map_err(silent)?;
        let options = SockRef::from(&socket);
        options
            .set_multicast_if_v4(&gateway.local)
            .map_err(silent)?;
        options.set_multicast_ttl_v4(2).map_err(silent)?;
        let now = Instant::now();
        let search = Self {
            socket,
            gateway,
            seen: HashSet::new(),
            repeat_at: Some(now + REPEAT),
            end: now + END,
            left: ANSWERS,
        };
        search.ask().await;
        Ok(search)
    }

    async fn ask(&self) {
        for target in TARGETS {
            let question = format!(
                "M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
                 ST: {target}\r\n\r\n"
            );
            for to in [GROUP, SocketAddrV4::new(self.gateway.router, PORT)] {
                // What is lost is asked again; where multicast is not to be had, the gateway is asked all the same.
                let _ = self.socket.send_to(question.as_bytes(), to).await;
            }
        }
    }

    /// The next description to read, each once; `None` when the search is over.
    pub(super) async fn next(&mut self) -> Option<Url> {
        let mut buffer = [0; LONGEST];
        while self.left > 0 {
            let until = self.repeat_at.unwrap_or(self.end);
            let received = tokio::time::timeout_at(until, self.socket.recv_from(&mut buffer));
            match received.await {
                Ok(Ok((length, from))) => {
                    self.left -= 1;
                    if let Some(location) = self.location(from, &buffer[..length])
                        && self.seen.insert(location.clone())
                    {
                        return Some(location);
                    }
                }
                // The gateway's ICMP: others may answer.
                Ok(Err(_)) => self.left -= 1,
                Err(_) if self.repeat_at.take().is_some() => self.ask().await,
                Err(_) => return None,
            }
        }
        None
    }

    /// The description that an answer names, if it is one to be read.
    fn location(&self, from: SocketAddr, answer: &[u8]) -> Option<Url> {
        let IpAddr::V4(ip) = from.ip() else {
            return None;
        };
        let text = std::str::from_utf8(answer).ok()?;
        let location = read(text)?;
        let near =
            ip == self.gateway.router || matches!(Reach::of(ip.into()), Reach::Site | Reach::Link);
        (near && *location.server.ip() == ip).then_some(location)
    }
}

/// The location in an answer to a search.
pub(super) fn read(answer: &str) -> Option<Url> {
    let mut lines = answer.lines();
    if !lines.next()?.starts_with("HTTP/1.1 200") {
        return None;
    }
    lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("location"))
        .and_then(|(_, url)| Url::parse(url.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_its_description() {
        let answer =
            "HTTP/1.1 200 OK\r\nST: x\r\nLocation:  http://192.168.1.1:5000/root.xml\r\n\r\n";
        let location = read(answer).unwrap();
        assert_eq!(location.server, "192.168.1.1:5000".parse().unwrap());
        assert_eq!(location.path, "/root.xml");
        assert_eq!(read(&answer.replace("200 OK", "404 No")), None);
        assert_eq!(read(&answer.replace("http:", "https:")), None);
        assert_eq!(read(&answer.replace("192.168.1.1", "router.lan")), None);
        assert_eq!(read("\u{0}\u{1}"), None);
    }

    #[tokio::test]
    async fn an_answer_that_points_elsewhere_is_passed_over() {
        let gateway = Gateway {
            router: Ipv4Addr::new(192, 168, 1, 1),
            local: Ipv4Addr::LOCALHOST,
        };
        let search = Search {
            socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            gateway,
            seen: HashSet::new(),
            repeat_at: None,
            end: Instant::now(),
            left: 1,
        };
        let names = |from: &str, at: &str| {
            let answer = format!("HTTP/1.1 200 OK\r\nLOCATION: http://{at}/d.xml\r\n\r\n");
            let from = format!("{from}:1900").parse().unwrap();
            search.location(from, answer.as_bytes()).is_some()
        };
        assert!(names("192.168.1.1", "192.168.1.1:80"));
        assert!(names("192.168.1.7", "192.168.1.7:80"));
        assert!(!names("192.168.1.7", "192.168.1.8:80"));
        assert!(!names("192.168.1.1", "203.0.113.1:80"));
        assert!(!names("203.0.113.1", "203.0.113.1:80"));
        assert!(!names("192.168.1.1", "127.0.0.1:80"));
    }
}
