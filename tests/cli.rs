//! The command line of the built program: help, usage errors, completions and manual pages.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use p2pdbg_identity::StateDir;
use p2pdbg_pairing::{KnownPeers, PairSecret, PeerId};
use p2pdbg_proto::fingerprint::Fingerprint;

/// The program, knowing nothing of the configuration of whoever runs the tests.
fn p2pdbg(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pdbg"));
    for variable in std::env::vars_os().map(|(name, _)| name) {
        if variable.to_string_lossy().starts_with("P2PDBG_") {
            command.env_remove(variable);
        }
    }
    command
        .env("HOME", home)
        .env("USERPROFILE", home)
        .env("APPDATA", home.join("config"))
        .env("LOCALAPPDATA", home.join("state"))
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_STATE_HOME", home.join("state"))
        .env("XDG_RUNTIME_DIR", home.join("run"))
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    p2pdbg(home.path()).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs a command line that is at fault, and gives back what it said on standard error.
#[track_caller]
fn usage_error(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(stdout(&output), "");
    stderr(&output)
}

#[test]
fn help_tells_what_each_command_is_for() {
    for (arguments, part) in [
        (&["--help"][..], "p2pdbg connect 482913-orbit-lemon-tiger"),
        (&["listen", "--help"], "[BIND:]PORT:HOST:PORT"),
        (&["connect", "--help"], "P2PDBG_CODE"),
        (&["completions", "--help"], "bash"),
        (&["status", "--help"], "--json"),
        (&["pipe", "--help"], "pipeTransport"),
        (&["man", "--help"], "DIR"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(stdout(&output).contains(part), "{output:?}");
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn help_does_not_show_the_secrets_of_the_environment() {
    let home = tempfile::tempdir().unwrap();
    let output = p2pdbg(home.path())
        .args(["connect", "--help"])
        .env("P2PDBG_RENDEZVOUS", "p2pdbg://KEYKEY@host")
        .env("P2PDBG_CODE", "482913-orbit-lemon-tigr")
        .output()
        .unwrap();
    let text = stdout(&output);
    assert!(text.contains("P2PDBG_RENDEZVOUS"));
    assert!(!text.contains("KEYKEY") && !text.contains("tigr"), "{text}");
}

#[test]
fn without_a_command_it_says_how_it_is_used() {
    assert!(usage_error(&[]).contains("Usage: p2pdbg"));
    assert!(usage_error(&["lissen"]).contains("listen"));
    assert!(usage_error(&["listen", "--jason"]).contains("--json"));
}

#[test]
fn a_run_without_a_rendezvous_says_where_one_is_set() {
    for command in ["listen", "connect"] {
        let text = usage_error(&[command]);
        assert!(text.contains("no rendezvous is configured"), "{text}");
        assert!(text.contains("P2PDBG_RENDEZVOUS"), "{text}");
        assert!(text.contains("config.toml"), "{text}");
    }
}

#[test]
fn forwards_that_do_not_parse_say_what_to_write() {
    let text = usage_error(&["listen", "-L", "5678"]);
    assert!(text.contains("-L 5678"), "{text}");
    assert!(text.contains("-L 5678:localhost:5678"), "{text}");
    let text = usage_error(&["listen", "-R", "9:[::1:9"]);
    assert!(text.contains("brackets"), "{text}");
    let text = usage_error(&["listen", "gdb"]);
    assert!(text.contains("gdbserver"), "{text}");
    let text = usage_error(&["listen", "debugpy:99999"]);
    assert!(text.contains("port"), "{text}");
}

#[test]
fn options_that_belong_elsewhere_are_told_where() {
    let code = "482913-orbit-lemon-tiger";
    let text = usage_error(&["connect", code, "./run.sh", "--flag"]);
    assert!(
        text.contains("put -- before it") && !text.contains("orbit"),
        "{text}"
    );
    let text = usage_error(&["listen", "--port", "5678"]);
    assert!(text.contains("debugpy:5678"), "{text}");
    assert!(usage_error(&["listen", "--sames-user"]).contains("--same-user"));
    for (line, told) in [
        (
            &["connect", code, "--peers", "3"][..],
            "--peers is for p2pdbg listen",
        ),
        (
            &["connect", "--follow-ports", code],
            "--follow-ports is for p2pdbg listen",
        ),
        (
            &["listen", "--accept-attach"],
            "--accept-attach is for p2pdbg connect",
        ),
        (&["connect", "--code", code], "the code stands alone"),
        (
            &["connect", code, "--port", "5678"],
            "p2pdbg listen debugpy:5679",
        ),
        (
            &["listen", "--code=482913-orbit-lemon-tiger"],
            "p2pdbg listen makes the code",
        ),
        (&["attach", "--pid", "4242"], "p2pdbg attach 4242"),
        (&["push", "--all"], "p2pdbg push alone"),
        (&["status", "--nothing-like-it"], "p2pdbg status --help"),
    ] {
        let text = usage_error(line);
        // "to pass '--x' as a value, use '-- --x'" is what clap says of each of them.
        assert!(
            text.contains(told) && !text.contains("as a value") && !text.contains("orbit"),
            "{line:?}: {text}"
        );
    }
}

#[test]
fn what_is_no_command_is_told_which_one_is_meant() {
    let code = "482913-orbit-lemon-tiger";
    for (line, told) in [
        (&[code][..], "p2pdbg connect CODE"),
        (
            &["482913", "orbit", "lemon", "tiger"],
            "p2pdbg connect CODE",
        ),
        (&["debugpy"], "p2pdbg listen debugpy"),
        (&["node:9230"], "p2pdbg listen node:9230"),
        (&["java"], "p2pdbg listen jdwp"),
        (
            &["--", "python", "app.py"],
            "p2pdbg connect CODE -- python app.py",
        ),
        (&["run", "app.py"], "p2pdbg connect CODE -- python app.py"),
        (&["stop"], "^C ends"),
        (&["server"], "p2pdbg-rendezvous"),
        (&["version"], "p2pdbg --version"),
        (&["p2pdbg://KEYKEY@host"], "p2pdbg setup"),
        (&["conect", code], "connect"),
        (&["ide", "emacs"], "p2pdbg writes the files of vscode"),
    ] {
        let text = usage_error(line);
        assert!(
            text.contains(told) && !text.contains("orbit") && !text.contains("KEYKEY"),
            "{line:?}: {text}"
        );
    }
}

#[test]
fn what_is_pasted_or_typed_in_haste_is_told_what_to_write() {
    let code = "482913-orbit-lemon-tiger";
    let url = "p2pdbg://KEYKEYKEYKEYKEYKEYKEYA@192.0.2.1";
    for (line, told) in [
        (&["$", "p2pdbg", "status"][..], "write p2pdbg status"),
        (&["p2pdbg", "listen"], "write p2pdbg listen"),
        (
            &["--rendezvous", url, "listen"],
            "write it behind: p2pdbg listen --rendezvous",
        ),
        (
            &["--json", "status"],
            "write it behind: p2pdbg status --json",
        ),
        (&["listen", "--resume-for", "-5s"], "no number below zero"),
        (&["listen", "-NL", "8000:localhost:80"], "an option of ssh"),
        (&["listen", "-D", "1080"], "p2pdbg has no SOCKS"),
        (&["listen", "\u{2014}json"], "write --json, with hyphens"),
        (&["\u{2014}help"], "write --help"),
        (&["status", "\u{2013}-json"], "write --json"),
        (&["listen", "listen"], "stands there already"),
        (
            &["listen", "app.py"],
            "p2pdbg connect CODE -- python app.py",
        ),
        (&["forward", "9230"], "p2pdbg forward node:9230"),
        (
            &["forward", "-L", "1:localhost:1"],
            "-L is for p2pdbg listen\n",
        ),
        (&["debug", "app.py"], "p2pdbg connect CODE -- python app.py"),
        (&["tunnel"], "p2pdbg listen"),
        (&["keys", "add", "x"], "p2pdbg-rendezvous keys"),
        (&["status", "web-1"], "it shows all sessions"),
        (&["unit", "laptop"], "--peer NAME"),
        (&["connect", "--peer", code], "a code stands alone"),
        (&["connect", "--peer", "web-1", code], "give one of the two"),
        (&["connect", "--accept-push", code], "a code stands there"),
        (
            &["connect", code, "5678"],
            "ports are given to p2pdbg listen",
        ),
        (&["connect", code, url], "write --rendezvous before it"),
        // A program without the -- before it.
        (
            &["connect", "--peer", "laptop", "python", "app.py"],
            "put -- before it: p2pdbg connect --peer NAME -- python",
        ),
        (
            &["connect", "--peer", "laptop", "python", "-m", "x"],
            "put -- before it: p2pdbg connect --peer NAME -- python",
        ),
        (
            &["connect", code, "--rendezvous", url, "python", "-m", "x"],
            "put -- before it: p2pdbg connect CODE -- python",
        ),
        (
            &["connect", code, "python", "-c", "print()"],
            "put -- before it",
        ),
        (
            &["connect", code, "flask", "run", "--port", "8000"],
            "put -- before it",
        ),
        (
            &["connect", "--accept-push", ".", code, "python", "-m", "x"],
            "put -- before it",
        ),
        (&["connect", "python", "-m", "x", code], "put -- before it"),
        (&["connect", "python", "app.py", code], "put -- before it"),
        (&["connect", code, "/opt/app"], "put -- before it"),
        (
            &["connect", "debugpy", code],
            "debuggers are given to p2pdbg listen",
        ),
        (
            &["connect", "--peer", "laptop", "debugpy"],
            "debuggers are given to p2pdbg listen",
        ),
        // A code that is at fault is no program.
        (
            &["connect", "482913-orbit-lemmon-tigr", "--peers", "3"],
            "--peers is for p2pdbg listen",
        ),
        (
            &["connect", "orbit-lemon-tiger", "--peers", "3"],
            "--peers is for p2pdbg listen",
        ),
        (
            &["connect", "orbit-lemmon-tiger", "--peers", "3"],
            "--peers is for p2pdbg listen",
        ),
        (
            &["connect", "48291-orbit-lemon-tiger", "--peers", "3"],
            "--peers is for p2pdbg listen",
        ),
        (&["connect", code, "-D", "1080"], "given to p2pdbg listen"),
        (&["connect", code, "-N"], "given to p2pdbg listen"),
        (
            &["connect", "482913-orbit-lemon-tiger -- python app.py"],
            "the code stands alone",
        ),
        (&["connect", "-peer", "laptop"], "write --peer\n"),
        (&["listen", "-name", "x"], "write --name\n"),
        (&["listen", "-vjson"], "listen has no option -j"),
        (&["status", "-json"], "write --json\n"),
        (
            &["connect", "-rendezvous=p2pdbg://KEYKEY@h", code],
            "write --rendezvous\n",
        ),
        (
            &["listen", "482913", "orbit", "lemon", "tiger"],
            "run p2pdbg connect CODE",
        ),
        (
            &["listen", "P2PDBG://KEYKEYKEYKEYKEYKEYKEYA@192.0.2.1"],
            "behind --rendezvous",
        ),
        (&["setup", "--rendezvous", url], "the URL stands alone"),
        (&["connect", "--", code], "write it before"),
        (&["connect", code, "--", ""], "the program to run is empty"),
        // What clap would repeat.
        (&["listen", "--path", code], "p2pdbg listen --help"),
        (&["ide", url], "p2pdbg writes the files of vscode"),
        (&["status", code], "it shows all sessions"),
        (&["completions", url], "p2pdbg completions --help"),
        // What the program itself would.
        (&["listen", url], "behind --rendezvous"),
        (&["listen", "-L", url], "[BIND:]PORT:HOST:PORT"),
        (&["listen", "--name", url], "URL stands there"),
        (&["listen", "--stun", url], "write HOST"),
        (&["listen", "--resume-for", code], "a number and a unit"),
        (&["listen", "--peers", code], "from 1 to 16"),
        (
            &["connect", "--allow", url, code],
            "write --allow HOST:PORT",
        ),
        (&["pipe", url], "write HOST:PORT"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let mut command = p2pdbg(home.path());
        command
            .env("P2PDBG_RENDEZVOUS", "p2pdbg://192.0.2.1")
            .args(line);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}: {output:?}");
        let text = stderr(&output);
        assert!(
            text.contains(told) && !text.contains("orbit") && !text.contains("KEYKEY"),
            "{line:?}: {text}"
        );
        assert!(text.trim_end().lines().count() <= 2, "{line:?}: {text}");
    }
}

#[test]
fn option_of_another_program_is_told_what_p2pdbg_has_in_its_place() {
    let code = "482913-orbit-lemon-tiger";
    for (line, told) in [
        (&["listen", "--listen", "5678"][..], "listen debugpy:5678"),
        (&["listen", "--server", "192.0.2.1"], "--rendezvous URL"),
        (
            &["connect", code, "--key", "x"],
            "part of the rendezvous' URL",
        ),
        (&["listen", "--relay"], "--path relay"),
        (
            &["listen", "--bind", "0.0.0.0"],
            "-L '*:5678:localhost:5678'",
        ),
        (&["listen", "-J", "jump"], "an option of ssh"),
        (&["listen", "--daemon"], "stays in the foreground"),
        (&["connect", code, "--force"], "p2pdbg connect --help"),
        (
            &["connect", code, "--cmd", "python app.py"],
            "stands behind --",
        ),
        (
            &["connect", code, "--debugger", "debugpy"],
            "given to p2pdbg listen",
        ),
        (&["listen", "--log-level", "debug"], "-v tells more"),
        (&["status", "-w"], "p2pdbg status --watch"),
        (&["push", "--dry-run"], "p2pdbg sources"),
        (&["attach", "--list"], "p2pdbg attach alone"),
        (
            &["pipe", "-p", "22", "localhost"],
            "p2pdbg pipe localhost:1234",
        ),
        (&["setup", "--password", "x"], "part of the rendezvous' URL"),
        (&["unit", "--peer", "x", "--user"], "a unit for your user"),
    ] {
        let text = usage_error(line);
        assert!(
            text.contains(told) && !text.contains("orbit"),
            "{line:?}: {text}"
        );
        assert!(
            !text.contains("sources meant") && text.lines().count() == 2,
            "{line:?}: {text}"
        );
    }
}

#[test]
fn command_that_is_written_otherwise_is_told_how_it_is_written() {
    for (line, told) in [
        (&["LISTEN"][..], "write p2pdbg listen"),
        (
            &["listen debugpy"],
            "listen and what is behind it stand in one pair of quotes",
        ),
        (&["--listen"], "write p2pdbg listen"),
        (
            &["--connect", "482913-orbit-lemon-tiger"],
            "write p2pdbg connect",
        ),
        (&["-L", "5678:localhost:5678"], "a command comes first"),
        (&["forget", "laptop"], "known_peers.toml"),
        (&["delete"], "known_peers.toml"),
        (&["ping"], "p2pdbg doctor"),
        (&["ssh", "web-1"], "ProxyCommand"),
        (&["license"], "p2pdbg --help"),
        (&["pipe", "1234"], "p2pdbg pipe localhost:1234"),
        (&["pipe", "gdbserver"], "p2pdbg pipe localhost:1234"),
        (&["forward", "localhost:9230"], "p2pdbg forward node:9230"),
        (&["forward", "9230"], "p2pdbg forward node:9230"),
        (&["forward", ":5678"], "p2pdbg forward node:5678"),
        (&["forward", "tcp:5678"], "p2pdbg forward node:5678"),
        (&["forward", "redis"], "p2pdbg forward node:9230"),
        (&["forward", "fortran"], "p2pdbg forward node:9230"),
        (
            &["ide", "vscode", "--dir", "nosuch"],
            "there is no such directory",
        ),
        (
            &["ide", "vscode", "--dir", "/dev/null"],
            "it is no directory",
        ),
        (&["man", "lisetn"], "is listen meant?"),
        (&["man", "p2pdbg-rendezvous"], "p2pdbg-rendezvous man"),
        (
            &["setup", "482913-orbit-lemon-tiger"],
            "p2pdbg connect CODE",
        ),
    ] {
        let text = usage_error(line);
        assert!(
            text.contains(told) && !text.contains("orbit"),
            "{line:?}: {text}"
        );
        assert_eq!(text.lines().count(), 2, "{line:?}: {text}");
    }
    // Nothing was made for a word that was mistyped.
    assert!(!std::path::Path::new("lisetn").exists());
    let missing = usage_error(&["setup"]);
    assert!(missing.contains("no URL was given"), "{missing}");
}

#[test]
fn what_stands_where_the_code_or_the_program_does_is_told_what_it_is() {
    let code = "672655-giraffe-disorder-motion";
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("crlf.sh");
    std::fs::write(&script, "#!/usr/bin/env python3\r\n").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    }
    for (line, status, told) in [
        (&["connect", "192.0.2.7"][..], 2, "by the code alone"),
        (&["connect", "me@laptop"], 2, "by the code alone"),
        (&["connect", "laptop:5678"], 2, "by the code alone"),
        (&["connect", code, code], 2, "two codes stand there"),
        (
            &["connect", code, "--sources", "nosuch"],
            2,
            "there is no such directory",
        ),
        #[cfg(unix)]
        (&["connect", code, "--", "cd", "/srv"], 127, "-- sh -c 'cd"),
        #[cfg(unix)]
        (
            &["connect", code, "--", "DEBUG=1", "python"],
            127,
            "-- env NAME=VALUE",
        ),
        #[cfg(unix)]
        (
            &["connect", code, "--", "~/run.sh"],
            127,
            "write the whole path",
        ),
        #[cfg(unix)]
        (
            &["connect", code, "--", "./crlf.sh"],
            127,
            "lines end as on Windows",
        ),
    ] {
        let output = p2pdbg(home.path())
            .current_dir(home.path())
            .env("P2PDBG_RENDEZVOUS", "p2pdbg://192.0.2.1")
            .args(line)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(status), "{line:?}: {output:?}");
        let text = stderr(&output);
        assert!(
            text.contains(told) && !text.contains("giraffe"),
            "{line:?}: {text}"
        );
        assert!(
            text.lines().count() == 2 && !text.contains("os error"),
            "{line:?}: {text}"
        );
    }
}

#[test]
fn refused_command_line_is_told_in_one_line_with_one_of_what_to_write() {
    for (line, what, to_write) in [
        (
            &["pipe"][..],
            "<HOST:PORT> is missing",
            "write p2pdbg pipe <HOST:PORT>",
        ),
        (
            &["forward"],
            "<DEBUGGER[:PORT]> is missing",
            "write p2pdbg forward",
        ),
        (
            &["unit"],
            "--peer <NAME> is missing",
            "write p2pdbg unit --peer <NAME>",
        ),
        (&["ide"], "<IDE> is missing", "write p2pdbg ide <IDE>"),
        (
            &["completions"],
            "<SHELL> is missing",
            "write p2pdbg completions",
        ),
        (
            &["attach", "--with", "gdbserver"],
            "<PID|NAME> is missing",
            "write p2pdbg attach",
        ),
        (
            &["attach", "4242", "--with", "dlv"],
            "--with \"dlv\" is none of its values",
            "is delve meant?",
        ),
        (
            &["completions", "tcsh"],
            "\"tcsh\" is none of its values",
            "it takes bash",
        ),
        (
            &["listen", "--path"],
            "--path <KIND> has no value",
            "it takes direct, relay",
        ),
        (
            &["listen", "--path", "carrier"],
            "--path \"carrier\" is none",
            "it takes direct, relay",
        ),
        (
            &["listen", "--path", "a\nb\u{1b}[2J"],
            "--path \"a\\nb\\u{1b}[2J\"",
            "it takes direct",
        ),
        (
            &["listen", "--absent", "maybe"],
            "--absent \"maybe\" is none",
            "it takes hold, refuse",
        ),
        (
            &["listen", "--resume-for"],
            "--resume-for <TIME> has no value",
            "p2pdbg listen --help",
        ),
        (
            &["listen", "--path", "relay", "--path", "direct"],
            "--path <KIND> is given twice",
            "once",
        ),
        (
            &["listen", "--json=yes"],
            "\"yes\" is one value too many for",
            "p2pdbg listen --help",
        ),
        (
            &["listen", "--sources", "a", "--no-sources"],
            "--sources does not go with --no-sources",
            "one of the two",
        ),
        (
            &["status", "--watch", "--json"],
            "--watch does not go with --json",
            "one of the two",
        ),
        (
            &["help", "nothing"],
            "\"nothing\" is no command",
            "p2pdbg --help",
        ),
        (
            &["--Version"],
            "p2pdbg has no \"--Version\"",
            "is --version meant?",
        ),
        (&["--json"], "p2pdbg has no \"--json\"", "p2pdbg --help"),
        (&["-v"], "p2pdbg needs a command", "it has listen, connect"),
        (&[""], "\"\" is no command", "p2pdbg --help"),
        (
            &["\u{1b}[2J"],
            "\"\\u{1b}[2J\" is no command",
            "p2pdbg --help",
        ),
        (
            &["ide", "vscode", "/srv/app"],
            "it has no place for",
            "--dir DIR",
        ),
        (
            &["connect", "482913-orbit-lemon-tiger", "--", "--json"],
            "an option stands behind --",
            "stands before it",
        ),
    ] {
        let home = tempfile::tempdir().unwrap();
        let mut command = p2pdbg(home.path());
        command
            .env("P2PDBG_RENDEZVOUS", "p2pdbg://192.0.2.1")
            .args(line);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}: {output:?}");
        let text = stderr(&output);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{line:?}: {text}");
        assert!(
            lines[0].starts_with("error: ") && lines[0].contains(what),
            "{line:?}: {text}"
        );
        assert!(lines[1].contains(to_write), "{line:?}: {text}");
    }
}

#[test]
fn option_that_is_refused_is_an_event_where_events_are_asked_for() {
    for (line, message) in [
        (
            &["listen", "--json", "--peeer", "x"][..],
            "listen has no option --peeer",
        ),
        (
            &["listen", "--path", "rail", "--json"],
            "--path \"rail\" is none of its values",
        ),
        (
            &["-v", "connect", "--json", "--json"],
            "--json is given twice",
        ),
    ] {
        let output = run(line);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(stderr(&output), "", "{line:?}");
        let event: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(event["event"], "error");
        assert_eq!(event["code"], "usage");
        assert_eq!(event["message"], message);
        assert!(event["hint"].is_string(), "{event}");
    }
    // What is for the program behind -- is not for p2pdbg.
    let text = usage_error(&["connect", "--peeer", "--", "app", "--json"]);
    assert!(text.starts_with("error: "), "{text}");
}

#[test]
fn program_that_cannot_run_is_told_before_anything_begins() {
    let home = tempfile::tempdir().unwrap();
    let code = "482913-orbit-lemon-tiger";
    for (program, status, why) in [
        ("/nonexistent/app", 127, "there is no such program"),
        (env!("CARGO_MANIFEST_DIR"), 126, "it is a directory"),
        (
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
            126,
            "it is no program",
        ),
    ] {
        if cfg!(windows) && status == 126 {
            continue;
        }
        let mut command = p2pdbg(home.path());
        // Nobody answers there, and nobody is asked.
        command.env("P2PDBG_RENDEZVOUS", "p2pdbg://192.0.2.1");
        let output = command
            .args(["connect", code, "--", program])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(stderr(&output).contains(why), "{output:?}");
    }
}

#[test]
fn program_that_is_missing_is_told_how_it_is_written() {
    let home = tempfile::tempdir().unwrap();
    for file in ["app.py", "run"] {
        std::fs::write(home.path().join(file), "").unwrap();
    }
    for (program, told) in [
        ("app.py", "write -- python app.py"),
        ("run", "write -- ./run"),
        ("python app.py", "leave out the quotes"),
        ("no-such-program", "after -- comes the program to run"),
    ] {
        let mut command = p2pdbg(home.path());
        let output = command
            .current_dir(home.path())
            .env("P2PDBG_RENDEZVOUS", "p2pdbg://192.0.2.1")
            .args(["connect", "482913-orbit-lemon-tiger", "--", program])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(127), "{output:?}");
        assert!(stderr(&output).contains(told), "{output:?}");
    }
}

#[test]
fn program_without_dashes_is_told_so_where_the_code_is_in_the_environment() {
    let home = tempfile::tempdir().unwrap();
    for (line, told) in [
        (&["python", "app.py"][..], "put -- before it"),
        (&["python", "-m", "app"], "put -- before it"),
        // One that is meant to be a code is told what is wrong with it.
        (&["482913-orbit-lemmon-tiger"], "did you mean lemon"),
    ] {
        let mut command = p2pdbg(home.path());
        let output = command
            .env("P2PDBG_RENDEZVOUS", "p2pdbg://192.0.2.1")
            .env("P2PDBG_CODE", "482913-orbit-lemon-tiger")
            .arg("connect")
            .args(line)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains(told), "{line:?}: {output:?}");
    }
}

#[test]
#[cfg(unix)]
fn variable_that_cannot_be_read_as_text_is_named_and_an_access_key_in_one_is_not_repeated() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let home = tempfile::tempdir().unwrap();
    for (variable, value, told) in [
        ("P2PDBG_NAME", &b"web\xff"[..], "P2PDBG_NAME is no UTF-8"),
        (
            "P2PDBG_RENDEZVOUS",
            b"\xff",
            "P2PDBG_RENDEZVOUS is no UTF-8",
        ),
        (
            "P2PDBG_NAME",
            b"P2PDBG://KEYKEY@h",
            "P2PDBG_NAME takes a name",
        ),
    ] {
        let mut command = p2pdbg(home.path());
        command
            .env("P2PDBG_RENDEZVOUS", "p2pdbg://192.0.2.1")
            .env(variable, OsStr::from_bytes(value))
            .arg("listen");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = stderr(&output);
        assert!(text.contains(told) && !text.contains("KEYKEY"), "{text}");
    }
}

#[test]
fn url_that_is_kept_and_not_used_for_a_variable_is_told_so() {
    let home = tempfile::tempdir().unwrap();
    let url = "p2pdbg://192.0.2.1";
    for (set, is_told) in [(url, false), ("", false), ("p2pdbg://192.0.2.2", true)] {
        let mut command = p2pdbg(home.path());
        command.env("P2PDBG_RENDEZVOUS", set).args(["setup", url]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told = stderr(&output).contains("P2PDBG_RENDEZVOUS is set to another URL");
        assert_eq!(told, is_told, "{set:?}: {output:?}");
    }
}

#[test]
fn mistyped_variable_is_named_where_there_is_no_rendezvous() {
    let home = tempfile::tempdir().unwrap();
    let mut command = p2pdbg(home.path());
    command
        .env("P2PDBG_RENDEVOUS", "p2pdbg://KEYKEY@h")
        .arg("listen");
    let text = stderr(&command.output().unwrap());
    let told = "P2PDBG_RENDEVOUS is set: is P2PDBG_RENDEZVOUS meant?";
    assert!(text.contains(told) && !text.contains("KEYKEY"), "{text}");
}

#[test]
fn configuration_file_of_another_kind_is_told_how_it_is_written() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("config").join("p2pdbg");
    std::fs::create_dir_all(&dir).unwrap();
    for (config, told) in [
        (&b"\xff\xfen\0a\0"[..], "save it as UTF-8"),
        (b"forwards = \"debugpy\"", "forwards = [\"debugpy\""),
        (b"name = web", "straight quotes"),
        (b"state = \"C:\\Users\\me\"", "'single quotes'"),
    ] {
        std::fs::write(dir.join("config.toml"), config).unwrap();
        let output = p2pdbg(home.path()).arg("listen").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains(told), "{output:?}");
    }
}

/// Makes the state of a host that has met this peer.
fn make_known(state: &Path, name: &str) {
    let state = StateDir::open(Some(state), "p2pdbg").unwrap();
    let peer = PeerId {
        fingerprint: Fingerprint::of_certificate(&[7]),
        process: 1,
    };
    let secret = PairSecret::from_bytes([7; 32]);
    let mut peers = KnownPeers::load(&state, 1).unwrap();
    let name = name.parse().unwrap();
    let now = std::time::SystemTime::now();
    peers.remember(&name, peer, &secret, None, now).unwrap();
}

#[test]
fn a_known_peer_in_the_place_of_a_code_or_a_debugger_is_told_its_option() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    make_known(&state, "web-1");
    for line in [&["connect", "web-1"], &["listen", "web-1"]] {
        let mut command = p2pdbg(home.path());
        command.env("P2PDBG_STATE", &state).args(line);
        let text = stderr(&command.output().unwrap());
        assert!(text.contains("--peer web-1"), "{line:?}: {text}");
    }
    assert!(usage_error(&["listen", "peer", "web-1"]).contains("--peer NAME"));
}

#[test]
fn a_target_that_its_own_command_line_does_not_allow_is_refused_before_a_code_is_shown() {
    let url = ["--rendezvous", "p2pdbg://127.0.0.1:9"];
    let output = run(&[&["listen", "-R", "9100:db.example:5432"][..], &url].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("--allow db.example:5432"));
}

#[test]
fn urls_and_codes_that_do_not_parse_are_not_repeated() {
    for url in ["https://KEYKEY@host", "p2pdbg://KEYKEY@host", "KEYKEY"] {
        let text = usage_error(&["listen", "--rendezvous", url]);
        assert!(text.contains("rendezvous URL"), "{text}");
        assert!(!text.contains("KEYKEY"), "{text}");
    }
    let connect = ["connect", "--rendezvous", "p2pdbg://host"];
    for code in [
        "482913-orbit-lemmon-tigr",
        "nonsense-tigr",
        "1-orbit-lemon-tigr",
    ] {
        let text = usage_error(&[&connect[..], &[code]].concat());
        assert!(text.contains("code"), "{text}");
        assert!(!text.contains("tigr"), "{text}");
    }
    let text = usage_error(&connect);
    assert!(text.contains("there is no code"), "{text}");
}

#[test]
fn a_path_that_does_not_exist_is_no_choice() {
    let text = usage_error(&["listen", "--path", "carrier-pigeon"]);
    assert!(text.contains("direct, relay"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_tunnel_belongs_to_a_process_by_its_id_and_not_to_one_that_it_runs_itself() {
    let connect = ["connect", "--rendezvous", "p2pdbg://192.0.2.1", "--pid"];
    for id in ["0", "4294967296", "init"] {
        let text = usage_error(&[&connect[..], &[id]].concat());
        assert!(text.contains("--pid"), "{text}");
    }
    let text = usage_error(&[&connect[..], &["1", "--", "true"]].concat());
    assert!(text.contains("COMMAND"), "{text}");
}

#[test]
fn a_usage_error_is_an_event_where_events_are_asked_for() {
    let output = run(&["listen", "--json", "-R", "x"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "");
    let event: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(event["event"], "error");
    assert_eq!(event["code"], "forward_malformed");
    assert!(event["hint"].as_str().unwrap().contains("-R"));
}

#[test]
#[cfg(target_os = "linux")]
fn usage_error_that_cannot_be_written_as_an_event_is_said_on_standard_error() {
    let home = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let output = p2pdbg(home.path())
        .args(["listen", "--json", "-R", "x"])
        .stdout(full.unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).starts_with("error: -R"), "{output:?}");
}

#[test]
fn a_configuration_file_at_fault_is_named_with_its_line() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("config").join("p2pdbg");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("config.toml");
    std::fs::write(&file, "name = 'web'\nrendevous = 'p2pdbg://KEYKEY@host'\n").unwrap();
    let output = p2pdbg(home.path()).arg("listen").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = stderr(&output);
    assert!(text.contains("config.toml, line 2"), "{text}");
    assert!(text.contains("rendevous"), "{text}");
    assert!(!text.contains("KEYKEY"), "{text}");
}

#[test]
fn a_value_at_fault_is_told_with_the_place_where_it_stands() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("config").join("p2pdbg");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("config.toml");
    let said = |config: &str, variable: Option<(&str, &str)>, arguments: &[&str]| {
        std::fs::write(&file, config).unwrap();
        let mut command = p2pdbg(home.path());
        command.arg("listen").args(arguments).envs(variable);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = stderr(&output);
        assert!(!text.contains("KEYKEY"), "{text}");
        text
    };
    let url = "p2pdbg://KEYKEY@host";
    let rendezvous = ("P2PDBG_RENDEZVOUS", url);
    let text = said("", Some(rendezvous), &[]);
    assert!(text.contains("error: P2PDBG_RENDEZVOUS: "), "{text}");
    let text = said("", Some(rendezvous), &["--rendezvous", "p2pdbg://::1"]);
    assert!(
        text.contains("error: --rendezvous: ") && text.contains("p2pdbg://[::1]"),
        "{text}"
    );
    for (config, place) in [
        (format!("\nrendezvous = '{url}'"), "rendezvous in "),
        (
            "rendezvous = 'p2pdbg://h'\nname = 'a b'".to_owned(),
            "name in ",
        ),
        (
            "rendezvous = 'p2pdbg://h'\nforwards = ['gdb']".to_owned(),
            "forwards in ",
        ),
        (
            "rendezvous = 'p2pdbg://h'\nstun = ['a b']".to_owned(),
            "stun in ",
        ),
    ] {
        let text = said(&config, None, &[]);
        assert!(text.contains(&format!("error: {place}")), "{text}");
        assert!(
            text.contains("config.toml, line 2: ") || text.contains("line 2 \""),
            "{text}"
        );
    }
    let text = said(
        "rendezvous = 'p2pdbg://h'\n[traversal]\nburst = 0",
        None,
        &[],
    );
    assert!(
        text.contains("error: traversal.burst in ") && text.contains("line 3"),
        "{text}"
    );
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let script = stdout(&output);
        assert!(script.contains("P2PDBG_COMPLETE"), "{shell}: {script}");
    }
    assert!(usage_error(&["completions", "tcsh"]).contains("bash"));
}

/// What bash offers behind `words`, the last of which is not finished, by the script that is printed for it.
#[cfg(unix)]
fn offered_by_bash(home: &Path, words: &[&str]) -> Vec<String> {
    offered_by_bash_with(home, "state", words)
}

/// The same with the user's state in this directory of the home.
#[cfg(unix)]
fn offered_by_bash_with(home: &Path, state: &str, words: &[&str]) -> Vec<String> {
    let script = format!(
        "PATH={}:$PATH; source <(p2pdbg completions bash); COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9
         _clap_complete_p2pdbg p2pdbg {}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        Path::new(env!("CARGO_BIN_EXE_p2pdbg")).parent().unwrap().display(),
        words.join(" "),
        words.len() - 1,
        words.last().unwrap(),
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &script])
        .env("HOME", home)
        .env("XDG_STATE_HOME", home.join(state))
        .env_remove("P2PDBG_STATE")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    stdout(&output)
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[test]
#[cfg(unix)]
fn bash_offers_debuggers_words_of_a_code_and_known_peers() {
    let home = tempfile::tempdir().unwrap();
    let offered = |words: &[&str]| offered_by_bash(home.path(), words);
    assert!(offered(&["p2pdbg", "li"]).contains(&"listen".to_owned()));
    assert_eq!(offered(&["p2pdbg", "listen", "gdb"]), ["gdbserver"]);
    assert_eq!(
        offered(&["p2pdbg", "connect", "482913-orbit-lem"]),
        ["482913-orbit-lemon"]
    );
    assert_eq!(offered(&["p2pdbg", "connect", "--peer", "x"]), [""]);
    std::fs::create_dir(home.path().join("known")).unwrap();
    let state = home.path().join("known").join("p2pdbg");
    make_known(&state, "web-1");
    let known = |command: &str| {
        offered_by_bash_with(home.path(), "known", &["p2pdbg", command, "--peer", "w"])
    };
    let commands = [
        "listen", "connect", "ide", "pipe", "attach", "forward", "sources", "push", "unit",
    ];
    for command in commands {
        assert_eq!(known(command), ["web-1"], "{command}");
    }
    assert!(
        !home.path().join("state").exists(),
        "asking left something behind"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_unit_that_is_printed_is_one_that_systemd_takes() {
    let home = tempfile::tempdir().unwrap();
    for system in [&[][..], &["--system"]] {
        let arguments = [
            &["unit", "--peer", "laptop"],
            system,
            &["--", "/bin/echo", "50% of \"$HOME\"", "a;b"],
        ]
        .concat();
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let unit = stdout(&output);
        assert!(unit.contains(r#""50%% of \"$$HOME\"" "a;b""#), "{unit}");
        // A state directory that others may read, as systemd makes it, is one that p2pdbg does not use.
        let closed = unit.contains("\nStateDirectoryMode=0700\n");
        assert_eq!(closed, unit.contains("\nStateDirectory="), "{unit}");
        let file = home.path().join("p2pdbg.service");
        std::fs::write(&file, unit).unwrap();
        let Ok(verified) = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .args(if system.is_empty() {
                &["--user"][..]
            } else {
                &[]
            })
            .arg(&file)
            .env("XDG_RUNTIME_DIR", home.path())
            .output()
        else {
            assert!(
                std::env::var_os("CI").is_none(),
                "there is no systemd-analyze"
            );
            eprintln!("skipped: systemd-analyze is not there");
            return;
        };
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success(), "{said}");
        assert!(!said.contains("p2pdbg.service:"), "{said}");
    }
    let mut command = p2pdbg(home.path());
    command.env("P2PDBG_STATE", "/srv/state");
    let output = command.args(["unit", "--peer", "laptop"]).output().unwrap();
    assert!(stderr(&output).contains("P2PDBG_STATE is set here"));
    assert!(usage_error(&["unit", "--peer", "a/b"]).contains("--peer"));
    assert!(
        usage_error(&["unit", "--peer", "laptop", "--", "a\nb"]).contains("control characters")
    );
}

#[test]
fn manual_pages_are_printed_or_written() {
    let output = run(&["man"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains(".TH p2pdbg 1"));

    // A command's own, and no directory of its name.
    let home = tempfile::tempdir().unwrap();
    let mut command = p2pdbg(home.path());
    let output = command.args(["man", "listen"]).current_dir(home.path());
    assert!(stdout(&output.output().unwrap()).contains(".TH p2pdbg-listen 1"));
    assert!(!home.path().join("listen").exists());
    // Unless there is one already.
    let named = home.path().join("man");
    std::fs::create_dir(&named).unwrap();
    let mut command = p2pdbg(home.path());
    let written = command.args(["man", "man"]).current_dir(home.path());
    assert!(written.status().unwrap().success());
    assert!(named.join("p2pdbg-listen.1").is_file());

    // A new directory's name need be no path.
    for new in ["man1", "pages"] {
        let mut command = p2pdbg(home.path());
        let written = command.args(["man", new]).current_dir(home.path());
        assert!(written.status().unwrap().success(), "{new}");
        assert!(home.path().join(new).join("p2pdbg.1").is_file(), "{new}");
    }

    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    let output = run(&["man", pages.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for (page, part) in [
        ("p2pdbg.1", "p2pdbg\\-listen(1)"),
        ("p2pdbg-listen.1", "\\fB\\-L\\fR"),
        ("p2pdbg-connect.1", "START_DEBUGGER"),
        ("p2pdbg-completions.1", "completions"),
        ("p2pdbg-man.1", "p2pdbg\\-man"),
    ] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(part), "{page}: {text}");
    }
}

#[test]
fn a_manual_that_cannot_be_written_is_a_failure() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = run(&["man", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("cannot write manual pages"));
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_is_a_failure() {
    let home = tempfile::tempdir().unwrap();
    for line in [
        &["completions", "bash"][..],
        &["--help"],
        &["listen", "--help"],
        &["--version"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let output = p2pdbg(home.path())
            .args(line)
            .stdout(full.unwrap())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{line:?}: {output:?}");
        assert!(stderr(&output).contains("standard output"), "{line:?}");
    }
}

#[test]
fn error_that_nobody_reads_has_its_status_all_the_same() {
    let (nobody, stderr) = std::io::pipe().unwrap();
    drop(nobody);
    let home = tempfile::tempdir().unwrap();
    let status = p2pdbg(home.path()).arg("pipe").stderr(stderr).status();
    assert_eq!(status.unwrap().code(), Some(2));
}

#[test]
#[cfg(unix)]
fn status_and_pipe_say_what_is_missing_when_nothing_runs() {
    let output = run(&["status"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("no p2pdbg of yours runs"));
    let output = run(&["pipe", "localhost:1234"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(stdout(&output), "");
    assert!(stderr(&output).contains("p2pdbg listen"));
    assert!(usage_error(&["pipe", "1234"]).contains("HOST:PORT"));
}

#[test]
#[cfg(unix)]
fn command_of_the_ides_host_is_told_so_where_connect_runs() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("known");
    make_known(&state, "laptop");
    let url = format!("p2pdbg://127.0.0.1:9#{}", Fingerprint::from_bytes([7; 32]));
    let mut connect = p2pdbg(home.path())
        .args(["connect", "--peer", "laptop", "--rendezvous", &url])
        .env("P2PDBG_STATE", &state)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let is_there = || p2pdbg(home.path()).arg("status").output().unwrap();
    while !is_there().status.success() {
        assert!(connect.try_wait().unwrap().is_none(), "connect has ended");
    }
    for line in [&["pipe", "localhost:1234"][..], &["push"], &["attach"]] {
        let output = p2pdbg(home.path()).args(line).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line:?}: {output:?}");
        let text = stderr(&output);
        assert!(
            text.contains("p2pdbg connect runs here"),
            "{line:?}: {text}"
        );
    }
    connect.kill().unwrap();
    connect.wait().unwrap();
}

/// The first line that is logged on a terminal, with `NO_COLOR` set to this.
#[cfg(target_os = "linux")]
fn logged_on_a_terminal(no_color: &str) -> String {
    use std::io::{BufRead as _, BufReader};

    let home = tempfile::tempdir().unwrap();
    let program = p2pdbg(home.path());
    let mut script = Command::new("script");
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let line = format!(
        "{} -vv listen debugpy --rendezvous p2pdbg://127.0.0.1:9#{}",
        env!("CARGO_BIN_EXE_p2pdbg"),
        Fingerprint::from_bytes([7; 32])
    );
    let mut running = script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .env("NO_COLOR", no_color)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script(1) of util-linux");
    let mut said = BufReader::new(running.stdout.take().unwrap()).lines();
    let logged = said.find_map(|line| line.ok().filter(|line| line.contains("certificate")));
    // Its end hangs the terminal up, and so ends the program.
    running.kill().unwrap();
    running.wait().unwrap();
    logged.expect("a certificate is made, and logged")
}

#[test]
#[cfg(target_os = "linux")]
fn status_that_stays_on_the_screen_is_refused_by_a_terminal_without_escape_sequences() {
    let line = format!("{} status --watch", env!("CARGO_BIN_EXE_p2pdbg"));
    let home = tempfile::tempdir().unwrap();
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .env("TERM", "dumb")
        .stdin(Stdio::null())
        .output()
        .expect("script(1) of util-linux");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = stdout(&output);
    assert!(
        said.contains("without --watch") && !said.contains('\x1b'),
        "{said:?}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn log_on_a_terminal_has_colours_unless_they_are_unwelcome() {
    assert!(logged_on_a_terminal("").contains("\x1b["));
    let plain = logged_on_a_terminal("1");
    assert!(!plain.contains('\x1b'), "{plain:?}");
}
