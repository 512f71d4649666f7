#!/usr/bin/env python3
"""delve's own client.

    dlv_connect.py --port P

`break` at a line, `continue`, `print`, `next` seven times, `continue` to the end.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, scenario  # noqa: E402
from fixture.children import Child, require  # noqa: E402
from fixture.sources import STEPS, Sources  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port beside dlv")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        line = Sources(paths.PROGRAMS, str(paths.PROGRAMS)).line("steps.go", "step")
        dlv = Child(run, "dlv", [require("dlv", "delve"), "connect", f"{args.host}:{args.port}"],
                    env={"TERM": "dumb", "HOME": str(paths.scratch(run))})
        dlv.send(f"break steps.go:{line}")
        dlv.expect(r"Breakpoint 1 set at ")
        dlv.send("continue")
        dlv.expect(rf"main\.double\(\) \S*steps\.go:{line} ")
        dlv.send("print n")
        dlv.expect(r"\b21\n")
        times = []
        for step in range(1, STEPS + 1):
            began = time.monotonic()
            dlv.send("next")
            dlv.expect(rf"main\.double\(\) \S*steps\.go:{line + step} ")
            times.append(time.monotonic() - began)
        dlv.send("print result")
        dlv.expect(rf"\b{21 * 2 + STEPS - 1}\n")
        dlv.send("continue")
        dlv.expect(r"Process \d+ has exited with status 0")
        dlv.send("quit")
        dlv.wait()
        run.saw(breakpoint=f"steps.go:{line}", variable="n = 21", step_ms=scenario.median_ms(times))

    scenario.run("dlv_connect", args.timeout, body)


main()
