//! `.p2pdbg/dap.lua`, for nvim-dap: a file of our own, to be loaded with `:luafile`, that adds adapters and
//! configurations to those that are there.

use std::{fmt::Write, path::Path};

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_debugger::ide::Adapter;
use p2pdbg_forward::{Direction, Preset};

use super::{
    Plan, PlannedFile, ReadFile, Sessions, Wanted, no_use,
    values::{Filled, Known},
};

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

/// The field that asks for the program whose symbols the debugger reads here.
const ASK_PROGRAM: &str = r#"  program = function() return vim.fn.input("program: ", vim.fn.getcwd() .. "/", "file") end,
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
    let kind = wanted.debugger.debugger().ides.nvim.as_ref()?;
    let name = facts.name(wanted);
    let adapter = name.replace([' ', '-'], "_");
    let definition = match kind.adapter {
        Adapter::Server => format!(
            "{{ type = \"server\", host = \"127.0.0.1\", port = {}, options = {{ initialize_timeout_sec = 60 }} }}",
            wanted.port()
        ),
        Adapter::Executable(command, arguments) => format!(
            "{{ type = \"executable\", command = {}, args = {} }}",
            quote(command),
            list(arguments.iter().map(|argument| quote(argument)))
        ),
    };
    let local = facts.paths.local_path().to_str()?.to_owned();
    let project = facts.paths.local.to_str()?;
    let known = Known::of(facts, wanted, project, local);
    let mut fields = String::new();
    for field in known.fields(kind.fields) {
        fields.push_str(&format!("  {} = {},\n", field.key, lua(&field.value)));
    }
    if kind.asks_program {
        fields.push_str(ASK_PROGRAM);
    }
    Some(format!(
        "dap.adapters.{adapter} = {definition}\nput({}, {{\n  type = \"{adapter}\",\n  request = \"attach\",\n  name = {},\n{fields}}})\n",
        list(kind.filetypes.iter().map(|filetype| quote(filetype))),
        quote(&name)
    ))
}

/// A value in Lua. The keys of objects are words of ours, or paths.
fn lua(value: &Filled) -> String {
    match value {
        Filled::Text(text) => quote(text),
        Filled::Number(n) => n.to_string(),
        Filled::List(values) => list(values.iter().map(lua)),
        Filled::Object(fields) => list(fields.iter().map(|(key, value)| {
            let is_word = key.bytes().all(|b| b.is_ascii_alphabetic());
            match is_word {
                true => format!("{key} = {}", lua(value)),
                false => format!("[{}] = {}", quote(key), lua(value)),
            }
        })),
    }
}

fn list(values: impl Iterator<Item = String>) -> String {
    match values.collect::<Vec<_>>().join(", ") {
        values if values.is_empty() => "{  }".to_owned(),
        values => format!("{{ {values} }}"),
    }
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
