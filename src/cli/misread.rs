//! Command lines that clap refuses with advice that would lead astray.

use std::ffi::OsString;

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};
use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_debugger::Preset;
use p2pdbg_forward::ForwardSpec;
use p2pdbg_proto::code::Code;

use super::{args::Cli, connect::refuse_more_than_a_code};

/// What was meant by the words after the program's name, of which clap has refused one; `None` where clap's own words
/// do.
pub fn misread(error: &clap::Error, words: &[OsString]) -> Option<Failure> {
    let words: Vec<String> = words
        .iter()
        .filter_map(|word| word.to_str().map(str::to_owned))
        .collect();
    let refused = |kind| match error.get(kind) {
        Some(ContextValue::String(refused)) => Some(refused.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let (command, rest) = words.split_first()?;
            let refused = refused(ContextKind::InvalidArg)?;
            let near = match error.get(ContextKind::SuggestedArg) {
                Some(ContextValue::String(near)) => Some(near.as_str()),
                _ => None,
            };
            option(command, refused, rest, near)
        }
        ErrorKind::InvalidSubcommand => {
            instead_of_command(refused(ContextKind::InvalidSubcommand)?, &words)
        }
        ErrorKind::InvalidValue if words.first()? == "ide" => {
            let no_ide = refused(ContextKind::InvalidArg)?.contains("IDE");
            no_ide.then(|| {
                usage(
                    "p2pdbg writes the files of vscode, pycharm, nvim, zed, goland and idea"
                        .to_owned(),
                )
                .hint("have another IDE attach to 127.0.0.1, at the port that p2pdbg status shows")
            })
        }
        _ => None,
    }
}

/// What to write in place of `refused`, an argument that `command` has not; `near` is an option that it has.
fn option(command: &str, refused: &str, rest: &[String], near: Option<&str>) -> Option<Failure> {
    let name = refused.split('=').next().unwrap_or(refused);
    if command == "connect" {
        // The options of a program that is to be run without a -- before it.
        let plain = rest.iter().take_while(|word| !word.starts_with('-'));
        let plain: Vec<String> = plain.cloned().collect();
        if let Err(failure) = refuse_more_than_a_code(&plain) {
            return Some(failure);
        }
    }
    if !name.starts_with('-') {
        return None;
    }
    let is_port = ["--port", "-p", "-P"].contains(&name);
    let is_code = ["--code", "-c"].contains(&name);
    let hint = match command {
        "listen" if is_port => {
            "say what listens at the port, as in debugpy:5678, or forward it alone: -L 5678:localhost:5678"
                .to_owned()
        }
        "connect" if is_port => {
            "the ports are those of p2pdbg listen beside the IDE, as in p2pdbg listen debugpy:5679".to_owned()
        }
        "connect" if is_code => "the code stands alone: p2pdbg connect CODE".to_owned(),
        "listen" if is_code => {
            "p2pdbg listen makes the code, which is for p2pdbg connect on the debuggee's host".to_owned()
        }
        "attach" if is_port || name == "--pid" => {
            "the process id stands alone, as in p2pdbg attach 4242".to_owned()
        }
        "push" | "sources" if name == "--all" => {
            format!("p2pdbg {command} alone takes all the files that differ")
        }
        _ => elsewhere(command, name).or_else(|| near.map(|near| format!("is {near} meant?")))
            .unwrap_or_else(|| format!("p2pdbg {command} --help lists those that it has")),
    };
    Some(usage(format!("{command} has no option {name}")).hint(hint))
}

/// Which other command has this option.
fn elsewhere(command: &str, option: &str) -> Option<String> {
    let cli = Cli::command();
    let is_it = |arg: &&clap::Arg| {
        let long = arg.get_long().map(|long| format!("--{long}"));
        let short = arg.get_short().map(|short| format!("-{short}"));
        [long, short].iter().flatten().any(|name| name == option)
    };
    let commands = cli
        .get_subcommands()
        .map(|other| other.get_name().to_owned());
    let commands: Vec<String> = commands
        .filter(|name| {
            let other = cli.find_subcommand(name);
            name != command
                && other.is_some_and(|other| other.get_arguments().any(|arg| is_it(&arg)))
        })
        .collect();
    let have_it = commands.iter().map(|name| format!("p2pdbg {name}"));
    let have_it = have_it.collect::<Vec<_>>().join(", ");
    (!have_it.is_empty()).then(|| format!("{option} is for {have_it}"))
}

/// What to write in place of `word`, which is no command.
fn instead_of_command(word: &str, words: &[String]) -> Option<Failure> {
    let hint = match word {
        // Neither the code nor what a program is given is repeated.
        _ if words.join(" ").parse::<Code>().is_ok() || word.parse::<Code>().is_ok() => {
            let message = "a code stands behind connect".to_owned();
            return Some(usage(message).hint("run p2pdbg connect CODE on the debuggee's host"));
        }
        "run" | "exec" | "start" | "python" | "python3" => {
            "to run a program under a debugger: p2pdbg connect CODE -- python app.py".to_owned()
        }
        _ if words.first().is_some_and(|first| first == "--") => {
            "to run a program under a debugger: p2pdbg connect CODE -- python app.py".to_owned()
        }
        "stop" | "kill" | "quit" | "disconnect" | "close" => {
            "^C ends p2pdbg listen and p2pdbg connect, and their connections".to_owned()
        }
        "server" | "serve" | "rendezvous" | "relay" => {
            "the public host runs a program of its own: p2pdbg-rendezvous".to_owned()
        }
        "version" => "p2pdbg --version".to_owned(),
        "peers" | "ps" | "list" | "ls" | "sessions" => "p2pdbg status shows what runs".to_owned(),
        "log" | "logs" => {
            "p2pdbg listen -v and p2pdbg connect -v tell more while they run".to_owned()
        }
        "dial" | "join" => "p2pdbg connect CODE connects this host".to_owned(),
        "copy" | "sync" | "cp" | "scp" | "rsync" => {
            "p2pdbg push copies source files there".to_owned()
        }
        "init" | "login" | "config" => "p2pdbg setup keeps the rendezvous' URL".to_owned(),
        _ if word.starts_with("p2pdbg://") => {
            "p2pdbg setup keeps the rendezvous' URL; it asks for it".to_owned()
        }
        _ if word.parse::<ForwardSpec>().is_ok() => {
            format!("beside the IDE, p2pdbg listen {word} opens its port")
        }
        _ => match Preset::meant_by(word).first() {
            Some(preset) if nothing_near(word) => {
                let preset = preset.name();
                format!("beside the IDE, p2pdbg listen {preset} opens its port")
            }
            _ => return None,
        },
    };
    let shown = match word.starts_with("p2pdbg://") {
        true => "that is no command".to_owned(),
        false => format!("{word:?} is no command"),
    };
    Some(usage(shown).hint(hint))
}

/// Whether `word` is nothing like the name of a command, of which clap says which it is like.
fn nothing_near(word: &str) -> bool {
    let cli = Cli::command();
    let names = cli.get_subcommands().map(clap::Command::get_name);
    p2pdbg_proto::spelling::nearest(word, names).is_none()
}

fn usage(message: String) -> Failure {
    Failure::new(ErrorCode::Usage, message)
}
