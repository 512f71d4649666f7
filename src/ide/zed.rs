//! `.zed/debug.json`.

use std::path::Path;

use p2pdbg_base::Failure;
use p2pdbg_forward::{Direction, Preset};

use super::{
    Plan, PlannedFile, ReadFile, Sessions, Wanted, Written,
    entry::Entry,
    jsonc_merge::{self, ListPosition},
    no_use,
    values::Known,
};

/// What stands for the project's directory.
const ROOT: &str = "$ZED_WORKTREE_ROOT";

pub(super) fn plan(
    facts: &Sessions<'_>,
    read: &ReadFile<'_>,
    written: &mut Written,
    plan: &mut Plan,
) -> Result<(), Failure> {
    let fallback = |direction| (direction == Direction::ToDebuggee).then_some(Preset::Debugpy);
    let mut entries = Vec::new();
    for wanted in facts.wanted(fallback, &mut plan.notes) {
        match configuration(facts, &wanted) {
            Some(entry) => entries.push(entry),
            None => plan
                .notes
                .push(no_use("Zed", wanted.debugger, " that p2pdbg knows")),
        }
    }
    if entries.is_empty() {
        return Ok(());
    }
    let path = Path::new(".zed/debug.json");
    let before = read(path)?;
    let lists = written.of(&facts.whole_path(path));
    let after = jsonc_merge::with_entries(
        path,
        before.as_deref(),
        &ListPosition::Root,
        &entries,
        lists,
        &mut plan.notes,
    )?;
    plan.files.push(PlannedFile {
        path: path.to_owned(),
        before,
        after,
    });
    Ok(())
}

fn configuration(facts: &Sessions<'_>, wanted: &Wanted<'_>) -> Option<Entry> {
    let kind = wanted.debugger.debugger().ides.zed.as_ref()?;
    let known = Known::of(facts, wanted, ROOT, facts.paths.local_for(ROOT));
    let entry = Entry::named("label", &facts.name(wanted))
        .kept("adapter", kind.adapter)
        .kept("request", "attach");
    Some(entry.with(known.fields(kind.fields)))
}
