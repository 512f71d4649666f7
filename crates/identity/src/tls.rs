//! TLS configurations: who is accepted at the other end of a connection.
//!
//! All of them speak TLS 1.3 alone, with aws-lc-rs named outright (the process' default provider plays no
//! part), the hybrid key exchange X25519MLKEM768 first, and neither session tickets nor 0-RTT: each
//! connection authenticates afresh, and nothing of it can be replayed. What [`crate::web_tls`] is for is not among
//! them.
//!
//! A certificate is *pinned* by its fingerprint: that one is accepted and no other, whatever it says about
//! names and dates. The signature that proves possession of its key is verified as for any certificate, by
//! the provider's algorithms.

use std::{fmt, sync::Arc, time::Duration};

use p2pdbg_proto::{fingerprint::Fingerprint, relay_stream, rendezvous, tunnel};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use rustls_platform_verifier::Verifier;

use crate::{Identity, chain::PinnedChain, exporter::EarlyExporter, provider::signatures_of_tls13};
pub use crate::{identity::SERVER_NAME, provider::provider};

/// The code of a QUIC connection that ended because a certificate was not the pinned one: the TLS alert
/// `access_denied` as RFC 9001 section 4.8 maps it. An end that gives it itself did not accept the other's
/// certificate; an end that is told it was not accepted.
pub const PIN_MISMATCH_CODE: u64 = 0x100 + 49;

/// Accepts a server with the certificate of that fingerprint and no other.
pub fn pinned_server_verifier(fingerprint: Fingerprint) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Pinned::new(fingerprint))
}

/// Accepts a client with the certificate of that fingerprint and no other, and none without a certificate.
fn pinned_client_verifier(fingerprint: Fingerprint) -> Arc<dyn ClientCertVerifier> {
    Arc::new(Pinned::new(fingerprint))
}

/// For the end that dials a tunnel to the peer of that fingerprint.
///
/// # Errors
/// When the identity's key does not serve.
pub fn tunnel_client(identity: &Identity, peer: Fingerprint) -> Result<ClientConfig, Error> {
    tunnel_client_when(identity, peer, || true)
}

/// The same for a handshake that begins before the peer may see this end's certificate: the handshake fails, and this
/// end shows nothing of itself, if `may_show` says no when the peer's part of it has come.
///
/// # Errors
/// When the identity's key does not serve.
pub fn tunnel_client_when(
    identity: &Identity,
    peer: Fingerprint,
    may_show: impl Fn() -> bool + Send + Sync + 'static,
) -> Result<ClientConfig, Error> {
    let verifier = Pinned {
        may_show: Box::new(may_show),
        ..Pinned::new(peer)
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(identity.chain(), identity.key())?;
    Ok(finish_client(config, tunnel::ALPN))
}

/// For the end that accepts a tunnel to the peer of that fingerprint.
///
/// # Errors
/// When the identity's key does not serve.
pub fn tunnel_server(identity: &Identity, peer: Fingerprint) -> Result<ServerConfig, Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(pinned_client_verifier(peer))
        .with_single_cert(identity.chain(), identity.key())?;
    Ok(finish_server(config, tunnel::ALPN))
}

/// The same for one connection of which the keying material is wanted before the client's part of the handshake has
/// come: as soon as it is known, `tell` gets what [`tunnel::EXPORTER_LABEL`] gives with an empty context.
///
/// The client is not known by then. What is said to it must be fit for anybody who can dial.
///
/// # Errors
/// When the identity's key does not serve.
pub fn tunnel_server_early(
    identity: &Identity,
    peer: Fingerprint,
    tell: impl Fn([u8; 32]) + Send + Sync + 'static,
) -> Result<ServerConfig, Error> {
    let mut config = tunnel_server(identity, peer)?;
    config.key_log = Arc::new(EarlyExporter::new(tunnel::EXPORTER_LABEL, tell));
    Ok(config)
}

/// For a peer's control connection: to the rendezvous of that fingerprint or of an authority that has it, which has
/// certified the rendezvous for the name that is dialled; or, without one, to one whose
/// certificate the system trusts for the name that is dialled. The peer shows no certificate of its own, so
/// the rendezvous cannot tell by it who comes back.
///
/// Without a fingerprint this reads the system's roots from the disk.
///
/// # Errors
/// When the system's roots cannot be read, or there are none.
pub fn control_client(rendezvous: Option<Fingerprint>) -> Result<ClientConfig, Error> {
    let verifier: Arc<dyn ServerCertVerifier> = match rendezvous {
        Some(fingerprint) => Arc::new(PinnedChain::new(fingerprint)),
        None => Arc::new(Verifier::new(provider())?),
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(finish_client(config, rendezvous::ALPN))
}

/// Whether peers that pin this authority would take this identity for the rendezvous at that host now.
///
/// # Errors
/// Why they would not.
pub fn is_certified(identity: &Identity, authority: Fingerprint, host: &str) -> Result<(), Error> {
    is_certified_at(identity, authority, host, UnixTime::now())
}

/// Until when they would, in Unix seconds, to the second; twenty years from now at the most. None if they do not now.
pub fn certified_until(identity: &Identity, authority: Fingerprint, host: &str) -> Option<u64> {
    let is_good = |unix_s| {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(unix_s));
        is_certified_at(identity, authority, host, at).is_ok()
    };
    let now = UnixTime::now().as_secs();
    if !is_good(now) {
        return None;
    }
    // The library judges a certificate at a moment, and tells no date.
    let (mut good, mut bad) = (now, now.saturating_add(TWENTY_YEARS));
    while good + 1 < bad {
        let middle = good.midpoint(bad);
        match is_good(middle) {
            true => good = middle,
            false => bad = middle,
        }
    }
    Some(good)
}

/// In seconds.
const TWENTY_YEARS: u64 = 20 * 365 * 24 * 3600;

fn is_certified_at(
    identity: &Identity,
    authority: Fingerprint,
    host: &str,
    at: UnixTime,
) -> Result<(), Error> {
    let name = ServerName::try_from(host).map_err(|error| Error::General(error.to_string()))?;
    let chain = identity.chain();
    let (leaf, behind_it) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
    PinnedChain::new(authority).verify(leaf, behind_it, &name, at)?;
    Ok(())
}

/// For a leg of the relay over TCP: the same as for a control connection, and another protocol.
///
/// # Errors
/// When the system's roots cannot be read, or there are none.
pub fn relay_client(rendezvous: Option<Fingerprint>) -> Result<ClientConfig, Error> {
    let mut config = control_client(rendezvous)?;
    config.alpn_protocols = vec![relay_stream::ALPN.to_vec()];
    Ok(config)
}

/// For the rendezvous' end of control connections.
///
/// # Errors
/// When the identity's key does not serve.
pub fn control_server(identity: &Identity) -> Result<ServerConfig, Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key())?;
    Ok(finish_server(config, rendezvous::ALPN))
}

/// For the rendezvous' end of connections over TCP: control connections, and legs of the relay. Which one it is, the
/// client says in its ALPN; one that says none is to be turned away by the caller.
///
/// # Errors
/// When the identity's key does not serve.
pub fn stream_server(identity: &Identity) -> Result<ServerConfig, Error> {
    let mut config = control_server(identity)?;
    config.alpn_protocols = vec![rendezvous::ALPN.to_vec(), relay_stream::ALPN.to_vec()];
    Ok(config)
}

/// Whether a client that names these protocols speaks one of those of [`stream_server`].
pub fn is_stream_protocol(alpn: &[u8]) -> bool {
    [rendezvous::ALPN, relay_stream::ALPN].contains(&alpn)
}

fn finish_client(mut config: ClientConfig, alpn: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

fn finish_server(mut config: ServerConfig, alpn: &[u8]) -> ServerConfig {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

/// The verifier of both ends.
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
    /// Whether a server's certificate may be answered with this end's own, which leaves after it was verified.
    may_show: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Pinned {
    fn new(fingerprint: Fingerprint) -> Self {
        let provider = provider();
        Self {
            fingerprint,
            provider,
            may_show: Box::new(|| true),
        }
    }

    /// Fingerprints are public: they need no comparison in constant time.
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if Fingerprint::of_certificate(certificate) == self.fingerprint {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !(self.may_show)() {
            return Err(Error::General("the peer has not confirmed yet".into()));
        }
        self.check(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures_of_tls13!();
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures_of_tls13!();
}
