//! Completion scripts and manual pages, made from the definitions in [`args`](super::args).

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write},
    iter,
    path::Path,
};

use clap::{Command, CommandFactory};
use clap_complete::{CompleteEnv, Shell, env::Shells};
use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_proto::spelling::nearest;

use super::args::Cli;
use crate::stdout::print;

/// The variable by which a shell asks for completions.
const VARIABLE: &str = "P2PDBG_COMPLETE";

/// Answers a shell that asks for completions, and ends the process; otherwise does nothing.
pub fn answer_shell() {
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .complete();
}

/// Prints the script by which `shell` asks for completions.
///
/// # Errors
/// If standard output cannot be written.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let completer = shells.completer(&shell.to_string());
    completer
        .ok_or(io::ErrorKind::Unsupported.into())
        .and_then(|shell| {
            shell.write_registration(VARIABLE, "p2pdbg", "p2pdbg", "p2pdbg", &mut script)
        })
        .map_err(|error| failure("make the completion script", &error))?;
    print(|out| out.write_all(&script))
}

/// Prints the manual page of p2pdbg, or of the command that `dir` names, or writes those of all commands to `dir`,
/// which is made if need be.
///
/// # Errors
/// If standard output or the directory cannot be written.
pub fn man(dir: Option<&Path>) -> Result<(), Failure> {
    let mut root = Cli::command();
    // `help` is a way to get at these pages, not one of them.
    root = root.disable_help_subcommand(true);
    // Gives the subcommands their full names.
    root.build();
    let named = dir.filter(|dir| !dir.is_dir());
    let named = named.map(|name| (name, root.find_subcommand(without_program(name))));
    let named = match named {
        Some((name, None)) if without_program(name) == "p2pdbg" => Some(&root),
        // A word that was mistyped makes no directory.
        Some((name, None)) => match instead_of_page(&root, name) {
            Some(hint) => {
                let message = format!("there is no command {name:?}, nor a directory");
                return Err(Failure::new(ErrorCode::Usage, message).hint(hint));
            }
            None => None,
        },
        named => named.and_then(|(_, command)| command),
    };
    let dir = match (dir, named) {
        (Some(dir), None) => dir,
        (_, named) => {
            let page = page(named.unwrap_or(&root));
            let (_, page) = page.map_err(|error| failure("make the manual page", &error))?;
            return print(|out| out.write_all(&page));
        }
    };
    let write = || {
        fs::create_dir_all(dir)?;
        for command in iter::once(&root).chain(root.get_subcommands()) {
            let (name, page) = page(command)?;
            fs::write(dir.join(name), page)?;
        }
        Ok(())
    };
    let what = format!("write manual pages to {}", dir.display());
    write().map_err(|error| failure(&what, &error))
}

/// A command's name without the program's before it, as in the name of its page.
fn without_program(name: &Path) -> &OsStr {
    let name = name.as_os_str();
    let text = name.to_str().and_then(|name| name.strip_prefix("p2pdbg-"));
    text.map_or(name, OsStr::new)
}

/// Whether a path is written as one, and not as a word alone.
fn has_separator(path: &Path) -> bool {
    let written = path.as_os_str().to_string_lossy();
    written.contains(std::path::is_separator) || written == "."
}

/// What to write in place of a word that is near to a command; none if it is meant as a directory that is to be made.
fn instead_of_page(root: &Command, name: &Path) -> Option<String> {
    if has_separator(name) {
        return None;
    }
    let word = name.to_string_lossy();
    if ["p2pdbg-rendezvous", "rendezvous"].contains(&word.as_ref()) {
        return Some("p2pdbg-rendezvous man prints its page".to_owned());
    }
    // `man1` is what such directories are called.
    if word.ends_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let near = nearest(&word, root.get_subcommands().map(Command::get_name))?;
    Some(format!(
        "is {near} meant? A directory that is to be made is written ./{}",
        word.escape_debug()
    ))
}

/// The file name of a command's manual page, and the page.
fn page(command: &Command) -> io::Result<(String, Vec<u8>)> {
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    // The tables and examples below the help; clap_mangen would fill their lines into paragraphs.
    if let Some(notes) = command.get_after_help() {
        page.extend_from_slice(b".SH NOTES\n.nf\n");
        for line in notes.to_string().lines() {
            // A line that begins with a dot or a quote would be a request (man 7 groff).
            let line = line.replace('\\', "\\e").replace('-', "\\-");
            writeln!(page, "\\&{line}")?;
        }
        page.extend_from_slice(b".fi\n");
    }
    Ok((man.get_filename(), page))
}

fn failure(what: &str, error: &io::Error) -> Failure {
    Failure::new(ErrorCode::Output, format!("cannot {what}: {error}"))
}
