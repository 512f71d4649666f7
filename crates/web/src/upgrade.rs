//! The upgrade from HTTP/1.1 (RFC 6455 section 4): the client's question, and what a server answers.

use data_encoding::BASE64;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{HeadFault, PATH, WebStream, read_head};

/// What the answer is told from an echo by (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The most headers of an answer.
const MOST_HEADERS: usize = 64;

/// Why there is no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSwitched {
    /// A web server that knows of no rendezvous, or a proxy that does not pass the upgrade on.
    #[error("it answers with status {0}")]
    Status(u16),
    /// Something else than an answer to this question.
    #[error("it does not answer as a WebSocket server does")]
    NotWebSocket,
    /// The connection broke before the answer.
    #[error("the connection was lost")]
    Lost,
}

/// Asks the HTTP server at the other end to go on in WebSocket. `host` is what the header of that name says.
///
/// # Errors
/// [`NotSwitched`].
pub async fn ask<S>(mut stream: S, host: &str) -> Result<WebStream<S>, NotSwitched>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| NotSwitched::Lost)?;
    let key = BASE64.encode(&random);
    let question = format!(
        "GET {PATH} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nUser-Agent: p2pdbg/{}\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    let asked = async {
        stream.write_all(question.as_bytes()).await?;
        stream.flush().await
    };
    asked.await.map_err(|_| NotSwitched::Lost)?;
    let head = read_head(&mut stream).await.map_err(|fault| match fault {
        HeadFault::NotHttp => NotSwitched::NotWebSocket,
        HeadFault::Lost(_) => NotSwitched::Lost,
    })?;
    judge(&head, &accept(&key))?;
    Ok(WebStream::of_client(stream).await)
}

/// What Sec-WebSocket-Accept has to say to this Sec-WebSocket-Key.
pub fn accept(key: &str) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    BASE64.encode(&digest)
}

fn judge(head: &[u8], accept: &str) -> Result<(), NotSwitched> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let parsed = answer.parse(head);
    if !parsed.is_ok_and(|parsed| parsed.is_complete()) {
        return Err(NotSwitched::NotWebSocket);
    }
    match answer.code {
        Some(101) => {}
        Some(status) => return Err(NotSwitched::Status(status)),
        None => return Err(NotSwitched::NotWebSocket),
    }
    let header = |name: &str| {
        let mut all = answer.headers.iter();
        all.find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    };
    let is_upgrade = header("Upgrade").is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"));
    // Nothing was offered, so an answer that chooses something is an answer to somebody else.
    let is_plain = header("Sec-WebSocket-Extensions").is_none();
    let is_answer = header("Sec-WebSocket-Accept") == Some(accept.as_bytes());
    match is_upgrade && is_plain && is_answer {
        true => Ok(()),
        false => Err(NotSwitched::NotWebSocket),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 section 1.3.
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    #[test]
    fn answer_to_the_key_of_the_rfc_is_that_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), ACCEPT);
    }

    fn said(head: &str) -> Result<(), NotSwitched> {
        judge(head.as_bytes(), ACCEPT)
    }

    #[test]
    fn answer_that_switches_is_taken_in_any_case_and_order() {
        let head = format!(
            "HTTP/1.1 101 Go on\r\nserver: x\r\nsec-websocket-accept: {ACCEPT}\r\nUPGRADE: WebSocket\r\n\r\n"
        );
        assert_eq!(said(&head), Ok(()));
    }

    #[test]
    fn answer_that_does_not_switch_is_told_by_its_status() {
        for status in [200, 302, 403, 404, 502] {
            let head = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(said(&head), Err(NotSwitched::Status(status)));
        }
    }

    #[test]
    fn answer_to_another_key_or_with_an_extension_is_not_taken() {
        let upgrade = "HTTP/1.1 101 Go on\r\nUpgrade: websocket\r\n";
        for rest in [
            String::new(),
            "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n".into(),
            format!(
                "Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
            ),
        ] {
            let head = format!("{upgrade}{rest}\r\n");
            assert_eq!(said(&head), Err(NotSwitched::NotWebSocket), "{head}");
        }
    }

    async fn asked(answer: &[u8]) -> Option<NotSwitched> {
        let (here, mut there) = tokio::io::duplex(1 << 16);
        there.write_all(answer).await.unwrap();
        let asking = ask(here, "rdv.example.org");
        // What is asked is read by nobody, and fits.
        let (failed, ()) = tokio::join!(async { asking.await.err() }, async {
            let _ = there.shutdown().await;
        });
        failed
    }

    #[tokio::test]
    async fn answer_without_an_end_or_that_is_not_http_is_given_up() {
        let endless = [&b"HTTP/1.1 101 Go on\r\n"[..], &b"X: y\r\n".repeat(5_000)].concat();
        assert_eq!(asked(&endless).await, Some(NotSwitched::NotWebSocket));
        assert_eq!(
            asked(b"SSH-2.0-x\r\n").await,
            Some(NotSwitched::NotWebSocket)
        );
        assert_eq!(asked(b"HTTP/1.1 101 ").await, Some(NotSwitched::Lost));
    }
}
