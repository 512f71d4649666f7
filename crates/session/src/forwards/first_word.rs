//! Who is at a port beside the IDE, judged by the first word.
//!
//! Of the debuggers that the IDE dials, the IDE speaks first. So a connection is nobody's until it has said
//! something: a port scan, a health check or `nc -z` reaches no debuggee (which `gdbserver --once` and `dlv exec`
//! would not survive), and a thousand silent connections cost the other end nothing. Who stays and says nothing is
//! told of, or, at a debugger of which some clients wait for its word, let in, unless there are many. What then
//! speaks as a browser does to a debugger that does not is a web page, which can reach every port of the loopback
//! from the user's own browser: HTTP; TLS, in whose greeting a page has bytes of its own choice (the name, the
//! ticket of a session); and TURN, as WebRTC dials it. Of HTTP itself, what a browser says of the page is judged, as
//! debuggers that speak HTTP are told to do.

use std::{io, net::IpAddr, time::Duration};

use p2pdbg_debugger::{FirstWord, Preset};
use p2pdbg_forward::{Forward, Purpose};
use p2pdbg_inspect::Protocol;
use p2pdbg_proto::tunnel::Direction;
use tokio::{net::TcpStream, time::Instant};

/// How much of the first word is looked at, in bytes.
const LOOKED_AT: usize = 8 << 10;

/// Letters and signs of a method of HTTP that no debugger's first word has without a break, at the most 20 of them
/// (`+$QStartNoAckMode#b0`).
const LONGEST_WORD: usize = 128;

/// The most header fields of a request. Browsers send about fifteen.
const FIELDS: usize = 64;

/// How long a first word that does not say yet what it is may take to go on.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long somebody says nothing who waits for the debugger's word: no scan of ports stays so long, and no IDE
/// gives up before.
const SILENCE: Duration = Duration::from_secs(2);

/// How long somebody says nothing of whom a person is told.
const LONG_SILENCE: Duration = Duration::from_secs(10);

/// Between two looks at a first word that is not whole.
const LOOK: Duration = Duration::from_millis(5);

/// The methods of HTTP (RFC 9110 section 9, RFC 5789), as a request line begins. A page whose own name leads to this
/// host may take any other word for one.
const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"OPTIONS ",
    b"DELETE ",
    b"PATCH ",
    b"TRACE ",
    b"CONNECT ",
];

/// A greeting of TLS, as a record begins (RFC 8446 section 5.1): handshake, version 3.
const TLS: [u8; 2] = [0x16, 3];

/// The cookie of a STUN message (RFC 8489 section 5), behind its type and length; TURN over TCP has the same.
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// The types of STUN message with which a client begins: Binding, and TURN's Allocate.
const STUN_REQUESTS: [[u8; 2]; 2] = [[0, 1], [0, 3]];

/// How many may say nothing at once where one of them is let in.
const MOST_WAITING: usize = 4;

/// What is asked of a connection before it goes to the debuggee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientFilter {
    speaks_http: bool,
    /// Whether a client may wait for the debugger's word.
    may_wait: bool,
}

/// What a connection turned out to be.
#[derive(Debug)]
pub(super) enum Filtered {
    /// It has said something that a debugger's client may say; none of it is taken from the socket.
    Client(TcpStream),
    /// It has said nothing for a while, and is still there.
    Waits(TcpStream),
    /// It ended before it said anything.
    Gone,
    /// It speaks as no client of this debugger does.
    WebPage(TcpStream),
}

#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    Client,
    WebPage,
    More,
}

/// Whether a first word is a request of HTTP.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    No,
    /// It may become one.
    Perhaps,
    /// It looks so, and its first line is not whole.
    Begun,
    Yes,
}

/// Judges a first word by its first line (RFC 9112 section 3), the greeting of HTTP/2 included (RFC 9113 section 3.4).
fn request(word: &[u8]) -> Request {
    if METHODS.iter().any(|method| word.starts_with(method)) {
        return Request::Yes;
    }
    if METHODS.iter().any(|method| method.starts_with(word)) {
        return Request::Perhaps;
    }
    let is_letter = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let method = word.iter().take_while(is_letter).count();
    match &word[method..] {
        // No debugger's first word is letters alone for so long, and a page may make up a method of any length.
        [] if method > LONGEST_WORD => Request::Begun,
        [b' '] if method > 0 => Request::Perhaps,
        [b' ', b'/' | b'*', ..] if method > 0 => {
            let mut lines = word.split(|byte| *byte == b'\n');
            let (first, is_whole) = (lines.next().unwrap_or_default(), lines.next().is_some());
            let names_http = first.windows(6).any(|part| part == b" HTTP/");
            match (names_http, is_whole) {
                (true, _) => Request::Yes,
                (false, true) => Request::No,
                (false, false) => Request::Begun,
            }
        }
        _ => Request::No,
    }
}

/// Whether a first word is a request of STUN or TURN, as a browser sends it to a server, or, behind its length in two
/// bytes, to a peer (RFC 4571).
fn stun(word: &[u8]) -> Judgement {
    for word in [word, word.get(2..).unwrap_or_default()] {
        let mut requests = STUN_REQUESTS.iter();
        match word.get(4..8) {
            Some(cookie) if cookie == STUN_COOKIE && requests.any(|r| word.starts_with(r)) => {
                return Judgement::WebPage;
            }
            None if word.len() >= 2 && requests.any(|r| word.starts_with(r)) => {
                return Judgement::More;
            }
            _ => {}
        }
    }
    Judgement::Client
}

impl ClientFilter {
    /// What is asked of the connections to the port of a forward; nothing if it is not for a debugger's clients, or if
    /// all of them wait for its word.
    pub(super) fn of(forward: &Forward) -> Option<Self> {
        if forward.direction != Direction::ToDebuggee {
            return None;
        }
        match forward.purpose {
            Purpose::Anything => None,
            // It may be node's inspector.
            Purpose::SomeDebugger => Some(Self {
                speaks_http: true,
                may_wait: false,
            }),
            Purpose::Debugger(preset) => Self::of_preset(preset),
        }
    }

    fn of_preset(preset: Preset) -> Option<Self> {
        let debugger = preset.debugger();
        let asked =
            debugger.direction == Direction::ToDebuggee && debugger.first_word != FirstWord::Server;
        asked.then(|| Self {
            speaks_http: debugger.speaks.contains(&Protocol::Cdp),
            may_wait: debugger.first_word == FirstWord::Either,
        })
    }

    /// Whether one who waits is let in, of so many who say nothing: where there are many, they are no clients.
    pub(super) fn lets_wait(self, silent: usize) -> bool {
        self.may_wait && silent <= MOST_WAITING
    }

    /// For how long nothing has to be said until the connection counts as waiting.
    pub(super) fn patience(self) -> Duration {
        match self.may_wait {
            true => SILENCE,
            false => LONG_SILENCE,
        }
    }

    /// The same for one who was not let in: nothing is new of it where nobody who waits ever is.
    pub(super) fn again(self) -> Option<Duration> {
        self.may_wait.then_some(LONG_SILENCE)
    }

    /// Waits for the first word and judges it; for so long, if it is to be said that nothing comes.
    pub(super) async fn judge(self, connection: TcpStream, patience: Option<Duration>) -> Filtered {
        if let Some(patience) = patience {
            let mut byte = [0];
            let word = connection.peek(&mut byte);
            if tokio::time::timeout(patience, word).await.is_err() {
                return Filtered::Waits(connection);
            }
        }
        match self.first_word(&connection).await {
            Ok(Some(Judgement::WebPage)) => Filtered::WebPage(connection),
            Ok(Some(_)) => Filtered::Client(connection),
            Ok(None) | Err(_) => Filtered::Gone,
        }
    }

    async fn first_word(self, connection: &TcpStream) -> io::Result<Option<Judgement>> {
        let mut word = vec![0; 256];
        let mut until = None;
        loop {
            let length = connection.peek(&mut word).await?;
            if length == 0 {
                return Ok(None);
            }
            let judgement = self.judge_word(&word[..length]);
            let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
            if judgement != Judgement::More {
                return Ok(Some(judgement));
            }
            if Instant::now() >= until || length >= LOOKED_AT {
                // A request that does not say where it comes from is not let in; anything else is not HTTP.
                let judged = match request(&word[..length]) {
                    Request::Yes | Request::Begun => Judgement::WebPage,
                    Request::No | Request::Perhaps => Judgement::Client,
                };
                return Ok(Some(judged));
            }
            word.resize(LOOKED_AT, 0);
            // The kernel says only that there is something, not that there is more.
            tokio::time::sleep(LOOK).await;
        }
    }

    fn judge_word(self, word: &[u8]) -> Judgement {
        let begins = |whole: &[u8]| whole.len() > word.len() && whole.starts_with(word);
        if begins(&TLS) || STUN_REQUESTS.iter().any(|request| begins(request)) {
            return Judgement::More;
        }
        if word.starts_with(&TLS) {
            return Judgement::WebPage;
        }
        match stun(word) {
            Judgement::Client => {}
            judged => return judged,
        }
        match request(word) {
            Request::No => return Judgement::Client,
            Request::Perhaps | Request::Begun => return Judgement::More,
            Request::Yes if !self.speaks_http => return Judgement::WebPage,
            Request::Yes => {}
        }
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(word) {
            Ok(httparse::Status::Complete(_)) if comes_from_a_page(&request) => Judgement::WebPage,
            Ok(httparse::Status::Complete(_)) => Judgement::Client,
            Ok(httparse::Status::Partial) => Judgement::More,
            Err(_) => Judgement::WebPage,
        }
    }
}

/// Whether a browser says that a page made the request: by `Origin` (RFC 6454), by `Sec-Fetch-Site` (W3C Fetch
/// Metadata), or by a `Host` that is a name, which only a page that had its own name resolve to this host would use.
fn comes_from_a_page(request: &httparse::Request<'_, '_>) -> bool {
    let field = |name: &str| {
        let mut fields = request.headers.iter();
        let found = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(
            String::from_utf8_lossy(found.value)
                .trim()
                .to_ascii_lowercase(),
        )
    };
    // Tools have an origin of their own kind, such as devtools:// or none.
    let of_a_page = |origin: String| {
        origin == "null"
            || ["http:", "https:", "file:"]
                .iter()
                .any(|kind| origin.starts_with(kind))
    };
    field("origin").is_some_and(of_a_page)
        || field("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site")
        || field("host").is_some_and(|host| !is_local(&host))
}

/// Whether a `Host` is an address or localhost.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use p2pdbg_forward::ForwardSpec;

    use super::*;

    fn judged(preset: Preset, word: &str) -> Judgement {
        ClientFilter::of_preset(preset)
            .unwrap()
            .judge_word(word.as_bytes())
    }

    #[test]
    fn first_word_of_each_debuggers_client_is_let_in() {
        for (preset, word) in [
            (Preset::Debugpy, "Content-Length: 119\r\n\r\n{"),
            (Preset::Gdbserver, "+$qSupported:multiprocess+"),
            (Preset::Gdbserver, "+"),
            (Preset::Lldb, "+$QStartNoAckMode#b0"),
            (Preset::Jdwp, "JDWP-Handshake"),
            (Preset::Delve, "{\"method\":\"RPCServer."),
            (Preset::Delve, "Content-Length: 20"),
            (Preset::Rdbg, "version: 1.4.0 width: 80"),
            (
                Preset::Node,
                "GET /json HTTP/1.1\r\nHost: 127.0.0.1:9229\r\n\r\n",
            ),
            (
                Preset::Node,
                "GET /json HTTP/1.1\r\nHost: [::1]:9229\r\n\r\n",
            ),
            (
                Preset::Node,
                "GET /x HTTP/1.1\r\nHost: localhost:9229\r\nOrigin: devtools://devtools\r\n\r\n",
            ),
        ] {
            assert_eq!(judged(preset, word), Judgement::Client, "{preset:?} {word}");
        }
    }

    #[test]
    fn first_word_of_a_web_page_is_turned_away() {
        let from =
            |field: &str| format!("GET /json HTTP/1.1\r\nHost: 127.0.0.1\r\n{field}\r\n\r\n");
        for (preset, word) in [
            (
                Preset::Gdbserver,
                "POST / HTTP/1.1\r\nHost: 127.0.0.1:1234\r\n".to_owned(),
            ),
            (Preset::Debugpy, "GET / HTTP/1.1\r\n".to_owned()),
            (Preset::Node, from("Origin: https://evil.example")),
            (Preset::Node, from("oRiGin: null")),
            (Preset::Node, from("Sec-Fetch-Site: cross-site")),
            (
                Preset::Node,
                "GET / HTTP/1.1\r\nHost: evil.example:9229\r\n\r\n".to_owned(),
            ),
            (Preset::Node, "GET / HTTP/9.9\r\n\r\n".to_owned()),
        ] {
            assert_eq!(
                judged(preset, &word),
                Judgement::WebPage,
                "{preset:?} {word}"
            );
        }
    }

    /// A page whose own name leads to this host is of one origin with the port, and chooses the method.
    #[test]
    fn first_word_of_a_page_that_makes_up_a_method_is_turned_away() {
        for word in [
            "FOO / HTTP/1.1\r\nHost: evil.example:1234\r\n\r\n+$vFile:setfs:0#bf",
            "patch /x HTTP/1.1\r\nHost: evil.example:1234\r\n",
            "+$k#6b / HTTP/1.1\r\nHost: evil.example:1234\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            for preset in [Preset::Gdbserver, Preset::Debugpy, Preset::Jdwp] {
                assert_eq!(judged(preset, word), Judgement::WebPage, "{word}");
            }
        }
        let long = format!("FOO /{}", "x".repeat(LOOKED_AT));
        assert_eq!(judged(Preset::Delve, &long), Judgement::More);
        assert_eq!(request(long.as_bytes()), Request::Begun);
        // What is looked at first, and the most that is.
        for length in [256, LOOKED_AT] {
            let method = "+$k#6b".repeat(length / 6 + 1);
            let word = &method[..length];
            assert_eq!(judged(Preset::Gdbserver, word), Judgement::More);
            assert_eq!(request(word.as_bytes()), Request::Begun);
        }
        for word in ["info /proc/self\n", "+ $", "list\n", "a /b\n HTTP/1.1\n"] {
            assert_eq!(judged(Preset::Rdbg, word), Judgement::Client, "{word}");
        }
    }

    #[test]
    fn first_word_of_tls_and_turn_which_pages_have_a_browser_say_is_turned_away() {
        let allocate = "\0\x03\0\x08\x21\x12";
        let judged = |word: &[u8]| {
            let debuggers = [
                Preset::Gdbserver,
                Preset::Jdwp,
                Preset::Node,
                Preset::Debugpy,
            ];
            debuggers.map(|preset| ClientFilter::of_preset(preset).unwrap().judge_word(word))
        };
        for word in [
            &b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..],
            &[allocate.as_bytes(), &[0xa4, 0x42], &[7; 12]].concat(),
            &[&[0, 1, 0, 0][..], &STUN_COOKIE, &[7; 12]].concat(),
            // To a peer, as a page names it.
            &[&[0, 20, 0, 1, 0, 0][..], &STUN_COOKIE, &[7; 12]].concat(),
        ] {
            assert_eq!(
                judged(word),
                [(); 4].map(|()| Judgement::WebPage),
                "{word:?}"
            );
        }
        for word in [&b"\x16"[..], b"\0", allocate.as_bytes()] {
            assert_eq!(judged(word), [(); 4].map(|()| Judgement::More), "{word:?}");
        }
        // A JVM's reply, or another program's own bytes.
        for word in [&b"\0\x02\0\x08"[..], &[0, 1, 0, 0, 1, 2, 3, 4], b"\x16\x02"] {
            assert_eq!(
                judged(word),
                [(); 4].map(|()| Judgement::Client),
                "{word:?}"
            );
        }
    }

    #[test]
    fn first_word_that_is_cut_short_waits_for_more() {
        assert_eq!(judged(Preset::Gdbserver, "PO"), Judgement::More);
        assert_eq!(
            judged(Preset::Node, "GET /json HTTP/1.1\r\nHo"),
            Judgement::More
        );
    }

    #[test]
    fn first_word_is_not_asked_where_the_debuggee_connects() {
        assert_eq!(ClientFilter::of_preset(Preset::Pydevd), None);
        assert_eq!(ClientFilter::of_preset(Preset::DebugpyConnect), None);
    }

    #[test]
    fn first_word_is_asked_where_no_debugger_is_named_and_not_where_anything_is_forwarded() {
        let listens_here = |is: bool| ForwardSpec::default().resolve(|_| is);
        let screen = ClientFilter::of(&listens_here(false)).unwrap();
        let page = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\n\r\n";
        assert_eq!(screen.judge_word(page), Judgement::WebPage);
        let inspector = b"GET /json HTTP/1.1\r\nHost: 127.0.0.1:5678\r\n\r\n";
        assert_eq!(screen.judge_word(inspector), Judgement::Client);
        assert_eq!(ClientFilter::of(&listens_here(true)), None);
        let plain = Forward::parse(Direction::ToDebuggee, "5678:localhost:5678").unwrap();
        assert_eq!(ClientFilter::of(&plain), None);
    }

    #[test]
    fn one_who_waits_is_let_in_where_a_client_may_and_few_do() {
        let ptvsd = ClientFilter::of_preset(Preset::Ptvsd).unwrap();
        assert!(ptvsd.lets_wait(1) && ptvsd.lets_wait(MOST_WAITING));
        assert!(!ptvsd.lets_wait(MOST_WAITING + 1));
        assert!(
            !ClientFilter::of_preset(Preset::Debugpy)
                .unwrap()
                .lets_wait(1)
        );
    }
}
