//! Boxes that do more to UDP than translate it: guards against floods, and policers.

use std::time::Duration;

use crate::{Error, Nat};

impl Nat {
    /// Has the box take more than so many new UDP flows of a host in a second for a flood, and pass no UDP of that host
    /// for as long as `ban`, as gateways do.
    pub fn guard(&self, flows_per_second: u32, ban: Duration) -> Result<(), Error> {
        let seconds = ban.as_secs().max(1);
        self.nft(&format!(
            "table inet guard {{
                set banned {{ type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; }}
                set seen {{ type ipv4_addr; flags dynamic; }}
                chain forward {{
                    type filter hook forward priority -10;
                    meta l4proto != udp accept
                    ip saddr @banned drop
                    ip daddr @banned drop
                    ct state new update @seen {{ ip saddr limit rate over {flows_per_second}/second burst {flows_per_second} packets }} add @banned {{ ip saddr }} drop
                }}
            }}"
        ))
    }

    /// Has the box pass so many bytes of UDP in a second, of all hosts and both directions together, and drop the rest.
    pub fn police_udp(&self, bytes_per_second: u32) -> Result<(), Error> {
        self.nft(&format!(
            "table inet police {{
                chain forward {{
                    type filter hook forward priority -10;
                    meta l4proto udp limit rate over {bytes_per_second} bytes/second burst 3000 bytes drop
                }}
            }}"
        ))
    }
}
