//! HTTP/1.1 at the TCP ports, inside TLS or in the clear, and behind a reverse proxy: the offer, and the way in for
//! peers whose network lets nothing but the web through, who go on in WebSocket ([`p2pdbg_web`]). One request a
//! connection.
//!
//! HTTP proves nothing, and nothing of it is believed but, from a reverse proxy on this host, whom it speaks for. What
//! runs inside the WebSocket is TLS with this rendezvous' own certificate, as over TCP.

mod forwarded;

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use p2pdbg_web::WebStream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use crate::{
    counters::Tallies,
    offer::{self, Body, Offer, plain},
};

/// How long a connection may last on which HTTP is spoken: eight megabytes at 110 kbit/s.
const LASTS: Duration = Duration::from_secs(600);

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);

/// The most that is buffered of a request, in bytes; the least that hyper takes.
const BUFFER: usize = 8 * 1024;

/// The most headers of a request; browsers and proxies send some twenty.
const MOST_HEADERS: usize = 64;

/// What goes on in WebSocket: TLS of ours is to follow.
pub(crate) type Inside = WebStream<TokioIo<Upgraded>>;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    /// The address that has connected.
    At(IpAddr),
    /// Whom a reverse proxy on this host names.
    Named,
}

/// What is served over HTTP, and counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    /// The files that are handed out; none if nothing is offered.
    pub(crate) offer: Option<&'a Offer>,
    pub(crate) tallies: &'a Tallies,
}

/// Answers one request; what it goes on in, and for whom, if an upgrade was asked for.
pub(crate) async fn serve<S>(stream: S, asker: Asker, site: Site<'_>) -> Option<(IpAddr, Inside)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let upgrade = Mutex::new(None);
    let service = service_fn(|request| {
        let (mut answer, asked) = answer(request, asker, site);
        match asked {
            Some(asked) => {
                *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
            }
            // No second request.
            None => {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
        }
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // What goes wrong is the affair of who connected.
    if !matches!(timeout(LASTS, connection).await, Ok(Ok(()))) {
        site.tallies.tcp_failed.add(1);
    }
    let asked = upgrade
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let (from, upgrade) = asked?;
    // It is there as soon as the answer has gone out; if that failed, it never comes.
    let upgraded = timeout(HEAD, upgrade).await.ok()?.ok()?;
    Some((from, WebStream::of_server(TokioIo::new(upgraded)).await))
}

fn answer(
    mut request: Request<Incoming>,
    asker: Asker,
    site: Site<'_>,
) -> (Response<Body>, Option<(IpAddr, OnUpgrade)>) {
    let from = match asker {
        Asker::At(ip) => Some(ip),
        Asker::Named => forwarded::client(request.headers()),
    };
    let Some(from) = from else {
        let requests = site.tallies.web_unnamed.add_and_read(1);
        // Said at the first and at each tenfold: any stranger's request is one.
        if 10_u64.pow(requests.ilog10()) == requests {
            tracing::warn!(
                requests,
                "the reverse proxy does not say whom it speaks for; have it send X-Forwarded-For"
            );
        }
        let text = "p2pdbg-rendezvous: the proxy in front of it sends no X-Forwarded-For\n";
        return (plain(StatusCode::BAD_REQUEST, text), None);
    };
    let answer = match (request.uri().path() == p2pdbg_web::PATH, site.offer) {
        (true, _) => switch(&request),
        (false, Some(offer)) => {
            site.tallies.downloads.add(1);
            offer::answer(&request, from, offer)
        }
        (false, None) => plain(StatusCode::NOT_FOUND, "p2pdbg-rendezvous: not here\n"),
    };
    let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let asked = switches.then(|| (from, hyper::upgrade::on(&mut request)));
    tracing::debug!(%from, path = request.uri().path(), status = %answer.status(), "asked over HTTP");
    (answer, asked)
}

/// The answer that goes on in WebSocket (RFC 6455 section 4.2), or the one to what asks for something else.
fn switch(request: &Request<Incoming>) -> Response<Body> {
    let headers = request.headers();
    let is_upgrade = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && names(headers, header::UPGRADE, "websocket")
        && names(headers, header::CONNECTION, "upgrade")
        && names(headers, header::SEC_WEBSOCKET_VERSION, "13");
    let websocket = HeaderValue::from_static("websocket");
    if !is_upgrade {
        let text = "p2pdbg-rendezvous: for peers of p2pdbg, by WebSocket\n";
        let mut answer = plain(StatusCode::UPGRADE_REQUIRED, text);
        let version = HeaderValue::from_static("13");
        let headers = answer.headers_mut();
        headers.insert(header::UPGRADE, websocket);
        headers.insert(header::SEC_WEBSOCKET_VERSION, version);
        return answer;
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    // Sixteen bytes in base64.
    let key = key
        .and_then(|key| key.to_str().ok())
        .filter(|key| key.len() == 24);
    let accept = key.and_then(|key| HeaderValue::try_from(p2pdbg_web::accept(key)).ok());
    let Some(accept) = accept else {
        let text = "p2pdbg-rendezvous: no key of a WebSocket\n";
        return plain(StatusCode::BAD_REQUEST, text);
    };
    let mut answer = Response::new(Either::Left(Full::default()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::UPGRADE, websocket);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    answer
}

/// Whether one of the elements of this header is that word.
fn names(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|element| element.trim().eq_ignore_ascii_case(word))
}
