//! How two ends of a named pipe prove to each other that they are of the same user: both know what stands in the
//! listening process' file, which nobody else may read.
//!
//! A pipe's name can be seen by all users of a host, and once its process is gone any of them may take it. So the end
//! that dials says nothing before the other has proved itself, and neither proof can be used again:
//!
//! ```text
//! client → server   32 random bytes
//! server → client   32 random bytes, HMAC-SHA-256(secret, "server" client's server's)
//! client → server   HMAC-SHA-256(secret, "client" client's server's)
//! ```

use std::io;

use hmac::{Hmac, Mac};
use p2pdbg_proto::secret::{Secret, random_bytes};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

type Nonce = [u8; 32];

/// Proves this end to the one that listens, and has that one prove itself first.
///
/// # Errors
/// If the other end does not know the secret, or the connection ends.
pub(super) async fn by_client(
    connection: &mut (impl AsyncRead + AsyncWrite + Unpin),
    secret: &Secret<32>,
) -> io::Result<()> {
    let ours: Nonce = random_bytes();
    connection.write_all(&ours).await?;
    let (mut theirs, mut proof) = (Nonce::default(), [0; 32]);
    connection.read_exact(&mut theirs).await?;
    connection.read_exact(&mut proof).await?;
    check(mac(secret, b"server", &ours, &theirs)?, &proof)?;
    let own = mac(secret, b"client", &ours, &theirs)?.finalize();
    connection.write_all(&own.into_bytes()).await
}

/// Proves the end that listens, and has the other prove itself.
///
/// # Errors
/// As with [`by_client`].
pub(super) async fn by_server(
    connection: &mut (impl AsyncRead + AsyncWrite + Unpin),
    secret: &Secret<32>,
) -> io::Result<()> {
    let mut theirs = Nonce::default();
    connection.read_exact(&mut theirs).await?;
    let ours: Nonce = random_bytes();
    let own = mac(secret, b"server", &theirs, &ours)?.finalize();
    connection
        .write_all(&[ours, own.into_bytes().into()].concat())
        .await?;
    let mut proof = [0; 32];
    connection.read_exact(&mut proof).await?;
    check(mac(secret, b"client", &theirs, &ours)?, &proof)
}

fn mac(
    secret: &Secret<32>,
    who: &[u8],
    client: &Nonce,
    server: &Nonce,
) -> io::Result<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).map_err(io::Error::other)?;
    for part in [who, client, server] {
        mac.update(part);
    }
    Ok(mac)
}

fn check(mac: Hmac<Sha256>, proof: &[u8; 32]) -> io::Result<()> {
    let refused = |_| io::Error::from(io::ErrorKind::PermissionDenied);
    mac.verify_slice(proof).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret<32> {
        Secret::from_bytes([byte; 32])
    }

    #[tokio::test]
    async fn both_ends_must_know_the_secret_and_the_one_that_dials_says_nothing_to_one_that_does_not()
     {
        let (mut one, mut other) = tokio::io::duplex(1024);
        let (here, there) = (secret(1), secret(1));
        let met = tokio::join!(by_client(&mut one, &here), by_server(&mut other, &there));
        assert!(met.0.is_ok() && met.1.is_ok());
        let (mut one, mut other) = tokio::io::duplex(1024);
        let wrong = secret(2);
        let client = async {
            let met = by_client(&mut one, &here).await;
            drop(one);
            met
        };
        let (client, server) = tokio::join!(client, by_server(&mut other, &wrong));
        assert_eq!(client.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(server.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn proof_of_the_other_end_given_back_is_none() {
        let (mut stranger, mut server) = tokio::io::duplex(1024);
        let known = secret(1);
        let echo = async {
            stranger.write_all(&[0; 32]).await.unwrap();
            let mut said = [0; 64];
            stranger.read_exact(&mut said).await.unwrap();
            stranger.write_all(&said[32..]).await.unwrap();
        };
        let ((), refused) = tokio::join!(echo, by_server(&mut server, &known));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
