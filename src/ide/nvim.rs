//! `.p2pdbg/dap.lua`, for nvim-dap: a file of our own, to be loaded with `:luafile`, that adds adapters and
//! configurations to those that are there.

use std::{fmt::Write, path::Path};

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_forward::{Direction, Preset};

use super::{Plan, PlannedFile, ReadFile, Sessions, Wanted, no_use};

/// The first line, by which a file of ours is told from others.
const MARK: &str =
    "-- Made by p2pdbg ide nvim, which overwrites it. Load it with :luafile .p2pdbg/dap.lua";

const HEAD: &str = r#"
local dap = require("dap")

-- Puts a configuration in the place of the one of the same name.
local function put(filetypes, configuration)
  for _, filetype in ipairs(filetypes) do
    local others = vim.tbl_filter(function(other)
      return other.name ~= configuration.name
    end, dap.configurations[filetype] or {})
    table.insert(others, configuration)
    dap.configurations[filetype] = others
  end
end
"#;

pub(super) fn plan(
    facts: &Sessions<'_>,
    read: &ReadFile<'_>,
    plan: &mut Plan,
) -> Result<(), Failure> {
    let fallback = |direction| match direction {
        Direction::ToDebuggee => Some(Preset::Debugpy),
        Direction::ToIde => Some(Preset::DebugpyConnect),
    };
    let path = Path::new(".p2pdbg/dap.lua");
    let before = read(path)?;
    let mut lua = match &before {
        // What the session before this one has put into it.
        Some(text) if facts.at > 0 && text.starts_with(MARK) => text.clone(),
        _ => format!("{MARK}{HEAD}"),
    };
    let mut any = false;
    for wanted in facts.wanted(fallback, &mut plan.notes) {
        match chunk(facts, &wanted) {
            Some(chunk) => {
                any = true;
                lua.push('\n');
                lua.push_str(&chunk);
            }
            None => plan.notes.push(no_use(
                "nvim-dap",
                wanted.debugger,
                " without a path to its adapter",
            )),
        }
    }
    if !any {
        return Ok(());
    }
    if before.as_ref().is_some_and(|text| !text.starts_with(MARK)) {
        let message = format!("{} is not a file that p2pdbg made", path.display());
        return Err(
            Failure::new(ErrorCode::IdeFile, message).hint("move it away; nothing was written")
        );
    }
    plan.files.push(PlannedFile {
        path: path.to_owned(),
        before,
        after: lua,
    });
    Ok(())
}

fn chunk(facts: &Sessions<'_>, wanted: &Wanted<'_>) -> Option<String> {
    let port = wanted.port();
    let name = facts.name(wanted);
    let adapter = name.replace([' ', '-'], "_");
    let local = facts.paths.local_path().to_str().map(quote)?;
    let remotes: Vec<_> = facts
        .paths
        .remote
        .iter()
        .map(|path| quote(path.as_str()))
        .collect();
    let remote = remotes.first();
    let server = format!(
        "{{ type = \"server\", host = \"127.0.0.1\", port = {port}, options = {{ initialize_timeout_sec = 60 }} }}"
    );
    let executable = |command: &str, arguments: &str| {
        format!("{{ type = \"executable\", command = \"{command}\", args = {{ {arguments} }} }}")
    };
    let pairs = |from: &str, to: &str| {
        let pair = |remote: &String| format!("{{ {from} = {local}, {to} = {remote} }}");
        let pairs: Vec<_> = remotes.iter().map(pair).collect();
        match pairs.is_empty() {
            true => String::new(),
            false => format!("{{ {} }}", pairs.join(", ")),
        }
    };
    let field = |name: &str, value: &str| match value {
        "" => String::new(),
        value => format!("  {name} = {value},\n"),
    };
    let at = format!("{{ host = \"127.0.0.1\", port = {port} }}");
    let program =
        "function() return vim.fn.input(\"program: \", vim.fn.getcwd() .. \"/\", \"file\") end";
    let (definition, filetypes, fields) = match wanted.debugger {
        Preset::Debugpy | Preset::Ptvsd => (
            server,
            "python",
            field("connect", &at) + &field("pathMappings", &pairs("localRoot", "remoteRoot")),
        ),
        Preset::DebugpyConnect => (
            executable("python3", "\"-m\", \"debugpy.adapter\""),
            "python",
            field("listen", &at) + &field("pathMappings", &pairs("localRoot", "remoteRoot")),
        ),
        Preset::Delve => (
            server,
            "go",
            field("mode", "\"remote\"") + &field("substitutePath", &pairs("from", "to")),
        ),
        Preset::Gdbserver => (
            executable(
                "gdb",
                "\"--interpreter=dap\", \"-ex\", \"set remotetimeout 60\"",
            ),
            "c, cpp, rust",
            field("target", &format!("\"127.0.0.1:{port}\"")) + &field("program", program),
        ),
        Preset::Lldb => (
            executable("lldb-dap", ""),
            "c, cpp, rust",
            field(
                "attachCommands",
                &format!("{{ \"gdb-remote 127.0.0.1:{port}\" }}"),
            ) + &field("program", program)
                + &field(
                    "sourceMap",
                    &remote.map_or(String::new(), |remote| {
                        format!("{{ {{ {remote}, {local} }} }}")
                    }),
                ),
        ),
        Preset::Rdbg => (server, "ruby", field("localfsMap", &local_map(facts))),
        Preset::Jdwp | Preset::JdwpListen | Preset::Node | Preset::Pydevd | Preset::Xdebug => {
            return None;
        }
    };
    let filetypes: Vec<String> = filetypes.split(", ").map(quote).collect();
    Some(format!(
        "dap.adapters.{adapter} = {definition}\nput({{ {} }}, {{\n  type = \"{adapter}\",\n  request = \"attach\",\n  name = {},\n{fields}}})\n",
        filetypes.join(", "),
        quote(&name)
    ))
}

/// rdbg's list of pairs, with the project's whole path.
fn local_map(facts: &Sessions<'_>) -> String {
    let project = facts.paths.local.to_str();
    let list = project.and_then(|project| facts.paths.list_of_rdbg(project));
    list.map_or(String::new(), |list| quote(&list))
}

/// A text as a Lua string.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        // Writing to a string does not fail.
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            c if c.is_control() => write!(quoted, "\\{:03}", u32::from(c)),
            c => write!(quoted, "{c}"),
        };
    }
    quoted.push('"');
    quoted
}
