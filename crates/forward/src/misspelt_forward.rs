//! What to write instead of a text that names no forward.

use p2pdbg_base::{
    HostPort,
    host_port::{Host, parse_port},
};
use p2pdbg_proto::{code::Code, spelling::option_of_dashes};

use crate::Preset;

/// Whether `text` is a code, or was meant to be one.
pub(crate) fn is_code(text: &str) -> bool {
    let is_nameplate =
        |text: &str| matches!(text.len(), 6 | 8) && text.bytes().all(|byte| byte.is_ascii_digit());
    let begins_so = text
        .split_once('-')
        .is_some_and(|(number, _)| is_nameplate(number));
    begins_so || text.parse::<Code>().is_ok()
}

/// What to write instead of `text`, which is none of the presets.
pub(crate) fn instead_of(text: &str) -> String {
    if let Some(hint) = out_of_place(text) {
        return hint;
    }
    let text = without_decoration(text);
    if let Ok(port) = parse_port(text) {
        let customary = Preset::ALL
            .iter()
            .find(|preset| preset.default_port() == port);
        let debugger = customary.unwrap_or(&Preset::Debugpy).name();
        return format!(
            "say what listens there, as in {debugger}:{port}, or forward the port alone: -L {port}:localhost:{port}"
        );
    }
    if let Some((here, there)) = text.split_once(':')
        && let (Ok(here), Ok(there)) = (parse_port(here), parse_port(there))
    {
        return format!("to forward a port alone, write -L {here}:localhost:{there}");
    }
    let several: Vec<&str> = text.split([',', ';', '+']).map(str::trim).collect();
    if several.len() > 1 && several.iter().all(|one| names_preset(one)) {
        return format!("put blanks between them: {}", several.join(" "));
    }
    let (name, port) = text
        .split_once([':', '=', '@', '/', ' '])
        .unwrap_or((text, ""));
    for (name, port) in [(name, port), (port, name)] {
        if names_preset(name) && !name.contains(':') && parse_port(port).is_ok_and(|port| port != 0)
        {
            return format!("write {name}:{port}");
        }
    }
    let is_whole = text.split_once(':').is_some_and(|(port, target)| {
        parse_port(port).is_ok() && target.parse::<HostPort>().is_ok()
    });
    if is_whole {
        return format!("to forward a port alone, write -L {text}");
    }
    by_name_and_port(text)
        .or_else(|| by_address(text))
        .or_else(|| by_name(name))
        .unwrap_or_else(all_presets)
}

/// A text without what makes a URL of an address, or says what protocol a port is of: `tcp://`, `/tcp`, a colon before
/// a port alone.
fn without_decoration(text: &str) -> &str {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let bare = text.strip_prefix("tcp:").unwrap_or(text);
    let bare = bare.strip_suffix("/tcp").unwrap_or(bare);
    let bare = bare.trim_end_matches('/');
    let port = bare.strip_prefix(':').or(bare.strip_suffix(':'));
    port.filter(|port| parse_port(port).is_ok()).unwrap_or(bare)
}

/// The presets that a text calls for which could be an address too. It is one, unless its whole name is known: a host
/// may be called `node-1` or `code-server`.
fn by_name_and_port(text: &str) -> Option<String> {
    let target = text.parse::<HostPort>().ok()?;
    let Host::Name(name) = &target.host else {
        return None;
    };
    let port = target.port;
    if WITHOUT_PRESET.contains(&name.as_str()) {
        return Some(format!(
            "there is no preset for it; forward the port on which it listens: -L {port}:localhost:{port}"
        ));
    }
    let called = Preset::called(runs_on(name));
    let meant = called
        .iter()
        .map(|preset| format!("{}:{port}", preset.name()));
    let meant: Vec<String> = meant.collect();
    (!meant.is_empty()).then(|| {
        format!(
            "write {}; p2pdbg listen --help lists all of them",
            meant.join(" or ")
        )
    })
}

/// What a program runs on that is called `name`; the name itself if it is not known.
fn runs_on(name: &str) -> &str {
    let row = RUNS_ON.iter().find(|(what, _)| *what == name);
    row.map_or(name, |(_, on)| on)
}

/// The presets that a program, a language or an IDE calls for by `name`, if p2pdbg knows it.
fn by_name(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    if WITHOUT_PRESET.contains(&name.as_str()) || SERVICES.contains(&name.as_str()) {
        return Some("there is no preset for it; forward the port on which it listens, as in -L 4711:localhost:4711".to_owned());
    }
    if ["all", "any", "*", "every"].contains(&name.as_str()) {
        return Some("name each debugger by itself, as in debugpy node:9230".to_owned());
    }
    let name = runs_on(&name);
    // "python3.11" is Python, and "php-fpm" PHP.
    let without_version = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let first = name.split(['-', '_']).next().unwrap_or_default();
    let mut tries = [name, without_version, first].into_iter();
    let meant =
        tries.find_map(|name| Some(Preset::meant_by(name)).filter(|meant| !meant.is_empty()))?;
    let meant: Vec<&str> = meant.iter().map(|preset| preset.name()).collect();
    Some(format!(
        "write {}; p2pdbg listen --help lists all of them",
        meant.join(" or ")
    ))
}

/// What to write in place of an address, or of several ports.
fn by_address(text: &str) -> Option<String> {
    if let Ok(target) = text.parse::<HostPort>() {
        let port = target.port;
        return Some(match is_any_address(&target.host.to_string()) {
            true => format!(
                "to open port {port} on every address here, write -L '*:{port}:localhost:{port}'"
            ),
            false => {
                let near = match &target.host {
                    Host::Name(name) if !SERVICES.contains(&name.as_str()) => Preset::near(name),
                    _ => None,
                };
                let mistyped = near.map_or(String::new(), |preset| {
                    format!("is {}:{port} meant? Else, ", preset.name())
                });
                format!(
                    "{mistyped}to reach {target} from the debuggee's host, write -L {port}:{target}"
                )
            }
        });
    }
    let ports: Vec<&str> = text.split([',', ';', '-', '=', ' ']).collect();
    if ports.len() > 1 && ports.iter().all(|port| parse_port(port).is_ok()) {
        return Some(match text.contains('=') {
            true => format!(
                "to forward a port alone, write -L {}:localhost:{}",
                ports[0], ports[1]
            ),
            false => {
                let (first, last) = (ports[0], ports[ports.len() - 1]);
                format!(
                    "name each port by itself, as in -L {first}:localhost:{first} -L {last}:localhost:{last}"
                )
            }
        });
    }
    let bare = text.trim_matches(['[', ']']);
    (bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok()).then(|| {
        "an address alone opens nothing: name the debugger, as in debugpy:5678, or -L 5678:localhost:5678".to_owned()
    })
}

/// Whether that is every address of a host, at which nothing can be dialled.
fn is_any_address(host: &str) -> bool {
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    ip.is_ok_and(|ip| ip.is_unspecified())
}

/// What to say of a word that stands where only forwards do.
fn out_of_place(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    if let Some(option) = option_of_dashes(text) {
        return Some(format!(
            "write {option}, with hyphens: a program for text has made a dash of them"
        ));
    }
    if lower.starts_with("p2pdbg://") {
        return Some(
            "the rendezvous' URL stands behind --rendezvous, or is kept by p2pdbg setup".to_owned(),
        );
    }
    if ["p2pdbg", "listen", "$", ">", "#"].contains(&lower.as_str()) {
        return Some(
            "p2pdbg listen stands there already; only forwards stand behind it".to_owned(),
        );
    }
    if lower == "connect" {
        return Some(
            "p2pdbg connect is run on the debuggee's host, with the code that p2pdbg listen shows"
                .to_owned(),
        );
    }
    let ends_so = |ending: &&str| lower.ends_with(ending);
    if text.starts_with("./") || PROGRAMS.iter().any(ends_so) {
        return Some(
            "a program is run on the debuggee's host: p2pdbg connect CODE -- python app.py"
                .to_owned(),
        );
    }
    if lower == "ssh" || text.contains('@') && !names_preset(text.split('@').next().unwrap_or(text))
    {
        return Some(
            "p2pdbg needs no login there: p2pdbg connect on that host, with the code, leads to it"
                .to_owned(),
        );
    }
    None
}

/// How the names of programs end.
const PROGRAMS: [&str; 9] = [
    ".py", ".js", ".ts", ".mjs", ".rb", ".php", ".jar", ".go", ".exe",
];

/// What to write in place of `text`, of which the name is a preset's and the rest no port.
pub(crate) fn instead_of_port(text: &str) -> String {
    let several: Vec<&str> = text.split([',', ';', '+']).map(str::trim).collect();
    if several.len() > 1 && several.iter().all(|one| names_preset(one)) {
        return format!("put blanks between them: {}", several.join(" "));
    }
    let name = text.split(':').next().unwrap_or(text);
    let preset = name.parse().unwrap_or(Preset::Debugpy);
    let port = preset.default_port();
    format!("write {name}, or {name}:{port} with the port that is meant (the same at both ends)")
}

/// Whether `text` is a preset's name, with a port or without.
fn names_preset(text: &str) -> bool {
    let (name, port) = text.split_once(':').unwrap_or((text, "1"));
    (name == "auto" || name.parse::<Preset>().is_ok()) && parse_port(port).is_ok()
}

/// What programs run on that are called by other names.
const RUNS_ON: [(&str, &str); 12] = [
    ("tomcat", "java"),
    ("spring", "java"),
    ("springboot", "java"),
    ("maven", "java"),
    ("gradle", "java"),
    ("android", "java"),
    ("groovy", "java"),
    ("clojure", "java"),
    ("electron", "node"),
    ("nextjs", "node"),
    ("npm", "node"),
    ("v8", "node"),
];

/// Debuggers and languages of which no preset is, though their port can be forwarded.
const WITHOUT_PRESET: [&str; 23] = [
    "dotnet",
    ".net",
    "csharp",
    "c#",
    "coreclr",
    "netcoredbg",
    "vsdbg",
    "dart",
    "lua",
    "elixir",
    "mono",
    "rider",
    "unity",
    "godot",
    "bun",
    "firefox",
    "byebug",
    "pry",
    "ruby-debug-ide",
    "rdebug-ide",
    "remote-pdb",
    "remote_pdb",
    "rpdb",
];

/// What is no debugger, but listens at a port that can be forwarded; with a port behind it, it is the name of its host.
const SERVICES: [&str; 7] = [
    "mysql", "postgres", "redis", "mongodb", "http", "https", "web",
];

/// What `-L` or `-R` (`option`) is to be given in place of `spec`, which has too few parts.
pub(crate) fn instead_of_spec(option: &str, spec: &str) -> String {
    let port = |text: &str| parse_port(text).ok().filter(|&port| port != 0);
    let whole = match spec.split(':').collect::<Vec<_>>()[..] {
        [only] => port(only).map(|port| format!("{port}:localhost:{port}")),
        [first, second] => match (port(first), port(second)) {
            (Some(here), Some(there)) => Some(format!("{here}:localhost:{there}")),
            (Some(both), None) => second
                .parse()
                .ok()
                .map(|host: Host| format!("{both}:{host}:{both}")),
            (None, Some(both)) => first
                .parse()
                .ok()
                .map(|host: Host| format!("{both}:{host}:{both}")),
            (None, None) => None,
        },
        // The host first.
        [host, one, two] if port(host).is_none() => {
            let host = host
                .parse()
                .ok()
                .filter(|host: &Host| !host.to_string().is_empty());
            host.zip(port(one).zip(port(two)))
                .map(|(host, (one, two))| format!("{one}:{host}:{two}"))
        }
        _ => None,
    };
    let example = format!("[BIND:]PORT:HOST:PORT, for example {option} 5678:localhost:5678");
    format!("write {option} {}", whole.unwrap_or(example))
}

/// All that may be written.
pub(crate) fn all_presets() -> String {
    let names = Preset::ALL.map(Preset::name).join(", ");
    format!("use auto, {names}, each with an optional :PORT, or -L and -R")
}

#[cfg(test)]
mod tests {
    use p2pdbg_proto::tunnel::Direction;

    use crate::{Forward, ForwardSpec, NotAForward};

    fn hint(text: &str) -> String {
        text.parse::<ForwardSpec>().unwrap_err().hint()
    }

    #[test]
    fn code_at_the_listener_is_sent_to_the_other_end_and_not_repeated() {
        for code in ["482913-orbit-lemon-tiger", "482913-orbit-lemmon-tiger"] {
            let fault = code.parse::<ForwardSpec>().unwrap_err();
            assert_eq!(fault, NotAForward::Code);
            let told = format!("{fault} {}", fault.hint());
            assert!(
                told.contains("p2pdbg connect CODE") && !told.contains("orbit"),
                "{told}"
            );
        }
    }

    #[test]
    fn port_alone_and_host_with_port_are_told_how_they_are_forwarded() {
        assert!(
            hint("9229").contains("node:9229, or forward the port alone: -L 9229:localhost:9229")
        );
        assert!(hint("4711").contains("debugpy:4711"));
        assert!(hint("localhost:5678").contains("-L 5678:localhost:5678"));
        assert!(hint("[::1]:80").contains("-L 80:[::1]:80"));
        assert!(hint("8000:80").contains("-L 8000:localhost:80"));
        for other in [
            "debugpy=5679",
            "debugpy@5679",
            "5679:debugpy",
            "debugpy 5679",
        ] {
            assert_eq!(hint(other), "write debugpy:5679", "{other}");
        }
        assert!(hint("8000:db:80").ends_with("write -L 8000:db:80"));
        assert!(hint("debugpy:").starts_with("write debugpy, or debugpy:5678"));
        assert!(hint("delve:70000").starts_with("write delve, or delve:2345"));
        assert_eq!(
            hint("delve:2345,debugpy:5678"),
            "put blanks between them: delve:2345 debugpy:5678"
        );
        assert_eq!(
            hint("debugpy,node:9230"),
            "put blanks between them: debugpy node:9230"
        );
    }

    #[test]
    fn language_or_mistyped_preset_is_told_the_preset() {
        assert!(hint("gdb").starts_with("write gdbserver;"));
        assert!(hint("gdb:1234").starts_with("write gdbserver:1234;"));
        assert!(hint("rust").starts_with("write gdbserver or lldb;"));
        assert!(hint("debupgy").starts_with("write debugpy;"));
        assert!(hint("fortran").starts_with("use auto, debugpy,"));
        assert!(hint("ipdb").starts_with("write debugpy;"));
        assert!(hint("dotnet").contains("there is no preset for it"));
        assert!(hint("vsdbg:4711").ends_with("listens: -L 4711:localhost:4711"));
    }

    #[test]
    fn name_of_a_tool_or_a_version_leads_to_the_preset_that_suits_it() {
        for (text, preset) in [
            ("python3.11", "debugpy"),
            ("debugpy-listen", "debugpy"),
            ("delve-dap", "delve"),
            ("php-fpm", "xdebug"),
            ("xdebug-listen", "xdebug"),
            ("ruby-debug", "rdbg"),
            ("qemu", "gdbserver"),
            ("openocd", "gdbserver"),
            ("electron", "node"),
            ("ts-node", "node"),
            ("tomcat", "jdwp"),
            ("lldb-dap", "lldb"),
        ] {
            assert!(
                hint(text).starts_with(&format!("write {preset};")),
                "{text}: {}",
                hint(text)
            );
        }
        // Nothing like xdebug but in four of its letters.
        for other in ["byebug", "pry", "rider", "redis", "bun"] {
            assert!(hint(other).contains("there is no preset for it"), "{other}");
        }
        assert!(hint("all").contains("name each debugger by itself"));
    }

    #[test]
    fn host_with_a_port_is_one_unless_its_whole_name_is_known_and_keeps_its_port() {
        for (text, port) in [
            ("redis:6379", 6379),
            ("postgres:5432", 5432),
            ("web:8080", 8080),
            ("node-1:9229", 9229),
            ("php-fpm:9000", 9000),
            ("code-server:8080", 8080),
        ] {
            let expected =
                format!("to reach {text} from the debuggee's host, write -L {port}:{text}");
            assert_eq!(hint(text), expected);
        }
        assert!(hint("http://web:8080/").ends_with("write -L 8080:web:8080"));
        assert!(hint("java:5005").starts_with("write jdwp:5005;"));
        assert!(hint("Tomcat:8000").starts_with("write jdwp:8000;"));
        assert!(hint("openocd:3333").starts_with("write gdbserver:3333;"));
        assert!(hint("rust:1234").starts_with("write gdbserver:1234 or lldb:1234;"));
        let mistyped = hint("debupgy:5679");
        assert!(mistyped.starts_with("is debugpy:5679 meant?"), "{mistyped}");
        assert!(mistyped.ends_with("-L 5679:debupgy:5679"), "{mistyped}");
    }

    #[test]
    fn port_that_is_written_as_other_programs_do_is_read_all_the_same() {
        for port in [":9229", "9229:", "9229/tcp", "tcp:9229", "tcp://9229"] {
            assert!(
                hint(port).contains("-L 9229:localhost:9229"),
                "{port}: {}",
                hint(port)
            );
        }
        for url in ["tcp://db:5432", "http://db:5432/"] {
            assert!(
                hint(url).ends_with("write -L 5432:db:5432"),
                "{url}: {}",
                hint(url)
            );
        }
        assert!(hint("0.0.0.0:5678").ends_with("write -L '*:5678:localhost:5678'"));
        assert!(hint("[::]:5678").ends_with("write -L '*:5678:localhost:5678'"));
        assert!(hint("5678=5679").ends_with("write -L 5678:localhost:5679"));
        for several in ["5678,5680", "5678-5680"] {
            assert!(hint(several).ends_with("as in -L 5678:localhost:5678 -L 5680:localhost:5680"));
        }
        for alone in ["localhost", "127.0.0.1", "::1"] {
            assert!(
                hint(alone).contains("an address alone opens nothing"),
                "{alone}"
            );
        }
    }

    #[test]
    fn word_that_is_out_of_place_is_told_where_it_belongs() {
        assert!(hint("\u{2014}json").starts_with("write --json, with hyphens"));
        assert!(hint("\u{2013}-peer").starts_with("write --peer, with hyphens"));
        for twice in ["listen", "p2pdbg", "$"] {
            assert!(hint(twice).contains("stands there already"), "{twice}");
        }
        for program in ["app.py", "./app", "server.js"] {
            assert!(
                hint(program).contains("p2pdbg connect CODE --"),
                "{program}"
            );
        }
        assert!(hint("me@web-1").contains("needs no login"));
    }

    #[test]
    fn forward_with_too_few_parts_is_completed_from_those_that_it_has() {
        let told = |spec| {
            let fault = Forward::parse(Direction::ToDebuggee, spec).unwrap_err();
            fault.hint()
        };
        assert_eq!(told("8080"), "write -L 8080:localhost:8080");
        assert_eq!(told("8080:80"), "write -L 8080:localhost:80");
        assert_eq!(told("8080:db"), "write -L 8080:db:8080");
        assert_eq!(told("db:5432"), "write -L 5432:db:5432");
        assert_eq!(told("localhost:5678:5679"), "write -L 5678:localhost:5679");
        for other in ["", "x", "1:2:3:4:5", "a/b:x", "0"] {
            assert!(told(other).contains("[BIND:]PORT:HOST:PORT"), "{other}");
        }
    }
}
