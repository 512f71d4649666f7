//! The two behaviours that RFC 4787 names and everybody here speaks of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a mapping depends on: when an inside socket keeps the external address and port that it
/// was given (RFC 4787 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// Nothing is translated: the box is a router. `none` in machine-readable output.
    #[serde(rename = "none")]
    Untranslated,
    /// One external port for a socket, whatever the destination.
    EndpointIndependent,
    /// One external port for each destination address.
    AddressDependent,
    /// One external port for each destination address and port ("symmetric").
    AddressAndPortDependent,
}

/// Who may send to a mapping from outside (RFC 4787 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Anybody who knows the mapping.
    EndpointIndependent,
    /// Addresses that the inside socket has sent to.
    AddressDependent,
    /// Exactly the endpoints that the inside socket has sent to.
    AddressAndPortDependent,
}

impl Mapping {
    /// Whether an inside socket has several external ports at once ("symmetric"), so that the one
    /// that a server sees is not the one that a peer has to send to.
    #[must_use]
    pub const fn depends(self) -> bool {
        matches!(self, Self::AddressDependent | Self::AddressAndPortDependent)
    }

    /// The word of RFC 4787, as people are told it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Untranslated => "none",
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address and port-dependent",
        }
    }

    /// EIM, ADM or APDM, as the literature writes it, in lower case.
    pub(crate) const fn abbreviation(self) -> &'static str {
        match self {
            Self::Untranslated => "none",
            Self::EndpointIndependent => "eim",
            Self::AddressDependent => "adm",
            Self::AddressAndPortDependent => "apdm",
        }
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untranslated => f.write_str("no mapping"),
            translated => write!(f, "{} mapping", translated.word()),
        }
    }
}

impl Filtering {
    /// The word of RFC 4787, as people are told it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address and port-dependent",
        }
    }

    /// EIF, ADF or APDF, as the literature writes it, in lower case.
    pub(crate) const fn abbreviation(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "eif",
            Self::AddressDependent => "adf",
            Self::AddressAndPortDependent => "apdf",
        }
    }
}

impl fmt::Display for Filtering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} filtering", self.word())
    }
}
