//! The program `p2pdbg`: reads the command line, runs what it asks for, and ends with the right status.

// It panics where nobody reads standard error any more; what is said there is said by `say!`.
#![cfg_attr(not(test), warn(clippy::print_stderr))]

use std::{
    future::Future,
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
};

use clap::Parser;
use p2pdbg::{
    cli::{
        self, Environment,
        args::{Cli, CliCommand},
        generate,
    },
    commands,
    config::Config,
    report::{Format, OutputLost, Printer},
};
use p2pdbg_base::{Descriptors, ErrorCode, Failure, Outcome, say, secret_variables, shows_colours};
use p2pdbg_events::{Event, Reporter, Warning, WarningCode};
use p2pdbg_proto::{rendezvous::Role, url::RendezvousUrl};
use p2pdbg_udp::quinn_tasks;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    prelude::*,
};

/// The variable that selects what is logged: a level, or `TARGET=LEVEL` for a part of the program, with commas between.
const LOG_VARIABLE: &str = "P2PDBG_LOG";

fn main() -> ExitCode {
    generate::answer_shell();
    quinn_tasks::end_with_them("p2pdbg");
    let Cli { verbose, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match command {
        CliCommand::Listen(args) => {
            let format = format(args.session.json);
            run(format, Role::Listener, verbose, |reporter, output_lost| {
                let mut ask = ask_code;
                let environment = Environment::of_process(&mut ask)?;
                warn_of_open_file(&environment, &reporter);
                let mut options = cli::resolve_listen(args, environment)?;
                options.session.policy.descriptors = Descriptors::take_all();
                block_on(commands::listen::run(options, reporter, output_lost))
            })
        }
        CliCommand::Connect(args) => {
            let format = format(args.session.json);
            run(format, Role::Connector, verbose, |reporter, output_lost| {
                let mut ask = ask_code;
                let environment = Environment::of_process(&mut ask)?;
                warn_of_open_file(&environment, &reporter);
                let mut options = cli::resolve_connect(args, environment)?;
                options.session.policy.descriptors = Descriptors::take_all();
                block_on(commands::connect::run(options, reporter, output_lost))
            })
        }
        CliCommand::Setup { url } => status(setup(url)),
        CliCommand::Doctor(args) => doctor(args, verbose),
        CliCommand::Ide(args) => status(
            Config::load().and_then(|config| commands::ide::run(&cli::resolve_ide(args, config))),
        ),
        CliCommand::Status(args) => ask(verbose, commands::status::run(args)),
        CliCommand::Pipe(args) => ask(verbose, commands::pipe::run(args)),
        CliCommand::Forward(args) => ask(verbose, commands::forward::run(args)),
        CliCommand::Attach(args) => ask(verbose, commands::attach::run(args)),
        CliCommand::Sources(args) => ask(verbose, commands::sources::list(args)),
        CliCommand::Push(args) => ask(verbose, commands::sources::push(args)),
        #[cfg(unix)]
        CliCommand::Unit(args) => status(commands::systemd_unit::run(args)),
        CliCommand::Completions { shell } => status(generate::completions(shell)),
        CliCommand::Man { dir } => status(generate::man(dir.as_deref())),
    }
}

/// Says what is wrong with the command line, or shows the help that it asks for, and ends.
fn refuse(error: &clap::Error) -> ExitCode {
    let Some(failure) = cli::misread(error, &words()) else {
        return show_help(error);
    };
    match cli::asks_for_events(&words()) {
        Some(role) => run(Format::Json, role, 0, |_, _| Err(failure)),
        None => status(Err(failure)),
    }
}

/// Shows what clap has to say: the help or the version that was asked for, or else what is wrong.
fn show_help(error: &clap::Error) -> ExitCode {
    match error.print() {
        // A reader that has read enough is no failure, and neither is one of standard error that is not there.
        Err(fault) if !error.use_stderr() && fault.kind() != io::ErrorKind::BrokenPipe => {
            let message = format!("cannot write to standard output: {fault}");
            status(Err(Failure::new(ErrorCode::Output, message)))
        }
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1)),
    }
}

/// Says that others can read the access key, or write another rendezvous' URL.
fn warn_of_open_file(environment: &Environment<'_>, reporter: &Reporter) {
    if let Some(origin) = &environment.config.origin
        && let Some(mode) = origin.open_to_others
    {
        let path = origin.path().display();
        let message = format!(
            "{path} holds the access key and is open to other users of this host (mode {mode:03o})"
        );
        let warning = Warning::new(WarningCode::ConfigurationOpen, message);
        reporter.emit(Event::Warning(
            warning.hint(format!("run chmod 600 {path}")),
        ));
    }
}

/// Stores the rendezvous' URL, and says where.
fn setup(url: Option<String>) -> Result<(), Failure> {
    let (path, kept) = commands::setup::run(url, || {
        if io::stdin().is_terminal() {
            let _ = write!(io::stderr(), "the URL that p2pdbg-rendezvous printed: ");
        }
        io::stdin().lock().lines().next().transpose()
    })?;
    say!(
        "kept in {}; p2pdbg doctor says whether it is reached from here",
        path.display()
    );
    let set = std::env::var(secret_variables::RENDEZVOUS).unwrap_or_default();
    if !set.trim().is_empty() && set.parse::<RendezvousUrl>() != Ok(kept) {
        say!(
            "note: P2PDBG_RENDEZVOUS is set to another URL here, which goes before the file: unset it"
        );
    }
    Ok(())
}

fn format(json: bool) -> Format {
    if json { Format::Json } else { Format::Human }
}

/// Runs a command that asks a session of another process, and says itself what comes of it.
fn ask(verbose: u8, command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    start_logging(verbose, io::stderr);
    status(block_on(command))
}

/// Examines the network; what is wrong with it is told with the rest, and in the exit status.
fn doctor(args: cli::DoctorArgs, verbose: u8) -> ExitCode {
    start_logging(verbose, io::stderr);
    let run = || {
        let options = cli::resolve_doctor(args, Config::load()?)?;
        block_on(commands::doctor::run(options))
    };
    match run() {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(problem)) => ExitCode::from(problem.exit_status()),
        Err(failure) => status(Err(failure)),
    }
}

/// Runs a command that reports, and reports its failure.
fn run(
    format: Format,
    role: Role,
    verbose: u8,
    command: impl FnOnce(Reporter, OutputLost) -> Result<Outcome, Failure>,
) -> ExitCode {
    let (reporter, printer) = Printer::start(format, role);
    start_logging(verbose, printer.log_writer());
    match command(reporter.clone(), printer.output_lost()) {
        Ok(outcome) => match printer.finish().map(|fault| status(Err(fault))) {
            // What a COMMAND ended with says more, and so does ^C.
            Some(status) if outcome == Outcome::Done => status,
            _ => ExitCode::from(outcome.exit_status()),
        },
        Err(failure) => {
            let status = failure.exit_status();
            reporter.emit(Event::Error(cli::without_secrets(failure, &words())));
            printer.finish();
            ExitCode::from(status)
        }
    }
}

fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // One thread: a second costs more than it does for one session on a host that its debugger shares, and a message
    // that wakes it waits. The operating system is asked between few tasks, so that bulk does not hold up what comes.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .event_interval(8)
        .enable_all()
        .build()
        .map_err(|error| {
            let message = format!("cannot start the runtime: {error}");
            Failure::new(ErrorCode::Internal, message)
        })?;
    let result = runtime.block_on(command);
    // Something may still be waiting for a resolver; nothing that matters is.
    runtime.shutdown_background();
    result
}

fn start_logging<W>(verbose: u8, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let by_option = match verbose {
        0 => "error",
        1 => "warn,p2pdbg=info",
        2 => "info,p2pdbg=debug",
        _ => "trace",
    };
    let wanted = std::env::var_os(LOG_VARIABLE).filter(|wanted| !wanted.is_empty());
    let filter = match wanted
        .as_deref()
        .map(|wanted| targets(&wanted.to_string_lossy()))
    {
        None => targets(by_option).unwrap_or_default(),
        Some(Ok(filter)) => filter,
        // What cannot be read whole selects nothing: half of it would hide what was asked for.
        Some(Err(fault)) => {
            say!(
                "{LOG_VARIABLE}: {fault}; it is passed over. Write a level (error, warn, info, debug, trace), or \
                 TARGET=LEVEL, with commas between"
            );
            targets(by_option).unwrap_or_default()
        }
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(shows_colours(&io::stderr()));
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .init();
}

/// What is logged. (`EnvFilter` could select by the fields of spans as well, by regular expressions, which are 0.2 MB
/// of program.)
///
/// # Errors
/// Says which part is no selection.
fn targets(wanted: &str) -> Result<Targets, String> {
    let mut targets = Targets::new();
    let directives = wanted.split(',').map(str::trim);
    for directive in directives.filter(|directive| !directive.is_empty()) {
        let (target, level) = match directive.rsplit_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, directive),
        };
        // `Targets` takes a span, a mistyped level and anything else for the name of a part, all of which is logged.
        let is_part = |target: &str| {
            let mut letters = target.chars();
            letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-'))
                && !target.is_empty()
        };
        let level: LevelFilter = match level.parse() {
            Ok(chosen) if !level.is_empty() && target.is_none_or(is_part) => chosen,
            _ => return Err(format!("{directive:?} selects nothing")),
        };
        targets = match target {
            Some(target) => targets.with_target(target, level),
            None => targets.with_default(level),
        };
    }
    Ok(targets)
}

/// Asks for a code on the terminal; the answer is echoed, since it works once.
fn ask_code(fault: Option<&str>) -> Option<String> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let mut err = io::stderr();
    if let Some(fault) = fault {
        writeln!(err, "{fault}").ok()?;
    }
    write!(err, "code: ").and_then(|()| err.flush()).ok()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).ok()?;
    Some(answer)
}

/// What stands behind the program's name.
fn words() -> Vec<std::ffi::OsString> {
    std::env::args_os().skip(1).collect()
}

/// The exit status of a command that reports nothing.
fn status(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let failure = cli::without_secrets(failure, &words());
            say!("error: {failure}");
            if let Some(hint) = &failure.hint {
                say!("    {hint}");
            }
            ExitCode::from(failure.exit_status())
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn log_is_selected_by_level_and_by_part() {
        let chosen = targets("warn, p2pdbg=info,p2pdbg_punch=debug,").unwrap();
        for (target, level, is_logged) in [
            ("rustls", Level::WARN, true),
            ("rustls", Level::INFO, false),
            ("p2pdbg::commands", Level::INFO, true),
            ("p2pdbg_session", Level::INFO, true),
            ("p2pdbg_session", Level::DEBUG, false),
            ("p2pdbg_punch::engine", Level::DEBUG, true),
            ("quinn", Level::WARN, true),
            ("quinn", Level::INFO, false),
        ] {
            assert_eq!(
                chosen.would_enable(target, &level),
                is_logged,
                "{target} {level}"
            );
        }
        let errors = targets("error").unwrap();
        assert!(!errors.would_enable("p2pdbg", &Level::WARN));
        assert!(errors.would_enable("p2pdbg", &Level::ERROR));
    }

    #[test]
    fn log_selection_that_cannot_be_read_is_named() {
        for (wanted, at_fault) in [
            ("warn,quinn=nonsense", "quinn=nonsense"),
            ("debugg", "debugg"),
            ("[span]", "[span]"),
            ("p2pdbg[span{field=1}]=debug", "p2pdbg[span{field=1}]=debug"),
            ("=debug", "=debug"),
            ("p2pdbg=", "p2pdbg="),
            ("\u{fffd}", "\u{fffd}"),
        ] {
            let fault = targets(wanted).unwrap_err();
            assert!(fault.contains(at_fault), "{wanted}: {fault}");
        }
    }
}
