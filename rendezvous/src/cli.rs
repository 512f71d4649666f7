//! The command line.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};
use p2pdbg_base::duration;
use p2pdbg_proto::url::{DEFAULT_ALT_PORT, DEFAULT_PORT};
use p2pdbg_rendezvous::{
    KeyLimits, KeyName, Limits, MOST_RELAY_WORKERS, PublicAddress, Rate, ServerConfig,
};

pub(crate) use crate::state_arg::StateArg;
use crate::{
    cluster_args::{AuthorityCommand, ClusterArgs},
    service_manager,
};

/// The one public host of p2pdbg: introduces an IDE's host and a debuggee's host to each other, tells them how
/// their NATs make them appear, and relays what they cannot send directly, without being able to read it.
///
/// Prints its URL as the first line on stdout once it serves: give it to the peers with --rendezvous or
/// P2PDBG_RENDEZVOUS. Whoever has the URL may register; keep it as you would keep a password.
#[derive(Debug, Parser)]
#[command(
    name = "p2pdbg-rendezvous",
    version = p2pdbg_base::version::FULL,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Cli {
    /// What to do instead of serving
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Serve at this address, over UDP and TCP; can be given several times [default: port 3478 of every address]
    #[arg(long, value_name = "ADDR:PORT", value_parser = bind_address)]
    bind: Vec<SocketAddr>,

    /// The second port that answers STUN, over UDP and TCP, by which peers see what kind of NAT they are behind
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_ALT_PORT)]
    alt_port: u16,

    /// A second address of this host's that answers STUN at the same two ports, by which peers see more of their
    /// NAT; PUBLIC is how others reach it, if that differs. Once for IPv4, once for IPv6
    #[arg(long, value_name = "IP[=PUBLIC]", value_parser = second_address)]
    alt_ip: Vec<(IpAddr, Option<IpAddr>)>,

    /// The name or address that the URL gives to peers [default: the address of the default route]
    #[arg(long, value_name = "HOST[:PORT]")]
    public: Option<PublicAddress>,

    /// Where the certificate and the keys are kept [default: the platform's directory for state]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Let anybody register, without the access key
    #[arg(long)]
    pub(crate) open: bool,

    /// Workers that read each main port over UDP and relay what comes there; 0 is one for each core. On systems other
    /// than Linux there is one
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = relay_workers)]
    relay_workers: usize,

    /// Answer over HTTP at this address: OpenMetrics at /metrics, /healthz, /readyz, and a status page. Whoever reaches
    /// it can read them, so keep it to loopback, 127.0.0.1:9478 say [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT", value_parser = metrics_address)]
    metrics: Option<SocketAddr>,

    /// Take what a reverse proxy on this host passes on, over plain HTTP at this address of the loopback, say
    /// 127.0.0.1:8080: for peers whose network lets nothing but the web through, where another web server has port
    /// 443. It must send X-Forwarded-For, and pass WebSocket on [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT", value_parser = loopback_address)]
    web: Option<SocketAddr>,

    /// Hand out the programs of this directory, over plain HTTP at the TCP ports, to hosts where p2pdbg is not
    /// installed: `p2pdbg listen` then shows a line for those too. A release has it as offer/, and its package in
    /// /usr/share/p2pdbg/offer [default: nothing]
    #[arg(long, value_name = "DIR")]
    offer: Option<PathBuf>,

    /// Print one JSON object a line instead of the URL alone
    #[arg(long)]
    pub(crate) json: bool,

    /// How the log on stderr is written; colours are used on a terminal alone
    #[arg(long, value_name = "FORM", value_enum, default_value_t = LogForm::Text)]
    pub(crate) log: LogForm,

    /// Say more on stderr: once, a line for each session; twice, for debugging, which shows peers' addresses
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    limits: LimitArgs,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// Lines for people
    Text,
    /// One JSON object a line, for collectors
    Json,
}

/// What the program does beside serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add, list, revoke and rotate the keys with which peers register
    #[command(subcommand)]
    Keys(KeysCommand),

    /// Certify several hosts, so that they serve one URL
    #[command(subcommand)]
    Authority(AuthorityCommand),

    /// Print the URL with the key `default` in it, as it was printed at the start
    Url {
        #[command(flatten)]
        state: StateArg,
    },

    /// Show what the rendezvous is doing that serves with the state directory
    #[cfg(unix)]
    Status {
        #[command(flatten)]
        state: StateArg,

        /// Show it again every two seconds
        #[arg(long)]
        watch: bool,

        /// Print it as one JSON object
        #[arg(long)]
        json: bool,
    },

    /// Show the nodes that serve the same URL, as the one that serves with the state directory sees them, and the store
    #[cfg(unix)]
    Nodes {
        #[command(flatten)]
        state: StateArg,

        /// Print them as one JSON object
        #[arg(long)]
        json: bool,
    },

    /// Have the rendezvous that serves read its keys again, as SIGHUP does; nothing ends by it but what has a key that
    /// has ended
    #[cfg(unix)]
    Reload {
        #[command(flatten)]
        state: StateArg,
    },

    /// Have the rendezvous that serves give no new codes and sessions, and end as soon as the last session has ended.
    /// Relayed sessions run on until then
    #[cfg(unix)]
    Drain {
        /// End after this time all the same [default: 10m; a drain that has begun keeps its own]
        #[arg(long = "for", value_name = "TIME", value_parser = duration::parse_above_zero)]
        most: Option<Duration>,

        #[command(flatten)]
        state: StateArg,
    },

    /// Have a rendezvous that drains give codes and sessions again
    #[cfg(unix)]
    Undrain {
        #[command(flatten)]
        state: StateArg,
    },

    /// Print the completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Print the manual page
    Man,
}

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key, and print the URL with it: that is the one time it can be seen
    Add {
        /// What to call it
        name: KeyName,

        #[command(flatten)]
        limits: KeyLimitArgs,

        /// How long it is good for [default: for ever]
        #[arg(long, value_name = "TIME", value_parser = duration::parse_above_zero)]
        expires: Option<Duration>,

        #[command(flatten)]
        state: StateArg,
    },

    /// Show the keys, their limits and what they use
    List {
        /// Print them as one JSON object
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        state: StateArg,
    },

    /// End a key: its peers are shut out at once, and what was granted under it is void
    Revoke {
        /// The key's name
        name: KeyName,

        #[command(flatten)]
        state: StateArg,
    },

    /// Share the keys of this node with the other nodes, by their store: from then on a change at one node is one at
    /// all. Keys whose names the others have already get other names, which are told
    Share {
        #[command(flatten)]
        state: StateArg,
    },

    /// Give a key another secret, and print the URL with it; peers that are there stay
    Rotate {
        /// The key's name
        name: KeyName,

        /// How long the secret before is taken too [default: no longer]
        #[arg(long, value_name = "TIME", value_parser = duration::parse_above_zero)]
        grace: Option<Duration>,

        #[command(flatten)]
        state: StateArg,
    },
}

/// The limits of one key.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyLimitArgs {
    /// Peers connected at once
    #[arg(long, value_name = "COUNT")]
    peers: Option<usize>,

    /// Sessions at once
    #[arg(long, value_name = "COUNT")]
    sessions: Option<usize>,

    /// Codes that wait at once
    #[arg(long, value_name = "COUNT")]
    codes: Option<usize>,

    /// What its sessions may send through the relay together, in megabits a second
    #[arg(long, value_name = "MBIT", value_parser = clap::value_parser!(u64).range(1..))]
    relay_mbit: Option<u64>,

    /// What they may send through it in a calendar month (UTC), in GiB; new sessions are slow from then on
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u64).range(1..))]
    relay_gib_month: Option<u64>,
}

impl KeyLimitArgs {
    /// As the library has them.
    pub(crate) fn limits(&self) -> KeyLimits {
        let mut limits = KeyLimits::default();
        limits.peers = self.peers;
        limits.sessions = self.sessions;
        limits.codes = self.codes;
        limits.relay_mbit = self.relay_mbit;
        limits.relay_gib_month = self.relay_gib_month;
        limits
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Peers connected at once; three quarters of them with an access key at the most, and three quarters without (all,
    /// with --open)
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().connections, value_parser = above_zero)]
    max_peers: usize,

    /// Peers connected at once from one address (one /64 of IPv6)
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = Limits::default().connections_per_address,
        value_parser = above_zero
    )]
    max_peers_per_address: usize,

    /// Sessions at once
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().sessions, value_parser = above_zero)]
    max_sessions: usize,

    /// Sessions at once of all who hold one access key
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().sessions_per_key, value_parser = above_zero)]
    max_sessions_per_key: usize,

    /// What all sessions together may send through the relay, in megabits a second; when they want more, each gets a
    /// fair share [default: what the host can]
    #[arg(long, value_name = "MBIT", value_parser = clap::value_parser!(u64).range(1..))]
    relay_mbit: Option<u64>,

    /// Codes tried in a minute from one address; one that does not exist counts five times
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().joins.per_minute)]
    joins_per_minute: u32,

    /// How long a code is valid
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration::parse_above_zero)]
    code_lifetime: Duration,

    /// How long a peer may be silent before it counts as lost
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration::parse_above_zero)]
    idle: Duration,

    /// How long the relay knows where a peer is that sends nothing through it; peers send every 5 s
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration::parse_above_zero)]
    relay_idle: Duration,
}

impl Cli {
    /// Whether it relays for nodes and does nothing else.
    pub(crate) fn relays_alone(&self) -> bool {
        self.cluster.relays_alone()
    }

    /// How to serve.
    ///
    /// # Errors
    /// What is contradictory, in a sentence.
    pub(crate) fn config(&self) -> Result<ServerConfig, String> {
        let default = [SocketAddr::new([0; 4].into(), DEFAULT_PORT)];
        let mains = if self.bind.is_empty() {
            &default[..]
        } else {
            &self.bind
        };
        if self.alt_port != 0 && mains.iter().any(|main| main.port() == self.alt_port) {
            return Err(format!(
                "the alternative port {} is the main port too; choose another with --alt-port",
                self.alt_port
            ));
        }
        let args = &self.limits;
        let defaults = Limits::default();
        let limits = Limits {
            connections: args.max_peers,
            connections_per_address: args.max_peers_per_address,
            // By default each peer waits at four handles, half of them by one key.
            waiting: args.max_peers.saturating_mul(4).max(defaults.waiting),
            waiting_per_key: args
                .max_peers
                .saturating_mul(2)
                .max(defaults.waiting_per_key),
            sessions: args.max_sessions,
            sessions_per_key: args.max_sessions_per_key,
            joins: Rate {
                per_minute: args.joins_per_minute,
                burst: defaults.joins.burst,
            },
            nameplate_lifetime: args.code_lifetime,
            relay_mbit: args.relay_mbit,
            idle: args.idle,
            leg_idle: args.relay_idle,
            ..defaults
        };
        Ok(ServerConfig {
            bind: self.bind.clone(),
            alt_port: self.alt_port,
            alt_ips: self.alt_ip.clone(),
            public: self.public.clone(),
            state: self.state.clone().or_else(service_manager::state_directory),
            metrics: self.metrics,
            web: self.web,
            offer: self.offer.clone(),
            open: self.open,
            relay_workers: self.relay_workers,
            cluster: self.cluster.config()?,
            relays_alone: self.cluster.relays_alone(),
            limits,
        })
    }
}

fn bind_address(text: &str) -> Result<SocketAddr, String> {
    // "::1:443" is an address too, of another host than was meant.
    if let Some((ip, port)) = text.rsplit_once(':')
        && text.contains("::")
        && port.parse::<u16>().is_ok()
        && let Ok(ip) = ip.parse::<Ipv6Addr>()
    {
        let whole = match text.parse::<Ipv6Addr>() {
            Ok(whole) => format!(", or [{whole}]:{DEFAULT_PORT} if all of it is the address"),
            Err(_) => String::new(),
        };
        return Err(format!(
            "an IPv6 address stands in brackets: [{ip}]:{port}{whole}"
        ));
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    text.trim_matches(['[', ']'])
        .parse()
        .map(|ip: IpAddr| SocketAddr::new(ip, DEFAULT_PORT))
        .map_err(|_| "expected ADDR:PORT, as in 0.0.0.0:3478, 192.0.2.7:443 or [::]:3478".into())
}

/// A limit of nothing would shut everybody out.
fn above_zero(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "expected a whole number above zero, in digits alone".into())
}

fn metrics_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected ADDR:PORT, as in 127.0.0.1:9478".into())
}

fn loopback_address(text: &str) -> Result<SocketAddr, String> {
    let address: Option<SocketAddr> = text.parse().ok();
    address
        .filter(|address| address.ip().is_loopback() && address.port() != 0)
        .ok_or_else(|| {
            "expected an address of the loopback with a port, as in 127.0.0.1:8080: only a proxy on this host is \
             believed whom it speaks for"
                .into()
        })
}

fn relay_workers(text: &str) -> Result<usize, String> {
    let count = text.parse().ok();
    count
        .filter(|count| *count <= MOST_RELAY_WORKERS)
        .ok_or_else(|| format!("expected a number from 0 to {MOST_RELAY_WORKERS}"))
}

fn second_address(text: &str) -> Result<(IpAddr, Option<IpAddr>), String> {
    let ip = |text: &str| {
        let ip: Option<IpAddr> = text.trim_matches(['[', ']']).parse().ok();
        let usable = ip.filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
        usable.ok_or_else(|| {
            "expected an IP address of this host's, as in 192.0.2.8 or 10.0.0.8=192.0.2.8"
                .to_owned()
        })
    };
    let (bound, told) = match text.split_once('=') {
        Some((bound, told)) => (ip(bound)?, Some(ip(told)?)),
        None => (ip(text)?, None),
    };
    match told {
        Some(told) if told.is_ipv4() != bound.is_ipv4() => {
            Err("both addresses must be of one family".into())
        }
        _ => Ok((bound, told)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn config(args: &[&str]) -> Result<ServerConfig, String> {
        let args = std::iter::once("p2pdbg-rendezvous").chain(args.iter().copied());
        Cli::try_parse_from(args)
            .map_err(|error| error.to_string())?
            .config()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_arguments_everything_is_as_the_library_has_it() {
        let config = config(&[]).unwrap();
        assert!(config.bind.is_empty() && !config.open && config.state.is_none());
        assert_eq!(config.alt_port, DEFAULT_ALT_PORT);
        assert_eq!(config.limits, Limits::default());
    }

    #[test]
    fn addresses_may_leave_the_port_out() {
        let config = config(&[
            "--bind",
            "192.0.2.7",
            "--bind",
            "[::1]:5000",
            "--bind",
            "[::1]",
        ]);
        let bind: Vec<String> = config
            .unwrap()
            .bind
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(bind, ["192.0.2.7:3478", "[::1]:5000", "[::1]:3478"]);
    }

    #[test]
    fn address_that_may_end_in_a_port_is_told_both_ways_to_write_it() {
        for port in [443, 3478, 5000] {
            let fault = bind_address(&format!("::1:{port}")).unwrap_err();
            let both = format!("[::1]:{port}, or [::1:{port}]:3478 if");
            assert!(fault.contains(&both), "{fault}");
        }
        for address in ["::1", "2001:db8::8", "::", "[::1:443]:443", "::1:abc"] {
            assert!(bind_address(address).is_ok(), "{address}");
        }
    }

    #[test]
    fn a_second_address_may_be_another_to_the_world() {
        let ips = |args: &[&str]| config(args).map(|config| config.alt_ips);
        let given = ips(&[
            "--alt-ip",
            "10.0.0.8=192.0.2.8",
            "--alt-ip",
            "[2001:db8::8]",
        ]);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let expected = [
            (ip("10.0.0.8"), Some(ip("192.0.2.8"))),
            (ip("2001:db8::8"), None),
        ];
        assert_eq!(given.unwrap(), expected);
        for text in [
            "",
            "host",
            "10.0.0.8=",
            "10.0.0.8=::1",
            "0.0.0.0",
            "224.0.0.1",
            "10.0.0.8:3478",
        ] {
            assert!(ips(&["--alt-ip", text]).is_err(), "{text}");
        }
    }

    #[test]
    fn web_is_for_a_proxy_on_this_host_alone() {
        let web = |text| config(&["--web", text]).map(|config| config.web);
        for text in ["127.0.0.1:8080", "[::1]:8080"] {
            assert_eq!(web(text), Ok(Some(text.parse().unwrap())));
        }
        for text in [
            "0.0.0.0:8080",
            "192.0.2.7:8080",
            "127.0.0.1",
            "127.0.0.1:0",
            "8080",
        ] {
            assert!(web(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        let idle = |text| config(&["--idle", text]).map(|config| config.limits.idle);
        assert_eq!(idle("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(idle("1h30m"), Ok(Duration::from_secs(5_400)));
        for text in ["", "5", "0s", "400d"] {
            assert!(idle(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_port_cannot_be_both() {
        assert!(config(&["--alt-port", "3478"]).is_err());
        assert!(config(&["--bind", "127.0.0.1:3479"]).is_err());
        assert!(config(&["--bind", "127.0.0.1:0", "--alt-port", "0"]).is_ok());
    }
}
