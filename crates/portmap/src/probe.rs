//! What a gateway speaks, without asking it for anything.

use std::{net::Ipv4Addr, time::Duration};

use p2pdbg_base::Untrusted;
use tokio::task::JoinSet;

use super::{Fault, Protocol, client, gateway::Gateway};

/// The longest that a probe takes.
const PATIENCE: Duration = Duration::from_secs(4);

/// Which protocols of port mapping the gateway of this host speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayReport {
    /// The router of the IPv4 default route; none without one, and then nobody was asked.
    pub gateway: Option<Ipv4Addr>,
    /// For each protocol, in the order of [`Protocol::ALL`].
    pub protocols: [ProtocolReport; 3],
}

/// What the gateway answered in one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolReport {
    /// The protocol in which it was asked.
    pub protocol: Protocol,
    /// What came back, if anything did in time.
    pub answer: Answer,
}

/// An answer to a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// None, or none that could be understood.
    Silent,
    /// It understood, and refuses; fit to be shown.
    Refused(String),
    /// It answered, and would make mappings.
    Speaks {
        /// Its external address, as it says: see [`super::is_public`]. PCP tells none without a mapping.
        external: Option<Ipv4Addr>,
    },
}

/// Asks the gateway in all protocols at once what it speaks. It makes no mapping, and takes four seconds at the most.
pub async fn probe() -> GatewayReport {
    let gateway = Gateway::find();
    let mut answers = [const { Answer::Silent }; 3];
    if let Some(gateway) = gateway {
        let mut probes = JoinSet::new();
        for (index, protocol) in Protocol::ALL.into_iter().enumerate() {
            let nonce = p2pdbg_proto::secret::random_bytes();
            probes.spawn(async move { (index, client::greet(protocol, gateway, nonce).await) });
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while let Ok(Some(joined)) = tokio::time::timeout_at(deadline, probes.join_next()).await {
            if let Ok((index, greeting)) = joined {
                answers[index] = match greeting {
                    Ok((_, external)) => Answer::Speaks { external },
                    Err(Fault::Silent) => Answer::Silent,
                    Err(fault) => Answer::Refused(Untrusted::of_error(&fault).to_string()),
                };
            }
        }
    }
    let [pcp, nat_pmp, upnp] = answers;
    let report = |protocol, answer| ProtocolReport { protocol, answer };
    GatewayReport {
        gateway: gateway.map(|gateway| gateway.router),
        protocols: [
            report(Protocol::Pcp, pcp),
            report(Protocol::NatPmp, nat_pmp),
            report(Protocol::Upnp, upnp),
        ],
    }
}
