//! STUN over TCP (RFC 8489 section 6.2.2): how a peer learns what its NAT makes of a TCP port of its own.
//!
//! A NAT keeps such a port for as long as a connection uses it, so a peer holds this one while it tries to be reached
//! there, and asks now and then. An address that speaks here is not forged, so answers may be longer than requests.
//! Nobody is asked for a key: a connection counts as an attempt that has said nothing, and makes room when there are
//! too many of these.

use std::{io, net::SocketAddr, time::Duration};

use p2pdbg_stun::{
    Attribute, Class, Encoder, Fingerprint, HEADER_LEN, METHOD_BINDING, Message, message_length,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// How long a connection may be silent.
pub(crate) const SILENCE: Duration = Duration::from_secs(20);

/// How often one may ask; a peer does so every five seconds for some twenty.
const QUESTIONS: usize = 16;

/// The longest question that is read, in bytes; peers' have 64 and 100.
const LONGEST: usize = 256;

/// The longest answer, in bytes: to IPv6, with FINGERPRINT.
const ANSWER: usize = 64;

/// Answers what is asked, until the other end closes, is silent for so long, or has asked enough.
///
/// # Errors
/// If the connection fails, or something else than a Binding request comes.
pub(crate) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    observed: SocketAddr,
    silence: Duration,
) -> io::Result<()> {
    for _ in 0..QUESTIONS {
        let question = timeout(silence, read(&mut stream)).await;
        let Some(question) = question.map_err(|_| io::ErrorKind::TimedOut)?? else {
            return Ok(());
        };
        let mut buffer = [0; ANSWER];
        let answer = answer(&question, observed, &mut buffer);
        let answer = answer.ok_or(io::ErrorKind::InvalidData)?;
        timeout(silence, stream.write_all(answer))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
    }
    Ok(())
}

/// The next message, whose length stands in its header; `None` at the end.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut message = vec![0; HEADER_LEN];
    if stream.read(&mut message[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut message[1..]).await?;
    let length = message_length(&message).filter(|length| *length <= LONGEST);
    message.resize(length.ok_or(io::ErrorKind::InvalidData)?, 0);
    stream.read_exact(&mut message[HEADER_LEN..]).await?;
    Ok(Some(message))
}

fn answer<'a>(question: &[u8], observed: SocketAddr, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let message = Message::decode(question).ok()?;
    if message.class() != Class::Request
        || message.method() != METHOD_BINDING
        || message.fingerprint() == Fingerprint::Invalid
        || message.unknown_required().next().is_some()
    {
        return None;
    }
    let mut answer = Encoder::new(buffer, Class::Success, message.transaction()).ok()?;
    answer.push(Attribute::XorMappedAddress(observed)).ok()?;
    answer.finish_with_fingerprint().ok()
}

#[cfg(test)]
mod tests {
    use p2pdbg_stun::TransactionId;
    use tokio::io::duplex;

    use super::*;

    fn question(number: u8) -> Vec<u8> {
        let mut buffer = [0; 64];
        let transaction = TransactionId([number; 12]);
        let mut encoder = Encoder::new(&mut buffer, Class::Request, transaction).unwrap();
        encoder.push(Attribute::Padding(32)).unwrap();
        encoder.finish_with_fingerprint().unwrap().to_vec()
    }

    /// What comes back for these bytes, until the server closes.
    async fn say(bytes: &[u8], observed: &str) -> (Vec<u8>, io::Result<()>) {
        let (mut ours, theirs) = duplex(16 * 1024);
        let observed = observed.parse().unwrap();
        let serving = tokio::spawn(serve(theirs, observed, SILENCE));
        ours.write_all(bytes).await.unwrap();
        ours.shutdown().await.unwrap();
        let mut answers = Vec::new();
        ours.read_to_end(&mut answers).await.unwrap();
        (answers, serving.await.unwrap())
    }

    #[tokio::test]
    async fn who_asks_over_tcp_is_told_its_address_each_time() {
        for observed in ["192.0.2.7:4000", "[2001:db8::7]:4000"] {
            let (answers, end) = say(&[question(1), question(2)].concat(), observed).await;
            assert!(end.is_ok(), "{end:?}");
            let length = answers.len() / 2;
            for (number, answer) in [1, 2].into_iter().zip(answers.chunks(length)) {
                let message = Message::decode(answer).unwrap();
                assert_eq!(message.transaction(), TransactionId([number; 12]));
                assert_eq!(message.mapped_address(), Some(observed.parse().unwrap()));
                assert_eq!(message.fingerprint(), Fingerprint::Valid);
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_question_ends_the_connection_without_an_answer() {
        let mut long = question(1);
        long[2..4].copy_from_slice(&u16::MAX.to_be_bytes());
        let mut spoilt = question(1);
        *spoilt.last_mut().unwrap() ^= 1;
        for bytes in [long, spoilt, vec![0; 40], question(1)[..30].to_vec()] {
            let (answers, end) = say(&bytes, "192.0.2.7:4000").await;
            assert!(answers.is_empty() && end.is_err(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn nobody_asks_for_ever() {
        let questions = question(1).repeat(QUESTIONS);
        let (mut ours, theirs) = duplex(16 * 1024);
        let serving = tokio::spawn(serve(theirs, "192.0.2.7:4000".parse().unwrap(), SILENCE));
        ours.write_all(&questions).await.unwrap();
        let mut answers = Vec::new();
        ours.read_to_end(&mut answers).await.unwrap();
        serving.await.unwrap().unwrap();
        let one = answers.len() / QUESTIONS;
        assert_eq!(
            Message::decode(&answers[..one]).unwrap().class(),
            Class::Success
        );
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for() {
        let (_ours, theirs) = duplex(1024);
        let observed = "192.0.2.7:4000".parse().unwrap();
        let end = serve(theirs, observed, Duration::from_millis(50)).await;
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
