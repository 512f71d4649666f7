//! The debuggers that p2pdbg knows by name.
//!
//! A preset is notation for a forward with the same port at both ends, since debuggers tell each other port
//! numbers (debugpy's subprocesses dial the port that the client named).

use std::str::FromStr;

use p2pdbg_proto::{spelling::nearest, tunnel::Direction};

use crate::presets::Preset;

impl Preset {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        self.debugger().name
    }

    /// The presets that `word` may mean which names none: those that go by it, or else the one whose name is nearest.
    pub fn meant_by(word: &str) -> Vec<Preset> {
        let called = Self::called(word);
        if !called.is_empty() {
            return called;
        }
        Self::near(&word.to_lowercase()).into_iter().collect()
    }

    /// The preset whose name is mistyped so, if one alone is near.
    pub fn near(word: &str) -> Option<Preset> {
        nearest(word, Self::ALL.map(Self::name))?.parse().ok()
    }

    /// The presets that go by `word`, or are for what does: no likeness counts, and capital letters neither.
    pub fn called(word: &str) -> Vec<Preset> {
        let word = word.to_lowercase();
        let goes_by_it = |preset: &Preset| {
            preset.name() == word || preset.debugger().also_called.contains(&word.as_str())
        };
        Self::ALL.into_iter().filter(goes_by_it).collect()
    }

    /// Which way the connections go.
    pub fn direction(self) -> Direction {
        self.debugger().direction
    }

    /// The port used when none is given: the debugger's own, or a customary one where it has none.
    pub fn default_port(self) -> u16 {
        self.debugger().port
    }

    /// The command, or the line of code, that starts the debuggee so that it uses `port`. A hint for people; nothing
    /// runs it.
    pub fn start_debuggee(self, port: u16) -> String {
        self.debugger().start.replace("PORT", &port.to_string())
    }
}

/// A text that names no preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAPreset;

impl FromStr for Preset {
    type Err = NotAPreset;

    fn from_str(text: &str) -> Result<Self, NotAPreset> {
        let mut all = Self::ALL.into_iter();
        all.find(|preset| preset.name() == text).ok_or(NotAPreset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_an_ide_or_a_mistyped_name_leads_to_presets() {
        use Preset::{Debugpy, Delve, Gdbserver, Lldb, Pydevd};
        for (word, meant) in [
            ("gdb", &[Gdbserver][..]),
            ("Go", &[Delve]),
            ("rust", &[Gdbserver, Lldb]),
            ("pycharm", &[Debugpy, Pydevd]),
            ("debugpi", &[Debugpy]),
            ("fortran", &[]),
        ] {
            assert_eq!(Preset::meant_by(word), meant, "{word}");
        }
    }

    #[test]
    fn no_preset_goes_by_a_presets_name() {
        for preset in Preset::ALL {
            let called = preset.debugger().also_called;
            assert!(called.iter().all(|word| word.parse::<Preset>().is_err()));
        }
    }

    #[test]
    fn preset_name_parses_and_is_the_name_in_json() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse(), Ok(preset));
            let json = serde_json::to_string(&preset).unwrap();
            assert_eq!(json, format!("{:?}", preset.name()));
        }
    }

    #[test]
    fn preset_start_command_carries_the_port_once_and_loopback_alone() {
        for preset in Preset::ALL {
            let command = preset.start_debuggee(40_123);
            assert_eq!(command.matches("40123").count(), 1, "{command}");
            assert_eq!(command.matches("127.0.0.1").count(), 1, "{command}");
            assert!(!command.contains("PORT"), "{command}");
        }
    }
}
