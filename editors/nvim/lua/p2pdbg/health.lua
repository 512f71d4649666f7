-- :checkhealth p2pdbg

local M = {}

function M.check()
  local health = vim.health
  health.start("p2pdbg")
  local program = require("p2pdbg").program()
  if not program then
    health.error("there is no program p2pdbg", { "put it on the PATH, or name it: require('p2pdbg').setup { program = … }" })
  else
    local version = vim.system({ program, "--version" }, { text = true }):wait()
    local number = (version.stdout or ""):match("^p2pdbg (%d+%.%d+%.%d+)")
    if not number then
      health.error(program .. " is not a p2pdbg that runs here")
    elseif not number:match("^0%.") then
      health.error(("%s is version %s, which is newer than this plugin knows"):format(program, number), { "update the plugin" })
    else
      health.ok(("%s, version %s"):format(program, number))
    end
  end
  if pcall(require, "dap") then
    health.ok("nvim-dap is here")
  else
    health.error("nvim-dap is missing")
  end
end

return M
