//! The part of the command line that is for several nodes.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use clap::Subcommand;
use p2pdbg_base::duration;
use p2pdbg_proto::{
    node::{Node, NodeNumber},
    url::HostAt,
};
use p2pdbg_rendezvous::ClusterConfig;
#[cfg(feature = "cluster")]
use p2pdbg_rendezvous::StoreUrl;

use crate::state_arg::StateArg;

/// Which node of a cluster this is, which others there are, and where their store is; nothing of it for one host
/// alone.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Several nodes")]
pub(crate) struct ClusterArgs {
    /// Serve as this one of several nodes, by its number in --nodes. Its state directory is one that `authority issue`
    /// has made [default: this is the one host]
    #[arg(long, value_name = "NUMBER", requires = "nodes")]
    node: Option<NodeNumber>,

    /// All nodes that serve the same URL, this one among them, the same at each: their numbers from 10 to 99, with
    /// which their codes begin, and where peers reach them
    #[arg(
        long,
        value_name = "NUMBER=HOST[:PORT],...",
        value_delimiter = ',',
        requires = "node"
    )]
    nodes: Vec<Node>,

    /// Hosts that relay for the nodes and do nothing else, each with a number that no node has, the same at each node
    #[arg(
        long,
        value_name = "NUMBER=HOST[:PORT],...",
        value_delimiter = ',',
        requires = "node"
    )]
    relays: Vec<Node>,

    /// Relay for nodes, which say by ticket for whom, and do nothing else. The state directory is one that `authority
    /// issue --relay` has made, and the nodes name this host in --relays
    #[arg(long, conflicts_with_all = ["node", "nodes", "relays"])]
    relays_alone: bool,

    /// The Valkey or Redis in which nodes find known peers for each other: redis://HOST:PORT, or rediss:// for TLS.
    /// One with a password is taken from the environment alone, since other users of the host see a command line
    #[cfg(feature = "cluster")]
    #[arg(
        long,
        value_name = "URL",
        env = "P2PDBG_CLUSTER",
        hide_env_values = true
    )]
    cluster: Option<String>,
}

impl ClusterArgs {
    /// Whether this host relays for nodes and does nothing else.
    pub(crate) fn relays_alone(&self) -> bool {
        self.relays_alone
    }

    /// Which node this is, if it is one of several.
    ///
    /// # Errors
    /// What is contradictory, in a sentence.
    pub(crate) fn config(&self) -> Result<Option<ClusterConfig>, String> {
        let Some(own) = self.node else {
            #[cfg(feature = "cluster")]
            if self.cluster.is_some() {
                return Err(
                    "a store is for nodes: name this one with --node and all with --nodes".into(),
                );
            }
            return Ok(None);
        };
        #[cfg(feature = "cluster")]
        if let Some(store) = &self.cluster {
            let arguments = std::env::args_os();
            keeps_its_password(store, arguments.filter_map(|one| one.into_string().ok()))?;
        }
        if self.nodes.len() > NodeNumber::MOST {
            return Err(format!(
                "--nodes names {} nodes at the most",
                NodeNumber::MOST
            ));
        }
        if self.relays.len() > NodeNumber::MOST {
            return Err(format!(
                "--relays names {} hosts at the most",
                NodeNumber::MOST
            ));
        }
        let mut seen = HashSet::new();
        for node in self.nodes.iter().chain(&self.relays) {
            if !seen.insert(node.number.to_string()) || !seen.insert(node.at.to_string()) {
                return Err(format!(
                    "--nodes and --relays name the number or the host of {node} twice"
                ));
            }
        }
        if !self.nodes.iter().any(|node| node.number == own) {
            return Err(format!("--nodes does not name this node, {own}"));
        }
        Ok(Some(ClusterConfig {
            own,
            nodes: self.nodes.clone(),
            relays: self.relays.clone(),
            #[cfg(feature = "cluster")]
            store: self.cluster.clone().map(StoreUrl::new),
            #[cfg(not(feature = "cluster"))]
            store: None,
        }))
    }
}

/// Refuses a store's URL with a password that is among the arguments: every user of the host sees those, and the
/// program that is run in the place of this one is given them too.
#[cfg(feature = "cluster")]
fn keeps_its_password(store: &str, arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let (_, rest) = store.split_once("://").unwrap_or_default();
    let user_and_password = rest.rsplit_once('@').map_or("", |(who, _)| who);
    // As those of Unix sockets have it: unix:///PATH?user=USER&pass=PASSWORD.
    let asked = rest.split_once('?').map_or("", |(_, asked)| asked);
    let is_password = |part: &str| part.trim_start().to_ascii_lowercase().starts_with("pass");
    let has_password = user_and_password.contains(':') || asked.split('&').any(is_password);
    let is_told = |argument: String| argument.trim_start_matches("--cluster=") == store;
    if has_password && { arguments }.any(is_told) {
        return Err(
            "--cluster has a password, which all users of this host can see: give the URL in the environment, as \
             P2PDBG_CLUSTER, and make another password"
                .into(),
        );
    }
    Ok(())
}

/// What is done with the authority of several hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityCommand {
    /// Make an authority, which certifies hosts, and print its fingerprint. Its directory holds what all hosts have in
    /// common, and need not lie on one that serves
    New {
        #[command(flatten)]
        state: StateArg,
    },

    /// Certify a host under the names and addresses by which peers reach it, and make a state directory for it
    Issue {
        /// Names and addresses, without a port
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<String>,

        /// The state directory to be made, or to be given another certificate
        #[arg(long, value_name = "DIR")]
        into: PathBuf,

        /// For how long the certificate is good
        #[arg(long = "for", value_name = "TIME", default_value = "365d", value_parser = duration::parse_above_zero)]
        lifetime: Duration,

        /// Make it for a host that relays alone, as the one of this number in --relays: it is given nothing that nodes
        /// share but what it opens its tickets with
        #[arg(long, value_name = "NUMBER")]
        relay: Option<NodeNumber>,

        #[command(flatten)]
        state: StateArg,
    },

    /// Print the URL of these hosts with the key `default` in it
    Url {
        /// Hosts that peers may try first, eight at the most
        #[arg(required = true, value_name = "HOST[:PORT]")]
        hosts: Vec<HostAt>,

        #[command(flatten)]
        state: StateArg,
    },
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: ClusterArgs,
    }

    fn config(args: &[&str]) -> Result<Option<ClusterConfig>, String> {
        let args = std::iter::once("p2pdbg-rendezvous").chain(args.iter().copied());
        let parsed = Alone::try_parse_from(args).map_err(|error| error.to_string())?;
        parsed.args.config()
    }

    #[cfg(feature = "cluster")]
    #[test]
    fn password_of_the_store_is_taken_from_the_environment_alone() {
        let judged = |store: &str, arguments: &[&str]| {
            keeps_its_password(store, arguments.iter().map(ToString::to_string))
        };
        for store in [
            "redis://:geheim@host",
            "rediss://user:geheim@host:6379/1",
            "unix:///run/valkey.sock?user=node&pass=geheim",
            "valkey+unix:///run/valkey.sock?pass=geheim&db=1",
        ] {
            assert_eq!(judged(store, &["program", "--node", "17"]), Ok(()));
            let joined = format!("--cluster={store}");
            for told in [&["--cluster", store][..], &[joined.as_str()]] {
                let why = judged(store, told).unwrap_err();
                assert!(why.contains("P2PDBG_CLUSTER") && !why.contains("geheim"));
            }
        }
        for store in [
            "redis://host",
            "redis://user@host:6379",
            "unix:///run/valkey.sock?db=1",
        ] {
            assert_eq!(judged(store, &["--cluster", store]), Ok(()));
        }
    }

    #[test]
    fn nodes_are_named_once_each_and_the_own_one_among_them() {
        let of = |node: &str, nodes: &str| {
            let cluster = config(&["--node", node, "--nodes", nodes])?.expect("a node");
            Ok::<_, String>((cluster.own.get(), cluster.nodes.len()))
        };
        assert_eq!(of("17", "17=a,18=b:4000"), Ok((17, 2)));
        for (node, nodes) in [
            ("19", "17=a,18=b"),
            ("17", "17=a,17=b"),
            ("17", "17=a,18=a"),
            ("9", "9=a"),
            ("17", "17"),
        ] {
            assert!(of(node, nodes).is_err(), "{node} {nodes}");
        }
        let relays = |relays: &str| {
            let node = ["--node", "17", "--nodes", "17=a,18=b", "--relays", relays];
            config(&node).map(|cluster| cluster.expect("a node").relays.len())
        };
        assert_eq!(relays("30=c,31=d"), Ok(2));
        for taken in ["18=c", "30=b", "30=c,30=d"] {
            assert!(relays(taken).is_err(), "{taken}");
        }
        assert!(config(&["--node", "17"]).is_err());
        assert!(config(&["--nodes", "17=a"]).is_err());
    }
}
