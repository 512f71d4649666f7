//! The cookie of a challenge, which carries all there is to know of a source, so that nothing is stored for one that
//! has only asked.

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, Mac};
use p2pdbg_proto::{
    relay::{Cookie, LegId},
    secret::Secret,
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::io::Source;

/// The cookie's first bytes: microseconds since the relay began.
pub(super) const COOKIE_TIME: usize = 8;

/// Makes the cookies of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CookieKey(Secret<32>);

impl CookieKey {
    pub(super) fn random() -> Self {
        Self(Secret::random())
    }

    /// The time, and a MAC over the time, the leg and the source.
    pub(super) fn cookie(&self, leg: &LegId, source: &Source, time: u64) -> Cookie {
        let ip = match source.remote.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        // A scope tells two links with the same address apart.
        let scope = match source.remote {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(remote) => remote.scope_id(),
        };
        let tag = <Hmac<Sha256> as Mac>::new_from_slice(self.0.expose())
            .expect("HMAC takes keys of any length")
            .chain_update(b"p2pdbg relay cookie 1")
            .chain_update(time.to_be_bytes())
            .chain_update(leg.0)
            .chain_update((source.socket as u64).to_be_bytes())
            .chain_update(ip.octets())
            .chain_update(scope.to_be_bytes())
            .chain_update(source.remote.port().to_be_bytes())
            .finalize()
            .into_bytes();
        let mut cookie = Cookie::default();
        cookie[..COOKIE_TIME].copy_from_slice(&time.to_be_bytes());
        let room = cookie.len() - COOKIE_TIME;
        cookie[COOKIE_TIME..].copy_from_slice(&tag[..room]);
        cookie
    }
}

/// When it was made, in microseconds since the relay began.
pub(super) fn cookie_time(cookie: &Cookie) -> u64 {
    let mut time = [0; COOKIE_TIME];
    time.copy_from_slice(&cookie[..COOKIE_TIME]);
    u64::from_be_bytes(time)
}
