//! TLS around a WebSocket, which proves nothing: it is there because the web is spoken over TLS, and is opened by
//! whatever stands on the way: a company's proxy under the company's own authority, a reverse proxy before the
//! rendezvous. What counts is the TLS inside ([`crate::tls`]), with its pin.
//!
//! So the client takes any certificate. To verify it by the system's roots would keep out those hosts where the
//! company's authority is missing (containers, mostly) and protect nothing that is not protected inside. TLS 1.2 is
//! spoken as well, and the key exchanges that such boxes have known for long: the hybrid one makes the first message
//! longer than a packet, which some of them drop.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        aws_lc_rs::{default_provider, kx_group},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

use crate::Identity;

/// What the web calls itself (RFC 7301): HTTP/2 has no upgrade.
const ALPN: &[u8] = b"http/1.1";

/// For the client's end: whoever answers is taken.
///
/// # Errors
/// When the libraries do not fit together.
pub fn client() -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider())))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// For the rendezvous' end, where nothing stands before it that has a certificate of the web.
///
/// # Errors
/// When the identity's key does not serve.
pub fn server(identity: &Identity) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    let kx_groups = vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    Arc::new(CryptoProvider {
        kx_groups,
        ..default_provider()
    })
}

/// Takes any certificate, and does not ask whether who shows it has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
