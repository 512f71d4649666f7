//! DBGp, as Xdebug speaks it: the debuggee sends the length and the XML, each ended by a zero byte; the IDE sends
//! commands, ended by one.

use std::{collections::VecDeque, time::Instant};

use super::{
    debugger_advice::{End, Knowledge, Location},
    framing::Ended,
    text::{attribute, cut, path_of_uri},
};

/// How many breakpoints are remembered, the oldest forgotten first: the IDE may set any number.
const MOST_BREAKPOINTS: usize = 64;

/// Both directions of a connection.
#[derive(Debug, Default)]
pub(crate) struct Dbgp {
    from_ide: Ended,
    from_debuggee: Ended,
    /// The files in which breakpoints were set before it is known which the debuggee has.
    breakpoints: VecDeque<String>,
    /// The script that runs, as Xdebug's first message names it.
    script: Option<String>,
}

impl Dbgp {
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
            let Some(message) = framing.next(0, &mut bytes) else {
                return Some(());
            };
            let message = String::from_utf8_lossy(&message);
            match from {
                End::Ide => self.on_command(now, &message, knowledge),
                // The length before a message.
                End::Debuggee if message.bytes().all(|b| b.is_ascii_digit()) => {}
                End::Debuggee => {
                    knowledge.on_answer(now);
                    self.on_xml(&message, knowledge);
                }
            }
        }
    }

    fn on_command(&mut self, now: Instant, command: &str, knowledge: &mut Knowledge) {
        let name = command.split(' ').next().unwrap_or_default();
        let is_step = matches!(name, "step_into" | "step_over" | "step_out");
        knowledge.on_request(now, is_step);
        if is_step || name == "run" {
            knowledge.on_running();
        }
        if name == "breakpoint_set"
            && let Some(file) = option(command, "-f")
        {
            if self.breakpoints.len() == MOST_BREAKPOINTS {
                self.breakpoints.pop_front();
            }
            self.breakpoints.push_back(path_of_uri(&file));
            self.compare(knowledge);
        }
    }

    fn on_xml(&mut self, xml: &str, knowledge: &mut Knowledge) {
        if let Some(file) = attribute(xml, "init", "fileuri") {
            self.on_init(xml, path_of_uri(&file), knowledge);
        }
        match attribute(xml, "response", "status").as_deref() {
            Some("break") => {
                let file = attribute(xml, "xdebug:message", "filename");
                let line = attribute(xml, "xdebug:message", "lineno");
                let line = line.and_then(|line| line.parse().ok());
                let at = file.zip(line).map(|(file, line)| Location {
                    file: cut(&path_of_uri(&file)),
                    line,
                });
                if let Some(at) = &at {
                    knowledge.on_debuggee_file(&at.file);
                }
                knowledge.on_stopped(at);
            }
            Some("running") => knowledge.on_running(),
            Some("stopping" | "stopped") => knowledge.on_ended(),
            _ => {}
        }
    }

    fn on_init(&mut self, xml: &str, script: String, knowledge: &mut Knowledge) {
        let language = attribute(xml, "init", "language");
        let of_language = attribute(xml, "init", "xdebug:language_version");
        let runtime = match (language, of_language) {
            (Some(language), Some(version)) => Some(format!("{language} {version}")),
            (language, _) => language,
        };
        let engine = xml.split_once("<engine").map(|(_, rest)| rest);
        let name = engine.and_then(|engine| {
            let name = engine.split_once('>')?.1;
            let name = name.strip_prefix("<![CDATA[").unwrap_or(name);
            name.split([']', '<']).next()
        });
        let pid = attribute(xml, "init", "appid").and_then(|pid| pid.parse().ok());
        knowledge.learn(|debugger| {
            debugger.name = name.map(cut);
            debugger.version = attribute(xml, "engine", "version").as_deref().map(cut);
            debugger.runtime = runtime.as_deref().map(cut);
            debugger.pid = pid;
        });
        self.script = Some(script);
        self.compare(knowledge);
    }

    /// Xdebug takes every breakpoint, and does not say which files it has. But one in a file that is called as the
    /// script is, elsewhere, is one that was meant for the script.
    fn compare(&mut self, knowledge: &mut Knowledge) {
        let Some(script) = &self.script else {
            return;
        };
        let name = |path: &str| path.rsplit(['/', '\\']).next().map(str::to_owned);
        for file in self.breakpoints.drain(..) {
            if file != *script && name(&file) == name(script) {
                knowledge.on_debuggee_file(script);
                knowledge.on_missing_file(&file, false);
            }
        }
    }
}

/// The value of an option of a command, perhaps in quotes.
fn option(command: &str, name: &str) -> Option<String> {
    let (_, rest) = command.split_once(&format!(" {name} "))?;
    Some(match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?.to_owned(),
        None => rest.split(' ').next()?.to_owned(),
    })
}
