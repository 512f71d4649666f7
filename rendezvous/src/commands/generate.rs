//! Completion scripts and the manual page, made from the definition of the command line.

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;

/// The completion script for `shell`.
pub(super) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "p2pdbg-rendezvous", &mut script);
    script
}

/// The manual page, with a section for each subcommand: there are few, and one page is found.
pub(super) fn man() -> Result<Vec<u8>, String> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut page = Vec::new();
    let render = |page: &mut Vec<u8>| {
        clap_mangen::Man::new(root.clone()).render(page)?;
        for command in root.get_subcommands() {
            section(command, page)?;
            for below in command.get_subcommands() {
                section(below, page)?;
            }
        }
        std::io::Result::Ok(())
    };
    render(&mut page).map_err(|error| format!("cannot make the manual page: {error}"))?;
    Ok(page)
}

fn section(command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let name = command.get_bin_name().unwrap_or_default().to_uppercase();
    page.extend_from_slice(format!(".SH \"{name}\"\n").as_bytes());
    let man = clap_mangen::Man::new(command.clone());
    man.render_description_section(page)?;
    man.render_options_section(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_tells_of_every_command_and_option() {
        let page = String::from_utf8(man().unwrap()).unwrap();
        for part in ["KEYS ROTATE", "STATUS", "relay\\-gib\\-month", "alt\\-ip"] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn there_is_a_completion_script_for_every_shell() {
        use clap::ValueEnum;
        for shell in Shell::value_variants() {
            let script = String::from_utf8(completions(*shell)).unwrap();
            assert!(script.contains("rotate"), "{shell}");
        }
    }
}
