if vim.g.loaded_p2pdbg or vim.fn.has("nvim-0.10") == 0 then
  return
end
vim.g.loaded_p2pdbg = true

local command = vim.api.nvim_create_user_command

command("P2pdbg", function(given)
  require("p2pdbg").run(given.fargs)
end, { nargs = "*", desc = "Start or reuse the tunnel and attach; arguments as for p2pdbg listen" })
command("P2pdbgStop", function()
  require("p2pdbg").stop()
end, { desc = "End the tunnel" })
command("P2pdbgPush", function(given)
  require("p2pdbg").push(given.fargs)
end, { nargs = "*", complete = "file", desc = "Copy files to the debuggee: these, or all that differ" })
command("P2pdbgCopy", function()
  require("p2pdbg").copy("command")
end, { desc = "Copy the command for the debuggee's host" })

-- Leaving neovim tells the peer.
vim.api.nvim_create_autocmd("VimLeavePre", {
  callback = function()
    if package.loaded.p2pdbg then
      require("p2pdbg").leave()
    end
  end,
})
