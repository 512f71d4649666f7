//! The proof that a tunnel belongs to a session.
//!
//! TLS tells a tunnel's ends that the certificates are the pinned ones. That is not enough: the same two
//! hosts may have several sessions, and old ones. So each side also proves the session's key, over keying
//! material exported from this very TLS connection (RFC 8446 section 7.5), which no other connection has, and
//! names its role, the tunnel's epoch and its path in the proof.

use hmac::{Hmac, Mac};
use p2pdbg_proto::{rendezvous::Role, secret::Secret, tunnel::PathKind};
use sha2::Sha256;

use super::mac::hmac;

/// What each side of a tunnel proves to have.
#[derive(Debug, Clone)]
pub struct TunnelKey(Secret<32>);

impl TunnelKey {
    pub(super) fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// What the side of that role sends. `exported` is the connection's keying material under
    /// [`p2pdbg_proto::tunnel::EXPORTER_LABEL`] with an empty context.
    pub fn prove(&self, role: Role, epoch: u64, path: PathKind, exported: &[u8; 32]) -> [u8; 32] {
        self.mac(role, epoch, path, exported)
            .finalize()
            .into_bytes()
            .into()
    }

    /// Whether `proof` is what the side of that role sends; in constant time.
    pub fn verify(
        &self,
        role: Role,
        epoch: u64,
        path: PathKind,
        exported: &[u8; 32],
        proof: &[u8; 32],
    ) -> bool {
        self.mac(role, epoch, path, exported)
            .verify_slice(proof)
            .is_ok()
    }

    /// Every field has a fixed length, so there is one reading only.
    fn mac(&self, role: Role, epoch: u64, path: PathKind, exported: &[u8; 32]) -> Hmac<Sha256> {
        let role = match role {
            Role::Listener => 0,
            Role::Connector => 1,
        };
        let path = match path {
            PathKind::Direct => 0,
            PathKind::RelayUdp => 1,
            PathKind::RelayTcp => 2,
        };
        hmac(self.0.expose())
            .chain_update(b"p2pdbg 1 tunnel proof")
            .chain_update([role])
            .chain_update(epoch.to_be_bytes())
            .chain_update([path])
            .chain_update(exported)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn key(byte: u8) -> TunnelKey {
        TunnelKey::new(Secret::from_bytes([byte; 32]))
    }

    /// Against the same computed with Python's hmac.
    #[test]
    fn the_proof_is_the_one_that_is_written_down() {
        let proof = key(5).prove(Role::Connector, 258, PathKind::RelayTcp, &[6; 32]);
        assert_eq!(
            HEXLOWER.encode(&proof),
            "3b9a201a8403069ba8b1641aecc2459e9a43c291d5989b5e662f3fc04454644f"
        );
    }

    #[test]
    fn a_proof_is_good_for_one_role_epoch_path_connection_and_session() {
        let (role, epoch, path, exported) = (Role::Listener, 3, PathKind::Direct, [1; 32]);
        let proof = key(5).prove(role, epoch, path, &exported);
        let good = |key: TunnelKey, role, epoch, path, exported, proof| {
            key.verify(role, epoch, path, &exported, &proof)
        };
        assert!(good(key(5), role, epoch, path, exported, proof));
        assert!(!good(key(6), role, epoch, path, exported, proof));
        assert!(!good(key(5), role.other(), epoch, path, exported, proof));
        assert!(!good(key(5), role, 4, path, exported, proof));
        assert!(!good(
            key(5),
            role,
            epoch,
            PathKind::RelayUdp,
            exported,
            proof
        ));
        assert!(!good(key(5), role, epoch, path, [2; 32], proof));
        assert!(!good(key(5), role, epoch, path, exported, [0; 32]));
    }
}
