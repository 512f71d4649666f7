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
    let meant: Vec<&str> = Preset::meant_by(name)
        .iter()
        .map(|preset| preset.name())
        .collect();
    if !meant.is_empty() {
        return format!(
            "write {}; p2pdbg listen --help lists all of them",
            meant.join(" or ")
        );
    }
    if WITHOUT_PRESET.contains(&name.to_lowercase().as_str()) {
        return "there is no preset for it; forward the port on which it listens, as in -L 4711:localhost:4711".to_owned();
    }
    if let Ok(target) = text.parse::<HostPort>() {
        let port = target.port;
        return format!("to reach {target} from the debuggee's host, write -L {port}:{target}");
    }
    all_presets()
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

/// Debuggers and languages of which no preset is, though their port can be forwarded.
const WITHOUT_PRESET: [&str; 10] = [
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
        assert!(hint("gdb:1234").starts_with("write gdbserver;"));
        assert!(hint("rust").starts_with("write gdbserver or lldb;"));
        assert!(hint("debupgy").starts_with("write debugpy;"));
        assert!(hint("fortran").starts_with("use auto, debugpy,"));
        assert!(hint("ipdb").starts_with("write debugpy;"));
        assert!(hint("dotnet").contains("there is no preset for it"));
        assert!(hint("vsdbg:4711").contains("there is no preset for it"));
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
