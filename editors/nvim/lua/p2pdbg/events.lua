-- What is known of a tunnel, from the events of `p2pdbg listen --json` (docs/JSON.md). No I/O: a line in, a state out.
--
-- Fields, events and codes are only ever added there, so what is not known here is passed over. Much of a line is text of
-- the peer's, which is data: it is shown, and never run.

local M = {}

--- The longest line that is read, in bytes; a longer one is dropped whole.
local MAX_LINE = 1048576

--- @class p2pdbg.State
--- @field phase "starting"|"code"|"waiting"|"connected"|"lost"|"ended"
--- @field forwards { port: integer, debugger?: string, start?: string }[]
--- @field differ string[]
--- @field without_install? string a line in place of the command, for a host where p2pdbg is not installed

--- @return p2pdbg.State
function M.begin()
  return { phase = "starting", forwards = {}, differ = {} }
end

local function text(value)
  return type(value) == "string" and value or nil
end

local function number(value)
  return type(value) == "number" and value or nil
end

--- The event of a line, or nothing if it is none.
function M.parse(line)
  local ok, event = pcall(vim.json.decode, line, { luanil = { object = true, array = true } })
  return ok and type(event) == "table" and text(event.event) and event or nil
end

local handlers = {
  ready = function(state, event)
    -- While a peer is away, its place is offered by a new code.
    if state.phase ~= "connected" and state.phase ~= "lost" then
      state.phase = "code"
    end
    state.code, state.command = text(event.code), text(event.command)
    state.without_install = text(event.without_install)
  end,
  waiting = function(state, event)
    if event["for"] == "peer" and state.phase == "starting" then
      state.phase = "waiting"
    elseif event["for"] == "debuggee" then
      state.waiting_at = text(event.at)
    end
  end,
  paired = function(state, event)
    -- What was known belongs to an earlier session, and the code is used up.
    for key in pairs(state) do
      state[key] = nil
    end
    state.phase, state.peer, state.forwards, state.differ = "connected", text(event.peer), {}, {}
  end,
  facts = function(state)
    state.has_facts = true
  end,
  sources = function(state, event)
    state.has_sources = true
    state.differ = vim.tbl_filter(text, type(event.differ) == "table" and event.differ or {})
  end,
  forward = function(state, event)
    local address = event.direction == "to_debuggee" and event.listen or event.to
    local port = tonumber(tostring(address):match(":(%d+)$"))
    if port then
      local forward = { port = port, debugger = text(event.debugger), start = text(event.start) }
      table.insert(state.forwards, forward)
    end
  end,
  path = function(state, event)
    state.path = { kind = text(event.kind), via = text(event.via), rtt_ms = number(event.rtt_ms) }
  end,
  peer_lost = function(state)
    state.phase = "lost"
  end,
  resumed = function(state)
    -- It has its place again, so the code that offered it is no use.
    state.phase, state.code, state.command, state.without_install = "connected", nil, nil, nil
  end,
  error = function(state, event)
    state.phase, state.forwards, state.path, state.code, state.without_install = "ended", {}, nil, nil, nil
    state.failure = { code = text(event.code), message = text(event.message) or "?", hint = text(event.hint) }
  end,
  closed = function(state)
    state.phase, state.forwards, state.path, state.differ = "waiting", {}, nil, {}
  end,
}

--- Lets a state take in an event.
function M.take(state, event)
  local handler = handlers[event.event]
  if handler then
    handler(state, event)
  end
end

--- A reader that cuts pieces into lines, and gives each to `on_line`.
function M.lines(on_line)
  local rest, skipping = "", false
  return function(piece)
    rest = rest .. piece
    while true do
      local at = rest:find("\n", 1, true)
      if not at then
        break
      end
      local line = rest:sub(1, at - 1)
      rest = rest:sub(at + 1)
      if not skipping and line ~= "" then
        on_line(line)
      end
      skipping = false
    end
    if #rest > MAX_LINE then
      rest, skipping = "", true
    end
  end
end

-- By what `via` says, where it is worth a word.
local RELAYED = { tcp = "relay over TCP", websocket = "relay by WebSocket" }

--- For a status line: `%` is doubled, since the peer chose its name.
function M.words(state)
  local path = state.path
  local way
  if path and path.kind then
    way = path.kind == "direct" and "direct" or (RELAYED[path.via] or "relay")
    if path.rtt_ms then
      way = ("%s · %.0f ms"):format(way, path.rtt_ms)
    end
  end
  local words = {
    starting = "p2pdbg …",
    code = state.code or "p2pdbg",
    waiting = "p2pdbg: waiting",
    connected = table.concat({ state.peer or "p2pdbg", way }, " · "),
    lost = (state.peer or "p2pdbg") .. " is out of reach",
    ended = "",
  }
  return (words[state.phase]:gsub("%%", "%%%%"))
end

return M
