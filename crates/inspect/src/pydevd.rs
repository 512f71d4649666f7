//! pydevd's own protocol, as PyCharm speaks it: lines of a command's number, a sequence number and a text.
//!
//! The numbers are those of pydevd's `pydevd_comm_constants.py`. What the debuggee sends is percent-quoted, some of it
//! twice.

use std::time::Instant;

use super::{
    debugger_advice::{Advice, End, Knowledge, Location},
    framing::Ended,
    text::{attribute, cut, unquote},
};

const THREAD_KILL: u32 = 104;
const THREAD_CREATE: u32 = 103;
const THREAD_SUSPEND: u32 = 105;
const THREAD_RUN: u32 = 106;
const STEP_INTO: u32 = 107;
const STEP_OVER: u32 = 108;
const STEP_RETURN: u32 = 109;
const WRITE_TO_CONSOLE: u32 = 116;
const STEP_INTO_MY_CODE: u32 = 144;
const VERSION: u32 = 501;

/// What pydevd writes to the program's standard error about a breakpoint in a file that is not there.
const MISSING: &str = "to file that does not exist: ";

/// Both directions of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pydevd {
    from_ide: Ended,
    from_debuggee: Ended,
    /// The build that the IDE named, if it did.
    ide: Option<String>,
    /// The debuggee's version, once it has said it.
    debuggee: Option<String>,
    /// What the debuggee prints, up to the end of its line.
    printed: String,
}

impl Pydevd {
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        from: End,
        mut bytes: &[u8],
        knowledge: &mut Knowledge,
    ) -> Option<()> {
        loop {
            let framing = match from {
                End::Ide => &mut self.from_ide,
                End::Debuggee => &mut self.from_debuggee,
            };
            let Some(line) = framing.next(b'\n', &mut bytes) else {
                return Some(());
            };
            let line = String::from_utf8_lossy(&line);
            let mut fields = line.splitn(3, '\t');
            let command = fields.next().and_then(|number| number.parse().ok());
            let text = fields.nth(1).unwrap_or_default();
            match from {
                End::Ide => self.on_ide(now, command, text, knowledge),
                End::Debuggee => {
                    knowledge.on_answer(now);
                    self.on_debuggee(command.unwrap_or_default(), text, knowledge);
                }
            }
        }
    }

    /// Passes over what was not seen, and the line in which that ends.
    pub(crate) fn handle_gap(&mut self, from: End) {
        match from {
            End::Ide => self.from_ide.pass_over(),
            End::Debuggee => self.from_debuggee.pass_over(),
        }
    }

    fn on_ide(
        &mut self,
        now: Instant,
        command: Option<u32>,
        text: &str,
        knowledge: &mut Knowledge,
    ) {
        let steps = [STEP_INTO, STEP_OVER, STEP_RETURN, STEP_INTO_MY_CODE];
        let is_step = command.is_some_and(|command| steps.contains(&command));
        knowledge.on_request(now, is_step);
        match command {
            Some(VERSION) => {
                knowledge.learn(|debugger| debugger.ide = Some("PyCharm".to_owned()));
                let version = text.split('\t').next().unwrap_or_default();
                self.ide = is_build(version).then(|| cut(version));
            }
            Some(THREAD_RUN) => knowledge.on_running(),
            _ if is_step => knowledge.on_running(),
            _ => {}
        }
    }

    fn on_debuggee(&mut self, command: u32, text: &str, knowledge: &mut Knowledge) {
        match command {
            VERSION => self.on_version(&unquote(text), knowledge),
            THREAD_CREATE => on_thread(&unquote(text), knowledge),
            THREAD_SUSPEND => {
                let xml = unquote(text);
                on_thread(&xml, knowledge);
                on_suspended(&xml, knowledge);
            }
            THREAD_RUN => knowledge.on_running(),
            // The program may go on with another one.
            THREAD_KILL => {}
            WRITE_TO_CONSOLE => self.on_printed(&unquote(text), knowledge),
            _ => {}
        }
    }

    fn on_version(&mut self, version: &str, knowledge: &mut Knowledge) {
        let version = version.trim();
        self.debuggee = Some(cut(version));
        if self.ide.is_none() {
            self.ide = knowledge.context.ide_build.clone();
        }
        knowledge.learn(|debugger| {
            debugger.version = Some(cut(version));
            if is_build(version) {
                debugger.name = Some("pydevd-pycharm".to_owned());
            }
        });
        self.compare(knowledge);
    }

    /// Learns which build the IDE is, if it has not said so itself.
    pub(crate) fn on_ide_build(&mut self, build: &str, knowledge: &mut Knowledge) {
        self.ide.get_or_insert_with(|| cut(build));
        self.compare(knowledge);
    }

    /// Compares both versions, once, when both are known.
    fn compare(&mut self, knowledge: &mut Knowledge) {
        if let (Some(debuggee), Some(ide)) = (&self.debuggee, &self.ide)
            && !fits(debuggee, ide)
        {
            knowledge.advise(Advice::PydevdVersion {
                debuggee: debuggee.clone(),
                ide: ide.clone(),
            });
        }
    }

    /// Output of the program comes in pieces, which do not end with their lines.
    fn on_printed(&mut self, xml: &str, knowledge: &mut Knowledge) {
        let Some(text) = attribute(xml, "io", "s") else {
            return;
        };
        let mut printed = std::mem::take(&mut self.printed);
        printed.push_str(&unquote(&text));
        let (lines, last) = printed.rsplit_once('\n').unwrap_or(("", &printed));
        for line in lines.split('\n') {
            if let Some((_, file)) = line.split_once(MISSING) {
                let file = file.split(" (will have").next().unwrap_or(file);
                // PyCharm maps by itself, and says the debuggee's path.
                knowledge.on_missing_file(file.trim(), true);
            }
        }
        if last.len() <= LONGEST_LINE {
            self.printed = last.to_owned();
        }
    }
}

/// The longest line of output that is looked at, in bytes.
const LONGEST_LINE: usize = 4 << 10;

/// The process id is part of each thread's.
fn on_thread(xml: &str, knowledge: &mut Knowledge) {
    let id = attribute(xml, "thread", "id");
    let pid = id.as_deref().and_then(|id| {
        let rest = id.strip_prefix("pid_")?;
        rest.split('_').next()?.parse().ok()
    });
    if pid.is_some() {
        knowledge.learn(|debugger| debugger.pid = pid);
    }
}

fn on_suspended(xml: &str, knowledge: &mut Knowledge) {
    let file = attribute(xml, "frame", "file").map(|file| unquote(&file));
    let line = attribute(xml, "frame", "line").and_then(|line| line.parse().ok());
    let at = file.as_deref().zip(line).map(|(file, line)| Location {
        file: cut(file),
        line,
    });
    knowledge.on_stopped(at);
    for frame in xml.split("<frame ").skip(1).take(64) {
        let tag = format!("<frame {frame}");
        if let Some(file) = attribute(&tag, "frame", "file") {
            knowledge.on_debuggee_file(&unquote(&file));
        }
    }
}

/// Whether a version is a build of JetBrains' products, `263.7307.50`, perhaps with the product before it.
fn is_build(version: &str) -> bool {
    let numbers = numbers(version);
    let three_digits = |first: &str| (3..4).contains(&first.len());
    numbers.len() >= 2
        && three_digits(numbers[0])
        && numbers
            .iter()
            .all(|n| n.bytes().all(|b| b.is_ascii_digit()) && !n.is_empty())
}

fn numbers(version: &str) -> Vec<&str> {
    let version = version.trim();
    let version = version.split_once('-').map_or(version, |(_, build)| build);
    version.split('.').take(8).collect()
}

/// Whether a pydevd-pycharm is one that `pip install pydevd-pycharm~=BUILD` gives for the IDE's build.
fn fits(debuggee: &str, ide: &str) -> bool {
    let (debuggee, ide) = (numbers(debuggee), numbers(ide));
    let common = debuggee.len().min(ide.len()).min(2);
    common > 0 && debuggee[..common] == ide[..common]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_fits_the_build_for_which_pip_would_install_it() {
        assert!(fits("263.7307.50", "PY-263.7307.99"));
        assert!(fits("263.7307.50", "263.7307.50"));
        assert!(!fits("243.1.2", "263.7307.50"));
        assert!(!fits("263.7308.1", "263.7307.50"));
        assert!(!fits("1.1.1", "263.7307.50"));
        assert!(is_build("PY-263.7307.50") && is_build("263.7307.50"));
        for version in ["0.1", "1.8.22", "", "@@BUILD_NUMBER@@", "263"] {
            assert!(!is_build(version), "{version}");
        }
    }
}
