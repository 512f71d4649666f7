use std::time::Duration;

use clap::{Arg, CommandFactory, FromArgMatches, builder::Resettable};
use p2pdbg_base::{ErrorCode, Failure, HoldPolicy, PathPolicy, PeerName};
use p2pdbg_debugger::Preset;
use p2pdbg_forward::ForwardSpec;
use p2pdbg_session::SessionPolicy;

use super::{
    args::{Cli, CliCommand},
    *,
};
use crate::config::Config;

const URL: &str = "p2pdbg://192.0.2.1:4000";

/// Parses a command line as if no variables were set.
fn parse(line: &[&str]) -> CliCommand {
    let deaf = |arg: Arg| arg.env(Resettable::Reset);
    let definitions = Cli::command().mut_subcommands(|command| command.mut_args(deaf));
    let matches = definitions.try_get_matches_from(line).unwrap();
    Cli::from_arg_matches(&matches).unwrap().command
}

fn listen(line: &[&str], config: Config) -> Result<ListenOptions, Failure> {
    match parse(&[&["p2pdbg", "listen"], line].concat()) {
        CliCommand::Listen(args) => resolve_listen(args, environment(config, &mut |_| None)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn help_on_absent_names_each_preset_that_does_not_hold() {
    let mut definitions = Cli::command();
    let listen = definitions.find_subcommand_mut("listen").unwrap();
    let absent = listen.get_arguments().find(|arg| arg.get_id() == "absent");
    let help = absent.and_then(Arg::get_help).unwrap().to_string();
    let (_, by_default) = help.split_once("[default: hold; refuse for").unwrap();
    let (refused, held_once) = by_default.split_once("; hold-once for").unwrap();
    for preset in Preset::ALL {
        let absent = preset.debugger().while_absent.policy();
        assert_eq!(
            refused.contains(preset.name()),
            absent == HoldPolicy::Refuse,
            "{preset:?}"
        );
        assert_eq!(
            held_once.contains(preset.name()),
            absent == HoldPolicy::HoldOnce,
            "{preset:?}"
        );
    }
}

fn connect(
    line: &[&str],
    code: Option<&str>,
    ask: &mut dyn FnMut(Option<&str>) -> Option<String>,
) -> Result<ConnectOptions, Failure> {
    let line = [&["p2pdbg", "connect", "--rendezvous", URL], line].concat();
    let mut environment = environment(Config::default(), ask);
    environment.code = code.map(str::to_owned);
    match parse(&line) {
        CliCommand::Connect(args) => resolve_connect(args, environment),
        other => panic!("{other:?}"),
    }
}

fn environment(
    config: Config,
    ask_code: &mut dyn FnMut(Option<&str>) -> Option<String>,
) -> Environment<'_> {
    Environment {
        config,
        code: None,
        ask_code,
    }
}

fn configured() -> Config {
    Config {
        rendezvous: Some(URL.to_owned()),
        ..Config::default()
    }
}

#[test]
fn everything_has_a_default_but_the_rendezvous() {
    let options = listen(&[], configured()).unwrap();
    assert_eq!(options.session.rendezvous.authority(), "192.0.2.1:4000");
    assert_eq!(options.forwards, [ForwardSpec::Auto { port: 5678 }]);
    assert_eq!(options.peers.known, []);
    assert_eq!(options.session.path, PathPolicy::Any);
    let sources = options.session.policy.sources.clone();
    let by_default = SessionPolicy {
        sources,
        ..SessionPolicy::default()
    };
    assert_eq!(options.session.policy, by_default);
    assert!(by_default.sources.compares && !by_default.sources.is_named);
    assert_eq!(options.session.name, PeerName::of_this_host());
    assert_eq!(options.session.state, None);
    let missing = listen(&[], Config::default()).unwrap_err();
    assert_eq!(missing.code, ErrorCode::RendezvousMissing);
}

#[test]
fn the_command_line_wins_over_the_file() {
    let config = Config {
        rendezvous: Some("p2pdbg://elsewhere".to_owned()),
        name: Some("filed".to_owned()),
        state: Some("/filed".into()),
        forwards: vec!["node".to_owned(), "-R 1:localhost:2".to_owned()],
        stun: vec!["filed.example".to_owned()],
        ..Config::default()
    };
    let file = listen(&[], config.clone()).unwrap();
    assert_eq!(file.session.name.as_str(), "filed");
    assert_eq!(file.session.state, Some("/filed".into()));
    let place = file.session.state_place.as_deref();
    assert_eq!(place, Some("state in the configuration file"));
    assert_eq!(file.forwards.len(), 2);
    assert_eq!(file.session.stun, ["filed.example".parse().unwrap()]);
    let line = [
        "--rendezvous",
        URL,
        "--name",
        "typed",
        "--state",
        "/typed",
        "debugpy",
    ];
    let typed = listen(&line, config).unwrap();
    assert_eq!(typed.session.rendezvous.host, "192.0.2.1");
    assert_eq!(typed.session.name.as_str(), "typed");
    assert_eq!(typed.session.state, Some("/typed".into()));
    assert_eq!(typed.session.state_place.as_deref(), Some("--state"));
    assert_eq!(typed.forwards, ["debugpy".parse().unwrap()]);
}

#[test]
fn a_value_of_nothing_counts_as_none() {
    let line = ["--rendezvous", "", "--name", " ", "--state", " "];
    let options = listen(&line, configured()).unwrap();
    assert_eq!(options.session.state, configured().state);
    assert_eq!(options.session.rendezvous.host, "192.0.2.1");
    assert_eq!(options.session.name, PeerName::of_this_host());
}

#[test]
fn every_option_of_a_listen_arrives() {
    let line = [
        "xdebug",
        "-R",
        "[::1]:9:localhost:9",
        "-L",
        "8000:localhost:80",
        "--peer",
        "web-1",
        "--allow",
        "db:5432",
        "--path",
        "relay",
        "--stun",
        "stun.example.org",
        "--stun",
        "[::1]:9",
        "--resume-for",
        "90s",
        "--absent",
        "refuse",
    ];
    let options = listen(&line, configured()).unwrap();
    let forwards: Vec<String> = options
        .forwards
        .into_iter()
        .map(|spec| spec.resolve(|_| false).to_string())
        .collect();
    assert_eq!(
        forwards,
        [
            "-R localhost:9003:localhost:9003",
            "-R [::1]:9:localhost:9",
            "-L localhost:8000:localhost:80"
        ]
    );
    assert_eq!(options.peers.known[0].as_str(), "web-1");
    assert!(
        options
            .session
            .policy
            .allow
            .permits(&"db:5432".parse().unwrap())
    );
    assert_eq!(options.session.path, PathPolicy::Relay);
    let stun = options.session.stun.iter();
    let stun: Vec<String> = stun.map(ToString::to_string).collect();
    assert_eq!(stun, ["stun.example.org:3478", "[::1]:9"]);
    assert_eq!(options.session.policy.resume_for, Duration::from_secs(90));
    assert_eq!(options.session.policy.absent, Some(HoldPolicy::Refuse));
}

#[test]
fn peer_is_awaited_as_long_as_the_session_does_by_itself() {
    let options = listen(&["debugpy"], configured()).unwrap();
    assert_eq!(
        options.session.policy.resume_for,
        SessionPolicy::default().resume_for
    );
}

#[test]
fn two_forwards_do_not_open_one_port() {
    let fault = |line: &[&str]| listen(line, configured()).unwrap_err().message;
    let twice = "two forwards would open port 5678 beside the IDE";
    assert_eq!(fault(&["debugpy", "ptvsd"]), twice);
    assert_eq!(fault(&["auto", "-L", "5678:localhost:1"]), twice);
    assert!(listen(&["debugpy", "pydevd:5679"], configured()).is_ok());
    let any = ["-L", "0:localhost:1", "-L", "0:localhost:2"];
    assert!(listen(&any, configured()).is_ok());
}

#[test]
fn two_forwards_do_not_lead_to_each_other() {
    for circle in [
        &["debugpy", "debugpy-connect"][..],
        &["pydevd", "debugpy"],
        &["jdwp", "jdwp-listen"],
        &["auto", "pydevd"],
        &["-L", "8000:localhost:9000", "-R", "9000:127.0.0.1:8000"],
        &["-L", "*:8000:localhost:9000", "-R", "9000:localhost:8000"],
        &[
            "-L",
            "10.0.0.5:8000:localhost:9000",
            "-R",
            "9000:10.0.0.5:8000",
        ],
    ] {
        let fault = listen(circle, configured()).unwrap_err();
        assert!(
            fault.message.contains("lead to each other"),
            "{circle:?}: {}",
            fault.message
        );
    }
    for open in [
        &["debugpy", "debugpy-connect:5679"][..],
        &["-L", "8000:localhost:9000", "-R", "9000:localhost:8001"],
        &["-L", "8000:db:9000", "-R", "9000:localhost:8000"],
        &["auto", "pydevd:5679"],
        // What dials `localhost` does not come to a port that another address alone has.
        &[
            "-L",
            "10.0.0.5:8000:localhost:9000",
            "-R",
            "9000:localhost:8000",
        ],
    ] {
        assert!(listen(open, configured()).is_ok(), "{open:?}");
    }
}

#[test]
fn what_does_not_parse_is_told_with_what_to_write() {
    let fault = |line: &[&str]| listen(line, configured()).unwrap_err();
    let spec = fault(&["-L", "http:localhost:80"]);
    assert_eq!(
        spec.message,
        "-L http:localhost:80: the port to open: the port is not a number from 1 to 65535"
    );
    assert!(spec.hint.unwrap().contains("-L 5678:localhost:5678"));
    let preset = fault(&["gdb"]);
    assert_eq!(preset.message, "no debugger preset is called \"gdb\"");
    assert!(preset.hint.unwrap().contains("gdbserver"));
    for line in [
        ["--allow", "db"],
        ["--stun", "stun:a.example:b"],
        ["--resume-for", "forever"],
        ["--name", "a b"],
        ["--peer", "-"],
        ["--rendezvous", "https://example.org"],
    ] {
        assert_eq!(fault(&line).exit_status(), 2, "{line:?}");
    }
}

#[test]
fn stun_servers_may_be_written_as_webrtc_has_them() {
    for (written, expected) in [
        ("stun:stun.example.org:19302", "stun.example.org:19302"),
        ("stun:[::1]", "[::1]:3478"),
        ("stun://stun.example.org", "stun.example.org:3478"),
        ("stun:3478", "stun:3478"),
        ("stun", "stun:3478"),
    ] {
        let options = listen(&["--stun", written], configured()).unwrap();
        let servers = options.session.stun.iter();
        let servers: Vec<String> = servers.map(ToString::to_string).collect();
        assert_eq!(servers, [expected], "{written}");
    }
}

#[test]
fn no_message_repeats_a_secret() {
    let url = listen(&["--rendezvous", "p2pdbg://KEYKEY@host"], Config::default());
    assert!(!format!("{:?}", url.unwrap_err()).contains("KEYKEY"));
    let code = connect(&["482913-orbit-lemon-tigr"], None, &mut |_| None);
    let code = format!("{:?}", code.unwrap_err());
    assert!(!code.contains("orbit-lemon-tigr"), "{code}");
}

#[test]
fn the_code_comes_from_the_line_or_the_variable_or_the_user() {
    let code = |typed: &str| Meeting::Code(typed.parse().unwrap());
    let (line, variable, answer) = (
        "111111-orbit-lemon-tiger",
        "222222-orbit-lemon-tiger",
        "333333-orbit-lemon-tiger",
    );
    let mut asked = 0;
    let mut ask = |_: Option<&str>| {
        asked += 1;
        Some(answer.to_owned())
    };
    let given = connect(&[line], Some(variable), &mut ask).unwrap();
    assert_eq!(given.meeting, code(line));
    let words = ["111111", "ORBIT", "lemon", "tige"];
    let given = connect(&words, None, &mut ask).unwrap();
    assert_eq!(given.meeting, code(line));
    let given = connect(&[], Some(variable), &mut ask).unwrap();
    assert_eq!(given.meeting, code(variable));
    let given = connect(&["--peer", "laptop"], Some(variable), &mut ask).unwrap();
    assert_eq!(given.meeting, Meeting::Known("laptop".parse().unwrap()));
    let given = connect(&[], Some(""), &mut ask).unwrap();
    assert_eq!(given.meeting, code(answer));
    assert_eq!(asked, 1);
}

#[test]
fn a_mistyped_code_may_be_typed_again() {
    let mut answers = vec!["333333-orbit-lemon-tiger", "333333-orbit-lemon"];
    let mut told = Vec::new();
    let mut ask = |fault: Option<&str>| {
        told.push(fault.map(str::to_owned));
        answers.pop().map(str::to_owned)
    };
    assert!(connect(&[], None, &mut ask).is_ok());
    assert_eq!(told.len(), 2);
    assert!(told[0].is_none() && told[1].is_some());
    let mut ask = |_: Option<&str>| Some("nonsense".to_owned());
    let failure = connect(&[], None, &mut ask).unwrap_err();
    assert_eq!(failure.code, ErrorCode::CodeMalformed);
    let failure = connect(&[], None, &mut |_| None).unwrap_err();
    assert_eq!(failure.code, ErrorCode::CodeMissing);
}

#[test]
fn a_command_keeps_its_arguments_whatever_they_look_like() {
    let code = "482913-orbit-lemon-tiger";
    let line = [code, "--", "python", "--json", "app.py", "--", "-L"];
    let options = connect(&line, None, &mut |_| None).unwrap();
    let command = options.command.unwrap();
    assert_eq!(command.program, "python");
    assert_eq!(command.arguments, ["--json", "app.py", "--", "-L"]);
    let options = connect(&[code], None, &mut |_| None).unwrap();
    assert_eq!(options.command, None);
    let options = connect(&["--", "app"], Some(code), &mut |_| None).unwrap();
    assert_eq!(options.command.unwrap().program, "app");
}

#[test]
fn what_stands_after_a_code_is_told_where_it_belongs() {
    const CODE: &str = "482913-orbit-lemon-tiger";
    let told = |line: &[&str]| {
        let failure = connect(line, None, &mut |_| None).unwrap_err();
        let hint = failure.hint.clone().unwrap_or_default();
        let told = format!("{failure} {hint}");
        assert_eq!(failure.exit_status(), 2);
        assert!(!told.contains("orbit"), "{told}");
        told
    };
    for program in [
        &[CODE, "python", "app.py"][..],
        &["482913", "orbit", "lemon", "tiger", "node", "app.js"],
        &[CODE, "./app"],
    ] {
        assert!(
            told(program).contains("p2pdbg connect CODE -- python app.py"),
            "{program:?}"
        );
    }
    for forwards in [
        &[CODE, "debugpy"][..],
        &[CODE, "gdbserver:1234", "auto"],
        &[CODE, "-L", "8000:localhost:8000"],
        &["-R", "8000:localhost:8000", CODE],
    ] {
        assert!(
            told(forwards).contains("are given to p2pdbg listen"),
            "{forwards:?}"
        );
    }
}

#[test]
fn a_code_may_be_pasted_with_its_command_as_one_word_or_several() {
    for line in [
        &["p2pdbg connect 482913-orbit-lemon-tiger"][..],
        &["p2pdbg", "connect", "482913-orbit-lemon-tiger"],
        &["482913", "orbit", "lemon", "tiger"],
    ] {
        let options = connect(line, None, &mut |_| None).unwrap();
        let expected = "482913-orbit-lemon-tiger".parse().unwrap();
        assert_eq!(options.meeting, Meeting::Code(expected), "{line:?}");
    }
}

#[test]
fn the_options_of_a_listen_are_repeated_as_they_were_written() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().canonicalize().unwrap();
    let directory = directory.to_str().unwrap();
    let below = format!("{directory}/../{}", directory.rsplit('/').next().unwrap());
    let line = [
        "debugpy",
        "-L",
        "8000:localhost:80",
        "--peer=web-1",
        "--peers",
        "2",
        "--follow-ports",
        "--rendezvous",
        URL,
        "--allow=db:5432",
        "--allow",
        "cache:1",
        "--state",
        &below,
        "--no-inspect",
        "--json",
        "--until-stdin-ends",
    ];
    let options = listen(&line, Config::default()).unwrap();
    let state = format!("--state={directory}");
    let repeated = [
        "--peers=2",
        "--follow-ports",
        "--rendezvous=p2pdbg://192.0.2.1:4000",
        "--allow=db:5432",
        "--allow=cache:1",
        &state,
        "--no-inspect",
    ];
    assert_eq!(options.given.options, repeated);
    assert!(!options.given.rendezvous);
    // What was not written is not repeated, and neither is an access key.
    let url = "p2pdbg://KEYKEYKEYKEYKEYKEYKEYA@host";
    let keyed = listen(&["--rendezvous", url], Config::default()).unwrap();
    let given = Given {
        options: Vec::new(),
        rendezvous: true,
    };
    assert_eq!(keyed.given, given);
}

#[test]
fn an_option_has_a_value_in_the_next_word_if_it_is_defined_so() {
    for option in [
        "-L",
        "-R",
        "--peer",
        "--map",
        "--resume-for",
        "--rendezvous",
    ] {
        assert!(has_value(option), "{option}");
    }
    for word in [
        "--same-user",
        "--no-sources",
        "debugpy",
        "--peer=web",
        "--nothing",
    ] {
        assert!(!has_value(word), "{word}");
    }
}
