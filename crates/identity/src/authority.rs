//! The authority of a cluster: a certificate that signs those of its nodes, so that one fingerprint in a URL pins all.
//!
//! Its key is needed to issue a node's certificate and for nothing else, so it can lie on a host that serves nobody.

use std::{fmt, time::Duration};

use p2pdbg_proto::fingerprint::Fingerprint;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{NotAnIdentity, StateDir, StateError};

/// The file in the state directory that holds the authority's certificate and key.
pub const AUTHORITY_FILE: &str = "authority.pem";

/// What every authority is called, which its fingerprint tells apart from others.
const NAME: &str = "p2pdbg authority";

/// How far the clock of a host that verifies may be behind.
const CLOCK_BEHIND: Duration = Duration::from_secs(24 * 3600);

/// An authority, with its key.
pub struct Authority {
    pem: Zeroizing<Vec<u8>>,
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    /// The authority in this directory, made if there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, is open to others, or does not hold a certificate and its key.
    pub fn load_or_make(dir: &StateDir) -> Result<Self, StateError> {
        let pem = dir.read_or_make(AUTHORITY_FILE, make_pem)?;
        Self::from_pem(pem).map_err(|why| damaged(dir, &why))
    }

    /// The authority in this directory, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read, is open to others, or does not hold a certificate and its key.
    pub fn load(dir: &StateDir) -> Result<Option<Self>, StateError> {
        let Some(pem) = dir.read(AUTHORITY_FILE)? else {
            return Ok(None);
        };
        let authority = Self::from_pem(Zeroizing::new(pem));
        authority.map(Some).map_err(|why| damaged(dir, &why))
    }

    fn from_pem(pem: Zeroizing<Vec<u8>>) -> Result<Self, NotAnIdentity> {
        let certificate = CertificateDer::from_pem_slice(&pem)
            .map_err(|error| NotAnIdentity(format!("no certificate can be read: {error}")))?;
        let behind = pem.get(certificate_part(&pem).len()..).unwrap_or_default();
        let key = std::str::from_utf8(behind).map_err(|e| NotAnIdentity(e.to_string()))?;
        let key = KeyPair::from_pem(key)
            .map_err(|error| NotAnIdentity(format!("no private key can be read: {error}")))?;
        Ok(Self {
            pem,
            certificate,
            key,
        })
    }

    /// What the URL of the cluster pins.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_certificate(&self.certificate)
    }

    /// Makes a certificate for a node that peers reach by these names and addresses: the text of its
    /// [`IDENTITY_FILE`](crate::IDENTITY_FILE), with the authority's certificate behind it.
    ///
    /// # Errors
    /// When a name is none that a certificate can have.
    pub fn issue(
        &self,
        hosts: &[String],
        lifetime: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, StateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts)?;
        let first = hosts.first().map_or(NAME, String::as_str);
        params.distinguished_name = called(first);
        params.not_before = OffsetDateTime::now_utc() - CLOCK_BEHIND;
        params.not_after = OffsetDateTime::now_utc() + lifetime;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issuer = Issuer::new(authority_params(), &self.key);
        let certificate = params.signed_by(&key, &issuer)?;
        let private = Zeroizing::new(key.serialize_pem());
        let mut pem = Zeroizing::new(certificate.pem().into_bytes());
        // The authority's own file has its certificate first, and its key after it, which stays there.
        pem.extend_from_slice(certificate_part(&self.pem));
        pem.extend_from_slice(private.as_bytes());
        Ok(pem)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

fn damaged(dir: &StateDir, why: &NotAnIdentity) -> StateError {
    StateError::Damaged {
        path: dir.file(AUTHORITY_FILE),
        why: why.to_string(),
        remedy: "put it back from a backup; another authority means another URL for every peer",
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// The part before the private key, which may be handed out.
fn certificate_part(pem: &[u8]) -> &[u8] {
    const END: &[u8] = b"-----END CERTIFICATE-----\n";
    let end = pem.windows(END.len()).position(|window| window == END);
    &pem[..end.map_or(0, |at| at + END.len())]
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = called(NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn make_pem() -> Result<Zeroizing<Vec<u8>>, StateError> {
    let key = KeyPair::generate()?;
    let certificate = authority_params().self_signed(&key)?;
    let private = Zeroizing::new(key.serialize_pem());
    // rcgen ends lines as the system does.
    let certificate = certificate.pem().replace("\r\n", "\n");
    Ok(Zeroizing::new(
        [certificate.as_bytes(), private.as_bytes()].concat(),
    ))
}
