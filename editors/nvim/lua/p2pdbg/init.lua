-- p2pdbg in neovim: starts the tunnel, shows the code until the debuggee has come, and hands nvim-dap a configuration with
-- the tunnel's port and path mapping.
--
-- The configuration is what `p2pdbg ide nvim` prints: Lua that this host's own program made, with the peer's text in it
-- quoted.

local events = require("p2pdbg.events")

local M = {}

--- What can be set by `setup`.
M.options = {
  --- The program. Nothing: `p2pdbg` on the PATH, or in ~/.cargo/bin.
  program = nil,
  --- More arguments of `p2pdbg listen`. Others on this host can see them: no access key belongs here.
  arguments = {},
  --- How long the debuggee's directory, and the comparison of files, is waited for once the port is open, in ms.
  patience = 4000,
}

--- How long p2pdbg has to say goodbye to the peer before it is killed, in ms: one that is stopped hears nothing else.
local GOODBYE = 3000

--- The tunnel that runs: `state`, `process`, `key`, `on_up`.
local tunnel
--- The window that shows the code.
local window

local function tell(message, level)
  vim.notify("p2pdbg: " .. message, level or vim.log.levels.INFO)
end

function M.setup(options)
  M.options = vim.tbl_extend("force", M.options, options or {})
end

--- The program's path, or nothing.
function M.program()
  local own = M.options.program
  for _, path in ipairs(own and { vim.fn.expand(own) } or { "p2pdbg", vim.fn.expand("~/.cargo/bin/p2pdbg") }) do
    if vim.fn.executable(path) == 1 then
      return vim.fn.exepath(path)
    end
  end
end

--- What is known of the tunnel; nothing if there is none.
function M.state()
  return tunnel and vim.deepcopy(tunnel.state)
end

--- For a status line, as %{%v:lua.require'p2pdbg'.status()%}.
function M.status()
  return tunnel and events.words(tunnel.state) or ""
end

local function close_window()
  if window and vim.api.nvim_win_is_valid(window) then
    vim.api.nvim_win_close(window, true)
  end
  window = nil
end

local function copy(what)
  local copied = tunnel and tunnel.state[what]
  if copied then
    -- The clipboard where there is one, and the unnamed register anyhow.
    pcall(vim.fn.setreg, "+", copied)
    vim.fn.setreg('"', copied)
    tell(("the %s is copied"):format(what == "without_install" and "line" or what))
  end
end

local function show_code(state)
  close_window()
  local lines = {
    "Run this on the debuggee's host:",
    "",
    "  " .. (state.command or ""),
    "",
    "y copies it, c copies the code, q closes this window, X stops waiting",
  }
  if state.without_install then
    table.insert(lines, "i copies a line for a Linux host where p2pdbg is not installed")
  end
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  vim.bo[buffer].modifiable, vim.bo[buffer].bufhidden = false, "wipe"
  local width = math.min(vim.o.columns - 4, math.max(40, unpack(vim.tbl_map(vim.fn.strdisplaywidth, lines))))
  window = vim.api.nvim_open_win(buffer, true, {
    relative = "editor",
    row = 2,
    col = math.max(0, math.floor((vim.o.columns - width) / 2)),
    width = width,
    height = #lines,
    style = "minimal",
    border = "rounded",
    title = " p2pdbg: waiting for the debuggee ",
  })
  local keys = {
    y = function() copy("command") end,
    c = function() copy("code") end,
    i = function() copy("without_install") end,
    q = close_window,
    X = function() M.stop() end,
  }
  for key, action in pairs(keys) do
    vim.keymap.set("n", key, action, { buffer = buffer, nowait = true })
  end
end

--- Of the configurations that the program has made, also for earlier sessions, the one for a forward: of its debugger,
--- and rather one that names the port than one that names none, as an adapter that is a program may.
local function made_for(forward)
  local dap = require("dap")
  local name = forward.debugger and "p2pdbg_" .. forward.debugger:gsub("%-", "_")
  local best, best_rank = nil, -1
  for _, all in pairs(dap.configurations) do
    for _, one in ipairs(all) do
      local kind = type(one.type) == "string" and one.type or ""
      local is_of_debugger = kind == name or vim.startswith(kind, name and name .. "_" or "p2pdbg")
      local adapter = is_of_debugger and dap.adapters[kind]
      local at = adapter and (adapter.port or (one.listen or {}).port or tonumber(tostring(one.target):match(":(%d+)$")))
      -- A longer name is that of a peer's, or of another debugger such as debugpy-connect.
      local rank = (at == forward.port and 2 or 0) + (kind == name and 1 or 0)
      if adapter and (at == forward.port or at == nil) and rank > best_rank then
        best, best_rank = one, rank
      end
    end
  end
  return best
end

--- The configuration of nvim-dap for a forward, as the program makes it, and loads its adapter.
local function configuration(program, state, forward, done)
  local arguments = { program, "ide", "nvim", "--dir", vim.fn.getcwd() }
  if state.peer then
    vim.list_extend(arguments, { "--peer", state.peer })
  end
  vim.system(arguments, { text = true }, vim.schedule_wrap(function(made)
    if made.code ~= 0 then
      return tell(vim.trim(made.stderr), vim.log.levels.ERROR)
    end
    local chunk, why = load(made.stdout, "=p2pdbg ide nvim", "t")
    if not chunk then
      return tell(why, vim.log.levels.ERROR)
    end
    local ok, failure = pcall(chunk)
    if not ok then
      return tell("nvim-dap is needed: " .. failure, vim.log.levels.ERROR)
    end
    local one = made_for(forward)
    if one then
      return done(one)
    end
    local what = forward.debugger and (forward.debugger .. " at ") or ""
    tell(("p2pdbg has no configuration for %sport %d"):format(what, forward.port), vim.log.levels.ERROR)
  end))
end

--- Runs what waits for the tunnel, once it stands and the peer has said where it runs; it may say nothing.
local function settle(own)
  local state = own.state
  local forward = state.forwards[1]
  if own.is_settled or state.phase ~= "connected" or not forward then
    return
  end
  local function go()
    if not own.is_settled and tunnel == own and own.state.forwards[1] then
      own.is_settled = true
      local waiting = own.on_up
      own.on_up = {}
      for _, on_up in ipairs(waiting) do
        configuration(own.program, own.state, forward, on_up)
      end
    end
  end
  if own.has_waited or (state.has_facts and state.has_sources) then
    go()
  elseif not own.timer then
    own.timer = vim.defer_fn(function()
      own.has_waited = true
      go()
    end, M.options.patience)
  end
end

local function on_event(own, event)
  events.take(own.state, event)
  local state = own.state
  if event.event == "ready" then
    -- A window takes the focus, which is for those alone who wait for it.
    if #own.on_up > 0 then
      show_code(state)
    else
      tell(("somebody may come with the code %s; :P2pdbgCopy copies the command"):format(state.code or "?"))
    end
  elseif event.event == "paired" then
    close_window()
    tell("connected with " .. (state.peer or "?"))
  elseif event.event == "waiting" and state.waiting_at and state.forwards[1] then
    tell(("nothing listens at %s yet; start it there with: %s"):format(state.waiting_at, state.forwards[1].start or "?"))
  elseif event.event == "peer_lost" then
    tell((state.peer or "the debuggee") .. " is out of reach; connections are held", vim.log.levels.WARN)
  elseif event.event == "resumed" then
    close_window()
    tell((state.peer or "the debuggee") .. " is back")
  elseif event.event == "sources" and #state.differ > 0 then
    tell(("%d files differ from the debuggee's, such as %s; :P2pdbgPush copies them"):format(#state.differ, state.differ[1]), vim.log.levels.WARN)
  elseif event.event == "warning" or event.event == "error" then
    local hint = event.hint and ("\n" .. tostring(event.hint)) or ""
    tell(tostring(event.message) .. hint, event.event == "error" and vim.log.levels.ERROR or vim.log.levels.WARN)
  elseif event.event == "closed" then
    own.is_settled, own.timer, own.has_waited = false, nil, false
    tell("the session is over: " .. tostring(event.why))
  end
  settle(own)
  vim.api.nvim_exec_autocmds("User", { pattern = "P2pdbg", modeline = false })
  vim.cmd.redrawstatus()
end

--- Starts the tunnel, or uses the one that runs with the same arguments. `on_up` is called with nvim-dap's configuration.
function M.listen(arguments, on_up)
  local key = table.concat(arguments, "\0")
  if tunnel and tunnel.key == key and tunnel.state.phase ~= "ended" then
    table.insert(tunnel.on_up, on_up)
    tunnel.is_settled = false
    if tunnel.state.command and tunnel.state.phase ~= "connected" then
      show_code(tunnel.state)
    end
    return settle(tunnel)
  end
  if tunnel and tunnel.state.phase ~= "ended" then
    return tell("a tunnel runs already; :P2pdbgStop ends it", vim.log.levels.ERROR)
  end
  local program = M.program()
  if not program then
    local where = M.options.program or "on the PATH or in ~/.cargo/bin"
    return tell("there is no program p2pdbg: " .. where, vim.log.levels.ERROR)
  end
  local own = { state = events.begin(), key = key, program = program, on_up = { on_up } }
  local said = ""
  local lines = events.lines(vim.schedule_wrap(function(line)
    local event = events.parse(line)
    if event and tunnel == own then
      on_event(own, event)
    end
  end))
  -- It ends with its standard input, which this neovim holds open, and no longer if it is killed.
  local command = vim.list_extend({ program, "listen", "--json", "--until-stdin-ends" }, vim.list_extend(vim.deepcopy(arguments), M.options.arguments))
  local ok, process = pcall(vim.system, command, {
    stdin = true,
    stdout = function(_, piece) lines(piece or "") end,
    stderr = function(_, piece) said = (said .. (piece or "")):sub(-2000) end,
  }, vim.schedule_wrap(function(ended)
    close_window()
    local was_told = own.state.failure or own.is_stopping
    own.state.phase = "ended"
    if not was_told then
      local how = ended.signal ~= 0 and ("by signal " .. ended.signal) or ("with status " .. ended.code)
      own.state.failure = { message = "p2pdbg listen has ended " .. how }
      tell(own.state.failure.message .. (said == "" and "" or ": " .. vim.trim(said)), vim.log.levels.ERROR)
    end
    vim.cmd.redrawstatus()
  end))
  if not ok then
    return tell("cannot run " .. program .. ": " .. tostring(process), vim.log.levels.ERROR)
  end
  own.process = process
  tunnel = own
end

--- Starts or reuses the tunnel and lets nvim-dap attach.
function M.run(arguments)
  M.listen(#arguments > 0 and arguments or { "debugpy" }, function(one)
    require("dap").run(one)
  end)
end

--- Ends the tunnel as ^C does, so that the peer is told. By the end of its input, and where there are signals by SIGTERM:
--- npm's launcher leaves SIGINT to the terminal, and on Windows a signal would leave it no time. One that does not end is
--- killed.
function M.stop()
  close_window()
  local own = tunnel
  if own and own.process and own.state.phase ~= "ended" then
    own.is_stopping = true
    own.process:write(nil)
    if vim.fn.has("win32") == 0 then
      own.process:kill("sigterm")
    end
    vim.defer_fn(function()
      if own.state.phase ~= "ended" then
        own.process:kill("sigkill")
      end
    end, GOODBYE)
  end
end

--- Ends the tunnel, and waits until it has ended: nothing is done any more once neovim is gone.
function M.leave()
  M.stop()
  if tunnel and tunnel.process and tunnel.state.phase ~= "ended" then
    -- It is killed when this time is over.
    tunnel.process:wait(GOODBYE)
  end
end

--- Copies files to the debuggee: these, or all that differ.
function M.push(paths)
  local program = M.program()
  if not (tunnel and program and tunnel.state.phase == "connected") then
    return tell("nobody is connected to push to", vim.log.levels.ERROR)
  end
  local command = { program, "push", "--peer", tunnel.state.peer, "--" }
  vim.list_extend(command, vim.tbl_map(function(path) return vim.fn.fnamemodify(path, ":p") end, paths))
  vim.system(command, { text = true }, vim.schedule_wrap(function(done)
    tell(vim.trim(done.stderr), done.code == 0 and vim.log.levels.INFO or vim.log.levels.ERROR)
  end))
end

M.copy = copy

return M
