//! Whether two peers run on one host, and there see the same ports.
//!
//! A forward with the same port at both ends cannot work on one host: whoever opens the port is also who is dialled.
//! So peers tell each other, under seal, a tag of the machine as it runs now.

use sha2::{Digest, Sha256};

/// The same for all processes that share this machine's loopback, and different after each start of it.
///
/// Made of the boot's id and the network namespace on Linux, and of the host's name elsewhere.
pub fn host_tag() -> [u8; 16] {
    let mut hash = Sha256::new_with_prefix(b"p2pdbg host 1");
    for part in parts() {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut tag = [0; 16];
    tag.copy_from_slice(&hash.finalize()[..16]);
    tag
}

#[cfg(target_os = "linux")]
fn parts() -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/net");
    match (boot, namespace) {
        (Ok(boot), Ok(namespace)) => vec![boot, namespace.into_os_string().into_vec()],
        // Without either, no two processes count as being on one host.
        _ => vec![p2pdbg_proto::secret::random_bytes::<16>().to_vec()],
    }
}

#[cfg(not(target_os = "linux"))]
fn parts() -> Vec<Vec<u8>> {
    vec![
        gethostname::gethostname()
            .to_string_lossy()
            .into_owned()
            .into_bytes(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_tag() {
        assert_eq!(host_tag(), host_tag());
    }
}
