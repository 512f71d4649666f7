#!/usr/bin/env python3
"""lldb against `lldb-server gdbserver`.

    lldb_remote.py --port P [--platform]

With `--platform`, by `platform connect` and `process launch`. `gdb-remote`, a breakpoint, `continue`, a variable, `next` seven times, `continue` to the end.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, programs, scenario  # noqa: E402
from fixture.children import Child, require  # noqa: E402
from fixture.sources import STEPS, Sources  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port beside lldb")
    parser.add_argument("--platform", action="store_true", help="to lldb-server platform")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        binary = programs.compile_c(run, paths.scratch(run), paths.PROGRAMS / "steps.c")
        line = Sources(paths.PROGRAMS, str(paths.PROGRAMS)).line("steps.c", "step")
        lldb = Child(run, "lldb", [require("lldb", "lldb"), "--no-lldbinit", "--no-use-colors", str(binary)])
        lldb.send("settings set stop-line-count-after 0")
        lldb.send("breakpoint set --name twice")
        lldb.expect(r"Breakpoint 1: ")
        run.emit("connecting")
        if args.platform:
            lldb.send("platform select remote-linux")
            lldb.send(f"platform connect connect://{args.host}:{args.port}")
            lldb.expect(r"Connected: yes")
            # Else what is typed may become the program's own input.
            lldb.send("process launch --no-stdio")
        else:
            lldb.send(f"gdb-remote {args.host}:{args.port}")
            lldb.expect(r"Process \d+ stopped")
            lldb.send("continue")
        lldb.expect(rf"steps\.c:{line}:")
        lldb.send("frame variable n")
        lldb.expect(r"\(int\) n = 21")
        times = []
        for step in range(1, STEPS + 1):
            began = time.monotonic()
            lldb.send("next")
            lldb.expect(rf"steps\.c:{line + step}:")
            times.append(time.monotonic() - began)
        lldb.send("frame variable result")
        lldb.expect(rf"\(int\) result = {21 * 2 + STEPS - 1}")
        lldb.send("continue")
        lldb.expect(r"Process \d+ exited with status = 0")
        lldb.send("quit")
        lldb.wait()
        run.saw(breakpoint=f"steps.c:{line}", variable="n = 21", step_ms=scenario.median_ms(times))

    scenario.run("lldb_remote", args.timeout, body)


main()
