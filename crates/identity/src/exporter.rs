//! Keying material of a server's connection before its client has finished.
//!
//! TLS 1.3 settles the secret behind all exporters when the server finishes (RFC 8446 section 7.1), a round trip before
//! it knows the client. rustls gives keying material out after that round trip only, but shows the secret itself to a
//! key log at once. So one key log for one connection exports here what both ends will export later, and keeps nothing.

use std::fmt;

use rustls::{
    KeyLog, Tls13CipherSuite,
    crypto::{
        aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384},
        tls13::{HkdfExpander, OkmBlock},
    },
};

/// What rustls calls the secret.
const SECRET: &str = "EXPORTER_SECRET";

/// A key log that tells what one label exports.
pub(crate) struct EarlyExporter<F> {
    label: &'static [u8],
    tell: F,
}

impl<F: Fn([u8; 32])> EarlyExporter<F> {
    pub(crate) fn new(label: &'static [u8], tell: F) -> Self {
        Self { label, tell }
    }
}

impl<F: Fn([u8; 32]) + Send + Sync> KeyLog for EarlyExporter<F> {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if label == SECRET
            && let Some(exported) = export(secret, self.label)
        {
            (self.tell)(exported);
        }
    }

    fn will_log(&self, label: &str) -> bool {
        label == SECRET
    }
}

impl<F> fmt::Debug for EarlyExporter<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EarlyExporter(..)")
    }
}

/// TLS-Exporter with an empty context (RFC 8446 section 7.5).
fn export(secret: &[u8], label: &[u8]) -> Option<[u8; 32]> {
    let suite = suite_of(secret.len())?;
    let empty = suite.common.hash_provider.hash(b"");
    let hkdf = suite.hkdf_provider;
    let mut derived = vec![0; secret.len()];
    let expander = hkdf.expander_for_okm(&OkmBlock::new(secret));
    expand(&*expander, label, empty.as_ref(), &mut derived)?;
    let mut exported = [0; 32];
    let expander = hkdf.expander_for_okm(&OkmBlock::new(&derived));
    expand(&*expander, b"exporter", empty.as_ref(), &mut exported)?;
    Some(exported)
}

/// A cipher suite whose hash is as long as its secrets are: that alone decides how it derives.
fn suite_of(length: usize) -> Option<&'static Tls13CipherSuite> {
    let suite = match length {
        32 => TLS13_AES_128_GCM_SHA256,
        48 => TLS13_AES_256_GCM_SHA384,
        _ => return None,
    };
    suite.tls13()
}

/// HKDF-Expand-Label (RFC 8446 section 7.1).
fn expand(expander: &dyn HkdfExpander, label: &[u8], context: &[u8], out: &mut [u8]) -> Option<()> {
    const PREFIX: &[u8] = b"tls13 ";
    let length = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_length = u8::try_from(PREFIX.len() + label.len()).ok()?;
    let context_length = u8::try_from(context.len()).ok()?;
    let info = [
        &length[..],
        &[label_length],
        PREFIX,
        label,
        &[context_length],
        context,
    ];
    expander.expand_slice(&info, out).ok()
}
