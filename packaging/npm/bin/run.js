// Runs the program that the package for this platform holds, and ends as it ends.
"use strict";
const { spawn } = require("node:child_process");
const { readFileSync } = require("node:fs");
const { constants } = require("node:os");
const { isatty } = require("node:tty");

// Whether a signal such as ^C comes from the terminal, and so to the child as well: passed on, it would come twice. What
// one process sends to this one in a terminal's foreground looks the same.
const isOfTerminal = () => {
  // A console's ^C goes to all in it, and to pass it on would end the child at once.
  if (process.platform === "win32") return true;
  try {
    // After the name, which is in brackets and may hold some itself: state, parent, group, session, terminal, and the
    // terminal's group in the foreground.
    const fields = readFileSync("/proc/self/stat", "latin1").split(") ").pop().split(" ");
    return fields[2] === fields[5];
  } catch {
    return [0, 1, 2].some((descriptor) => isatty(descriptor));
  }
};

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
  // Caught before there is a child, so that none is left behind by a signal that comes as it starts. This process waits
  // for what becomes of it.
  for (const signal of ["SIGINT", "SIGQUIT"]) process.on(signal, () => isOfTerminal() || child.kill(signal));
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  const child = spawn(path, process.argv.slice(2), { stdio: "inherit" });
  child.on("error", (error) => {
    console.error(`p2pdbg: cannot start ${path}: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (status, signal) => process.exit(status ?? 128 + constants.signals[signal]));
};
