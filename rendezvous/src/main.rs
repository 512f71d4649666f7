//! The `p2pdbg-rendezvous` program: reads the command line, serves until it is told to stop, and says what a
//! person or a supervisor needs to know.

// It panics where nobody reads standard error any more; what is said there is said by `say!`.
#![cfg_attr(not(test), warn(clippy::print_stderr))]

mod cli;
mod cluster_args;
mod commands;
#[cfg(unix)]
mod descriptors;
mod logging;
mod service_manager;
mod signals;
mod state_arg;
mod successor;
mod to_journal;
mod wrong_arguments;

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
};

use clap::{CommandFactory, Parser, error::ErrorKind};
use p2pdbg_base::{in_two_lines, say};
#[cfg(unix)]
use p2pdbg_rendezvous::operate::Operator;
use p2pdbg_rendezvous::{Inheritance, Server, ServerConfig, StartError};
use p2pdbg_udp::quinn_tasks;
use serde::Serialize;

use crate::{
    cli::Cli,
    logging::Quiet,
    service_manager::News,
    signals::{Signal, Signals},
    successor::Successor,
};

#[cfg(unix)]
use crate::signals::Hangups;

/// Says what is wrong with the command line, and ends.
fn refuse(error: &clap::Error) -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let is_command = |word: &&String| Cli::command().find_subcommand(word).is_some();
    let said = wrong_arguments::misread(error, &words).or_else(|| {
        let command = words.first().filter(is_command);
        let command = command.map_or(String::new(), |command| format!(" {command}"));
        in_two_lines(error, &format!("p2pdbg-rendezvous{command}"))
    });
    let Some((what, hint)) = said else {
        error.exit()
    };
    // A command beside the one that serves has no events.
    let serves = !words.iter().any(|word| is_command(&word));
    if serves && words.iter().any(|word| word == "--json") {
        tell_usage(&format!("{what}; {hint}"));
    }
    say!("error: {what}\n    {hint}");
    ExitCode::from(USAGE)
}

fn tell_usage(message: &str) {
    let code = "usage";
    print_event(&Printed::Error { code, message }, "");
}

/// The exit status after a command line at fault, as clap has it.
const USAGE: u8 = 2;

/// What `--json` prints, one object a line.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Printed<'a> {
    /// The first: peers can come.
    Serving {
        /// The URL with the key, for peers that register.
        url: String,
        /// For peers that only join.
        url_without_key: String,
        /// The main ports, with the addresses that they are bound to.
        addresses: &'a [SocketAddr],
        /// The ports that answer STUN alone.
        stun_alternatives: &'a [SocketAddr],
        /// Where metrics, health and the status page are.
        #[serde(skip_serializing_if = "Option::is_none")]
        metrics: Option<SocketAddr>,
    },
    /// The first of a host that relays for nodes and does nothing else.
    Relaying {
        /// The main ports, with the addresses that they are bound to.
        addresses: &'a [SocketAddr],
    },
    /// It cannot serve; the last.
    Error {
        /// `usage`, `state`, `bind`, `offer`, `cluster`, `certificate` or `internal`.
        code: &'a str,
        /// What happened, why, and what to do.
        message: &'a str,
    },
    /// It was told to stop.
    Stopping,
}

fn main() -> ExitCode {
    quinn_tasks::end_with_them("p2pdbg-rendezvous");
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::DisplayVersion && successor::is_asked() => {
            print_line(&successor::answer(&error.to_string()), "");
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse(&error),
    };
    let command = cli.command.take();
    // What a process before this one has kept waiting waits on, until `start` reads it.
    let held = match &command {
        Some(_) => Ok(()),
        None => signals::hold(),
    };
    let runtime = held.and_then(|()| tokio::runtime::Runtime::new());
    match (runtime, command) {
        (Ok(runtime), Some(command)) => runtime.block_on(run_command(command)),
        (Ok(runtime), None) => runtime.block_on(run(cli)),
        (Err(error), _) => fail(&cli, "internal", &format!("cannot begin: {error}")),
    }
}

/// Asks or tells the one that serves.
async fn run_command(command: cli::Command) -> ExitCode {
    match commands::run(command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say!("p2pdbg-rendezvous: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Serves, from the start to the end.
async fn run(cli: Cli) -> ExitCode {
    #[cfg_attr(not(unix), expect(unused_mut))]
    let mut config = match cli.config() {
        Ok(config) => config,
        Err(why) => {
            if cli.json {
                tell_usage(&why);
            }
            say!("error: {why}");
            return ExitCode::from(USAGE);
        }
    };
    let quiet = logging::begin(cli.verbose, cli.log);
    tokio::spawn(quiet.clone().confess());
    #[cfg(unix)]
    {
        config.limits.tcp_connections = descriptors::take_all();
    }
    match start(&cli, config).await {
        Ok((server, signals)) => serve(&cli, server, signals, &quiet).await,
        Err(status) => status,
    }
}

/// Begins to serve, with what a process before this one has left.
async fn start(cli: &Cli, config: ServerConfig) -> Result<(Server, Signals), ExitCode> {
    // Watched from the start, so that a signal during start-up is heeded as soon as it can be.
    #[cfg_attr(not(unix), expect(unused_mut))]
    let mut signals = Signals::watch().map_err(|error| {
        let message = format!("cannot watch for signals: {error}");
        fail(cli, "internal", &message)
    })?;
    let inheritance = Inheritance::from_environment().unwrap_or_else(|error| {
        tracing::warn!(%error, "what the process before this one left cannot be taken over");
        Inheritance::none()
    });
    let server = Server::start_with(config, inheritance).await;
    let server = server.map_err(|error| fail(cli, code_of(&error), &error.to_string()))?;
    #[cfg(unix)]
    if let Some(hangups) = signals.take_hangups() {
        reload_at_each(hangups, server.operator().clone());
    }
    announce(cli, &server);
    service_manager::tell(News::Ready);
    Ok((server, signals))
}

/// Serves until it is told to stop, is drained, or a successor goes on.
async fn serve(cli: &Cli, mut server: Server, mut signals: Signals, quiet: &Quiet) -> ExitCode {
    // Kept while the watchdog is fed, which is more often than it looks.
    let operator = server.operator().clone();
    let mut drained = std::pin::pin!(operator.drained());
    loop {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            () = service_manager::be_watched(&operator) => continue,
            part = server.failed() => broken(cli, part),
            () = &mut drained => Signal::Stop,
        };
        match signal {
            Signal::Stop => break,
            Signal::Upgrade => {
                let successor = tokio::select! {
                    found = Successor::find() => found,
                    () = signals.stop() => break,
                    () = service_manager::be_watched(&operator) => continue,
                };
                let successor = successor.and_then(|successor| match server.can_be_succeeded() {
                    Ok(()) => Ok(successor),
                    Err(error) => Err(error.to_string()),
                });
                match successor {
                    Ok(successor) => {
                        let status = become_successor(cli, server, signals, &successor).await;
                        quiet.say_what_was_left_out();
                        return status;
                    }
                    Err(why) => say!("p2pdbg-rendezvous: not upgraded: {why}"),
                }
            }
        }
    }
    let status = stop(cli, server.shutdown(), signals).await;
    quiet.say_what_was_left_out();
    status
}

/// Ends at once: with what has broken not even a farewell can be relied on.
fn broken(cli: &Cli, part: &str) -> ! {
    let message =
        format!("{part} has ended by a fault of this program, which can be started again");
    let _ = fail(cli, "internal", &message);
    std::process::exit(quinn_tasks::BROKEN)
}

/// Stops gracefully, once the server has taken its leave, or at once if it is told to once more.
async fn stop(cli: &Cli, leave: impl Future<Output = ()>, mut signals: Signals) -> ExitCode {
    service_manager::tell(News::Stopping);
    if cli.json {
        print_event(&Printed::Stopping, "");
    } else {
        say!("p2pdbg-rendezvous: stopping");
    }
    tokio::select! {
        () = leave => {}
        () = signals.stop() => {
            say!("p2pdbg-rendezvous: ended at once, before all peers had taken leave");
        }
    }
    ExitCode::SUCCESS
}

/// Goes on as the program that lies where this one was started from. Comes back only if that fails, or if it is told to
/// stop while its peers take leave. What it is told afterwards, the successor hears, if it reads what waits.
async fn become_successor(
    cli: &Cli,
    server: Server,
    mut signals: Signals,
    successor: &Successor,
) -> ExitCode {
    service_manager::tell(News::Reloading);
    let mut leaving = std::pin::pin!(server.hand_over());
    let handover = tokio::select! {
        // The signal first, as long as there is a choice.
        biased;
        () = signals.stop() => None,
        handover = &mut leaving => Some(handover),
    };
    let Some(handover) = handover else {
        let leave = async { drop(leaving.await) };
        return stop(cli, leave, signals).await;
    };
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if !successor.reads_what_waits {
        // Where the operating system refuses, there is nothing better to do.
        let _ = signals::release();
    }
    let error = handover.execute(&successor.program, &args);
    fail(
        cli,
        "internal",
        &format!("cannot run {}: {error}", successor.program.display()),
    )
}

/// Reads the keys again at each SIGHUP.
#[cfg(unix)]
fn reload_at_each(mut hangups: Hangups, operator: Operator) {
    tokio::spawn(async move {
        while hangups.next().await.is_some() {
            match operator.reload().await {
                Ok(read) => tracing::info!(keys = read.keys, "the keys are read again"),
                Err(error) => tracing::warn!(%error, "the keys from before hold on"),
            }
        }
    });
}

fn announce(cli: &Cli, server: &Server) {
    if cli.relays_alone() {
        return announce_relay(cli, server);
    }
    let url = server.url();
    // A journal is kept for months and read by others than who runs this.
    let shown = if to_journal::holds(&io::stdout()) {
        say!(
            "p2pdbg-rendezvous: stdout is the journal, which is not told the key; \
             `p2pdbg-rendezvous url` prints the URL with it"
        );
        url.without_key()
    } else {
        url.clone()
    };
    if cli.json {
        let serving = Printed::Serving {
            url: shown.to_string(),
            url_without_key: url.without_key().to_string(),
            addresses: server.addresses(),
            stun_alternatives: server.alternatives(),
            metrics: server.metrics(),
        };
        print_event(&serving, WITHOUT_URL);
    } else {
        print_line(&shown.to_string(), WITHOUT_URL);
    }
    if let Some(metrics) = server.metrics() {
        say!("p2pdbg-rendezvous: metrics, health and a page at http://{metrics}/");
        if !metrics.ip().is_loopback() {
            say!(
                "p2pdbg-rendezvous: whoever reaches {metrics} can read them; 127.0.0.1 is for this host alone"
            );
        }
    }
    if server.is_guess_private() {
        say!(
            "p2pdbg-rendezvous: {} is reachable from this host or network only; if peers come from elsewhere, \
             give the address they use with --public HOST",
            url.host
        );
    }
    let buffer = server.receive_buffer();
    if buffer.granted < buffer.asked {
        say!(
            "p2pdbg-rendezvous: the system grants {} KiB of UDP buffer instead of 4 MiB, so bursts are lost on the relay; \
             set net.core.rmem_max and net.core.wmem_max to 8388608 (packaging/sysctl)",
            buffer.granted / 1_024
        );
    }
    if url.access_key.is_none() && !cli.open {
        say!(
            "p2pdbg-rendezvous: the URL has no key in it: the key `default` is revoked, or its secret in the state \
             directory is not the one that keys.toml knows; `p2pdbg-rendezvous keys` helps"
        );
    }
    if cli.open {
        say!("p2pdbg-rendezvous: open: whoever reaches this host can use it");
    }
}

/// Of a host that relays alone there is no URL that anybody could use.
fn announce_relay(cli: &Cli, server: &Server) {
    let at = server.addresses();
    if cli.json {
        print_event(&Printed::Relaying { addresses: at }, "");
    } else {
        print_line("relaying", "");
    }
    let at: Vec<String> = at.iter().map(ToString::to_string).collect();
    say!(
        "p2pdbg-rendezvous: relays at {} for the nodes that name it in --relays, and does nothing else",
        at.join(", ")
    );
}

/// Says why the program ends, in one line, and on stdout too for who reads that.
fn fail(cli: &Cli, code: &str, message: &str) -> ExitCode {
    if cli.json {
        print_event(&Printed::Error { code, message }, "");
    }
    say!("p2pdbg-rendezvous: {message}");
    ExitCode::FAILURE
}

fn code_of(error: &StartError) -> &'static str {
    match error {
        StartError::State(_)
        | StartError::Keys(_)
        | StartError::Missing(_)
        | StartError::AlreadyServing(_) => "state",
        StartError::Bind { .. }
        | StartError::Metrics { .. }
        | StartError::Web { .. }
        | StartError::SecondAddress { .. } => "bind",
        StartError::Offer { .. } => "offer",
        StartError::Cluster(_) => "cluster",
        StartError::Certificate(_) => "certificate",
        StartError::Other(_) => "internal",
    }
}

/// What is said where the URL could not be written.
const WITHOUT_URL: &str = "; `p2pdbg-rendezvous url` prints the URL";

/// Prints an event, or says that it could not be, and `instead` behind it.
fn print_event(event: &Printed<'_>, instead: &str) {
    // Strings, numbers and addresses always make JSON.
    if let Ok(line) = serde_json::to_string(event) {
        print_line(&line, instead);
    }
}

/// Writes a line to stdout at once, or says that it could not be, and `instead` behind it. That nobody reads it is no
/// reason to stop serving.
fn print_line(line: &str, instead: &str) {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            say!("p2pdbg-rendezvous: cannot write to standard output: {error}{instead}");
        }
        _ => {}
    }
}
