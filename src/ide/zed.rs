//! `.zed/debug.json`.

use std::path::Path;

use jsonc_parser::cst::CstInputValue as Value;
use p2pdbg_base::Failure;
use p2pdbg_forward::{Direction, Preset};

use super::{
    Plan, PlannedFile, ReadFile, Sessions, Wanted, Written,
    entry::{Entry, number, object},
    jsonc::{self, Place},
    no_use,
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
    let after = jsonc::with_entries(path, before.as_deref(), &Place::Root, &entries, lists)?;
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
    let folder = facts.paths.local_for(ROOT);
    let folder = folder.as_str();
    let remote = facts.paths.remote.first().map(|path| path.as_str());
    let pair = |local: &str, there: &str| {
        let remotes = facts.paths.remote.iter();
        let pairs =
            remotes.map(|remote| object([(local, folder.into()), (there, remote.as_str().into())]));
        remote.map(|_| Value::Array(pairs.collect()))
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
            .kept("localRoot", folder)
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
                remote.map(|remote| object([(remote, folder.into())])),
            ),
        Preset::DebugpyConnect
        | Preset::Gdbserver
        | Preset::Jdwp
        | Preset::JdwpListen
        | Preset::Pydevd
        | Preset::Rdbg
        | Preset::Xdebug => return None,
    })
}
