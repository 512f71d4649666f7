#!/usr/bin/env python3
"""The debuggee of gdb: programs/steps.c under `gdbserver --once`.

    gdbserver.py [--port P]

Compiles the program, prints the port once gdbserver listens, waits for the end. gdbserver binds every address,
whatever --host says.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, programs, scenario  # noqa: E402
from fixture.children import Child, require  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port to listen on (default 0: any, printed)")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        gdbserver = require("gdbserver", "gdbserver")
        binary = programs.compile_c(run, paths.scratch(run), paths.PROGRAMS / "steps.c")
        child = Child(run, "gdbserver", [gdbserver, "--once", f"{args.host}:{args.port}", str(binary)])
        run.emit("listening", port=int(child.expect(r"Listening on port (\d+)\n").group(1)))
        child.expect(r"Child exited with status 0")
        programs.ended_as_told(run, child, "steps.c", 0)

    scenario.run("gdbserver", args.timeout, body)


main()
