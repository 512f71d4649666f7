//! The session's part in comparing and copying source files: it lends streams to the conversations, and reports.

use p2pdbg_base::Untrusted;
use p2pdbg_events::{Event as Report, Reporter, SourcesReport};
use p2pdbg_ledger::ResetCode;
use p2pdbg_proto::{control::Role, sources::FORWARD, tunnel::TunnelMessage};
use p2pdbg_sources::{Differences, Sources, Told};

use super::driver::Driver;
use crate::stream::{Connection, Local};

/// The most files that are named in one report.
const MOST_NAMED: usize = 1000;

/// The sources of this end, and what was reported of them.
pub(super) struct SourcesPart {
    pub(super) sources: Sources,
    reporter: Reporter,
    begun: bool,
    reported: Option<Differences>,
}

impl SourcesPart {
    pub(super) fn new(sources: Sources, reporter: Reporter) -> Self {
        Self {
            sources,
            reporter,
            begun: false,
            reported: None,
        }
    }
}

impl Driver {
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
                self.tunnels.send(TunnelMessage::SourcesChanged);
            }
            Told::Changed => {}
            Told::Converse(connection) => {
                let local = Connection::Unix(connection);
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
        let same = |old: &Differences| {
            (&old.differ, old.partial) == (&differences.differ, differences.partial)
        };
        if self.sources.reported.as_ref().is_some_and(same) {
            return;
        }
        let named = differences.differ.iter().take(MOST_NAMED);
        let report = SourcesReport {
            differ: named
                .map(|name| Untrusted::limited(name.as_str(), p2pdbg_proto::sources::MAX_NAME))
                .collect(),
            more: differences.differ.len().saturating_sub(MOST_NAMED),
            same: differences.same,
            only_here: differences.only_here,
            only_there: differences.only_there,
            partial: differences.partial,
        };
        self.sources.reporter.emit(Report::Sources(report));
        self.sources.reported = Some(differences);
    }

    /// The local end of a conversation that the listener opens.
    pub(super) fn answer_about_sources(&mut self) -> Local {
        let answered = match self.role {
            Role::Connector => self.sources.sources.answer(),
            Role::Listener => None,
        };
        match answered {
            Some((session, answering)) => {
                self.tasks.spawn(answering);
                Local::Accepted(Connection::Unix(session))
            }
            None => Local::Dialing(Box::pin(async { Err(ResetCode::NOT_ALLOWED) })),
        }
    }
}
