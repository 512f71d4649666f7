//! The rule for what the peer may ask of this host.
//!
//! A paired peer names targets to dial here and ports to open here. Loopback is what p2pdbg is for, so it is
//! always permitted; anything else must have been named by `--allow` **at this end**. A name is permitted by
//! that name only: what it resolves to is no argument, since whoever runs the name's DNS decides that.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use p2pdbg_base::{Bind, BindScope, ErrorCode, Failure, Host, HostPort};

/// What the peer may reach through this host besides its loopback.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(BTreeSet<HostPort>);

impl AllowList {
    /// Whether the peer may have `target` dialled from here.
    pub fn permits(&self, target: &HostPort) -> bool {
        target.is_loopback() || self.0.contains(target)
    }

    /// As [`AllowList::permits`], for a target that this end's own command line names.
    ///
    /// # Errors
    /// If it is not permitted; the failure says how to permit it.
    pub fn require(&self, target: &HostPort) -> Result<(), Failure> {
        if self.permits(target) {
            return Ok(());
        }
        let why = match target.socket() {
            Some(_) => "is a Unix socket",
            None => "is not on this host",
        };
        let message = format!("{target} {why}, and dialling it is not allowed");
        Err(Failure::new(ErrorCode::TargetNotAllowed, message)
            .hint(format!("to allow it, add --allow {target}")))
    }

    /// Whether the peer may have `bind` opened here: loopback, or an address given by `--allow`.
    ///
    /// `--allow 0.0.0.0:PORT` or `--allow [::]:PORT` permits opening PORT on every address.
    pub fn permits_bind(&self, bind: &Bind) -> bool {
        let named = |ip: IpAddr| {
            self.0.contains(&HostPort {
                host: Host::Ip(ip),
                port: bind.port,
            })
        };
        let everywhere = || {
            [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
                .into_iter()
                .any(named)
        };
        match bind.scope {
            BindScope::Loopback => true,
            BindScope::Everywhere => everywhere(),
            BindScope::Address(ip) => ip.is_loopback() || named(ip) || everywhere(),
        }
    }
}

impl FromIterator<HostPort> for AllowList {
    fn from_iter<I: IntoIterator<Item = HostPort>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(allowed: &[&str]) -> AllowList {
        allowed.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn permits(list: &AllowList, target: &str) -> bool {
        list.permits(&target.parse().unwrap())
    }

    #[test]
    fn loopback_alone_is_permitted_unless_told_otherwise() {
        let list = AllowList::default();
        for target in ["localhost:22", "127.0.0.1:5678", "127.3.2.1:1", "[::1]:9"] {
            assert!(permits(&list, target), "{target}");
        }
        for target in ["10.0.0.1:22", "0.0.0.0:22", "[::]:22", "db.internal:22"] {
            assert!(!permits(&list, target), "{target}");
        }
    }

    #[test]
    fn an_address_is_permitted_with_its_port_and_not_by_a_name_that_may_resolve_to_it() {
        let list = list(&["10.0.0.1:5432"]);
        assert!(permits(&list, "10.0.0.1:5432"));
        assert!(permits(&list, "[::ffff:10.0.0.1]:5432"));
        assert!(!permits(&list, "10.0.0.1:22"));
        assert!(!permits(&list, "db.internal:5432"));
    }

    #[test]
    fn a_name_is_permitted_by_that_name_in_any_case() {
        let list = list(&["DB.internal:5432"]);
        assert!(permits(&list, "db.INTERNAL:5432"));
        assert!(!permits(&list, "internal:5432"));
        assert!(!permits(&list, "10.0.0.1:5432"));
    }

    #[test]
    fn a_unix_socket_is_permitted_by_its_path_alone() {
        assert!(!permits(&AllowList::default(), "/run/docker.sock"));
        let list = list(&["/run/x.sock"]);
        assert!(permits(&list, "/run/x.sock"));
        for other in ["/run/docker.sock", "/run/../run/x.sock", "/run/x.sock2"] {
            assert!(!permits(&list, other), "{other}");
        }
        let refused = AllowList::default().require(&"/run/x.sock".parse().unwrap());
        assert!(
            refused
                .unwrap_err()
                .hint
                .unwrap()
                .contains("--allow /run/x.sock")
        );
    }

    #[test]
    fn a_peer_opens_ports_on_loopback_unless_told_otherwise() {
        let permits = |list: &AllowList, bind: &str| list.permits_bind(&bind.parse().unwrap());
        let none = AllowList::default();
        assert!(permits(&none, "9003") && permits(&none, "[::1]:9003"));
        assert!(!permits(&none, "*:9003") && !permits(&none, "192.0.2.1:9003"));
        let open = list(&["0.0.0.0:9003"]);
        assert!(permits(&open, "*:9003") && permits(&open, "192.0.2.1:9003"));
        assert!(!permits(&open, "*:9004"));
    }
}
