//! A question over UDP and its answer, repeated when lost.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use tokio::net::UdpSocket;

use super::Fault;

/// The first wait for an answer, doubled after each question (RFC 6886 section 3.1).
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Questions in all; the last wait ends 1.75 s after the first question.
const QUESTIONS: u32 = 3;

/// No message of PCP is longer, in bytes (RFC 6887 section 7).
const LONGEST: usize = 1100;

/// Asks `server` until something comes from it that `read` takes for an answer. What it does not is passed over.
pub(super) async fn ask<T>(
    local: Ipv4Addr,
    server: SocketAddrV4,
    question: &[u8],
    read: impl Fn(&[u8]) -> Option<Result<T, Fault>>,
) -> Result<T, Fault> {
    let silent = |error: std::io::Error| {
        tracing::trace!(%error, "the gateway cannot be asked");
        Fault::Silent
    };
    let socket = UdpSocket::bind((local, 0)).await.map_err(silent)?;
    socket.connect(server).await.map_err(silent)?;
    let mut buffer = [0; LONGEST];
    for count in 0..QUESTIONS {
        socket.send(question).await.map_err(silent)?;
        let answer = async {
            loop {
                // An error here is the gateway's ICMP: nothing listens.
                let length = socket.recv(&mut buffer).await.map_err(silent)?;
                if let Some(answer) = read(&buffer[..length]) {
                    return answer;
                }
            }
        };
        if let Ok(answer) = tokio::time::timeout(FIRST_WAIT * 2_u32.pow(count), answer).await {
            return answer;
        }
    }
    Err(Fault::Silent)
}
