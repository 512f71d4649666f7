//! What the command lines of `p2pdbg listen` and `connect` have in common, and what it comes to.
//!
//! An option of a session is defined here (or in `listen` or `connect`, if it belongs to one of them), parsed into
//! [`SessionPolicy`] below, and heeded where that is read; nothing between the two repeats it.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};
use p2pdbg_base::{ErrorCode, Failure, HostPort, PathPolicy, PeerName, duration, secret_variables};
use p2pdbg_facts::{by_its_name, default_root, working_directory};
use p2pdbg_net::stun_servers::StunServer;
use p2pdbg_path::traversal_options::Traversal;
use p2pdbg_proto::{spelling::nearest, url::RendezvousUrl};
use p2pdbg_session::SessionPolicy;
use p2pdbg_sources::SourcesOptions;

use super::values::{RENDEZVOUS, found, is_code, parse_name, parse_url, resolve_stun};
use crate::{
    borrowed_host,
    config::{self, Config, at_home},
};

/// The options that `listen` and `connect` have in common.
#[derive(Debug, Args)]
pub struct SessionArgs {
    /// Where the peers meet.
    // Not the doc comment: rustdoc takes the brackets for links.
    #[arg(
        long,
        value_name = "URL",
        env = secret_variables::RENDEZVOUS,
        hide_env_values = true,
        help = "Where the peers meet: p2pdbg://[KEY@]HOST[:PORT][#FINGERPRINT], as p2pdbg-rendezvous prints it. \
                A key given here can be seen by other users of this host: rather use the variable or the file"
    )]
    pub rendezvous: Option<String>,

    /// What this host calls itself towards the peer [default: its host name]
    #[arg(long, value_name = "NAME", env = "P2PDBG_NAME", hide_env_values = true)]
    pub name: Option<String>,

    /// Let the peer dial HOST:PORT from here, or the Unix socket of this path; loopback is always allowed. Repeatable
    #[arg(long, value_name = "HOST:PORT")]
    pub allow: Vec<String>,

    /// Use no other kind of path [default: the best there is]
    #[arg(long, value_enum, ignore_case = true, value_name = "KIND")]
    pub path: Option<PathPolicy>,

    /// Ask this STUN server too, besides the rendezvous, how the NAT here behaves. Up to four
    #[arg(long, value_name = "HOST[:PORT]")]
    pub stun: Vec<String>,
    /// Do not ask the gateway to map a port (PCP, NAT-PMP, UPnP) for the direct path
    #[arg(long)]
    pub no_port_mapping: bool,

    /// Let nobody but this user's programs, and root's, connect to the ports that are opened here (Linux)
    #[arg(long)]
    pub same_user: bool,

    /// Hold the connections of a peer that is lost for this long: 90s, 30m, 12h, 2d
    #[arg(long, value_name = "TIME", default_value = "12h")]
    pub resume_for: String,

    /// Keep identity and known peers here [default: p2pdbg in the user's state directory]
    #[arg(
        long,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        env = "P2PDBG_STATE",
        hide_env_values = true
    )]
    pub state: Option<OsString>,

    /// Compare the files of this directory with the peer's, by name and SHA-256, and tell which differ
    /// [default: the Git work tree around the working directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub sources: Option<PathBuf>,

    /// Compare no source files, and tell the peer of none
    #[arg(long, conflicts_with = "sources")]
    pub no_sources: bool,

    /// Do not look at what the debuggers say to each other, and so not name them or advise on them
    #[arg(long)]
    pub no_inspect: bool,

    /// Report events as JSON, one object a line, on standard output
    #[arg(long)]
    pub json: bool,
}

/// What `listen` and `connect` have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Where the peers meet.
    pub rendezvous: RendezvousUrl,
    /// What this host calls itself towards the peer.
    pub name: PeerName,
    /// Which paths may be used.
    pub path: PathPolicy,
    /// How a direct path is looked for.
    pub traversal: Traversal,
    /// STUN servers that are asked besides the rendezvous.
    pub stun: Vec<StunServer>,
    /// The state directory; none for the platform's own.
    pub state: Option<PathBuf>,
    /// Where the user has named it, for people.
    pub state_place: Option<String>,
    /// What holds for a session with each peer.
    pub policy: SessionPolicy,
}

/// What both commands have. What only one of them has is as if it were not given.
///
/// # Errors
/// Says what does not parse or is missing, and what to write instead. Exit status 2.
pub(super) fn resolve_session(
    args: SessionArgs,
    config: Config,
) -> Result<SessionOptions, Failure> {
    let policy = policy(&args)?;
    let (url, name) = (config.rendezvous.clone(), config.name.clone());
    let rendezvous = match found(RENDEZVOUS, args.rendezvous, &config, url) {
        Some(url) => parse_url(url)?,
        None => return Err(rendezvous_missing()),
    };
    let name = match found(("--name", "P2PDBG_NAME", "name"), args.name, &config, name) {
        Some((name, place)) => parse_name(&place, &name)?,
        None => PeerName::of_this_host(),
    };
    let stun = resolve_stun(&args.stun, &config)?;
    let traversal = config.traversal.resolve(&|key| config.place(key))?;
    let state_place = state_place(args.state.as_ref(), &config);
    Ok(SessionOptions {
        rendezvous,
        name,
        path: args.path.unwrap_or_default(),
        traversal: Traversal {
            port_mapping: traversal.port_mapping && !args.no_port_mapping,
            ..traversal
        },
        stun,
        state: state(args.state, config.state),
        state_place,
        policy,
    })
}

/// What becomes a session's policy of the options that both commands have.
fn policy(args: &SessionArgs) -> Result<SessionPolicy, Failure> {
    let allow = args.allow.iter().map(|text| {
        text.parse::<HostPort>().map_err(|fault| {
            let message = format!("--allow {text}: {fault}");
            Failure::new(ErrorCode::Usage, message)
                .hint("write --allow HOST:PORT, or the absolute path of a Unix socket")
        })
    });
    let resume_for = duration::parse(&args.resume_for).map_err(|fault| {
        let message = format!("--resume-for {}: {fault}", args.resume_for);
        Failure::new(ErrorCode::Usage, message)
    })?;
    Ok(SessionPolicy {
        allow: allow.collect::<Result<_, _>>()?,
        resume_for,
        same_user: same_user(args.same_user)?,
        sources: resolve_sources(args.sources.as_deref(), args.no_sources)?,
        inspect: !args.no_inspect,
        ..SessionPolicy::default()
    })
}

/// The directory whose files are meant: the one that is named, or else the one around the working directory.
fn resolve_sources(named: Option<&Path>, none: bool) -> Result<SourcesOptions, Failure> {
    let is_named = named.is_some();
    let root = match named {
        Some(directory) => Some(existing("--sources", directory)?),
        None => working_directory().as_deref().map(default_root),
    };
    Ok(SourcesOptions {
        root,
        compares: !none,
        is_named,
        inbox: None,
    })
}

/// A directory that is there, by the name that it was given.
pub(super) fn existing(option: &str, directory: &Path) -> Result<PathBuf, Failure> {
    let directory = at_home(directory.to_owned());
    if directory.to_str().is_some_and(is_code) {
        let message = format!("{option} takes a directory, and a code stands there");
        return Err(Failure::new(ErrorCode::Usage, message)
            .hint(format!("write {option} DIR behind the code")));
    }
    let found = by_its_name(&directory).and_then(|found| match found.is_dir() {
        true => Ok(found),
        false => Err(std::io::ErrorKind::NotADirectory.into()),
    });
    found.map_err(|error| not_there(option, &directory, &error))
}

/// What is said of a directory that cannot be used.
pub(crate) fn not_there(option: &str, directory: &Path, error: &std::io::Error) -> Failure {
    let (why, hint) = match error.kind() {
        std::io::ErrorKind::NotFound => (
            "there is no such directory".to_owned(),
            "make it, or name one that is there",
        ),
        std::io::ErrorKind::NotADirectory => (
            "it is no directory".to_owned(),
            "name the directory in which the files are",
        ),
        _ => (error.to_string(), "name a directory that you may read"),
    };
    Failure::new(ErrorCode::Usage, format!("{option} {directory:?}: {why}")).hint(hint)
}

/// The state directory that is asked for on the command line, in a variable or in the file.
pub(super) fn state(asked: Option<OsString>, configured: Option<PathBuf>) -> Option<PathBuf> {
    let asked = asked.map(|dir| at_home(PathBuf::from(dir)));
    let given = asked.into_iter().chain(borrowed_host::state());
    let mut states = given.chain(configured);
    states.find(|dir| !is_blank(dir.as_os_str()))
}

/// Whether a directory is named by nothing, as with a variable that is set and empty.
fn is_blank(dir: &OsStr) -> bool {
    dir.to_str().is_some_and(|dir| dir.trim().is_empty())
}

/// Where the state directory was named: on the command line, in a variable or in the file.
fn state_place(asked: Option<&OsString>, config: &Config) -> Option<String> {
    const VARIABLE: &str = "P2PDBG_STATE";
    match asked.filter(|dir| !is_blank(dir)) {
        // clap has taken the variable where there was no option.
        Some(dir) if std::env::var_os(VARIABLE).as_ref() == Some(dir) => Some(VARIABLE.to_owned()),
        Some(_) => Some("--state".to_owned()),
        None if borrowed_host::state().is_some() => None,
        None => config.state.is_some().then(|| config.place("state")),
    }
}

/// Whether only this user's programs are let in, which only Linux tells from others'.
fn same_user(asked: bool) -> Result<bool, Failure> {
    if asked && !cfg!(target_os = "linux") {
        let message = "--same-user is there on Linux alone";
        return Err(Failure::new(ErrorCode::Usage, message));
    }
    Ok(asked)
}

fn rendezvous_missing() -> Failure {
    let file = config::default_path().map_or("the configuration file".into(), |path| {
        path.display().to_string()
    });
    let variable = RENDEZVOUS.1;
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let lower = variable.to_lowercase();
    let is_near = |name: &String| name != variable && nearest(name, [lower.as_str()]).is_some();
    let mut mistyped = names.filter(is_near);
    let mistyped = mistyped.next().map_or(String::new(), |name| {
        format!("; {name} is set: is {variable} meant?")
    });
    let message = format!("no rendezvous is configured{mistyped}");
    Failure::new(ErrorCode::RendezvousMissing, message).hint(format!(
        "run p2pdbg setup, which keeps the URL that p2pdbg-rendezvous printed in {file}; or set P2PDBG_RENDEZVOUS"
    ))
}
