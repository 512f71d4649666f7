//! What clap says of a command line that it refuses, in one line of what is wrong and one of what to write: both
//! programs show their failures so, and clap takes three to eight lines.

use clap::{
    Error,
    error::{ContextKind, ContextValue, ErrorKind},
};
use p2pdbg_proto::spelling::is_near;

/// What is wrong with a command line of `program`, and what to write instead. `None` where help or the version was
/// asked for, or is shown because there is no command.
pub fn in_two_lines(error: &Error, program: &str) -> Option<(String, String)> {
    let (what, hint) = match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::DisplayVersion => return None,
        ErrorKind::InvalidValue => of_value(error),
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error);
            let why = why.map_or(String::new(), |why| {
                format!(": {}", in_words(&why.to_string()))
            });
            (format!("{}{why}", argument_and_value(error)), None)
        }
        ErrorKind::UnknownArgument => {
            let word = text(error, ContextKind::InvalidArg);
            let near = near(&word, error, ContextKind::SuggestedArg);
            (format!("{program} has no {word:?}"), near)
        }
        ErrorKind::InvalidSubcommand => {
            let word = text(error, ContextKind::InvalidSubcommand);
            let near = near(&word, error, ContextKind::SuggestedSubcommand);
            (format!("{word:?} is no command of {program}"), near)
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = texts(error, ContextKind::InvalidArg).join(", ");
            let usage = usage(error).map(|usage| without_unwritten(&usage, &missing));
            (format!("{missing} is missing"), usage)
        }
        ErrorKind::MissingSubcommand => {
            let known = texts(error, ContextKind::ValidSubcommand);
            let known: Vec<_> = known.into_iter().filter(|name| name != "help").collect();
            let it_has = format!("it has {}", known.join(", "));
            (format!("{program} needs a command"), Some(it_has))
        }
        ErrorKind::ArgumentConflict => of_two(error),
        ErrorKind::TooManyValues => {
            let word = text(error, ContextKind::InvalidValue);
            let argument = text(error, ContextKind::InvalidArg);
            let what = format!("{word:?} is one value too many for {argument}");
            (what, None)
        }
        ErrorKind::InvalidUtf8 => ("a word of the command line is no UTF-8".to_owned(), None),
        _ => {
            let said = error.to_string();
            let first = said.lines().next().unwrap_or_default();
            (first.trim_start_matches("error: ").to_owned(), None)
        }
    };
    let help = || format!("{program} --help says what there is");
    Some((what, hint.unwrap_or_else(help)))
}

/// What clap takes a word of a command line for, and repeats: of an option with its value the value.
pub fn value_of(word: &str) -> &str {
    match word.split_once('=') {
        Some((option, value)) if option.starts_with('-') => value,
        _ => word,
    }
}

/// What the standard library says of a text that is no number, as people say it.
fn in_words(why: &str) -> &str {
    match why {
        "invalid digit found in string" => "it is no whole number of digits alone",
        "cannot parse integer from empty string" => "a number is missing",
        "number too large to fit in target type" => "the number is too large",
        _ => why,
    }
}

fn of_value(error: &Error) -> (String, Option<String>) {
    let known = texts(error, ContextKind::ValidValue);
    let refused = text(error, ContextKind::InvalidValue);
    let near = near(&refused, error, ContextKind::SuggestedValue);
    let near = near.map_or(String::new(), |near| format!("; {near}"));
    let takes = format!("it takes {}{near}", known.join(", "));
    let takes = Some(takes).filter(|_| !known.is_empty());
    match refused.as_str() {
        "" => {
            let argument = text(error, ContextKind::InvalidArg);
            (format!("{argument} has no value"), takes)
        }
        _ => {
            let what = format!("{} is none of its values", argument_and_value(error));
            (what, takes)
        }
    }
}

/// Two words that do not go together, or one that stands there twice.
fn of_two(error: &Error) -> (String, Option<String>) {
    // A command behind an option that it does not go with is told as such.
    let command = || text(error, ContextKind::InvalidSubcommand);
    let one = Some(text(error, ContextKind::InvalidArg)).filter(|one| !one.is_empty());
    let one = one.unwrap_or_else(command);
    let others = texts(error, ContextKind::PriorArg);
    let given = |name: &str| name.split(' ').next().unwrap_or_default().to_owned();
    match &others[..] {
        [] => (format!("{one} does not go with what else is given"), None),
        [other] if *other == one => {
            let once = "give it once".to_owned();
            (format!("{one} is given twice"), Some(once))
        }
        others => {
            let names: Vec<_> = others.iter().map(|other| given(other)).collect();
            let what = format!("{} does not go with {}", given(&one), names.join(", "));
            (what, Some("give one of the two".to_owned()))
        }
    }
}

fn argument_and_value(error: &Error) -> String {
    let argument = text(error, ContextKind::InvalidArg);
    // The option alone; what its value is called says nothing beside the value.
    let argument = argument.split(' ').next().unwrap_or_default();
    format!("{argument} {:?}", text(error, ContextKind::InvalidValue))
}

/// The word that is nearly the one that is refused. What clap finds alike is often alike by chance.
fn near(refused: &str, error: &Error, kind: ContextKind) -> Option<String> {
    let name = refused.split('=').next().unwrap_or_default();
    let mut words = texts(error, kind);
    words.retain(|word| is_near(name, word));
    (!words.is_empty()).then(|| format!("is {} meant?", words.join(" or ")))
}

/// How the command is written.
fn usage(error: &Error) -> Option<String> {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else {
        return None;
    };
    let usage = usage.to_string();
    let line = usage.lines().next()?.trim_start_matches("Usage:").trim();
    Some(format!("write {line}"))
}

/// The usage without the options that are not missing and that nobody wrote: clap counts those of variables as given.
fn without_unwritten(usage: &str, missing: &str) -> String {
    let is_written = |option: &str| {
        std::env::args_os().any(|word| word.to_string_lossy().split('=').next() == Some(option))
    };
    let mut kept = Vec::new();
    let mut words = usage.split(' ').peekable();
    while let Some(word) = words.next() {
        if word.starts_with("--") && word != "--" && !missing.contains(word) && !is_written(word) {
            // Its value.
            words.next_if(|next| next.starts_with('<'));
            continue;
        }
        kept.push(word);
    }
    kept.join(" ")
}

fn text(error: &Error, kind: ContextKind) -> String {
    texts(error, kind).into_iter().next().unwrap_or_default()
}

fn texts(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command, value_parser};

    use super::*;

    fn refused(line: &[&str]) -> (String, String) {
        let command = Command::new("tool")
            .subcommand_required(true)
            .args_conflicts_with_subcommands(true)
            .arg(Arg::new("calm").long("calm").action(ArgAction::SetTrue))
            .subcommand(
                Command::new("go")
                    .arg(Arg::new("to").value_name("WHERE").required(true))
                    .arg(
                        Arg::new("way")
                            .long("way")
                            .value_name("KIND")
                            .value_parser(["air", "sea"]),
                    )
                    .arg(
                        Arg::new("fast")
                            .long("fast")
                            .action(ArgAction::SetTrue)
                            .conflicts_with("slow"),
                    )
                    .arg(Arg::new("slow").long("slow").action(ArgAction::SetTrue))
                    .arg(
                        Arg::new("n")
                            .long("times")
                            .value_name("N")
                            .value_parser(value_parser!(u8)),
                    ),
            )
            .subcommand(Command::new("stay"));
        let error = command.try_get_matches_from(line).unwrap_err();
        in_two_lines(&error, "tool").unwrap()
    }

    #[test]
    fn usage_leaves_out_what_a_variable_gives() {
        let usage = without_unwritten(
            "write tool go --state <DIR> --peer <NAME> <WHERE>",
            "--peer <NAME>",
        );
        assert_eq!(usage, "write tool go --peer <NAME> <WHERE>");
        let usage = without_unwritten("write tool go <WHERE> [-- <COMMAND>...]", "<WHERE>");
        assert_eq!(usage, "write tool go <WHERE> [-- <COMMAND>...]");
    }

    #[test]
    fn refused_command_line_is_a_line_of_what_is_wrong_and_one_of_what_to_write() {
        for (line, what, hint) in [
            (&["go"][..], "<WHERE> is missing", "write tool go <WHERE>"),
            (
                &["go", "x", "--way", "rail"],
                "--way \"rail\" is none of its values",
                "it takes air, sea",
            ),
            (
                &["go", "x", "--way", "\u{1b}[2J"],
                "--way \"\\u{1b}[2J\" is none",
                "it takes air, sea",
            ),
            (
                &["go", "x", "--way", "see"],
                "--way \"see\" is none",
                "it takes air, sea; is sea meant?",
            ),
            (
                &["go", "x", "--way"],
                "--way <KIND> has no value",
                "it takes air, sea",
            ),
            (
                &["go", "x", "--times", "300"],
                "--times \"300\": 300 is not in 0..=255",
                "tool --help",
            ),
            (
                &["go", "x", "--times", "10M"],
                "--times \"10M\": it is no whole number",
                "tool --help",
            ),
            (
                &["go", "x", "--fast", "--slow"],
                "--fast does not go with --slow",
                "one of the two",
            ),
            (
                &["go", "x", "--fast", "--fast"],
                "--fast is given twice",
                "give it once",
            ),
            (
                &["go", "x", "--fats"],
                "tool has no \"--fats\"",
                "is --fast meant?",
            ),
            (
                &["go", "x", "--nothing"],
                "tool has no \"--nothing\"",
                "tool --help",
            ),
            // Alike by chance.
            (
                &["go", "x", "--list"],
                "tool has no \"--list\"",
                "tool --help",
            ),
            (&["goat"], "\"goat\" is no command of tool", "tool --help"),
            (&["sty"], "\"sty\" is no command of tool", "is stay meant?"),
            (
                &["emigrate"],
                "\"emigrate\" is no command of tool",
                "tool --help",
            ),
            (
                &["--calm", "stay"],
                "stay does not go with --calm",
                "one of the two",
            ),
            (&[], "tool needs a command", "it has go, stay"),
        ] {
            let (said, told) = refused(&[&["tool"], line].concat());
            assert!(said.contains(what), "{line:?}: {said}");
            assert!(told.contains(hint), "{line:?}: {told}");
            assert!(
                !said.contains('\n') && !told.contains('\n'),
                "{said:?} {told:?}"
            );
        }
    }
}
