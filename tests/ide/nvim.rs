//! The Lua for nvim-dap, run by neovim. The plugin itself comes from nowhere that tests may fetch from, so another
//! module stands in its place, which holds all that it is given to what nvim-dap's manual says.

use std::{fs, process::Command};

use p2pdbg_forward::Preset;

use crate::{configurations::User, harness::skip};

const STAND_IN: &str = r#"
local function at_most(name, table, known)
  for key in pairs(table) do
    assert(known[key], name .. ": unknown field " .. tostring(key))
  end
end
local function adapter(name, value)
  if value.type == "server" then
    at_most(name, value, { type = 1, host = 1, port = 1, options = 1, executable = 1, enrich_config = 1, id = 1 })
    assert(type(value.host) == "string" and type(value.port) == "number", name .. ": host and port")
  else
    assert(value.type == "executable", name .. ": type")
    at_most(name, value, { type = 1, command = 1, args = 1, options = 1, enrich_config = 1, id = 1 })
    assert(type(value.command) == "string" and vim.tbl_islist(value.args), name .. ": command")
  end
end
local dap = {
  adapters = setmetatable({}, { __newindex = function(table, name, value)
    adapter(name, value)
    rawset(table, name, value)
  end }),
  configurations = { python = { { type = "x", request = "launch", name = "mine" }, { type = "x", request = "attach", name = "p2pdbg debugpy" } } },
}
package.preload.dap = function() return dap end
dofile(".p2pdbg/dap.lua")
dofile(".p2pdbg/dap.lua")
local names = {}
for filetype, list in pairs(dap.configurations) do
  for _, configuration in ipairs(list) do
    assert(configuration.request == "attach" or configuration.request == "launch", "request")
    assert(type(configuration.name) == "string", "name")
    assert(configuration.type == "x" or dap.adapters[configuration.type], "no adapter " .. configuration.type)
    table.insert(names, filetype .. ": " .. configuration.name)
  end
end
table.sort(names)
local mapping = dap.configurations.python[2].pathMappings[1]
print(vim.fn.json_encode({ names = names, mapping = mapping }))
"#;

#[test]
fn neovim_runs_what_is_written_for_it() {
    if Command::new("nvim").arg("--version").output().is_err() {
        return skip("nvim is not installed");
    }
    let forwards = [
        Preset::Debugpy,
        Preset::Delve,
        Preset::Gdbserver,
        Preset::Lldb,
        Preset::Rdbg,
    ];
    let remote = "/srv/a \"b\" \\n";
    let user = User::with_session(&forwards, remote);
    user.write("nvim");
    let script = user.project.join("test.lua");
    fs::write(&script, STAND_IN).unwrap();
    let output = Command::new("nvim")
        .args(["--clean", "--headless", "-c"])
        .arg(format!(
            "lua local ok, why = pcall(dofile, {script:?}); if not ok then print(why) end"
        ))
        .args(["-c", "qall!"])
        .current_dir(&user.project)
        .output()
        .unwrap();
    // A headless neovim prints to standard error.
    let said = String::from_utf8(output.stderr).unwrap();
    let json: serde_json::Value =
        serde_json::from_str(said.trim()).unwrap_or_else(|_| panic!("{said}"));
    let names: Vec<_> = json["names"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "c: p2pdbg gdbserver",
            "c: p2pdbg lldb",
            "cpp: p2pdbg gdbserver",
            "cpp: p2pdbg lldb",
            "go: p2pdbg delve",
            "python: mine",
            "python: p2pdbg debugpy",
            "ruby: p2pdbg rdbg",
            "rust: p2pdbg gdbserver",
            "rust: p2pdbg lldb",
        ]
    );
    assert_eq!(json["mapping"]["remoteRoot"], remote);
    assert_eq!(json["mapping"]["localRoot"].as_str(), user.project.to_str());
}

#[test]
fn a_file_of_the_same_name_that_is_not_ours_is_left_alone() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    fs::create_dir(user.project.join(".p2pdbg")).unwrap();
    fs::write(user.project.join(".p2pdbg/dap.lua"), "-- mine\n").unwrap();
    let output = user.run(&["nvim", "--write"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        fs::read_to_string(user.project.join(".p2pdbg/dap.lua")).unwrap(),
        "-- mine\n"
    );
}
