//! `.zed/debug.json`.

use std::path::Path;

use jsonc_parser::cst::CstInputValue as Value;
use p2pdbg_base::Failure;
use p2pdbg_forward::{Direction, Preset};

use super::{
    Plan, PlannedFile, ReadFile, Sessions, Wanted,
    entry::{Entry, number, object},
    jsonc::{self, Place},
    no_use,
};

/// What stands for the project's directory.
const ROOT: &str = "$ZED_WORKTREE_ROOT";

pub(super) fn plan(
    facts: &Sessions<'_>,
    read: &ReadFile<'_>,
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
    let after = jsonc::with_entries(path, before.as_deref(), &Place::Root, &entries)?;
    plan.files.push(PlannedFile {
        path: path.to_owned(),
        before,
        after,
    });
    Ok(())
}

fn configuration(facts: &Sessions<'_>, wanted: &Wanted<'_>) -> Option<Entry> {
    let entry = |adapter: &str| {
        Entry::named("label", &facts.name(wanted))
            .kept("adapter", adapter)
            .kept("request", "attach")
    };
    let at = object([
        ("host", "127.0.0.1".into()),
        ("port", number(wanted.port())),
    ]);
    let remote = facts.paths.remote.as_ref().map(|path| path.as_str());
    let pair = |local: &str, there: &str| {
        let pair = |remote: &str| {
            Value::Array(vec![object([(local, ROOT.into()), (there, remote.into())])])
        };
        remote.map(pair)
    };
    Some(match wanted.debugger {
        Preset::Debugpy | Preset::Ptvsd => entry("Debugpy")
            .kept("connect", at)
            .kept_if_known("pathMappings", pair("localRoot", "remoteRoot")),
        Preset::Delve => entry("Delve")
            .kept("mode", "remote")
            .kept("tcp_connection", at)
            .kept_if_known("substitutePath", pair("from", "to")),
        Preset::Node => entry("JavaScript")
            .kept("type", "pwa-node")
            .kept("address", "127.0.0.1")
            .kept("port", number(wanted.port()))
            .kept("localRoot", ROOT)
            .kept_if_known("remoteRoot", remote.map(Value::from)),
        Preset::Lldb => entry("CodeLLDB")
            .proposed(
                "targetCreateCommands",
                Value::Array(vec![format!("target create {ROOT}/app").into()]),
            )
            .kept(
                "processCreateCommands",
                Value::Array(vec![
                    format!("gdb-remote 127.0.0.1:{}", wanted.port()).into(),
                ]),
            )
            .kept_if_known(
                "sourceMap",
                remote.map(|remote| object([(remote, ROOT.into())])),
            ),
        _ => return None,
    })
}
