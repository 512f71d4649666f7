-- Run by a real neovim: the plugin's pure part, and with a real tunnel a breakpoint in debugpy.
--
--   nvim --clean --headless -l run.lua             the pure part
--   nvim --clean --headless -l run.lua PROJECT     also the tunnel; p2pdbg is on the PATH, and PROJECT has app.py
--
-- nvim-dap is in no registry that tests may use, so a stand-in takes its place: it keeps what it is given, and `run` speaks
-- the debug adapter protocol to whatever the configuration leads to. Prints one JSON object a line.

local here = debug.getinfo(1, "S").source:sub(2):match("(.*)/test/") or "."
vim.opt.runtimepath:prepend(here)
local events = require("p2pdbg.events")
local project = arg[1]

local function say(value)
  io.stdout:write(vim.json.encode(value), "\n")
  io.stdout:flush()
end

local function state_after(...)
  local state = events.begin()
  for _, line in ipairs({ ... }) do
    events.take(state, assert(events.parse(line), line))
  end
  return state
end

local PAIRED = '{"event":"paired","peer":"web-1","known":false}'
local FORWARD = '{"event":"forward","direction":"to_debuggee","listen":"127.0.0.1:5678","to":"localhost:5678","debugger":"debugpy"}'
local READY = '{"event":"ready","code":"1-a-b-c","command":"p2pdbg connect 1-a-b-c"}'
local DIRECT = '{"event":"path","kind":"direct","via":"udp","rtt_ms":40.2}'

--- Of the Lua that `p2pdbg ide nvim` prints: debugpy's part.
local DEBUGPY = 'dap.adapters.p2pdbg_debugpy = { type = "server", host = "127.0.0.1", port = 5678 } '
  .. 'dap.configurations.python = { { name = "p2pdbg debugpy", type = "p2pdbg_debugpy", request = "attach" } }'

local function same(found, expected)
  assert(vim.deep_equal(found, expected), vim.inspect(found) .. " is not " .. vim.inspect(expected))
end

local tests = {
  lines_are_cut_wherever_the_pieces_are = function()
    local seen = {}
    local push = events.lines(function(line) table.insert(seen, line) end)
    for _, piece in ipairs({ "{", "}\n\n{}", "\n", ("x"):rep(1048577), "tail", "end\n[]\n" }) do
      push(piece)
    end
    same(seen, { "{}", "{}", "[]" })
  end,
  what_is_no_event_is_passed_over = function()
    for _, line in ipairs({ "", "x", "[]", "null", '{"event":5}' }) do
      same(events.parse(line), nil)
    end
    events.take(events.begin(), events.parse('{"event":"of-tomorrow"}'))
    events.take(events.begin(), events.parse('{"event":"sources","differ":5}'))
    events.take(events.begin(), events.parse('{"event":"forward"}'))
  end,
  a_session_goes_from_code_to_path = function()
    local code = state_after(READY)
    same({ code.phase, events.words(code) }, { "code", "1-a-b-c" })
    local up = state_after(PAIRED, FORWARD, DIRECT)
    same({ up.phase, up.code, up.forwards[1].port }, { "connected", nil, 5678 })
    same(events.words(up), "web-1 · direct · 40 ms")
  end,
  an_outage_shows_and_ends = function()
    local lost = state_after(PAIRED, '{"event":"peer_lost","streams":1}')
    same(events.words(lost), "web-1 is out of reach")
    events.take(lost, { event = "resumed" })
    same(lost.phase, "connected")
    -- After a while the place is offered by a new code as well, which nobody can use once the peer is back.
    local offered = state_after(PAIRED, FORWARD, '{"event":"peer_lost","streams":1}', READY)
    same({ events.words(offered), offered.code }, { "web-1 is out of reach", "1-a-b-c" })
    events.take(offered, { event = "resumed" })
    same({ offered.phase, offered.code, offered.command }, { "connected", nil, nil })
  end,
  a_name_of_the_peer_is_no_format_of_the_status_line = function()
    same(events.words(state_after('{"event":"paired","peer":"%{system(1)}"}')), "%%{system(1)}")
  end,
}

--- Has the plugin run a script in place of p2pdbg, with a stand-in for nvim-dap, and gives `test` the plugin and the
--- script's path.
local function with_program(script, test)
  local path = vim.fn.tempname()
  vim.fn.writefile(vim.split("#!/bin/sh\n" .. script, "\n"), path)
  vim.fn.setfperm(path, "rwxr-xr-x")
  package.loaded["p2pdbg"] = nil
  local p2pdbg = require("p2pdbg")
  p2pdbg.setup({ program = path, patience = 0 })
  package.loaded.dap = { adapters = {}, configurations = {} }
  test(p2pdbg, path)
  package.loaded.dap, package.loaded["p2pdbg"] = nil, nil
end

--- How long a step may take, in ms.
local PATIENCE = 60000
local function until_so(what, is_so)
  assert(vim.wait(PATIENCE, is_so, 50), "still no " .. what)
end

local function is_floating()
  return #vim.tbl_filter(function(one) return vim.api.nvim_win_get_config(one).relative ~= "" end, vim.api.nvim_list_wins()) > 0
end

--- A program that writes its process, prints these lines, and ends by SIGTERM alone. A line waits for the file of its
--- number, beside the script.
local function lines_of(...)
  local script = { [[trap '' INT; echo $$ >"$0.pid"]] }
  for number, line in ipairs({ ... }) do
    table.insert(script, ([[until [ -e "$0.%d" ]; do sleep 0.02; done; echo '%s']]):format(number, line))
  end
  table.insert(script, "while :; do sleep 0.02; done")
  return table.concat(script, "\n")
end

local function go_on(path, number)
  vim.fn.writefile({}, path .. "." .. number)
end

tests.stopping_ends_a_program_that_leaves_sigint_to_the_terminal = function()
  with_program(lines_of(READY), function(p2pdbg, path)
    p2pdbg.listen({}, function() end)
    go_on(path, 1)
    until_so("code", function() return p2pdbg.state().code end)
    local pid = tonumber(vim.fn.readfile(path .. ".pid")[1])
    p2pdbg.stop()
    until_so("end", function() return p2pdbg.state().phase == "ended" end)
    same({ vim.uv.kill(pid, 0) == 0, p2pdbg.state().failure }, { false, nil })
  end)
end

--- Has a program stopped as by SIGSTOP, lets `finish` end it, and sees that it is gone.
local function end_one_that_is_stopped(finish)
  with_program(lines_of(READY), function(p2pdbg, path)
    p2pdbg.listen({}, function() end)
    go_on(path, 1)
    until_so("code", function() return p2pdbg.state().code end)
    local pid = tonumber(vim.fn.readfile(path .. ".pid")[1])
    vim.uv.kill(pid, "sigstop")
    finish(p2pdbg)
    until_so("end of what was stopped", function() return vim.uv.kill(pid, 0) ~= 0 end)
  end)
end

tests.stopping_ends_a_program_that_is_stopped = function()
  end_one_that_is_stopped(function(p2pdbg)
    p2pdbg.stop()
    until_so("end", function() return p2pdbg.state().phase == "ended" end)
    same(p2pdbg.state().failure, nil)
  end)
end

tests.leaving_waits_for_the_end_of_a_program_that_is_stopped = function()
  end_one_that_is_stopped(function(p2pdbg) p2pdbg.leave() end)
end

tests.the_line_for_a_host_without_p2pdbg_is_offered_and_copied = function()
  local ready = '{"event":"ready","code":"1-a-b-c","command":"p2pdbg connect 1-a-b-c","without_install":"fetch it"}'
  with_program(lines_of(ready), function(p2pdbg, path)
    p2pdbg.listen({}, function() end)
    go_on(path, 1)
    until_so("window", is_floating)
    local shown = table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\n")
    assert(shown:find("not installed", 1, true), shown)
    vim.api.nvim_feedkeys("i", "xt", false)
    same(vim.fn.getreg('"'), "fetch it")
    p2pdbg.stop()
    until_so("end", function() return p2pdbg.state().phase == "ended" end)
  end)
  same(state_after(ready, '{"event":"resumed"}').without_install, nil)
end

tests.a_code_in_an_outage_takes_no_focus_and_goes_with_it = function()
  local lines = lines_of(PAIRED .. "\n" .. FORWARD, '{"event":"peer_lost","streams":1}\n' .. READY, '{"event":"resumed"}')
  local script = ([[[ "$1" = listen ] || { echo 'local dap = require("dap") %s'; exit; }]]):format(DEBUGPY) .. "\n" .. lines
  with_program(script, function(p2pdbg, path)
    local attached, late = false, false
    p2pdbg.listen({}, function() attached = true end)
    go_on(path, 1)
    until_so("attachment", function() return attached end)
    go_on(path, 2)
    until_so("new code", function() return p2pdbg.state().code end)
    same({ p2pdbg.status(), is_floating() }, { "web-1 is out of reach", false })
    -- Who wants to attach meanwhile is shown it.
    p2pdbg.listen({}, function() late = true end)
    assert(is_floating(), "the code is not shown")
    go_on(path, 3)
    until_so("return", function() return p2pdbg.state().phase == "connected" end)
    same({ p2pdbg.state().code, is_floating() }, { nil, false })
    until_so("second attachment", function() return late end)
    p2pdbg.stop()
    until_so("end", function() return p2pdbg.state().phase == "ended" end)
  end)
end

tests.the_configuration_is_that_of_the_debugger_and_of_its_port_if_one_names_it = function()
  -- As they are after a session of lldb's, whose configuration names no port to the plugin, and two others.
  local left = 'local dap = require("dap") '
    .. 'dap.adapters.p2pdbg_lldb = { type = "executable", command = "lldb-dap" } '
    .. 'dap.adapters.p2pdbg_debugpy_web = { type = "executable", command = "x" } '
    .. 'dap.configurations.c = { { name = "lldb", type = "p2pdbg_lldb" }, { name = "no port", type = "p2pdbg_debugpy_web" } } '
  local chosen
  local function choose(lua)
    local script = ([[[ "$1" = listen ] || { echo '%s'; exit; }]]):format(lua) .. "\n" .. lines_of(PAIRED .. "\n" .. FORWARD)
    with_program(script, function(p2pdbg, path)
      local why
      chosen, vim.notify, why = nil, function(message) why = message end, nil
      p2pdbg.listen({}, function(one) chosen = one.name end)
      go_on(path, 1)
      until_so("choice", function() return chosen or (why or ""):find("no configuration") end)
      chosen = chosen or why
      p2pdbg.stop()
      until_so("end", function() return p2pdbg.state().phase == "ended" end)
    end)
    return chosen
  end
  local notify = vim.notify
  same(choose(left .. DEBUGPY), "p2pdbg debugpy")
  same(choose(left), "no port")
  same(choose(left:gsub("debugpy_web", "rdbg")), "p2pdbg: p2pdbg has no configuration for debugpy at port 5678")
  vim.notify = notify
end

for name, test in vim.spairs(tests) do
  local ok, why = pcall(test)
  say({ event = "test", name = name, ok = ok, why = not ok and why or nil })
  if not ok then
    os.exit(1)
  end
end
if not project then
  os.exit(0)
end

-- The stand-in for nvim-dap.
local paused = {}
local function run(configuration)
  local dap = require("dap")
  local adapter = dap.adapters[configuration.type]
  local socket, rest, sequence, attach, found = vim.uv.new_tcp(), "", 0, nil, nil
  local function send(command, arguments)
    sequence = sequence + 1
    local body = vim.json.encode({ seq = sequence, type = "request", command = command, arguments = arguments })
    socket:write(("Content-Length: %d\r\n\r\n%s"):format(#body, body))
    return sequence
  end
  local on = {
    initialize = function()
      attach = send("attach", configuration)
    end,
    initialized = function()
      send("setBreakpoints", { source = { path = project .. "/app.py" }, breakpoints = { { line = 6 } } })
      send("configurationDone", vim.empty_dict())
    end,
    stopped = function(body)
      send("stackTrace", { threadId = body.threadId })
    end,
    stackTrace = function(body)
      local frame = body.stackFrames[1]
      found = { line = frame.line, path = frame.source.path }
      send("disconnect", { terminateDebuggee = false })
    end,
    -- debugpy takes the next client once this one is gone.
    disconnect = function()
      socket:close(function() paused = found end)
    end,
  }
  socket:connect(adapter.host, adapter.port, function(failure)
    assert(not failure, failure)
    socket:read_start(function(_, piece)
      rest = rest .. (piece or "")
      while true do
        local length, at = rest:match("^Content%-Length: (%d+)\r\n\r\n()")
        if not length or #rest < at + length - 1 then
          return
        end
        local message = vim.json.decode(rest:sub(at, at + length - 1))
        rest = rest:sub(at + length)
        assert(message.success ~= false or message.request_seq ~= attach, vim.inspect(message))
        local handler = on[message.event or message.command]
        if handler then
          handler(message.body)
        end
      end
    end)
    send("initialize", { adapterID = "debugpy", clientID = "neovim", pathFormat = "path", linesStartAt1 = true, columnsStartAt1 = true })
  end)
end
package.loaded.dap = { adapters = {}, configurations = {}, run = run }

vim.cmd.cd(project)
vim.cmd.runtime("plugin/p2pdbg.lua")
local p2pdbg = require("p2pdbg")
vim.cmd.P2pdbg({ args = { "debugpy" } })
until_so("code", function() return (p2pdbg.state() or {}).command end)
until_so("window", function() return vim.api.nvim_win_get_config(0).relative ~= "" end)
local shown = table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\n")
assert(shown:find(p2pdbg.state().code, 1, true), shown)
vim.api.nvim_feedkeys("y", "xt", false)
local command = vim.fn.getreg('"')
same(command, p2pdbg.state().command)
say({ event = "code", command = command })
until_so("breakpoint", function() return paused.line end)
assert(vim.api.nvim_win_get_config(0).relative == "", "the code is gone")
until_so("direct path", function() return p2pdbg.status():find("direct") end)
say({ event = "paused", line = paused.line, path = paused.path, status = p2pdbg.status() })
-- The tunnel stays, and the next attach needs no code.
paused = {}
vim.cmd.P2pdbg({ args = { "debugpy" } })
until_so("second breakpoint", function() return paused.line end)
say({ event = "attached_again", line = paused.line })
p2pdbg.stop()
until_so("end", function() return p2pdbg.state().phase == "ended" end)
same(p2pdbg.state().failure, nil)
say({ event = "done" })
os.exit(0)
