//! What the program says of command lines that make no sense.
#![cfg(unix)]

use std::process::Command;

use crate::program::PROGRAM;

#[test]
fn command_line_in_haste_is_told_what_to_write_and_no_url_is_repeated() {
    for (line, told) in [
        (&["start"][..], "p2pdbg-rendezvous alone serves"),
        (&["3478"], "--bind '[::]:3478'"),
        (&["192.0.2.7:443"], "--bind 192.0.2.7:443"),
        (&["--port", "3478"], "--bind ADDR:PORT"),
        (&["--host", "rdv.example"], "--public HOST"),
        (
            &["connect", "CODE"],
            "p2pdbg connect is a command of p2pdbg",
        ),
        (&["stop"], "p2pdbg-rendezvous drain"),
        (&["keys", "delete", "x"], "keys revoke NAME"),
        (&["\u{2014}open"], "write --open"),
        (&["--open", "--key", "x"], "keys add NAME"),
        (&["p2pdbg://KEYKEY@h"], "p2pdbg setup keeps the URL"),
        (&["--bind=p2pdbg://KEYKEY@h"], "p2pdbg setup keeps the URL"),
        (&["--metrics", "9478"], "127.0.0.1:9478"),
        // Behind an option too.
        (&["--open", "3478"], "--bind '[::]:3478'"),
        (
            &["--public", "rdv.example", "serve"],
            "p2pdbg-rendezvous alone serves",
        ),
        (
            &["--open", "keys-add"],
            "p2pdbg-rendezvous has no command \"keys-add\"",
        ),
    ] {
        let output = Command::new(PROGRAM).args(line).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}: {output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.contains(told) && !text.contains("KEYKEY"),
            "{line:?}: {text}"
        );
    }
}

#[test]
fn words_and_options_of_other_programs_are_told_in_two_lines_what_suits() {
    for (line, told) in [
        (&["482913-orbit-lemon-tiger"][..], "p2pdbg connect CODE"),
        (&["authority", "new", "/srv/authority"], "--state DIR"),
        (&["authority", "add"], "authority issue"),
        (&["drain", "--cancel"], "p2pdbg-rendezvous undrain"),
        (&["keys", "add", "x", "--for", "5d"], "--expires TIME"),
        (&["keys", "--state", "/srv/x"], "behind a command of keys"),
        (&["keys", "show"], "keys list"),
        (&["url", "extra"], "p2pdbg-rendezvous url --help"),
        (&["--tls-cert", "x"], "makes its certificate itself"),
        (&["-d"], "stays in the foreground"),
        (&["--config", "x"], "no configuration file"),
        (&["--max-peers", "many"], "a whole number above zero"),
        (&["--max-peers", "0"], "a whole number above zero"),
        (&["--alt-port", "many"], "no whole number"),
        (&["--relay-mbit", "-5"], "no number below zero"),
        (&["--bind", "::1:3478"], "stands in brackets: [::1]:3478"),
    ] {
        let output = Command::new(PROGRAM).args(line).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}: {output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.contains(told) && !text.contains("orbit") && !text.contains("digit found"),
            "{line:?}: {text}"
        );
        assert_eq!(text.lines().count(), 2, "{line:?}: {text}");
    }
}

#[test]
fn command_that_fails_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    // It makes the directory itself, closed to others.
    let state = home.path().join("state");
    let state = state.to_str().unwrap();
    for (line, told) in [
        (&["status"][..], "--state DIR"),
        (&["url"], "--state DIR"),
        (&["keys", "revoke", "nobody"], "`keys list`"),
        (&["keys", "add", "default"], "`keys rotate default`"),
    ] {
        let line = [line, &["--state", state]].concat();
        let output = Command::new(PROGRAM).args(&line).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line:?}: {output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(told), "{line:?}: {text}");
    }
}

#[test]
fn command_line_that_is_refused_is_told_in_one_line_and_as_an_event_where_those_are_read() {
    for (line, what, to_write) in [
        (
            &["keys", "add"][..],
            "<NAME> is missing",
            "write p2pdbg-rendezvous keys add",
        ),
        (
            &["--bind", "nowhere"],
            "--bind \"nowhere\": expected ADDR:PORT",
            "p2pdbg-rendezvous --help",
        ),
        (
            &["--bind"],
            "--bind <ADDR:PORT> has no value",
            "p2pdbg-rendezvous --help",
        ),
        (
            &["--open", "--open"],
            "--open is given twice",
            "give it once",
        ),
        (
            &["--opne"],
            "p2pdbg-rendezvous has no \"--opne\"",
            "is --open meant?",
        ),
        (&["statsu"], "\"statsu\" is no command", "is status meant?"),
        (
            &["--state", "/srv/x", "statsu"],
            "has no command \"statsu\"",
            "is status meant?",
        ),
        (
            &["--state", "/srv/x", "status"],
            "--state stands before the command",
            "write p2pdbg-rendezvous status --state DIR",
        ),
        (
            &["--json", "--state", "/srv/x", "status"],
            "--json, --state stand before the command",
            "write p2pdbg-rendezvous status --json --state DIR",
        ),
        (
            &["--state", "/srv/x", "keys", "add", "team"],
            "--state stands before the command",
            "write p2pdbg-rendezvous keys add --state DIR",
        ),
        (
            &["--state", "/srv/x", "keys"],
            "--state stands before the command",
            "write p2pdbg-rendezvous keys COMMAND --state DIR",
        ),
        (
            &["--open", "drain"],
            "--open stands before the command",
            "p2pdbg-rendezvous drain has no --open",
        ),
    ] {
        let output = Command::new(PROGRAM).args(line).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}: {output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{line:?}: {text}");
        assert!(lines[0].contains(what), "{line:?}: {text}");
        assert!(lines[1].contains(to_write), "{line:?}: {text}");
    }
    for line in [
        &["--json", "--opne"][..],
        &["--json", "--alt-port", "5000", "--bind", "127.0.0.1:5000"],
        &["--json", "serve"],
    ] {
        let output = Command::new(PROGRAM).args(line).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}: {output:?}");
        let event: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&event["event"], &event["code"]),
            (&"error".into(), &"usage".into())
        );
        let message = event["message"].as_str().unwrap();
        assert!(!message.starts_with(' '), "{message}");
    }
}
