//! The session's part in comparing and copying source files: it lends streams to the conversations, and reports.

use std::path::Path;

use p2pdbg_base::Untrusted;
use p2pdbg_events::{Event as Report, SourcesReport, Warning, WarningCode};
use p2pdbg_facts::{HostFacts, HostPath, SourceRoots};
use p2pdbg_proto::{rendezvous::Role, sources::FORWARD, tunnel::TunnelMessage};
use p2pdbg_sources::{Differences, Prefixes, SourceName, Told};

use super::{driver::SessionDriver, io::SessionOutput};
use crate::stream::{Connection, Local};

/// The most files that are named in one report.
const MOST_NAMED: usize = 1000;

impl SessionDriver {
    /// Begins to look at the files, once there is somebody to compare them with.
    pub(super) fn begin_sources(&mut self) {
        let sources = &self.sources.sources;
        if !self.sources.begun && sources.are_compared() {
            let opens = self.role == Role::Listener;
            self.tasks.spawn(sources.clone().keep(opens));
        }
        self.sources.begun = true;
    }

    pub(super) fn on_told(&mut self, told: Told) {
        match told {
            Told::Changed if self.role == Role::Connector => {
                self.connections.send(TunnelMessage::SourcesChanged);
            }
            Told::Changed => {}
            Told::Converse(connection) => {
                let local = Connection::Within(connection);
                self.streams.open(FORWARD, local, None, &mut self.tasks);
            }
            Told::Compared(differences) => self.report_differences(differences),
            Told::Received(name) => {
                let name = Untrusted::limited(&name, p2pdbg_proto::sources::MAX_NAME);
                self.sources.reporter.emit(Report::Received { name });
            }
        }
    }

    fn report_differences(&mut self, differences: Differences) {
        if differences.in_common() > 0 {
            self.on_roots(&differences.prefixes);
        }
        let told = |old: &Differences| {
            let in_short = |of: &Differences| (of.left_out > 0, of.in_common() > 0);
            (&old.differ, &old.ends, &old.prefixes, in_short(old))
                == (
                    &differences.differ,
                    &differences.ends,
                    &differences.prefixes,
                    in_short(&differences),
                )
        };
        self.on_strangers(&differences);
        if self.sources.reported.as_ref().is_some_and(told) {
            return;
        }
        let name = |text: &str| Untrusted::limited(text, p2pdbg_proto::sources::MAX_NAME);
        let names = |list: &[SourceName]| -> Vec<Untrusted> {
            list.iter()
                .take(MOST_NAMED)
                .map(|one| name(one.as_str()))
                .collect()
        };
        let roots = self.sources.roots.as_ref();
        let report = SourcesReport {
            differ: names(&differences.differ),
            more: differences.differ.len().saturating_sub(MOST_NAMED),
            same: differences.same,
            only_here: differences.only_here,
            only_there: differences.only_there,
            line_ends: names(&differences.ends),
            left_out: differences.left_out,
            partial: differences.left_out > 0,
            here: roots.map(|roots| name(roots.here.as_str())),
            there: roots.map(|roots| name(roots.there.as_str())),
        };
        let reporter = &self.sources.reporter;
        if differences.is_of_strangers() {
            let why = differences.why_strangers();
            reporter.emit(Report::Warning(self.nothing_in_common(why)));
        } else {
            reporter.emit(Report::Sources(report));
        }
        self.sources.reported = Some(differences);
    }

    /// Tells once that no file of this end is taken for one of the other's. What was not read may be one all the same.
    fn on_strangers(&mut self, differences: &Differences) {
        let Differences {
            only_here,
            only_there,
            left_out,
            ..
        } = *differences;
        let are_read = only_here > 0 && only_there > 0 && left_out == 0;
        if are_read && differences.is_of_strangers() && !self.sources.are_strangers {
            self.sources.are_strangers = true;
            self.tell(SessionOutput::Roots(None));
        }
    }

    fn nothing_in_common(&self, why: &str) -> Warning {
        let root = |facts: Option<&HostFacts>| {
            let root = facts.and_then(HostFacts::source_root);
            root.map_or_else(
                || "?".to_owned(),
                |root| Untrusted::limited(root.as_str(), 300).to_string(),
            )
        };
        let message = format!(
            "{} here and {} at the peer {why}, so nothing is compared and no path mapping is known",
            root(Some(&self.peers.here)),
            root(self.peers.there.as_ref())
        );
        Warning::new(WarningCode::NothingInCommon, message)
            .hint("name the directory with the sources with --sources DIR at the end where it is another one")
    }

    /// Learns which directories hold the same files.
    fn on_roots(&mut self, prefixes: &Prefixes) {
        let Some(there) = &self.peers.there else {
            return;
        };
        let below = |root: &HostPath, prefix: &str| root.join(Path::new(prefix));
        let here = self.peers.here.source_root();
        let here = here.and_then(|root| below(root, &prefixes.here));
        let resolved = there.root_resolved.as_ref();
        let resolved = resolved.and_then(|root| below(root, &prefixes.there));
        let there = there.source_root();
        let there = there.and_then(|root| below(root, &prefixes.there));
        if let (Some(here), Some(there)) = (here, there) {
            let roots = SourceRoots {
                here,
                there,
                resolved,
            };
            if self.sources.roots.as_ref() != Some(&roots) {
                self.sources.roots = Some(roots.clone());
                self.note_roots();
                self.tell(SessionOutput::Roots(Some(roots)));
            }
        }
    }

    /// The local end of a conversation that the listener opens.
    pub(super) fn answer_about_sources(&mut self) -> Local {
        let answered = match self.role {
            Role::Connector => self.sources.sources.answer(),
            Role::Listener => None,
        };
        self.converse(answered)
    }
}
