//! The command line of `p2pdbg doctor`, and what it comes to.

use clap::Args;
use p2pdbg_base::{Failure, secret_variables};

use super::values::{RENDEZVOUS, forward_malformed, found, parse_url, resolve_stun};
use crate::{config::Config, doctor::Examination};

const EXAMPLES: &str = "\
Examples:
  p2pdbg doctor                           this host's network, and what to expect of it
  p2pdbg doctor --deep                    and for how long its NAT keeps an idle mapping
  p2pdbg doctor gdbserver:2000            also whether gdbserver listens there, and what it
                                          is known to stumble over

Exit status: 0 fine, 4 rendezvous unreachable or refused.";

/// The arguments of `p2pdbg doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// Debuggers to look at, as p2pdbg listen takes them [default: the usual ports of all]
    #[arg(value_name = "FORWARD")]
    pub forwards: Vec<String>,

    /// The rendezvous to ask, as for p2pdbg listen; without one only local things are looked at.
    // Not the doc comment: see the one of `listen`.
    #[arg(
        long,
        value_name = "URL",
        env = secret_variables::RENDEZVOUS,
        hide_env_values = true,
        help = "The rendezvous to ask, as for p2pdbg listen; without one only local things are looked at"
    )]
    pub rendezvous: Option<String>,

    /// Ask this STUN server too. Up to four
    #[arg(long, value_name = "HOST[:PORT]")]
    pub stun: Vec<String>,

    /// Also measure for how long the NAT keeps an idle mapping, which takes up to five minutes
    #[arg(long)]
    pub deep: bool,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What `p2pdbg doctor` was asked to do.
#[derive(Debug)]
pub struct DoctorOptions {
    /// What is to be examined, and how thoroughly.
    pub examination: Examination,
    /// Whether a program reads the result.
    pub json: bool,
}

/// The options of a `doctor`.
///
/// # Errors
/// Says what does not parse, and what to write instead. Exit status 2.
pub fn resolve_doctor(args: DoctorArgs, config: Config) -> Result<DoctorOptions, Failure> {
    let configured = config.rendezvous.clone();
    let url = found(RENDEZVOUS, args.rendezvous, &config, configured);
    let rendezvous = url.map(parse_url).transpose()?;
    let forwards = args.forwards.iter().map(|text| text.parse());
    let forwards = forwards
        .collect::<Result<_, _>>()
        .map_err(forward_malformed)?;
    Ok(DoctorOptions {
        examination: Examination {
            rendezvous,
            stun: resolve_stun(&args.stun, &config)?,
            forwards,
            deep: args.deep,
        },
        json: args.json,
    })
}
