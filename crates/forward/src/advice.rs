//! What to write instead of a text that names no forward.

use p2pdbg_base::{HostPort, host_port::parse_port};
use p2pdbg_proto::code::Code;

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
    let (name, port) = text.split_once([':', '=']).unwrap_or((text, ""));
    if text.contains('=') && name.parse::<Preset>().is_ok() && parse_port(port).is_ok() {
        return format!("write {name}:{port}");
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
    if let Ok(target) = text.parse::<HostPort>() {
        let port = target.port;
        return format!("to reach {target} from the debuggee's host, write -L {port}:{target}");
    }
    all_presets()
}

/// All that may be written.
pub(crate) fn all_presets() -> String {
    let names = Preset::ALL.map(Preset::name).join(", ");
    format!("use auto, {names}, each with an optional :PORT, or -L and -R")
}

#[cfg(test)]
mod tests {
    use crate::{ForwardSpec, NotAForward};

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
        assert_eq!(hint("debugpy=5679"), "write debugpy:5679");
    }

    #[test]
    fn language_or_mistyped_preset_is_told_the_preset() {
        assert!(hint("gdb").starts_with("write gdbserver;"));
        assert!(hint("gdb:1234").starts_with("write gdbserver;"));
        assert!(hint("rust").starts_with("write gdbserver or lldb;"));
        assert!(hint("debupgy").starts_with("write debugpy;"));
        assert!(hint("fortran").starts_with("use auto, debugpy,"));
    }
}
