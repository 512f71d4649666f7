//! What can be wrong with the connection to the rendezvous, and whose fault it is.

use std::net::IpAddr;

use p2pdbg_base::{ErrorCode, Failure, Untrusted};
use p2pdbg_proto::rendezvous::Refusal;

/// Why there is no connection to the rendezvous.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// The host's name has no address.
    #[error("the rendezvous {authority} has no address: {why}")]
    Resolve {
        /// Host and port of the rendezvous, as the URL has them.
        authority: String,
        /// What the resolver said, escaped.
        why: String,
    },
    /// Nothing answers there, over UDP or TCP.
    #[error("the rendezvous {authority} does not answer")]
    Unreachable {
        /// Host and port of the rendezvous, as the URL has them.
        authority: String,
    },
    /// This host has no route there.
    #[error("this host has no route to the rendezvous {authority}")]
    NoRoute {
        /// Host and port of the rendezvous, as the URL has them.
        authority: String,
    },
    /// The host's name leads to where it can hardly be.
    #[error("the name of the rendezvous {authority} leads to {ip} here, {what}")]
    Misled {
        /// Host and port of the rendezvous, as the URL has them.
        authority: String,
        /// The address that the name has here.
        ip: IpAddr,
        /// What is there.
        what: &'static str,
    },
    /// It takes nobody on at this moment: it is about to stop, or too many come at once.
    #[error("the rendezvous {authority} takes no connections at this moment")]
    Busy {
        /// Host and port of the rendezvous, as the URL has them.
        authority: String,
    },
    /// Something answers that does not speak this protocol, or no version of it that this program knows.
    #[error("what answers at {authority} is no p2pdbg rendezvous, or one of another version")]
    Version {
        /// Host and port of the rendezvous, as the URL has them.
        authority: String,
    },
    /// The certificate is not the pinned one, or no root that the system trusts vouches for it.
    #[error(
        "the rendezvous {authority} does not show the certificate that was expected: {}",
        in_words(why)
    )]
    Identity {
        /// Host and port of the rendezvous, as the URL has them.
        authority: String,
        /// What is wrong with it.
        why: String,
        /// Whether the URL says which certificate it must be.
        pinned: bool,
    },
    /// Over UDP nothing answers, and over TCP something else than the rendezvous does: a portal that wants a login,
    /// say, or a middlebox that opens TLS.
    #[error("UDP to the rendezvous gets no answer, and over TCP {0}")]
    InItsPlace(Box<LinkError>),
    /// The proxy does not open a connection to the rendezvous.
    #[error("the rendezvous is not reached over UDP, nor through the proxy {proxy}: {why}")]
    Proxy {
        /// Host and port of the proxy, without what lets us in there.
        proxy: String,
        /// What the proxy answered, or how it failed.
        why: String,
    },
    /// The proxy opens a connection to the rendezvous, and nothing comes by it.
    #[error(
        "the rendezvous {authority} is not reached over UDP, and nothing comes by the connection that the proxy {proxy} \
         opens to it"
    )]
    BehindProxy {
        /// Host and port of the rendezvous, as the URL has them.
        authority: String,
        /// Host and port of the proxy, without what lets us in there.
        proxy: String,
    },
    /// The rendezvous does not answer, and the environment names a proxy that is of no use.
    #[error("the rendezvous does not answer, and {0}")]
    NotAProxy(String),
    /// What answers where the web is does not lead to the rendezvous.
    #[error("by WebSocket the rendezvous is not reached at {authority}: {why}")]
    Web {
        /// Host and port of the rendezvous, as the URL has them.
        authority: String,
        /// What was answered, or how it failed.
        why: String,
    },
    /// The rendezvous answered, and refused.
    #[error("the rendezvous {authority} refused: {refusal}")]
    Refused {
        /// Host and port of the rendezvous, as the URL has them.
        authority: String,
        /// Why, which says whether trying again can help.
        refusal: Refusal,
    },
    /// Of several hosts this one is not what it should be, and another may be.
    #[error("{0}")]
    OfOneHost(Box<LinkError>),
    /// What answers now is not the rendezvous, which was there a while ago and may come back.
    #[error("{0}; since it was there before, it is tried again")]
    ForNow(Box<LinkError>),
    /// A connection that was up is gone.
    #[error("the connection to the rendezvous was lost: {0}")]
    Lost(String),
    /// It has sent this host on to another node of the same rendezvous.
    #[error("the rendezvous has sent this host on to {authority}")]
    Moved {
        /// Host and port of that node.
        authority: String,
    },
    /// It is reached over TCP, and over QUIC no more.
    #[error("the rendezvous answers over TCP and no more over UDP")]
    ByTcp,
    /// This host's fault: it has no socket left, say.
    #[error("cannot open a connection to the rendezvous: {0}")]
    Local(String),
}

/// What TLS says of a certificate, in words that say what it means.
fn in_words(why: &str) -> &str {
    let fault = why.trim_start_matches("invalid peer certificate: ");
    match fault {
        "UnknownIssuer" => "no authority that this host knows has signed it",
        "ApplicationVerificationFailure" => "it has another fingerprint",
        "BadSignature" => "its signature is wrong",
        "Revoked" => "its authority has revoked it",
        "NotValidForName" => "it is for another name than the URL has",
        "Expired" => "it has expired",
        "NotValidYet" => "it is not valid yet",
        "BadEncoding" => "it cannot be read as a certificate",
        "InvalidPurpose" => "it is for another purpose than to be a server's",
        "UnhandledCriticalExtension" => "it has a restriction that is not known here",
        "UnknownRevocationStatus" => "whether its authority has revoked it is not known",
        "ExpiredRevocationList" => "its authority's list of what it has revoked has expired",
        "InvalidOcspResponse" => "what came with it from its authority is not sound",
        _ if fault.starts_with("UnsupportedSignatureAlgorithm") => {
            "it is signed in a way that is not known here"
        }
        // What the verifier alone knows: `Other(OtherError(…))`.
        _ if fault.contains("CaUsedAsEndEntity") => {
            "it is that of an authority, or signed by itself, and no server's"
        }
        _ if fault.starts_with("Other(") => "it does not keep to the rules of certificates",
        _ => fault,
    }
}

impl LinkError {
    /// The connection broke while a message was read or written.
    pub(super) fn broken(error: &std::io::Error) -> Self {
        match error.kind() {
            // Of TLS this is a whole sermon.
            std::io::ErrorKind::UnexpectedEof => Self::Lost("it was closed".to_owned()),
            _ => Self::lost(error),
        }
    }

    /// A connection is gone, for this reason.
    pub(super) fn lost(why: &dyn std::fmt::Display) -> Self {
        Self::Lost(Untrusted::of_error(why).to_string())
    }

    /// How much an error says about what is wrong: of several, the person hears the one that says most.
    pub(super) fn says(&self) -> u8 {
        match self {
            LinkError::Unreachable { .. }
            | LinkError::Web { .. }
            | LinkError::Moved { .. }
            | LinkError::ByTcp => 0,
            LinkError::Local(_) | LinkError::Lost(_) | LinkError::NotAProxy(_) => 1,
            LinkError::Resolve { .. }
            | LinkError::NoRoute { .. }
            | LinkError::Misled { .. }
            | LinkError::Busy { .. } => 2,
            // Where there is a proxy, the name may be for it alone to resolve.
            LinkError::Proxy { .. } | LinkError::BehindProxy { .. } => 3,
            LinkError::InItsPlace(_) => 4,
            LinkError::OfOneHost(error) | LinkError::ForNow(error) => error.says(),
            LinkError::Version { .. } | LinkError::Identity { .. } | LinkError::Refused { .. } => 5,
        }
    }

    /// Whether the certificate is wrong by the clock alone, which may be this host's.
    pub(super) fn is_of_time(&self) -> bool {
        match self {
            LinkError::Identity { why, .. } => {
                why.contains("expired") || why.contains("not valid yet")
            }
            _ => false,
        }
    }

    /// Whether trying again later could help without anybody's doing something.
    pub fn is_passing(&self) -> bool {
        match self {
            LinkError::Resolve { .. }
            | LinkError::Unreachable { .. }
            | LinkError::NoRoute { .. }
            | LinkError::Misled { .. }
            | LinkError::Busy { .. }
            | LinkError::Lost(_)
            | LinkError::Moved { .. }
            | LinkError::ByTcp
            | LinkError::OfOneHost(_)
            | LinkError::ForNow(_)
            | LinkError::InItsPlace(_)
            | LinkError::Proxy { .. }
            | LinkError::BehindProxy { .. }
            | LinkError::NotAProxy(_)
            | LinkError::Web { .. }
            | LinkError::Local(_) => true,
            LinkError::Version { .. } | LinkError::Identity { .. } => false,
            LinkError::Refused { refusal, .. } => {
                matches!(
                    refusal,
                    Refusal::Limit { .. }
                        | Refusal::KeysAway { .. }
                        | Refusal::Full
                        | Refusal::Draining
                )
            }
        }
    }
}

impl From<LinkError> for Failure {
    // One table, which splitting would not make shorter: an error, its code, what to do.
    fn from(error: LinkError) -> Self {
        let (code, hint) = match &error {
            LinkError::OfOneHost(error) | LinkError::ForNow(error) => {
                return (**error).clone().into();
            }
            LinkError::Resolve { .. } => (
                ErrorCode::RendezvousUnreachable,
                "check the host in the rendezvous URL, and this host's network",
            ),
            LinkError::Unreachable { .. } | LinkError::Web { .. } => (
                ErrorCode::RendezvousUnreachable,
                "check that p2pdbg-rendezvous runs there, and that UDP or TCP to that port is open on the way",
            ),
            LinkError::NoRoute { .. } => (
                ErrorCode::RendezvousUnreachable,
                "check this host's network: it may be offline, or its routes, a VPN's say, may leave that address out",
            ),
            LinkError::Misled { .. } => (
                ErrorCode::RendezvousUnreachable,
                "if the rendezvous is there, check that it runs; if not, see which resolver or hosts file says so: it may \
                 block the name, or the network may want a login in a browser first",
            ),
            LinkError::Busy { .. } => (
                ErrorCode::RendezvousUnreachable,
                "it is about to stop or has too much to do: try again in a moment",
            ),
            LinkError::InItsPlace(spoken) => (
                match **spoken {
                    LinkError::Identity { .. } => ErrorCode::RendezvousIdentity,
                    _ => ErrorCode::RendezvousVersion,
                },
                "this network may want a login in a browser first, or open TLS on the way; \
                 let UDP or TCP to the rendezvous pass as it is, \
                 or have the rendezvous serve at port 443, where it is reached by WebSocket",
            ),
            LinkError::Proxy { .. } => (
                ErrorCode::RendezvousUnreachable,
                "check HTTPS_PROXY or ALL_PROXY (http://USER:PASSWORD@HOST:PORT), and what the proxy allows: if port 443 \
                 alone, have the rendezvous serve there; NO_PROXY names hosts that are reached without it",
            ),
            LinkError::BehindProxy { .. } => (
                ErrorCode::RendezvousUnreachable,
                "check that p2pdbg-rendezvous runs there, and that the proxy lets through what is no HTTP and opens no TLS; \
                 HTTPS_PROXY or ALL_PROXY names it, and NO_PROXY hosts that are reached without it",
            ),
            LinkError::NotAProxy(_) => (
                ErrorCode::RendezvousUnreachable,
                "set it to http://USER:PASSWORD@HOST:PORT, or unset it, and let UDP or TCP to the rendezvous pass",
            ),
            LinkError::Version { .. } => (
                ErrorCode::RendezvousVersion,
                "use the same version of p2pdbg and p2pdbg-rendezvous, and check the port in the URL",
            ),
            LinkError::Identity { .. } if error.is_of_time() => (
                ErrorCode::RendezvousIdentity,
                "check this host's clock; if it is right, whoever runs the rendezvous has to renew its certificate",
            ),
            LinkError::Identity { pinned: false, .. } => (
                ErrorCode::RendezvousIdentity,
                "use the whole URL that p2pdbg-rendezvous printed, with # and the fingerprint at its end",
            ),
            LinkError::Identity { .. } => (
                ErrorCode::RendezvousIdentity,
                "if the rendezvous was set up anew, use the URL that it prints now; else somebody is in the middle",
            ),
            LinkError::Refused { refusal, .. } => (
                ErrorCode::RendezvousRefused,
                match refusal {
                    Refusal::AccessKey => {
                        "use the whole URL that p2pdbg-rendezvous printed, with the key before the @"
                    }
                    Refusal::RelaysAlone => {
                        "use the URL of a host that serves peers: this one is not for the URL"
                    }
                    _ => "try again later, or ask whoever runs the rendezvous",
                },
            ),
            LinkError::Lost(_) | LinkError::Moved { .. } | LinkError::ByTcp => (
                ErrorCode::RendezvousUnreachable,
                "check that p2pdbg-rendezvous still runs",
            ),
            LinkError::Local(_) => (
                ErrorCode::RendezvousUnreachable,
                "check this host's network",
            ),
        };
        Failure::new(code, error.to_string()).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{CertificateError, Error, OtherError};

    use super::in_words;

    #[test]
    #[expect(deprecated, reason = "it may still come")]
    fn certificate_that_is_refused_is_told_in_words_and_not_by_the_name_of_a_fault() {
        let other = std::io::Error::other("CaUsedAsEndEntity");
        for fault in [
            CertificateError::BadEncoding,
            CertificateError::Expired,
            CertificateError::NotValidYet,
            CertificateError::Revoked,
            CertificateError::UnhandledCriticalExtension,
            CertificateError::UnknownIssuer,
            CertificateError::UnknownRevocationStatus,
            CertificateError::ExpiredRevocationList,
            CertificateError::BadSignature,
            CertificateError::UnsupportedSignatureAlgorithm,
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: vec![6],
                supported_algorithms: Vec::new(),
            },
            CertificateError::NotValidForName,
            CertificateError::InvalidPurpose,
            CertificateError::InvalidOcspResponse,
            CertificateError::ApplicationVerificationFailure,
            CertificateError::Other(OtherError(Arc::new(other))),
        ] {
            let why = Error::InvalidCertificate(fault).to_string();
            let told = in_words(&why);
            assert!(told.starts_with(char::is_lowercase), "{why}: {told}");
            assert!(
                told.contains(' ') && !told.contains(['(', '{']),
                "{why}: {told}"
            );
        }
        assert!(in_words("Other(OtherError(CaUsedAsEndEntity))").contains("no server's"));
    }
}
