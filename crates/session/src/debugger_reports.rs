//! What is made of what was seen of the debuggers: the `stream` events, and warnings that say what to do.

use p2pdbg_base::Untrusted;
use p2pdbg_events::{DebuggerReport, Event, ProgramState, Warning, WarningCode};
use p2pdbg_forward::Preset;
use p2pdbg_inspect::{Activity, Advice, Debugger, Mapping, Protocol};
use p2pdbg_ledger::StreamId;
use p2pdbg_proto::rendezvous::Role;

use super::driver::SessionDriver;
use crate::watch::Report;

/// How long a path may be in a message, in characters.
const PATH: usize = 200;

impl SessionDriver {
    /// Takes in what was learnt of a stream.
    pub(super) fn on_inspected(&mut self, stream: StreamId, learnt: Report) {
        let Some(forward) = self.streams.forward_of(stream) else {
            return;
        };
        for advice in &learnt.advice {
            self.streams.warn(warning(advice));
        }
        let preset = self.forwards.preset(forward);
        if let Some(preset) = preset
            && !preset.debugger().can_be(&learnt.debugger)
            && self.streams.note_mismatch(stream)
        {
            self.streams.warn(mismatch(preset, &learnt.debugger));
        }
        if learnt.debugger.protocol != Protocol::Unknown {
            let mut report = report_of(&learnt.debugger);
            if self.role == Role::Connector {
                report.step_round_trips = None;
            }
            let target = self.forwards.target(forward).cloned();
            self.spare_delays(stream, &report, target.as_ref());
            self.streams.on_debugger(stream, report, target);
        }
        self.update_status();
    }

    /// Has debugpy send at once, when it has said what it is, and again when it has said which process it is in: by
    /// then that is connected to the adapter, which answers the IDE before.
    fn spare_delays(
        &self,
        stream: StreamId,
        report: &DebuggerReport,
        target: Option<&p2pdbg_base::HostPort>,
    ) {
        let is_debugpy = |report: &DebuggerReport| {
            let name = report.name.as_ref().map(Untrusted::as_str);
            name == Some(Preset::Debugpy.name())
        };
        let known = self.streams.debugger_of(stream);
        let is_news = known.is_none_or(|known| !is_debugpy(known) || known.pid != report.pid);
        let Some(target) = target.filter(|target| target.is_loopback()) else {
            return;
        };
        if self.role == Role::Connector && is_debugpy(report) && is_news {
            self.programs.send_at_once(target.port);
        }
    }

    /// Tells the watcher of the debuggers where the same sources are at both ends.
    pub(super) fn note_roots(&mut self) {
        // What comparing has found is evidence; what both call their directory may be two different ones.
        if let Some(roots) = &self.sources.roots {
            self.streams
                .set_roots(roots.here.as_str(), roots.there.as_str());
            return;
        }
        let is_same_commit = |there: &p2pdbg_facts::HostFacts| {
            self.peers.here.git_commit.is_some() && self.peers.here.git_commit == there.git_commit
        };
        if let Some(there) = self
            .peers
            .there
            .as_ref()
            .filter(|there| is_same_commit(there))
            && let (Some(here), Some(there)) = (&self.peers.here.git_root, &there.git_root)
        {
            self.streams.set_roots(here.as_str(), there.as_str());
        }
    }
}

fn report_of(debugger: &Debugger) -> DebuggerReport {
    let short = |text: &Option<String>| text.as_deref().map(Untrusted::new);
    let (program, place) = match &debugger.activity {
        None => (None, None),
        Some(Activity::Running) => (Some(ProgramState::Running), None),
        Some(Activity::Stopped(place)) => (Some(ProgramState::Stopped), place.as_ref()),
        Some(Activity::Ended) => (Some(ProgramState::Ended), None),
    };
    DebuggerReport {
        protocol: debugger.protocol.name().to_owned(),
        name: short(&debugger.name),
        version: short(&debugger.version),
        runtime: short(&debugger.runtime),
        pid: debugger.pid,
        ide: short(&debugger.ide),
        program,
        file: place.map(|place| Untrusted::limited(&place.file, PATH)),
        line: place.map(|place| place.line),
        step_round_trips: debugger.step_round_trips,
    }
}

fn warning(advice: &Advice) -> Warning {
    match advice {
        Advice::FileMissing {
            file,
            tried,
            there,
            mapping,
        } => file_missing(file, tried.as_deref(), there.as_deref(), mapping.as_ref()),
        Advice::StopUnmapped {
            file,
            here,
            mapping,
        } => {
            let path = |text: &str| Untrusted::limited(text, PATH);
            let message = format!(
                "the program has stopped in {}, which no path mapping of the IDE covers",
                path(file)
            );
            let meant = here.as_ref().map_or(String::new(), |here| {
                format!(": {} here is {} there", path(here), path(file))
            });
            Warning::new(WarningCode::StopUnmapped, message).hint(format!(
                "map {} to {} too{meant}",
                path(&mapping.ide),
                path(&mapping.debuggee)
            ))
        }
        Advice::PydevdVersion { debuggee, ide } => {
            let (debuggee, ide) = (Untrusted::new(debuggee), Untrusted::new(ide));
            let message = format!(
                "pydevd-pycharm {debuggee} on the debuggee's host does not fit PyCharm {ide}"
            );
            let ide = ide.as_str();
            let build = ide.split_once('-').map_or(ide, |(_, build)| build);
            Warning::new(WarningCode::DebuggerVersion, message)
                .hint(format!("pip install pydevd-pycharm~={build}"))
        }
        // One that this version does not know says nothing.
        other => Warning::new(WarningCode::DebuggerVersion, format!("{other:?}")),
    }
}

/// The debuggee has no such file; what to map, as far as that is known.
fn file_missing(
    file: &str,
    tried: Option<&str>,
    there: Option<&str>,
    mapping: Option<&Mapping>,
) -> Warning {
    let path = |text: &str| Untrusted::limited(text, PATH);
    let message = format!(
        "the debuggee has no file {}, so breakpoints in it are never hit",
        path(file)
    );
    let hint = match (mapping, there, tried) {
        // PyCharm has mapped it already.
        (Some(mapping), Some(there), Some(tried)) if tried == file => format!(
            "the IDE's path mapping leads to {}, and the program has {}: map to {} in the place of {}",
            path(tried),
            path(there),
            path(&mapping.debuggee),
            path(&mapping.ide)
        ),
        (Some(mapping), Some(there), _) => format!(
            "map {} to {} in the IDE's path mappings: {} here is {} there",
            path(&mapping.ide),
            path(&mapping.debuggee),
            path(file),
            path(there)
        ),
        (None, Some(there), _) => format!(
            "the program has {}, whose name differs in case, and no path mapping leads from the one to the other: \
             give both the same name",
            path(there)
        ),
        (_, _, Some(tried)) => format!(
            "the IDE's path mapping leads to {}, which is not there: is it the right directory, or was the file \
             not copied yet?",
            path(tried)
        ),
        _ => "add a path mapping from the IDE's directory to the debuggee's".to_owned(),
    };
    Warning::new(WarningCode::FileMissing, message).hint(hint)
}

fn mismatch(preset: Preset, debugger: &Debugger) -> Warning {
    let named = debugger.name.as_deref().map(Untrusted::new);
    let speaks = match named {
        Some(name) => format!("{name}, which speaks {}", debugger.protocol.name()),
        None => format!("something that speaks {}", debugger.protocol.name()),
    };
    let message = format!(
        "the forward is for {}, and it carries {speaks}",
        preset.name()
    );
    let fits = Preset::ALL
        .into_iter()
        .find(|other| other.direction() == preset.direction() && other.debugger().can_be(debugger));
    let hint = match fits {
        Some(fits) => format!(
            "is the port the right one? If so, run p2pdbg listen {}",
            fits.name()
        ),
        None => "is the port the right one?".to_owned(),
    };
    Warning::new(WarningCode::DebuggerMismatch, message).hint(hint)
}

impl super::streams::Streams {
    fn warn(&self, warning: Warning) {
        self.emit(Event::Warning(warning));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debugger(protocol: Protocol, name: Option<&str>, version: Option<&str>) -> Debugger {
        Debugger {
            protocol,
            name: name.map(str::to_owned),
            version: version.map(str::to_owned),
            runtime: None,
            pid: None,
            ide: None,
            activity: None,
            step_round_trips: None,
        }
    }

    #[test]
    fn mismatch_names_the_preset_that_fits() {
        let debugpy = debugger(Protocol::Dap, Some("debugpy"), Some("1.8.22"));
        let warning = mismatch(Preset::Pydevd, &debugpy);
        assert_eq!(
            warning.message,
            "the forward is for pydevd, and it carries debugpy, which speaks dap"
        );
        assert!(
            warning
                .hint
                .unwrap()
                .ends_with("p2pdbg listen debugpy-connect")
        );
    }

    #[test]
    fn mismatch_with_what_no_preset_is_for_asks_for_the_port() {
        let unknown = debugger(Protocol::Unknown, None, None);
        let warning = mismatch(Preset::Debugpy, &unknown);
        assert!(warning.message.contains("something that speaks"));
        assert!(
            warning
                .hint
                .unwrap()
                .starts_with("is the port the right one?")
        );
    }

    #[test]
    fn report_tells_what_the_program_does_and_where_it_stopped() {
        let mut seen = debugger(Protocol::Dap, Some("debugpy"), Some("1.8"));
        assert_eq!(report_of(&seen).program, None);
        seen.activity = Some(Activity::Running);
        assert_eq!(report_of(&seen).program, Some(ProgramState::Running));
        seen.activity = Some(Activity::Stopped(Some(p2pdbg_inspect::Location {
            file: "/srv/a\u{1b}.py".into(),
            line: 7,
        })));
        let report = report_of(&seen);
        assert_eq!(
            (report.program, report.line),
            (Some(ProgramState::Stopped), Some(7))
        );
        assert_eq!(report.file.unwrap().as_str(), r"/srv/a\u{1b}.py");
        seen.activity = Some(Activity::Ended);
        assert_eq!(report_of(&seen).program, Some(ProgramState::Ended));
    }

    #[test]
    fn advice_on_a_mapping_that_leads_astray_names_both_sides_of_it() {
        let mapping = || p2pdbg_inspect::Mapping {
            ide: "/home/me".into(),
            debuggee: "/srv/app".into(),
        };
        let missing = |tried: Option<&str>, there: Option<&str>, mapping| {
            let advice = warning(&Advice::FileMissing {
                file: "/home/me/a.py".into(),
                tried: tried.map(str::to_owned),
                there: there.map(str::to_owned),
                mapping,
            });
            assert_eq!(advice.code, WarningCode::FileMissing);
            advice.hint.unwrap()
        };
        let hint = missing(
            Some("/home/me/a.py"),
            Some("/srv/app/a.py"),
            Some(mapping()),
        );
        assert!(
            hint.ends_with("map to /srv/app in the place of /home/me"),
            "{hint}"
        );
        let hint = missing(Some("/opt/a.py"), None, None);
        assert!(
            hint.contains("leads to /opt/a.py, which is not there"),
            "{hint}"
        );
        assert!(missing(None, None, None).starts_with("add a path mapping"));
        let stopped = |here: Option<&str>| {
            let advice = warning(&Advice::StopUnmapped {
                file: "/srv/app/b.py".into(),
                here: here.map(str::to_owned),
                mapping: mapping(),
            });
            assert_eq!(advice.code, WarningCode::StopUnmapped);
            advice.hint.unwrap()
        };
        assert_eq!(stopped(None), "map /home/me to /srv/app too");
        assert!(
            stopped(Some("/home/me/b.py")).ends_with("/home/me/b.py here is /srv/app/b.py there")
        );
    }

    #[test]
    fn advice_says_what_to_do() {
        let missing = warning(&Advice::FileMissing {
            file: "/home/me/a\u{1b}.py".into(),
            tried: None,
            there: Some("/srv/app/a\u{1b}.py".into()),
            mapping: Some(p2pdbg_inspect::Mapping {
                ide: "/home/me".into(),
                debuggee: "/srv/app".into(),
            }),
        });
        assert!(missing.message.contains(r"/home/me/a\u{1b}.py"));
        let hint = "map /home/me to /srv/app in the IDE's path mappings: /home/me/a";
        assert!(missing.hint.unwrap().starts_with(hint));
        let in_another_case = warning(&Advice::FileMissing {
            file: "/home/me/App.py".into(),
            tried: None,
            there: Some("/srv/app.py".into()),
            mapping: None,
        });
        let hint = in_another_case.hint.unwrap();
        assert!(hint.starts_with("the program has /srv/app.py, whose name differs in case"));
        let version = warning(&Advice::PydevdVersion {
            debuggee: "243.1.2".into(),
            ide: "PY-263.7307.50".into(),
        });
        assert_eq!(
            version.hint.as_deref(),
            Some("pip install pydevd-pycharm~=263.7307.50")
        );
    }
}
