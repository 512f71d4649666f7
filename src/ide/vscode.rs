//! `.vscode/launch.json`, and in `tasks.json` a background task that starts the tunnel on F5.
//!
//! Each forward gets two configurations: one for a tunnel that runs already, one that starts it. The task is ready when
//! `p2pdbg listen` says that a forward stands.

use std::path::Path;

use jsonc_parser::cst::CstInputValue as Value;
use p2pdbg_base::Failure;
use p2pdbg_forward::{Direction, Preset};

use super::{
    Plan, PlannedFile, ReadFile, Sessions, Wanted, Written,
    entry::{Entry, number, object},
    jsonc_merge::{self, ListPosition},
    no_use,
    values::Known,
};
use crate::cli::is_directory;

/// What stands for the project's directory.
const FOLDER: &str = "${workspaceFolder}";

/// The configuration that starts those of all peers.
const ALL: &str = "p2pdbg all";

/// The file that the task is in, within the project.
const TASKS_FILE: &str = ".vscode/tasks.json";

/// The version of the file that has tasks of this kind.
const TASKS_VERSION: &str = "2.0.0";

/// The label by which a configuration names the task.
const TASK: &str = "p2pdbg tunnel";

/// What `p2pdbg listen` begins with when it waits.
const BEGINS: &str = "^(waiting for|on the debuggee's host)";

/// The line with which it says that a forward stands.
const READY: &str = "^(\\S+: )?forward: .+ -> .+";

/// The line with which it gives up.
const PROBLEM: &str = "^error: (.*)$";

pub(super) fn plan(
    facts: &Sessions<'_>,
    read: &ReadFile<'_>,
    written: &mut Written,
    plan: &mut Plan,
) -> Result<(), Failure> {
    let tasks_file = Path::new(TASKS_FILE);
    let version = jsonc_merge::version(tasks_file, read(tasks_file)?.as_deref())?;
    let has_tasks = version
        .as_ref()
        .is_none_or(|version| version == TASKS_VERSION);
    let entries = configurations(facts, has_tasks, &mut plan.notes);
    if entries.is_empty() {
        return Ok(());
    }
    let compounds = compounds(facts, has_tasks);
    let launch = ListPosition::Key("configurations", "0.2.0");
    let all = ListPosition::Key("compounds", "0.2.0");
    let tasks = ListPosition::Key("tasks", TASKS_VERSION);
    let mut files = vec![(
        ".vscode/launch.json",
        vec![(launch, entries), (all, compounds)],
    )];
    if has_tasks {
        files.push((
            TASKS_FILE,
            vec![(tasks, vec![task(facts, &mut plan.notes)])],
        ));
    } else {
        plan.notes.push(format!(
            "left {TASKS_FILE} as it is: its tasks are not of version {TASKS_VERSION}, so no configuration starts the \
             tunnel by itself"
        ));
    }
    for (path, lists) in files {
        let path = Path::new(path);
        let before = read(path)?;
        let mut after = before.clone().unwrap_or_default();
        for (place, entries) in lists.iter().filter(|(_, entries)| !entries.is_empty()) {
            let lists = written.of(&facts.whole_path(path));
            after = jsonc_merge::with_entries(
                path,
                Some(&after),
                place,
                entries,
                lists,
                &mut plan.notes,
            )?;
        }
        plan.files.push(PlannedFile {
            path: path.to_owned(),
            before,
            after,
        });
    }
    Ok(())
}

/// What attaches each debugger to a tunnel that runs, and what starts the tunnel before, if there can be tasks.
fn configurations(facts: &Sessions<'_>, has_tasks: bool, notes: &mut Vec<String>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for wanted in facts.wanted(fallback, notes) {
        let name = facts.name(&wanted);
        match configuration(facts, &wanted, &name) {
            Ok(entry) => entries.push(entry),
            Err(instead) => {
                notes.push(no_use("VS Code", wanted.debugger, instead));
                continue;
            }
        }
        if has_tasks {
            let with_tunnel = format!("{name}, with the tunnel");
            let started = configuration(facts, &wanted, &with_tunnel);
            entries.extend(
                started
                    .ok()
                    .map(|entry| entry.proposed("preLaunchTask", TASK)),
            );
        }
    }
    entries
}

/// What starts the debuggers of all peers at once, if there are several: attached to a tunnel that runs, or with one.
fn compounds(facts: &Sessions<'_>, has_tasks: bool) -> Vec<Entry> {
    if !facts.are_several() {
        return Vec::new();
    }
    let mut names = Vec::new();
    for at in 0..facts.all.len() {
        let one = Sessions { at, ..*facts };
        // What is left out was noted already.
        for wanted in one.wanted(fallback, &mut Vec::new()) {
            let name = one.name(&wanted);
            if configuration(&one, &wanted, &name).is_ok() {
                names.push(Value::from(name));
            }
        }
    }
    if names.len() < 2 {
        return Vec::new();
    }
    let all = |name: &str| {
        Entry::named("name", name)
            .kept("configurations", Value::Array(names.clone()))
            .proposed("stopAll", false)
    };
    let with_tunnel = || all(&format!("{ALL}, with the tunnel")).proposed("preLaunchTask", TASK);
    let mut compounds = vec![all(ALL)];
    compounds.extend(has_tasks.then(with_tunnel));
    compounds
}

/// The debugger of a forward that has no name.
fn fallback(direction: Direction) -> Option<Preset> {
    match direction {
        Direction::ToDebuggee => Some(Preset::Debugpy),
        Direction::ToIde => Some(Preset::DebugpyConnect),
    }
}

/// The configuration of a forward, or what to do instead.
fn configuration(
    facts: &Sessions<'_>,
    wanted: &Wanted<'_>,
    name: &str,
) -> Result<Entry, &'static str> {
    let kind = wanted.debugger.debugger().ides.vscode.as_ref();
    let kind = kind.map_err(|instead| *instead)?;
    let folder = facts.paths.local_for(FOLDER);
    let known = Known::of(facts, wanted, FOLDER, folder);
    let entry = Entry::named("name", name)
        .kept("type", kind.types[0])
        .kept("request", kind.request);
    Ok(entry.with(known.fields(kind.fields)))
}

/// The task that runs `p2pdbg listen` as the session was started, and by the peer's name if it is known.
fn task(facts: &Sessions<'_>, notes: &mut Vec<String>) -> Entry {
    let arguments = arguments(facts, notes).into_iter().map(Value::from);
    Entry::named("label", TASK)
        .kept_unless("type", "process", "shell")
        .proposed("command", "p2pdbg")
        .arguments("args", Value::Array(arguments.collect()))
        .kept("isBackground", true)
        // Without a status line to redraw, every line is one to match.
        .kept(
            "options",
            object([("env", object([("TERM", "dumb".into())]))]),
        )
        .proposed(
            "presentation",
            object([("panel", "dedicated".into()), ("reveal", "always".into())]),
        )
        .kept_in_kind("problemMatcher", problem_matcher())
}

/// The command line of that `p2pdbg listen`; what cannot be said in a task is noted.
fn arguments(facts: &Sessions<'_>, notes: &mut Vec<String>) -> Vec<String> {
    let session = facts.all[0].session;
    let mut arguments = vec!["listen".to_owned()];
    // Further places have further ports by themselves.
    for forward in &session.forwards {
        arguments.extend(forward.to_arguments());
    }
    let peers: Vec<&String> = facts
        .all
        .iter()
        .filter_map(|f| f.session.peer.as_ref())
        .collect();
    let named = peers.len() == facts.all.len();
    if named {
        let named = peers
            .iter()
            .flat_map(|peer| ["--peer".to_owned(), (*peer).clone()]);
        arguments.extend(named);
    }
    let places = session.option("--peers").and_then(|n| n.parse().ok());
    let places: usize = places.unwrap_or(1).max(facts.all.len());
    if places > if named { peers.len() } else { 1 } {
        arguments.extend(["--peers".to_owned(), places.to_string()]);
    }
    for (option, value) in session.options() {
        if option == "--peers" {
            continue;
        }
        match value
            .map(|value| in_folder(option, value, &facts.paths.local))
            .transpose()
        {
            Ok(value) => {
                arguments.push(option.to_owned());
                arguments.extend(value);
            }
            Err(note) => notes.push(note),
        }
    }
    if session.rendezvous_given {
        notes.push(
            "p2pdbg listen was given --rendezvous with an access key, which does not belong in the task: set \
             P2PDBG_RENDEZVOUS or the configuration file"
                .to_owned(),
        );
    }
    arguments
}

/// How VS Code knows from what `p2pdbg listen` says that the tunnel stands, or that it failed.
fn problem_matcher() -> Value {
    object([
        ("owner", "p2pdbg".into()),
        ("source", "p2pdbg".into()),
        (
            "fileLocation",
            Value::Array(vec!["relative".into(), FOLDER.into()]),
        ),
        (
            "pattern",
            object([
                ("regexp", PROBLEM.into()),
                ("kind", "file".into()),
                ("file", number(1)),
                ("message", number(1)),
            ]),
        ),
        (
            "background",
            object([
                ("activeOnStart", true.into()),
                ("beginsPattern", BEGINS.into()),
                ("endsPattern", READY.into()),
            ]),
        ),
    ])
}

/// The value of an option as it stands in the task, which runs in the project's directory: a directory within that by
/// what stands for it.
fn in_folder(option: &str, value: &str, project: &Path) -> Result<String, String> {
    if value.contains("${") {
        return Err(format!(
            "left {option} out of the task: VS Code would put something else for its ${{…}}"
        ));
    }
    let below = Path::new(value).strip_prefix(project).ok();
    Ok(
        match below
            .and_then(Path::to_str)
            .filter(|_| is_directory(option))
        {
            Some("") => FOLDER.to_owned(),
            Some(below) => format!("{FOLDER}/{below}"),
            None => value.to_owned(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_knows_each_type_of_the_table_and_no_other() {
        let mut types: Vec<(&str, &str)> = Vec::new();
        for preset in Preset::ALL {
            let kind = preset.debugger().ides.vscode.as_ref();
            for name in kind.map_or(&[][..], |kind| kind.types) {
                if !types.iter().any(|(known, _)| known == name) {
                    types.push((name, preset.name()));
                }
            }
        }
        let lines = types.iter().map(|(name, preset)| match name.contains('-') {
            true => format!("    '{name}': '{preset}',\n"),
            false => format!("    {name}: '{preset}',\n"),
        });
        let expected = format!(
            "export const PRESETS: Readonly<Record<string, string>> = {{\n{}}};\n",
            lines.collect::<String>()
        );
        let file = include_str!("../../editors/vscode/src/presets.ts");
        assert!(
            file.ends_with(&expected),
            "editors/vscode/src/presets.ts is to end with:\n{expected}"
        );
    }
}
