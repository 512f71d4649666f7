//! Shared keys as they lie in the store: sealed under the nodes' secret, so that the store can neither read nor change
//! them, and can only give an older copy, or none, which [the join](super::join) makes nothing of.
//!
//! ```text
//! 1:version:nonce (24 bytes, base64url):sealed text of the file (base64url)
//! ```

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, Mac};
use p2pdbg_proto::{
    node::NodeNumber,
    secret::{Secret, random_bytes},
};
use sha2::Sha256;

use super::file::{KeyFile, hex};

/// The length of a nonce, in bytes.
const NONCE: usize = 24;

/// The longest text that is read from a store, in bytes: several times what the most keys take.
pub(crate) const LONGEST: usize = 8 << 20;

/// The additional data of what is not the keys.
const OTHER: &[u8] = b"p2pdbg shared limits 1";

/// Seals keys for the store, opens them, and signs what nodes say of them there.
#[derive(Clone, Debug)]
pub(crate) struct KeySeal(Secret<32>);

impl KeySeal {
    /// By the secret that all nodes share.
    pub(crate) fn of(cluster: &Secret<32>) -> Self {
        let key = <Hmac<Sha256> as Mac>::new_from_slice(cluster.expose())
            .expect("HMAC takes keys of any length")
            .chain_update(b"p2pdbg shared keys 1")
            .finalize()
            .into_bytes();
        Self(Secret::from_bytes(key.into()))
    }

    /// Where in the store they lie: nodes with another secret have a place of their own, and undo nothing here.
    pub(crate) fn place(&self) -> String {
        hex(&self.mac(b"place")[..8])
    }

    /// The keys for the store.
    pub(crate) fn seal(&self, file: &KeyFile) -> String {
        let version = file.shared().unwrap_or_default();
        self.encrypt(version, &version.to_be_bytes(), file.text().as_bytes())
    }

    /// Something else for nodes alone, as it lies in the store.
    pub(crate) fn seal_bytes(&self, plain: &[u8]) -> String {
        self.encrypt(0, OTHER, plain)
    }

    /// What was sealed so by a node of this cluster; none if it was not.
    pub(crate) fn open_bytes(&self, text: &str) -> Option<Vec<u8>> {
        let sealed = Sealed::parse(text).filter(|sealed| sealed.version == 0)?;
        self.decrypt(&sealed, OTHER)
    }

    /// The beginning of a sealed text, up to its nonce: another text begins otherwise.
    pub(crate) fn beginning(text: &str) -> &str {
        let end = text.match_indices(':').nth(2).map(|(at, _)| at + 1);
        &text[..end.unwrap_or(text.len())]
    }

    /// What was sealed by a node of this cluster; none if it was not.
    pub(crate) fn open(&self, text: &str) -> Option<KeyFile> {
        let sealed = Sealed::parse(text)?;
        let plain = self.decrypt(&sealed, &sealed.version.to_be_bytes())?;
        let file = KeyFile::parse_shared(std::str::from_utf8(&plain).ok()?).ok()?;
        (file.shared() == Some(sealed.version)).then_some(file)
    }

    /// What a node writes that has the keys of this version.
    pub(crate) fn sign(&self, node: NodeNumber, version: u64) -> String {
        let said = [&[node.get()][..], &version.to_be_bytes()].concat();
        format!("{version}:{}", hex(&self.mac(&said)[..16]))
    }

    /// The version that a node has by what it has written; none if it has not written that.
    pub(crate) fn signed(&self, node: NodeNumber, text: &str) -> Option<u64> {
        let version = text.split_once(':')?.0.parse().ok()?;
        // Whoever writes to the store learns nothing from how long this takes: it sees no answer.
        (self.sign(node, version) == text).then_some(version)
    }

    fn mac(&self, said: &[u8]) -> [u8; 32] {
        <Hmac<Sha256> as Mac>::new_from_slice(self.0.expose())
            .expect("HMAC takes keys of any length")
            .chain_update(b"p2pdbg node knows keys 1")
            .chain_update(said)
            .finalize()
            .into_bytes()
            .into()
    }

    fn encrypt(&self, version: u64, aad: &[u8], plain: &[u8]) -> String {
        let nonce: [u8; NONCE] = random_bytes();
        let payload = Payload { msg: plain, aad };
        let sealed = self.cipher().encrypt(XNonce::from_slice(&nonce), payload);
        // Encryption fails only beyond a length that nothing has which is sealed here.
        let sealed = sealed.unwrap_or_default();
        let [nonce, sealed] = [&nonce[..], &sealed].map(|bytes| BASE64URL_NOPAD.encode(bytes));
        format!("1:{version}:{nonce}:{sealed}")
    }

    fn decrypt(&self, sealed: &Sealed, aad: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload {
            msg: &sealed.sealed,
            aad,
        };
        let nonce = XNonce::from_slice(&sealed.nonce);
        self.cipher().decrypt(nonce, payload).ok()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.expose().into())
    }
}

/// The parts of a sealed text.
struct Sealed {
    version: u64,
    nonce: [u8; NONCE],
    sealed: Vec<u8>,
}

impl Sealed {
    fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut parts = text.splitn(4, ':');
        let mut part = || parts.next();
        if part()? != "1" {
            return None;
        }
        Some(Self {
            version: part()?.parse().ok()?,
            nonce: decode(part()?)?.try_into().ok()?,
            sealed: decode(part()?)?,
        })
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use p2pdbg_proto::url::AccessKey;

    use super::*;
    use crate::keys::KeyLimits;

    fn file() -> KeyFile {
        let mut file = KeyFile::default();
        file.share();
        let name = "a-team".parse().unwrap();
        let secret = AccessKey::random();
        file.add(name, &secret, KeyLimits::default(), 1, None)
            .unwrap();
        file
    }

    #[test]
    fn sealed_keys_are_opened_by_the_same_secret_alone_and_show_no_name() {
        let cluster = Secret::random();
        let (seal, file) = (KeySeal::of(&cluster), file());
        let text = seal.seal(&file);
        assert_eq!(KeySeal::of(&cluster).open(&text), Some(file));
        assert!(!text.contains("a-team"));
        let other = KeySeal::of(&Secret::random());
        assert_eq!(other.open(&text), None);
        assert_ne!(other.place(), seal.place());
    }

    #[test]
    fn sealed_keys_that_were_changed_anywhere_are_none() {
        let seal = KeySeal::of(&Secret::random());
        let text = seal.seal(&file());
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] = if bytes[index] == b'3' { b'4' } else { b'3' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last digit of base64 may hold bits that mean nothing, which the decoder refuses.
            assert_eq!(seal.open(&changed), None, "{index}");
            assert_eq!(seal.open(&text[..index]), None);
        }
        assert_ne!(
            KeySeal::beginning(&text),
            KeySeal::beginning(&seal.seal(&file()))
        );
    }

    #[test]
    fn what_one_node_has_signed_stands_for_no_other_node_and_no_other_version() {
        let seal = KeySeal::of(&Secret::random());
        let [one, other] = [17, 18].map(|number| NodeNumber::new(number).unwrap());
        let signed = seal.sign(one, 7);
        assert_eq!(seal.signed(one, &signed), Some(7));
        assert_eq!(seal.signed(other, &signed), None);
        assert_eq!(seal.signed(one, &signed.replacen('7', "8", 1)), None);
        assert_eq!(seal.signed(one, "something"), None);
    }
}
