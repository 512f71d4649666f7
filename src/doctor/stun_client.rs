//! A UDP socket that asks STUN servers: the one tool of most measurements.
//!
//! Every transmission is a transaction of its own, so that a round trip is never measured against the wrong copy, and
//! an answer counts wherever it comes from: that it comes from elsewhere is what some questions are about.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_net::{nat64::Nat64, route};
use p2pdbg_proto::address::canonical;
use p2pdbg_punch::candidate;
use p2pdbg_stun::{Attribute, Class, Encoder, Fingerprint, Message, TransactionId};
use tokio::net::UdpSocket;

/// Gaps between the transmissions of a question; what follows is silence.
const GAPS: [Duration; 4] = [
    Duration::from_millis(150),
    Duration::from_millis(250),
    Duration::from_millis(400),
    Duration::from_millis(500),
];

/// How long a question takes that is not answered.
pub(super) const PATIENCE: Duration = Duration::from_millis(1300);

/// How late a timer may be. Where one is later, this host has stood still, and a rendezvous beside it perhaps too.
const LATE: Duration = Duration::from_millis(100);

/// What is asked besides the address.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Question {
    /// Answer from the other address and the other port (RFC 5780 section 7.2).
    pub(super) change: Option<(bool, bool)>,
    /// Answer to this port (RFC 5780 section 7.5).
    pub(super) to_port: Option<u16>,
    /// How long the datagram is to be, in bytes; none for as long as the longest answer.
    pub(super) length: Option<usize>,
}

/// What a server said, and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    /// How it sees the socket; none if it refused.
    pub(super) mapped: Option<SocketAddr>,
    /// Where the answer came from.
    pub(super) from: SocketAddr,
    /// Its other address and port, if it has such.
    pub(super) other: Option<SocketAddr>,
    /// From the transmission that was answered to the answer.
    pub(super) rtt: Duration,
    /// When it was asked first.
    pub(super) asked: Instant,
}

#[derive(Debug)]
pub(super) struct StunClient {
    socket: UdpSocket,
    port: u16,
    /// How servers with IPv4 alone are reached, where this host has none.
    nat64: Nat64,
}

/// A question that is sent again until it is answered.
struct Open {
    server: SocketAddr,
    question: Question,
    asked: Option<Instant>,
    sent: Vec<(TransactionId, Instant)>,
    reply: Option<Reply>,
}

impl StunClient {
    /// Opens a socket for the family of `server`.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn open(server: SocketAddr) -> io::Result<Self> {
        Self::of(route::socket_for(server)?)
    }

    /// The same for a server that is reached through a NAT64, if one is used: it is known by its IPv4 address all the
    /// same, also as the origin of what it answers.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn open_through(nat64: &Nat64, server: SocketAddr) -> io::Result<Self> {
        let nat64 = nat64.clone();
        let client = Self::open(translated(&nat64, server))?;
        Ok(Self { nat64, ..client })
    }

    /// Takes a socket that is bound.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn of(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let port = socket.local_addr()?.port();
        Ok(Self {
            socket,
            port,
            nat64: Nat64::default(),
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Asks one server, several times if need be; none if it does not answer in [`PATIENCE`].
    pub(super) async fn ask(&self, server: SocketAddr, question: Question) -> Option<Reply> {
        let replies = self.ask_all(&[(server, question)], PATIENCE).await;
        replies.into_iter().next().flatten()
    }

    /// Asks them all, in this order, and gives their replies in the same order. They are asked once more if this host
    /// stood still meanwhile: a silence then says nothing of the network.
    pub(super) async fn ask_all(
        &self,
        questions: &[(SocketAddr, Question)],
        patience: Duration,
    ) -> Vec<Option<Reply>> {
        let mut open: Vec<Open> = questions
            .iter()
            .map(|&(server, question)| Open {
                server,
                question,
                asked: None,
                sent: Vec::new(),
                reply: None,
            })
            .collect();
        for _ in 0..2 {
            let mut stalled = false;
            let end = tokio::time::Instant::now() + patience;
            // Ends at the last answer, or when patience does.
            let conversation = self.converse(&mut open, &mut stalled);
            let ended = tokio::time::timeout_at(end, conversation).await;
            if ended.is_ok() || !(stalled || end.elapsed() > LATE) {
                break;
            }
        }
        open.into_iter().map(|open| open.reply).collect()
    }

    /// Asks until all are answered, and notes whether this host stood still.
    async fn converse(&self, open: &mut [Open], stalled: &mut bool) {
        let mut gaps = GAPS.iter();
        loop {
            self.send_open(open).await;
            let again = gaps.next().copied().unwrap_or(Duration::from_secs(60));
            let again = tokio::time::Instant::now() + again;
            loop {
                if open.iter().all(|open| open.reply.is_some()) {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep_until(again) => {
                        *stalled |= again.elapsed() > LATE;
                        break;
                    }
                    received = self.receive() => {
                        if let Some((bytes, from)) = received {
                            note(open, &bytes, from);
                        }
                    }
                }
            }
        }
    }

    async fn send_open(&self, open: &mut [Open]) {
        for open in open.iter_mut().filter(|open| open.reply.is_none()) {
            let Some((id, bytes)) = encode(open.server, open.question) else {
                continue;
            };
            let now = Instant::now();
            open.asked.get_or_insert(now);
            open.sent.push((id, now));
            self.send(open.server, &bytes).await;
        }
    }

    /// Sends one datagram; what cannot be sent is lost.
    pub(super) async fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let to = translated(&self.nat64, to);
        let _ = self.socket.send_to(bytes, to).await;
    }

    /// The next datagram; none if what came was an error, after which one may try again.
    pub(super) async fn receive(&self) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = vec![0; 2048];
        match self.socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                let from = self.nat64.translate_back(from).unwrap_or(canonical(from));
                Some((buffer[..length].to_vec(), from))
            }
            Err(_) => {
                // An ICMP error that belongs to an earlier datagram; rarely more than one.
                tokio::time::sleep(Duration::from_millis(1)).await;
                None
            }
        }
    }
}

/// Where a datagram is sent that is for `to`.
fn translated(nat64: &Nat64, to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(v4) => nat64.translate(v4).unwrap_or(to),
        SocketAddr::V6(_) => to,
    }
}

/// Takes in a datagram if it answers one of the questions.
fn note(open: &mut [Open], bytes: &[u8], from: SocketAddr) {
    let Ok(message) = Message::decode(bytes) else {
        return;
    };
    if message.fingerprint() == Fingerprint::Invalid {
        return;
    }
    let id = message.transaction();
    for open in open.iter_mut().filter(|open| open.reply.is_none()) {
        let Some((_, sent)) = open.sent.iter().find(|(sent, _)| *sent == id) else {
            continue;
        };
        // Only who was asked to answer from elsewhere may.
        if open.question.change.is_none() && from != canonical(open.server) {
            return;
        }
        let mapped = message.mapped_address().map(canonical);
        let mapped = match message.class() {
            Class::Success => match mapped.filter(|mapped| candidate::is_usable(*mapped)) {
                Some(mapped) if mapped.is_ipv4() == open.server.is_ipv4() => Some(mapped),
                _ => return,
            },
            Class::Error => None,
            Class::Request | Class::Indication => return,
        };
        let other = message.attributes().find_map(|attribute| match attribute {
            Attribute::OtherAddress(other) => Some(canonical(other)),
            _ => None,
        });
        open.reply = Some(Reply {
            mapped,
            from,
            other: other.filter(|other| candidate::is_usable(*other)),
            rtt: sent.elapsed(),
            asked: open.asked.unwrap_or(*sent),
        });
        return;
    }
}

/// A question's bytes. It is as long as its longest answer, so that a server which never answers at greater length can
/// answer in full.
pub(super) fn encode(server: SocketAddr, question: Question) -> Option<(TransactionId, Vec<u8>)> {
    let mut id = [0; 12];
    getrandom::fill(&mut id).ok()?;
    let id = TransactionId(id);
    let mut buffer = vec![0; 2048];
    let mut message = Encoder::new(&mut buffer, Class::Request, id).ok()?;
    if let Some((ip, port)) = question.change {
        message.push(Attribute::ChangeRequest { ip, port }).ok()?;
    }
    if let Some(port) = question.to_port {
        message.push(Attribute::ResponsePort(port)).ok()?;
    }
    // PADDING is for the long ones alone: old servers do not know it.
    match question.length {
        Some(length) => {
            let padding = length.checked_sub(message.len() + 4 + 8)?;
            let padding = u16::try_from(padding).ok()?;
            message.push(Attribute::Padding(padding)).ok()?;
        }
        None => {
            let name: &[u8] = match server {
                SocketAddr::V4(_) => b"p2pdbg                          ",
                SocketAddr::V6(_) => {
                    b"p2pdbg                                                              "
                }
            };
            message.push(Attribute::Software(name)).ok()?;
        }
    }
    let bytes = message.finish_with_fingerprint().ok()?.to_vec();
    Some((id, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server on loopback that answers each question with what `answers` makes of its number and id.
    async fn asked_of(
        answers: impl Fn(TransactionId) -> Vec<Vec<u8>> + Send + 'static,
        question: Question,
    ) -> Option<Reply> {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = server.recv_from(&mut buffer).await.unwrap();
                let id = Message::decode(&buffer[..length]).unwrap().transaction();
                for answer in answers(id) {
                    server.send_to(&answer, from).await.unwrap();
                }
            }
        });
        let client = StunClient::open(address).unwrap();
        let reply = client.ask(address, question).await;
        task.abort();
        reply
    }

    fn answer(id: TransactionId, mapped: &str) -> Vec<u8> {
        let mut buffer = [0; 64];
        let mut message = Encoder::new(&mut buffer, Class::Success, id).unwrap();
        let mapped = Attribute::XorMappedAddress(mapped.parse().unwrap());
        message.push(mapped).unwrap();
        message.finish_with_fingerprint().unwrap().to_vec()
    }

    #[tokio::test]
    async fn the_first_honest_answer_counts_and_lies_do_not() {
        let reply = asked_of(
            |id| {
                vec![
                    b"garbage".to_vec(),
                    answer(TransactionId([0; 12]), "192.0.2.1:1"),
                    answer(id, "0.0.0.0:9"),
                    answer(id, "224.0.0.1:9"),
                    answer(id, "[2001:db8::1]:9"),
                    answer(id, "192.0.2.7:9"),
                    answer(id, "192.0.2.8:9"),
                ]
            },
            Question::default(),
        );
        let mapped = reply.await.unwrap().mapped;
        assert_eq!(mapped, Some("192.0.2.7:9".parse().unwrap()));
    }

    #[tokio::test]
    async fn silence_ends_and_an_answer_from_elsewhere_is_none() {
        assert_eq!(asked_of(|_| Vec::new(), Question::default()).await, None);
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let elsewhere = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = server.recv_from(&mut buffer).await.unwrap();
                let id = Message::decode(&buffer[..length]).unwrap().transaction();
                let answer = answer(id, "192.0.2.7:9");
                elsewhere.send_to(&answer, from).await.unwrap();
            }
        });
        let client = StunClient::open(address).unwrap();
        assert_eq!(client.ask(address, Question::default()).await, None);
        let change = Some((true, true));
        let question = Question {
            change,
            ..Question::default()
        };
        assert!(client.ask(address, question).await.is_some());
        task.abort();
    }

    #[tokio::test]
    async fn question_is_asked_once_more_when_this_host_stood_still_meanwhile() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let (asked, is_asked) = tokio::sync::oneshot::channel();
        let (awake, is_awake) = std::sync::mpsc::channel();
        let answering = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            server.recv_from(&mut buffer).unwrap();
            asked.send(()).unwrap();
            is_awake.recv().unwrap();
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            let id = Message::decode(&buffer[..length]).unwrap().transaction();
            let answer = answer(id, "192.0.2.7:9");
            server.send_to(&answer, from).unwrap();
        });
        let client = StunClient::open(address).unwrap();
        let stands_still = async {
            is_asked.await.unwrap();
            std::thread::sleep(PATIENCE + 2 * LATE);
            awake.send(()).unwrap();
        };
        let (reply, ()) = tokio::join!(client.ask(address, Question::default()), stands_still);
        assert!(reply.is_some());
        answering.join().unwrap();
    }

    #[test]
    fn a_question_is_as_long_as_it_is_asked_to_be() {
        let v4 = "192.0.2.1:1".parse().unwrap();
        let v6 = "[2001:db8::1]:1".parse().unwrap();
        let length = |server, length| {
            let question = Question {
                length,
                ..Question::default()
            };
            encode(server, question).unwrap().1.len()
        };
        assert_eq!((length(v4, None), length(v6, None)), (64, 100));
        for bytes in [1200, 1252, 1472] {
            assert_eq!(length(v4, Some(bytes)), bytes);
        }
    }
}
