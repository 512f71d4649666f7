//! Who is accepted as a rendezvous: the holder of the pinned certificate, or of one that the pinned one has signed.

use std::sync::Arc;

use p2pdbg_proto::fingerprint::Fingerprint;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::provider::{provider, signatures_of_tls13};

/// Accepts a server whose certificate has this fingerprint, whatever it says; or one that shows, behind its own
/// certificate, the one with this fingerprint, which has signed it for the name that is dialled and for today.
#[derive(Debug)]
pub(crate) struct PinnedChain {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl PinnedChain {
    pub(crate) fn new(fingerprint: Fingerprint) -> Self {
        let provider = provider();
        Self {
            fingerprint,
            provider,
        }
    }

    fn is_pinned(&self, certificate: &CertificateDer<'_>) -> bool {
        Fingerprint::of_certificate(certificate) == self.fingerprint
    }

    /// Accepts the pinned certificate itself, whatever it says, or one that the pinned authority has signed for this
    /// name and time.
    pub(crate) fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        behind_it: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.is_pinned(certificate) {
            return Ok(ServerCertVerified::assertion());
        }
        let authority = behind_it.iter().find(|one| self.is_pinned(one));
        let authority = authority.ok_or(CertificateError::ApplicationVerificationFailure)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        // Whatever else it shows is no part of the chain: the authority signs nodes itself.
        verifier.verify_server_cert(certificate, &[], name, &[], now)
    }
}

impl ServerCertVerifier for PinnedChain {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, server_name, now)
    }

    signatures_of_tls13!();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Authority, Identity, StateDir};

    #[test]
    fn certificate_of_a_node_is_good_for_its_lifetime_and_no_longer() {
        let authority = Authority::load_or_make(&StateDir::in_memory()).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let pem = authority.issue(&["rdv1.example".into()], day).unwrap();
        let chain = Identity::from_pem(&pem).unwrap().chain();
        let verifier = PinnedChain::new(authority.fingerprint());
        let name = ServerName::try_from("rdv1.example").unwrap();
        let now = Duration::from_secs(UnixTime::now().as_secs());
        let judge = |at: Duration| {
            let at = UnixTime::since_unix_epoch(at);
            verifier.verify(&chain[0], &chain[1..], &name, at)
        };
        assert!(judge(now).is_ok());
        assert!(judge(now + day / 2).is_ok());
        for at in [now + 2 * day, now - 2 * day] {
            assert!(judge(at).is_err());
        }
    }
}
