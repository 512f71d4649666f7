//! The HTTP port: metrics, health and the page, and who knocks there without reading.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
};

use p2pdbg_rendezvous::{Server, ServerConfig};

use crate::support::{soon, state_dir};

/// A rendezvous that answers over HTTP, with a peer that has the key and a code.
async fn serving() -> (Server, tempfile::TempDir, SocketAddr) {
    let state = state_dir();
    let loopback = "127.0.0.1:0".parse().unwrap();
    let config = ServerConfig {
        bind: vec![loopback],
        alt_port: 0,
        metrics: Some(loopback),
        state: Some(state.path().into()),
        ..ServerConfig::default()
    };
    let server = Server::start(config).await.unwrap();
    let metrics = server.metrics().unwrap();
    (server, state, metrics)
}

/// Sends a request, and takes everything that comes back.
async fn exchange(address: SocketAddr, request: String) -> String {
    let exchange = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    soon(tokio::task::spawn_blocking(exchange)).await.unwrap()
}

async fn get(address: SocketAddr, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    exchange(address, head).await
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// OpenMetrics in the older text form that promtool checks: no units, no end, and counters called as their samples are.
fn classic(metrics: &str) -> String {
    let counter = |name: &str| metrics.contains(&format!("# TYPE {name} counter"));
    let line = |line: &str| {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => String::new(),
            (Some("#"), Some(what), Some(name), Some(rest)) if counter(name) => {
                format!("# {what} {name}_total {rest}\n")
            }
            (Some("#"), Some("TYPE"), Some(name), Some("info")) => {
                format!("# TYPE {name}_info gauge\n")
            }
            _ => format!("{line}\n"),
        }
    };
    metrics.lines().map(line).collect()
}

/// Whether a program is there; a test that cannot do without says so.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no {program} (scripts/install-test-tools)");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_said_and_what_is_no_question_is_refused() {
    let (server, _state, address) = serving().await;
    for path in ["/healthz", "/readyz", "/", "/page.js", "/status.json"] {
        let answer = get(address, path).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    assert!(get(address, "/keys.toml").await.starts_with("HTTP/1.1 404"));
    let request = |head: &str| format!("{head}\r\nConnection: close\r\n\r\n");
    let foreign = exchange(
        address,
        request("GET /metrics HTTP/1.1\r\nHost: evil.example:80"),
    )
    .await;
    assert!(foreign.starts_with("HTTP/1.1 403"), "{foreign}");
    let post = exchange(address, request("POST / HTTP/1.1\r\nHost: localhost")).await;
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_what_prometheus_reads_and_name_nobody() {
    let (server, _state, address) = serving().await;
    let answer = get(address, "/metrics").await;
    assert!(
        answer.contains("content-type: application/openmetrics-text"),
        "{answer}"
    );
    let metrics = body(&answer).to_owned();
    for line in [
        "p2pdbg_peers 0",
        "p2pdbg_relay_bytes_total 0",
        "p2pdbg_healthy 1",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}: {metrics}");
    }
    // No label but those that the program chooses.
    for line in metrics.lines().filter(|line| line.contains('{')) {
        assert!(
            line.contains("{transport=") || line.contains("{version="),
            "{line}"
        );
    }
    let secret = server.url().to_string();
    let secret = secret
        .strip_prefix("p2pdbg://")
        .unwrap()
        .split('@')
        .next()
        .unwrap();
    for path in ["/metrics", "/status.json", "/"] {
        assert!(!get(address, path).await.contains(secret), "{path}");
    }
    if has("promtool") {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let text = classic(&metrics);
        promtool
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("error while linting"), "{said}\n{text}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapers_that_never_read_or_ask_do_not_keep_others_out() {
    let (server, _state, address) = serving().await;
    // As many as there are places: half of them ask on and on and read nothing, the others say nothing.
    let mut held = Vec::new();
    for n in 0..16 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        if n % 2 == 0 {
            let head = format!("GET /page.js HTTP/1.1\r\nHost: {address}\r\n\r\n");
            let _ = stream.write_all(head.repeat(500).as_bytes());
        }
        held.push(stream);
    }
    let answer = get(address, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(held);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crowd_that_connects_and_says_nothing_keeps_no_supervisor_waiting() {
    let (server, _state, address) = serving().await;
    // If each of them kept its place until it is dropped, this would take a minute.
    let connect = move || -> Vec<TcpStream> {
        let silent = (0..300).map(|_| TcpStream::connect(address).unwrap());
        silent.collect()
    };
    let silent = soon(tokio::task::spawn_blocking(connect)).await.unwrap();
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = get(address, path).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    drop(silent);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_is_going_on_in_a_browser() {
    if !has("chromium") {
        return;
    }
    let (server, _state, address) = serving().await;
    let profile = state_dir();
    let mut chromium = Command::new("chromium");
    chromium
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        // The clock of the page runs ahead while nothing is on its way: three rounds of asking.
        .args(["--virtual-time-budget=7000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{address}/"));
    let run = tokio::task::spawn_blocking(move || chromium.output().unwrap());
    let output = run.await.unwrap();
    let dom = String::from_utf8(output.stdout).unwrap();
    assert!(dom.contains(", well, up 0 min"), "{dom}");
    assert!(dom.contains("<td>default</td>"), "{dom}");
    assert_eq!(dom.matches("<polyline points=\"").count(), 6, "{dom}");
    // More than one round: a plot has more than one point.
    let points = dom.split("<polyline points=\"").nth(1).unwrap();
    let points = points.split('"').next().unwrap();
    assert!(points.split(' ').count() >= 2, "{points}");
    server.shutdown().await;
}
