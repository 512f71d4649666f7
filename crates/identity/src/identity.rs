//! The certificate and key by which other hosts know this one.
//!
//! The certificate is self-signed and says nothing: who is behind it was learned by pairing, or from the
//! rendezvous' URL, and is pinned by its fingerprint. The key is ECDSA on P-256, the signature that every TLS
//! 1.3 implementation must have (RFC 8446 section 9.1). Both lie in one PEM file, so that they are replaced
//! together or not at all. Whoever runs a rendezvous under a name that a public CA certifies may put that
//! chain and key there instead.

use std::fmt;

use p2pdbg_proto::fingerprint::Fingerprint;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

use crate::{NotAnIdentity, StateDir, StateError, provider::provider};

/// The name under which peers dial each other, and the only one in certificates that they make. Pinning does
/// not look at it.
pub const SERVER_NAME: &str = "p2pdbg";

/// The file in the state directory that holds the identity.
pub const IDENTITY_FILE: &str = "identity.pem";

/// A certificate (with its chain, if it has one) and its private key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    fingerprint: Fingerprint,
}

impl Identity {
    /// Makes a new identity that is kept nowhere.
    ///
    /// # Errors
    /// When the cryptographic library cannot make a key.
    pub fn ephemeral() -> Result<Self, StateError> {
        let pem = make_pem()?;
        Ok(Self::from_pem(&pem)?)
    }

    /// Reads a certificate, the rest of its chain if any, and the private key that belongs to it.
    ///
    /// # Errors
    /// When one of them is missing, unreadable, or does not belong to the other.
    pub fn from_pem(pem: &[u8]) -> Result<Self, NotAnIdentity> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| NotAnIdentity(format!("no certificate can be read: {error}")))?;
        let leaf = chain
            .first()
            .ok_or_else(|| NotAnIdentity("it holds no certificate".to_owned()))?;
        let fingerprint = Fingerprint::of_certificate(leaf);
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|error| NotAnIdentity(format!("no private key can be read: {error}")))?;
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider())
            .map_err(|error| NotAnIdentity(format!("certificate and key do not fit: {error}")))?;
        Ok(Self {
            chain,
            key,
            fingerprint,
        })
    }

    /// The certificate and key of the directory's owner, made if there are none.
    ///
    /// # Errors
    /// When the file cannot be read or written, is open to others, or does not hold a certificate and its key.
    pub fn load_or_make(dir: &StateDir) -> Result<Self, StateError> {
        let pem = dir.read_or_make(IDENTITY_FILE, make_pem)?;
        Self::from_pem(&pem).map_err(|why| StateError::Damaged {
            path: dir.file(IDENTITY_FILE),
            why: why.to_string(),
            remedy: "put it back from a backup, or delete it and a new identity is made, which hosts that \
                     know this one will refuse until they are paired with it again",
        })
    }

    /// The name by which the certificate is pinned.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The certificate alone, DER.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.chain[0].clone()
    }

    /// The certificate and what certifies it, the certificate first. A self-signed one stands alone.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// A copy of the private key; wherever it goes, it must not be logged.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

fn make_pem() -> Result<Zeroizing<Vec<u8>>, StateError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([SERVER_NAME.to_owned()])?;
    // The same in every certificate: it goes over the wire of whoever asks, and tells nothing about its owner.
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, SERVER_NAME);
    let certificate = params.self_signed(&key)?;
    let private = Zeroizing::new(key.serialize_pem());
    tracing::info!("made a new certificate");
    Ok(Zeroizing::new(
        [certificate.pem().as_bytes(), private.as_bytes()].concat(),
    ))
}
