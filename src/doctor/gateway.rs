//! Which protocols for port mappings the gateway speaks, and what it says this network's address is.
//!
//! It is asked for nothing that would stay: no mapping is made.

use std::net::IpAddr;

use p2pdbg_portmap::{Answer, ProtocolReport};

use super::findings::{Gateway, GatewayProtocol};

/// Asks the gateway in each protocol, all at once.
pub(super) async fn ask() -> Gateway {
    let report = p2pdbg_portmap::probe().await;
    let protocol = |report: ProtocolReport| {
        let (speaks, external, refused) = match report.answer {
            Answer::Silent => (false, None, None),
            Answer::Refused(why) => (false, None, Some(why)),
            Answer::Speaks { external } => (true, external.map(IpAddr::from), None),
        };
        GatewayProtocol {
            name: report.protocol.to_string(),
            speaks,
            external,
            refused,
        }
    };
    Gateway {
        address: report.gateway.map(IpAddr::from),
        protocols: match report.gateway {
            Some(_) => report.protocols.into_iter().map(protocol).collect(),
            None => Vec::new(),
        },
    }
}
