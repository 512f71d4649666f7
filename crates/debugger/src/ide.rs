//! How the IDEs' configurations for a debugger read, as data.
//!
//! The program's `ide` puts the ports and directories of a session in and writes the files. An IDE that has no
//! configuration for a debugger has none here either, and what to do instead where there is something.

/// The configurations of the IDEs for one debugger.
#[derive(Debug)]
pub struct Ides {
    /// VS Code's, or what to do instead, as the end of "VS Code has no configuration for it".
    pub vscode: Result<VsCode, &'static str>,
    /// Zed's; none if it has no adapter for the debugger.
    pub zed: Option<Zed>,
    /// nvim-dap's; none if no adapter for the debugger is known.
    pub nvim: Option<Nvim>,
    /// The one of JetBrains' IDEs that have one.
    pub jetbrains: Option<JetBrains>,
}

/// A configuration of VS Code.
#[derive(Debug)]
pub struct VsCode {
    /// Its type, and further ones of VS Code's that are for the same debugger. Of two debuggers with one type, the
    /// extension takes a configuration to be for the first of the table.
    pub types: &'static [&'static str],
    /// `attach` or `launch`, in the extension's own sense.
    pub request: &'static str,
    /// The fields behind `name`, `type` and `request`, in the order in which they are written.
    pub fields: &'static [Field],
}

/// A configuration of Zed, which attaches.
#[derive(Debug)]
pub struct Zed {
    /// The adapter's name, as Zed's registry of adapters has it.
    pub adapter: &'static str,
    /// The fields behind `label`, `adapter` and `request`, in the order in which they are written.
    pub fields: &'static [Field],
}

/// A configuration of nvim-dap, which attaches.
#[derive(Debug)]
pub struct Nvim {
    /// What nvim-dap talks to: the forward's port, or a program that dials it.
    pub adapter: Adapter,
    /// The types of files for which it is offered.
    pub filetypes: &'static [&'static str],
    /// The fields behind `type`, `request` and `name`, in the order in which they are written.
    pub fields: &'static [Field],
    /// Whether the program is asked for when it starts: the debugger reads its symbols here.
    pub asks_program: bool,
}

/// A debug adapter of nvim-dap.
#[derive(Debug, Clone, Copy)]
pub enum Adapter {
    /// What listens at the forward's port: the debugger speaks DAP itself.
    Server,
    /// A program of this host that is started, found by its name in `PATH`.
    Executable(&'static str, &'static [&'static str]),
}

/// A kind of run configuration of JetBrains' IDEs. Which of them have it is known where they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JetBrains {
    /// PyCharm's client of the Debug Adapter Protocol.
    AttachToDap,
    /// PyCharm's Python Debug Server: the IDE listens and pydevd-pycharm dials it.
    PythonDebugServer,
    /// Go Remote: the IDE dials delve.
    GoRemote,
    /// Remote JVM Debug: the IDE dials the JVM.
    RemoteJvmAttach,
    /// Remote JVM Debug: the IDE listens.
    RemoteJvmListen,
}

/// A field of a configuration. One whose value is not known, or whose key is there already, is left out.
#[derive(Debug, Clone, Copy)]
pub enum Field {
    /// Follows from the session, and is kept up to date.
    Kept(&'static str, Value),
    /// Is written once; afterwards it is the user's.
    Proposed(&'static str, Value),
}

/// A value of a configuration.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// A text, in which `FOLDER` is the IDE's own word for the project's directory, and `PORT` the forward's port.
    Text(&'static str),
    /// The forward's port beside the IDE.
    Port,
    /// An object of `host` and `port`, where the forward is beside the IDE.
    Address,
    /// The directory here whose files are the debuggee's.
    Here,
    /// The directory there, by the name that its user sees. Not known before the peer has said where it runs.
    There,
    /// For each name of the directory there an object: the directory here by the first key, there by the second. Not
    /// known if `There` is not.
    Pairs(&'static str, &'static str),
    /// An object with the directory here for each name of the one there. Not known if `There` is not.
    HereByThere,
    /// The same as a list of lists of two. Not known if `There` is not.
    ThereAndHere,
    /// The text of rdbg's `localfsMap`. Not known if `There` is not, or if it cannot be said in such a list.
    RdbgMap,
    /// A list of values, in their order.
    List(&'static [Value]),
    /// An object, its fields in their order.
    Object(&'static [(&'static str, Value)]),
}

/// Where a debugger of this host is reached.
pub(crate) const HOST: Value = Value::Text("127.0.0.1");
