//! The HTTP port: metrics for a scraper, health for a supervisor, and a page for people. It is read-only, and off
//! unless the operator gives it an address, which is loopback as a rule.
//!
//! | path | what |
//! |---|---|
//! | `/` | the status page, with plots; it asks `/status.json` every two seconds |
//! | `/metrics` | OpenMetrics text |
//! | `/healthz` | 200 if every part goes its rounds, else 503: restart it |
//! | `/readyz` | 200 if it takes new peers and does not drain, else 503: send none |
//!
//! Whoever connects may be anybody on this host: there are few connections at once, each with one deadline for all, and
//! one that does not read is dropped at that, or sooner if others come. A page elsewhere in the Web that has its name
//! resolved to loopback is told nothing: the Host that it names is not one of ours.

mod metrics;
mod shared_status;

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use self::shared_status::SharedStatus;
use super::{Operator, Status};

/// Connections at once. For one more the oldest goes that has asked nothing, or else the oldest.
const CONNECTIONS: usize = 16;

/// How long a connection may last, however busy: a scraper that reads nothing keeps its place no longer.
const LASTS: Duration = Duration::from_secs(10);

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(3);

/// The most that is buffered of a connection, in bytes. There are no requests with a body.
const BUFFER: usize = 16 * 1024;

/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(250);

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

type Answer = Response<Full<Bytes>>;

/// The port for operators, bound and not served yet.
#[derive(Debug)]
pub(crate) struct HttpPort {
    listener: TcpListener,
    local: SocketAddr,
}

impl HttpPort {
    /// Binds it.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok(Self { listener, local })
    }

    /// The address that it is bound to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Answers for as long as it is polled.
    pub(crate) async fn serve(self, operator: Operator) {
        let asked = Asked {
            operator,
            local: self.local,
            status: Arc::new(SharedStatus::new()),
        };
        let mut connections = JoinSet::new();
        let mut places = HttpSlots::default();
        loop {
            while connections.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let has_asked = Arc::new(AtomicBool::new(false));
                    let serve = serve(stream, asked.clone(), has_asked.clone());
                    let task = connections.spawn(async move {
                        let _ = timeout(LASTS, serve).await;
                    });
                    places.take(HttpSlot { task, has_asked });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the HTTP port");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// What answers are made of.
#[derive(Clone)]
struct Asked {
    operator: Operator,
    local: SocketAddr,
    status: Arc<SharedStatus<Status>>,
}

/// The place of a connection.
struct HttpSlot {
    task: AbortHandle,
    /// Whether it has asked something.
    has_asked: Arc<AtomicBool>,
}

/// The connections that there are, the oldest first.
#[derive(Default)]
struct HttpSlots(VecDeque<HttpSlot>);

impl HttpSlots {
    /// Gives a new connection a place. If there is none left another one ends: a crowd that connects and is silent must
    /// not keep a supervisor waiting, who would start the program again.
    fn take(&mut self, place: HttpSlot) {
        self.0.retain(|place| !place.task.is_finished());
        if self.0.len() >= CONNECTIONS {
            let is_silent = |place: &HttpSlot| !place.has_asked.load(Ordering::Relaxed);
            let oldest = self.0.iter().position(is_silent).unwrap_or(0);
            if let Some(oldest) = self.0.remove(oldest) {
                oldest.task.abort();
            }
        }
        self.0.push_back(place);
    }
}

async fn serve(stream: TcpStream, asked: Asked, has_asked: Arc<AtomicBool>) {
    let service = service_fn(move |request| {
        has_asked.store(true, Ordering::Relaxed);
        let asked = asked.clone();
        async move { Ok::<_, Infallible>(answer(&request, &asked).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    // What goes wrong is the affair of who connected.
    let _ = connection.await;
}

async fn answer(request: &Request<Incoming>, asked: &Asked) -> Answer {
    let operator = &asked.operator;
    let status = || asked.status.get(operator.status());
    if !is_ours(request, asked.local) {
        return text(StatusCode::FORBIDDEN, "this port is not called so\n");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "this port is read-only\n");
    }
    match request.uri().path() {
        "/" => of_kind("text/html; charset=utf-8", PAGE),
        "/page.css" => of_kind("text/css", STYLE),
        "/page.js" => of_kind("text/javascript", SCRIPT),
        "/healthz" => yes_or_no(operator.is_healthy()),
        "/readyz" => yes_or_no(operator.is_ready()),
        "/metrics" => match status().await {
            Some(status) => of_kind(metrics::KIND, metrics::encode(&status, operator)),
            None => busy(),
        },
        "/status.json" => match status().await.map(|s| serde_json::to_string(&s)) {
            Some(Ok(json)) => of_kind("application/json", json),
            _ => busy(),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "there is / and /metrics, /healthz, /readyz\n",
        ),
    }
}

/// Whether the request names this port as somebody would who means it. On an address that others reach, it may have
/// any name.
fn is_ours(request: &Request<Incoming>, local: SocketAddr) -> bool {
    if !local.ip().is_loopback() {
        return true;
    }
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let ip: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
    name == "localhost" || ip.is_some_and(|ip| ip.is_loopback())
}

fn yes_or_no(yes: bool) -> Answer {
    if yes {
        text(StatusCode::OK, "yes\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "no\n")
    }
}

fn busy() -> Answer {
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        "it is stopping, or too busy to answer\n",
    )
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    let mut answer = of_kind("text/plain", body);
    *answer.status_mut() = status;
    answer
}

fn of_kind(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    let headers = answer.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
