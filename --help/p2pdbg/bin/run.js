// Runs the program that the package for this platform holds, and ends as it ends.
"use strict";
const { spawn } = require("node:child_process");
const { constants } = require("node:os");

module.exports = (program) => {
  const platform = `p2pdbg-${process.platform}-${process.arch}`;
  let path;
  try {
    path = require.resolve(`${platform}/bin/${program}${process.platform === "win32" ? ".exe" : ""}`);
  } catch {
    console.error(
      `p2pdbg: there is no program for ${process.platform} on ${process.arch} here. If there is a package ${platform}, ` +
        "it was left out at installation (--omit=optional?); otherwise build it with cargo.",
    );
    process.exit(1);
  }
  // ^C reaches the child by itself, through the terminal; this process waits for what becomes of it.
  for (const signal of ["SIGINT", "SIGQUIT"]) process.on(signal, () => {});
  // Caught before there is a child, so that none is left behind by a signal that comes as it starts.
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  const child = spawn(path, process.argv.slice(2), { stdio: "inherit" });
  child.on("error", (error) => {
    console.error(`p2pdbg: cannot start ${path}: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (status, signal) => process.exit(status ?? 128 + constants.signals[signal]));
};
