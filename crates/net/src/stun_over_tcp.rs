//! STUN over TCP (RFC 8489 section 6.2.2): how a server sees a TCP port of this host.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::{address::canonical, secret::random_bytes};
use p2pdbg_stun::{Class, Encoder, HEADER_LEN, Message, TransactionId, message_length};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::tcp_port::TcpPort;

/// The longest answer that is read, in bytes.
const LONGEST: usize = 512;

/// A connection to a server that has answered. The NAT keeps the port for as long as it stands.
#[derive(Debug)]
pub struct Asked {
    stream: TcpStream,
    /// Who was asked.
    pub server: SocketAddr,
    /// Where the server saw the question come from.
    pub mapped: SocketAddr,
    /// How long its answer took.
    pub rtt: Duration,
}

/// Asks a server from this port. The caller bounds the time.
///
/// # Errors
/// If there is no connection, or what comes is no answer.
pub async fn ask(port: TcpPort, server: SocketAddr) -> io::Result<Asked> {
    let mut stream = port.dial(server).await?;
    let asked = Instant::now();
    let mapped = question(&mut stream).await?;
    let rtt = asked.elapsed();
    Ok(Asked {
        stream,
        server,
        mapped,
        rtt,
    })
}

impl Asked {
    /// Asks once more.
    ///
    /// # Errors
    /// If the connection has ended, or what comes is no answer.
    pub async fn again(&mut self) -> io::Result<SocketAddr> {
        question(&mut self.stream).await
    }
}

async fn question(stream: &mut TcpStream) -> io::Result<SocketAddr> {
    let transaction = TransactionId(random_bytes());
    let mut buffer = [0; 64];
    let request = Encoder::new(&mut buffer, Class::Request, transaction)
        .and_then(Encoder::finish_with_fingerprint)
        .map_err(io::Error::other)?;
    stream.write_all(request).await?;
    let mut answer = vec![0; HEADER_LEN];
    stream.read_exact(&mut answer).await?;
    let length = message_length(&answer).filter(|length| *length <= LONGEST);
    let length = length.ok_or(io::ErrorKind::InvalidData)?;
    answer.resize(length, 0);
    stream.read_exact(&mut answer[HEADER_LEN..]).await?;
    let message = Message::decode(&answer).map_err(io::Error::other)?;
    if message.transaction() != transaction || message.class() != Class::Success {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mapped = message.mapped_address().ok_or(io::ErrorKind::InvalidData)?;
    Ok(canonical(mapped))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use p2pdbg_stun::Attribute;
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers one question with this address, to this transaction if one is given.
    async fn serve(listener: TcpListener, seen: SocketAddr, transaction: Option<TransactionId>) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = [0; 28];
        stream.read_exact(&mut question).await.unwrap();
        let question = Message::decode(&question).unwrap();
        let mut buffer = [0; 64];
        let transaction = transaction.unwrap_or(question.transaction());
        let mut answer = Encoder::new(&mut buffer, Class::Success, transaction).unwrap();
        answer.push(Attribute::XorMappedAddress(seen)).unwrap();
        stream.write_all(answer.finish()).await.unwrap();
    }

    async fn asked(transaction: Option<TransactionId>) -> io::Result<Asked> {
        let (port, _listener) = TcpPort::listen(Ipv4Addr::LOCALHOST.into()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let seen = "192.0.2.1:5000".parse().unwrap();
        tokio::join!(ask(port, server), serve(listener, seen, transaction)).0
    }

    #[tokio::test]
    async fn server_tells_how_it_sees_the_port() {
        let seen = "192.0.2.1:5000".parse().unwrap();
        assert_eq!(asked(None).await.unwrap().mapped, seen);
    }

    #[tokio::test]
    async fn answer_to_another_question_is_none() {
        assert!(asked(Some(TransactionId([7; 12]))).await.is_err());
    }
}
