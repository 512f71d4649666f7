//! Vouchers: what the rendezvous granted, signed so that it need not remember it.
//!
//! ```text
//! version 2 | purpose (1) | key (8) | account (16) | expires, Unix seconds (u64) | tag (32)
//! ```
//!
//! The tag is an HMAC-SHA256 over all that stands before it and over what the voucher is for. Its key is
//! derived from a secret in the state directory, so vouchers outlive a restart. Each names the key under which it was
//! granted; whoever checks one asks whether that key still holds, so none outlives its key.

use hmac::{Hmac, Mac};
use p2pdbg_proto::{
    code::Nameplate,
    rendezvous::Voucher,
    secret::{Secret, random_bytes},
};
use sha2::Sha256;

use crate::keys::KeyId;

const VERSION: u8 = 2;
const BODY: usize = 2 + 8 + 16 + 8;

/// A random number that stands for the holder of a voucher when limits are counted. A voucher that takes the
/// place of another keeps its account.
pub(crate) type Account = [u8; 16];

/// An account that nobody had before.
pub(crate) fn new_account() -> Account {
    random_bytes()
}

/// What a voucher entitles to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To register a nameplate again.
    Nameplate(Nameplate),
    /// To wait at handles without a key.
    Waiting,
}

impl Purpose {
    fn code(self) -> u8 {
        match self {
            Purpose::Nameplate(_) => 1,
            Purpose::Waiting => 2,
        }
    }

    /// What the voucher is for beyond its kind; not in the voucher, since its bearer names it.
    fn subject(self) -> String {
        match self {
            Purpose::Nameplate(nameplate) => nameplate.to_string(),
            Purpose::Waiting => String::new(),
        }
    }
}

/// What a voucher that has been checked grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// Under which key it was granted.
    pub(crate) key: KeyId,
    /// Whose limits it counts against.
    pub(crate) account: Account,
    /// When it ends, in Unix seconds.
    pub(crate) expires_unix_s: u64,
}

/// Makes vouchers and checks them.
#[derive(Debug)]
pub(crate) struct Vouchers {
    key: Secret<32>,
}

impl Vouchers {
    pub(crate) fn new(secret: &Secret<32>) -> Self {
        let key = mac(secret)
            .chain_update(b"p2pdbg voucher key 2")
            .finalize()
            .into_bytes();
        Self {
            key: Secret::from_bytes(key.into()),
        }
    }

    /// A voucher for `account`, under `key`.
    pub(crate) fn issue(
        &self,
        purpose: Purpose,
        key: KeyId,
        account: Account,
        expires_unix_s: u64,
    ) -> Voucher {
        let mut voucher = Vec::with_capacity(BODY + 32);
        voucher.extend_from_slice(&[VERSION, purpose.code()]);
        voucher.extend_from_slice(&key.0);
        voucher.extend_from_slice(&account);
        voucher.extend_from_slice(&expires_unix_s.to_be_bytes());
        let tag = self.tag(purpose, &voucher).finalize().into_bytes();
        voucher.extend_from_slice(&tag);
        voucher
    }

    /// What `voucher` grants of `purpose` now, if anything, and if its key still holds.
    pub(crate) fn check(&self, purpose: Purpose, voucher: &[u8], unix_s: u64) -> Option<Granted> {
        let (body, tag) = voucher.split_at_checked(BODY)?;
        self.tag(purpose, body).verify_slice(tag).ok()?;
        let (_, rest) = body.split_first_chunk::<2>()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (account, expires) = rest.split_first_chunk()?;
        let expires_unix_s = u64::from_be_bytes(expires.try_into().ok()?);
        (unix_s < expires_unix_s).then_some(Granted {
            key: KeyId(*key),
            account: *account,
            expires_unix_s,
        })
    }

    fn tag(&self, purpose: Purpose, body: &[u8]) -> Hmac<Sha256> {
        // Version and purpose are in the body, and so a voucher of another kind has another tag.
        mac(&self.key)
            .chain_update(b"p2pdbg voucher 1")
            .chain_update([purpose.code()])
            .chain_update(body)
            .chain_update(purpose.subject())
    }
}

fn mac(key: &Secret<32>) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key.expose()).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use p2pdbg_proto::rendezvous::MAX_VOUCHER;

    use super::*;

    const KEY: KeyId = KeyId([7; 8]);

    #[test]
    fn a_voucher_holds_for_its_purpose_until_it_expires() {
        let vouchers = Vouchers::new(&Secret::random());
        let [one, other] =
            [123_456, 123_457].map(|n| Purpose::Nameplate(Nameplate::new(n).unwrap()));
        let account = new_account();
        let voucher = vouchers.issue(one, KEY, account, 1_000);
        assert!(voucher.len() <= MAX_VOUCHER);
        let granted = vouchers.check(one, &voucher, 999);
        assert_eq!(
            granted,
            Some(Granted {
                key: KEY,
                account,
                expires_unix_s: 1_000
            })
        );
        for (purpose, unix_s) in [(one, 1_000), (other, 999), (Purpose::Waiting, 999)] {
            assert_eq!(vouchers.check(purpose, &voucher, unix_s), None);
        }
    }

    #[test]
    fn a_voucher_that_was_changed_anywhere_is_void() {
        let vouchers = Vouchers::new(&Secret::random());
        let voucher = vouchers.issue(Purpose::Waiting, KEY, new_account(), u64::MAX);
        for index in 0..voucher.len() {
            let mut changed = voucher.clone();
            changed[index] ^= 1;
            assert_eq!(vouchers.check(Purpose::Waiting, &changed, 0), None);
            assert_eq!(vouchers.check(Purpose::Waiting, &voucher[..index], 0), None);
        }
    }

    #[test]
    fn vouchers_outlive_a_restart_but_not_a_change_of_the_secret() {
        let secret = Secret::random();
        let voucher = Vouchers::new(&secret).issue(Purpose::Waiting, KEY, new_account(), 10);
        let again = Vouchers::new(&secret);
        assert!(again.check(Purpose::Waiting, &voucher, 0).is_some());
        let other = Vouchers::new(&Secret::random());
        assert!(other.check(Purpose::Waiting, &voucher, 0).is_none());
    }
}
