//! The Debug Adapter Protocol: JSON messages with a header that says how long they are.
//!
//! Of debugpy's additions these are read: the telemetry that names the package and its version, `pydevdSystemInfo` and
//! `debugpySystemInfo`.

use std::{borrow::Cow, collections::VecDeque, time::Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    debugger_advice::{End, Knowledge, Location},
    framing::Headed,
    text::{cut, major_minor},
};

/// Requests to set breakpoints whose answers are awaited, at the most.
const MOST_PENDING: usize = 32;

/// Frames, modules and breakpoints that are looked at in one message, at the most.
const MOST_LISTED: usize = 256;

/// Both directions of a connection.
#[derive(Debug, Default)]
pub(crate) struct Dap {
    from_ide: Headed,
    from_debuggee: Headed,
    /// Breakpoints that were asked for: the request's number and the file.
    pending: VecDeque<(i64, String)>,
    /// Whether the place of a stop is still to be learnt.
    wants_place: bool,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    seq: Option<i64>,
    request_seq: Option<i64>,
    command: Option<String>,
    event: Option<String>,
    success: Option<bool>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

impl Message<'_> {
    fn arguments<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.arguments?.get()).ok()
    }

    fn body<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.body?.get()).ok()
    }
}

#[derive(Deserialize)]
struct Source {
    path: Option<String>,
    name: Option<String>,
}

impl Dap {
    /// Takes in what an end wrote; `None` if nothing can be understood any more.
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
            let Some(body) = framing.next(&mut bytes).ok()? else {
                return Some(());
            };
            // One that was too long, or is of no known shape, is a turn all the same.
            let message = serde_json::from_slice::<Message<'_>>(&body).ok();
            match (from, message) {
                (End::Ide, Some(message)) => self.on_ide(now, &message, knowledge),
                (End::Ide, None) => knowledge.on_request(now, false),
                (End::Debuggee, message) => {
                    knowledge.on_answer(now);
                    if let Some(message) = message {
                        self.on_debuggee(&message, knowledge);
                    }
                }
            }
        }
    }

    /// Passes over bytes that were not seen; whether they were all of one message.
    pub(crate) fn handle_gap(&mut self, from: End, length: u64) -> bool {
        match from {
            End::Ide => self.from_ide.pass_over(length),
            End::Debuggee => self.from_debuggee.pass_over(length),
        }
    }

    fn on_ide(&mut self, now: Instant, message: &Message<'_>, knowledge: &mut Knowledge) {
        let command = message.command.as_deref().unwrap_or_default();
        let is_request = message.kind == "request";
        let is_step = matches!(command, "next" | "stepIn" | "stepOut" | "stepBack");
        knowledge.on_request(now, is_request && is_step);
        if !is_request {
            return;
        }
        match command {
            "initialize" => {
                #[derive(Deserialize)]
                #[serde(rename_all = "camelCase")]
                struct Arguments {
                    #[serde(rename = "clientID")]
                    client_id: Option<String>,
                    client_name: Option<String>,
                    #[serde(rename = "adapterID")]
                    adapter_id: Option<String>,
                }
                if let Some(arguments) = message.arguments::<Arguments>() {
                    let ide = arguments.client_name.or(arguments.client_id);
                    knowledge.learn(|debugger| {
                        debugger.ide = ide.as_deref().map(cut);
                        // What the IDE takes it for, until it says itself what it is.
                        if debugger.name.is_none() {
                            debugger.name = arguments.adapter_id.as_deref().map(cut);
                        }
                    });
                }
            }
            "attach" | "launch" => on_mappings(message, knowledge),
            "setBreakpoints" => {
                #[derive(Deserialize)]
                struct Arguments {
                    source: Source,
                }
                if let (Some(seq), Some(arguments)) =
                    (message.seq, message.arguments::<Arguments>())
                    && let Some(path) = arguments.source.path
                {
                    knowledge.files.on_ide_file(&path);
                    if self.pending.len() == MOST_PENDING {
                        self.pending.pop_front();
                    }
                    self.pending.push_back((seq, path));
                }
            }
            "next" | "stepIn" | "stepOut" | "stepBack" | "continue" => {
                self.wants_place = false;
                knowledge.on_running();
            }
            _ => {}
        }
    }

    fn on_debuggee(&mut self, message: &Message<'_>, knowledge: &mut Knowledge) {
        match (&*message.kind, message.event.as_deref()) {
            ("event", Some(event)) => self.on_event(event, message, knowledge),
            ("response", _) if message.success != Some(false) => {
                let command = message.command.as_deref().unwrap_or_default();
                self.on_response(command, message, knowledge);
            }
            _ => {}
        }
    }

    fn on_event(&mut self, event: &str, message: &Message<'_>, knowledge: &mut Knowledge) {
        match event {
            "output" => on_output(message, knowledge),
            "process" => {
                #[derive(Deserialize)]
                #[serde(rename_all = "camelCase")]
                struct Body {
                    name: Option<String>,
                    system_process_id: Option<u32>,
                }
                if let Some(body) = message.body::<Body>() {
                    knowledge.learn(|debugger| {
                        debugger.pid = body.system_process_id.or(debugger.pid);
                    });
                    if let Some(name) = body.name {
                        knowledge.on_program(&name);
                    }
                }
            }
            "module" => {
                #[derive(Deserialize)]
                struct Body {
                    module: Source,
                }
                if let Some(path) = message.body::<Body>().and_then(|body| body.module.path) {
                    knowledge.on_debuggee_file(&path);
                }
            }
            "stopped" => {
                self.wants_place = true;
                knowledge.on_stopped(None);
            }
            "continued" => {
                self.wants_place = false;
                knowledge.on_running();
            }
            "terminated" | "exited" => {
                self.wants_place = false;
                knowledge.on_ended();
            }
            _ => {}
        }
    }

    fn on_response(&mut self, command: &str, message: &Message<'_>, knowledge: &mut Knowledge) {
        match command {
            "pydevdSystemInfo" | "debugpySystemInfo" => on_system_info(message, knowledge),
            "stackTrace" => self.on_stack(message, knowledge),
            "setBreakpoints" => self.on_breakpoints(message, knowledge),
            _ => {}
        }
    }

    fn on_stack(&mut self, message: &Message<'_>, knowledge: &mut Knowledge) {
        #[derive(Deserialize)]
        struct Frame {
            line: Option<u32>,
            source: Option<Source>,
        }
        #[derive(Deserialize)]
        struct Body {
            #[serde(rename = "stackFrames")]
            frames: Vec<Frame>,
        }
        let Some(body) = message.body::<Body>() else {
            return;
        };
        if std::mem::take(&mut self.wants_place)
            && let Some(Frame {
                line: Some(line),
                source: Some(source),
            }) = body.frames.first()
            && let Some(file) = source.path.as_ref().or(source.name.as_ref())
        {
            knowledge.on_stopped(Some(Location {
                file: cut(file),
                line: *line,
            }));
            if let Some(path) = &source.path {
                knowledge.on_stop_in(path);
            }
        }
        for frame in body.frames.into_iter().take(MOST_LISTED) {
            if let Some(path) = frame.source.and_then(|source| source.path) {
                knowledge.on_debuggee_file(&path);
            }
        }
    }

    fn on_breakpoints(&mut self, message: &Message<'_>, knowledge: &mut Knowledge) {
        #[derive(Deserialize)]
        struct Breakpoint {
            verified: Option<bool>,
            message: Option<String>,
        }
        #[derive(Deserialize)]
        struct Body {
            breakpoints: Vec<Breakpoint>,
        }
        let asked = message.request_seq;
        let position = self.pending.iter().position(|(seq, _)| Some(*seq) == asked);
        let Some((_, path)) = position.and_then(|at| self.pending.remove(at)) else {
            return;
        };
        let missing = |breakpoint: &Breakpoint| {
            let says = breakpoint.message.as_deref().unwrap_or_default();
            breakpoint.verified == Some(false) && says_that_a_file_is_missing(says)
        };
        let body = message.body::<Body>();
        if body.is_some_and(|body| body.breakpoints.iter().take(MOST_LISTED).any(missing)) {
            knowledge.on_missing_file(&path, false);
        }
    }
}

/// The path mappings that the IDE tells its debugger, as they stand in the configuration that it starts: a list for
/// debugpy and for delve, an object for others, one pair, or rdbg's list of `THERE:HERE` with commas.
fn on_mappings(message: &Message<'_>, knowledge: &mut Knowledge) {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Pair {
        #[serde(alias = "from")]
        local_root: String,
        #[serde(alias = "to")]
        remote_root: String,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Pairs {
        List(Vec<Pair>),
        ByRemote(std::collections::BTreeMap<String, String>),
        Other(serde::de::IgnoredAny),
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Arguments {
        path_mappings: Option<Pairs>,
        substitute_path: Option<Pairs>,
        local_root: Option<String>,
        remote_root: Option<String>,
        localfs_map: Option<String>,
    }
    let Some(arguments) = message.arguments::<Arguments>() else {
        return;
    };
    let files = &mut knowledge.files;
    for pairs in [arguments.path_mappings, arguments.substitute_path]
        .into_iter()
        .flatten()
    {
        match pairs {
            Pairs::List(list) => {
                let list = list.iter().take(MOST_LISTED);
                list.for_each(|pair| files.on_mapping(&pair.local_root, &pair.remote_root));
            }
            Pairs::ByRemote(map) => {
                let map = map.iter().take(MOST_LISTED);
                map.for_each(|(remote, local)| files.on_mapping(local, remote));
            }
            Pairs::Other(_) => {}
        }
    }
    if let (Some(local), Some(remote)) = (arguments.local_root, arguments.remote_root) {
        files.on_mapping(&local, &remote);
    }
    let of_rdbg = arguments.localfs_map.unwrap_or_default();
    let of_rdbg = of_rdbg
        .split(',')
        .filter_map(|pair| pair.trim().split_once(':'));
    for (remote, local) in of_rdbg.take(MOST_LISTED) {
        files.on_mapping(local, remote);
    }
}

/// Whether a message about a breakpoint says that there is no such file: debugpy's words, and those of others.
fn says_that_a_file_is_missing(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "file that does not exist",
        "could not find file",
        "no source file",
        "no such file",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// The telemetry of debugpy, which tells its version under both of its names, and of the real ptvsd, which calls the
/// version otherwise.
fn on_output(message: &Message<'_>, knowledge: &mut Knowledge) {
    #[derive(Deserialize)]
    struct Data {
        #[serde(rename = "packageVersion")]
        package_version: Option<String>,
        version: Option<String>,
    }
    #[derive(Deserialize)]
    struct Body {
        category: Option<String>,
        output: Option<String>,
        data: Option<Data>,
    }
    let Some(body) = message.body::<Body>() else {
        return;
    };
    let package = body.output.as_deref().map(str::trim).unwrap_or_default();
    if body.category.as_deref() != Some("telemetry") || !matches!(package, "debugpy" | "ptvsd") {
        return;
    }
    let (version, is_itself) = match body.data {
        Some(Data {
            package_version: Some(version),
            ..
        }) => (version, package == "debugpy"),
        Some(Data {
            version: Some(version),
            ..
        }) => (version, true),
        _ => return,
    };
    knowledge.learn(|debugger| {
        // debugpy calls itself by its old name too, and first.
        if is_itself || debugger.name.as_deref() != Some("debugpy") {
            debugger.name = Some(package.to_owned());
        }
        debugger.version = Some(cut(&version));
    });
}

/// What pydevd inside debugpy says of where it runs.
fn on_system_info(message: &Message<'_>, knowledge: &mut Knowledge) {
    #[derive(Deserialize)]
    struct Versioned {
        version: Option<String>,
    }
    #[derive(Deserialize)]
    struct Process {
        pid: Option<u32>,
    }
    #[derive(Deserialize)]
    struct Body {
        python: Option<Versioned>,
        process: Option<Process>,
        debugger: Option<Versioned>,
    }
    let Some(body) = message.body::<Body>() else {
        return;
    };
    let python = body.python.and_then(|python| python.version);
    let pid = body.process.and_then(|process| process.pid);
    let version = body.debugger.and_then(|debugger| debugger.version);
    knowledge.learn(|debugger| {
        debugger.name.get_or_insert_with(|| "debugpy".to_owned());
        if let Some(python) = python.as_deref().and_then(major_minor) {
            debugger.runtime = Some(format!("Python {python}"));
        }
        debugger.pid = pid.or(debugger.pid);
        if let Some(version) = version {
            debugger.version = Some(cut(&version));
        }
    });
}
