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
    jsonc::{self, Place},
    no_use,
};

/// What stands for the project's directory.
const FOLDER: &str = "${workspaceFolder}";

/// Where a debugger of this host is reached.
const HOST: &str = "127.0.0.1";

/// The configuration that starts those of all peers.
const ALL: &str = "p2pdbg all";

/// Where the task is.
const TASKS_FILE: &str = ".vscode/tasks.json";

/// The version of the file that has tasks of this kind.
const TASKS_VERSION: &str = "2.0.0";

/// The task's label.
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
    let version = jsonc::version(tasks_file, read(tasks_file)?.as_deref())?;
    let has_tasks = version
        .as_ref()
        .is_none_or(|version| version == TASKS_VERSION);
    let mut entries = Vec::new();
    for wanted in facts.wanted(fallback, &mut plan.notes) {
        let name = facts.name(&wanted);
        let with_tunnel = format!("{name}, with the tunnel");
        match configuration(facts, &wanted, &name) {
            Ok(entry) => entries.push(entry),
            Err(instead) => {
                plan.notes.push(no_use("VS Code", wanted.debugger, instead));
                continue;
            }
        }
        if !has_tasks {
            continue;
        }
        let started = configuration(facts, &wanted, &with_tunnel);
        entries.extend(started.ok().map(|entry| entry.kept("preLaunchTask", TASK)));
    }
    if entries.is_empty() {
        return Ok(());
    }
    let compounds = compounds(facts, has_tasks);
    let launch = Place::Key("configurations", "0.2.0");
    let all = Place::Key("compounds", "0.2.0");
    let tasks = Place::Key("tasks", TASKS_VERSION);
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
            after = jsonc::with_entries(path, Some(&after), place, entries, lists)?;
        }
        plan.files.push(PlannedFile {
            path: path.to_owned(),
            before,
            after,
        });
    }
    Ok(())
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
    let with_tunnel = || all(&format!("{ALL}, with the tunnel")).kept("preLaunchTask", TASK);
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
    let entry = |kind: &str, request: &str| {
        Entry::named("name", name)
            .kept("type", kind)
            .kept("request", request)
    };
    let port = wanted.port();
    let folder = facts.paths.local_for(FOLDER);
    let folder = folder.as_str();
    let remotes = &facts.paths.remote;
    let remote = remotes.first().map(|path| path.as_str());
    let pairs = |make: &dyn Fn(&str) -> Value| -> Option<Value> {
        let pairs = remotes.iter().map(|path| make(path.as_str()));
        (!remotes.is_empty()).then(|| Value::Array(pairs.collect()))
    };
    let by_remote = remote.map(|_| {
        let pairs = remotes.iter().map(|path| (path.to_string(), folder.into()));
        Value::Object(pairs.collect())
    });
    let at = || object([("host", HOST.into()), ("port", number(port))]);
    let python_pair =
        |remote: &str| object([("localRoot", folder.into()), ("remoteRoot", remote.into())]);
    let python = |entry: Entry| match pairs(&python_pair) {
        Some(pairs) => entry.kept("pathMappings", pairs),
        // The directory in which the program is started.
        None => entry.proposed("pathMappings", Value::Array(vec![python_pair(".")])),
    };
    Ok(match wanted.debugger {
        Preset::Debugpy | Preset::Ptvsd => python(entry("debugpy", "attach").kept("connect", at())),
        Preset::DebugpyConnect => python(entry("debugpy", "attach").kept("listen", at())),
        Preset::Gdbserver => entry("cppdbg", "launch")
            .proposed("program", format!("{FOLDER}/app"))
            .proposed("cwd", FOLDER)
            .kept("MIMode", "gdb")
            .kept("miDebuggerServerAddress", format!("{HOST}:{port}"))
            .proposed(
                "setupCommands",
                Value::Array(vec![object([("text", "set remotetimeout 60".into())])]),
            )
            .kept_if_known("sourceFileMap", by_remote),
        Preset::Lldb => entry("lldb", "attach")
            .proposed(
                "targetCreateCommands",
                Value::Array(vec![format!("target create {FOLDER}/app").into()]),
            )
            .kept(
                "processCreateCommands",
                Value::Array(vec![format!("gdb-remote {HOST}:{port}").into()]),
            )
            .kept_if_known("sourceMap", by_remote),
        Preset::Delve => {
            let substitute =
                pairs(&|remote| object([("from", folder.into()), ("to", remote.into())]));
            entry("go", "attach")
                .kept("mode", "remote")
                .kept("host", HOST)
                .kept("port", number(port))
                .kept_if_known("substitutePath", substitute)
        }
        Preset::Jdwp => entry("java", "attach")
            .kept("hostName", HOST)
            .kept("port", number(port)),
        Preset::Node => entry("node", "attach")
            .kept("address", HOST)
            .kept("port", number(port))
            .kept("localRoot", folder)
            .kept_if_known("remoteRoot", remote.map(Value::from)),
        Preset::Rdbg => entry("rdbg", "attach")
            .kept("debugPort", format!("{HOST}:{port}"))
            .kept_if_known(
                "localfsMap",
                facts.paths.list_of_rdbg(FOLDER).map(Value::from),
            ),
        Preset::Xdebug => entry("php", "launch")
            .kept("hostname", HOST)
            .kept("port", number(port))
            .kept_if_known("pathMappings", by_remote),
        Preset::Pydevd => return Err("; use p2pdbg listen debugpy or debugpy-connect"),
        Preset::JdwpListen => return Err("; use p2pdbg listen jdwp"),
    })
}

/// The task that runs `p2pdbg listen` as the session was started, and by the peer's name if it is known.
fn task(facts: &Sessions<'_>, notes: &mut Vec<String>) -> Entry {
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
    let matcher = object([
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
    ]);
    Entry::named("label", TASK)
        .kept("type", "process")
        .proposed("command", "p2pdbg")
        .kept(
            "args",
            Value::Array(arguments.into_iter().map(Value::from).collect()),
        )
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
        .kept("problemMatcher", matcher)
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
    let is_directory = matches!(option, "--sources" | "--state");
    Ok(
        match below.and_then(Path::to_str).filter(|_| is_directory) {
            Some("") => FOLDER.to_owned(),
            Some(below) => format!("{FOLDER}/{below}"),
            None => value.to_owned(),
        },
    )
}
