#!/usr/bin/env python3
"""An IDE that attaches to rdbg over DAP, as VS Code does.

    rdbg_attach.py --port P

A breakpoint through a path mapping, a variable, `next` seven times, run to the end.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, scenario  # noqa: E402
from fixture.dap import DapClient  # noqa: E402
from fixture.passive import dial  # noqa: E402
from fixture.sources import STEPS, Sources  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port beside the IDE")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        sources = Sources(paths.workspace(run), str(paths.PROGRAMS))
        line = sources.line("steps.rb", "step")
        client = DapClient.over(run, "rdbg", dial(run, args.host, args.port))
        client.request("initialize", {"clientID": "vscode", "adapterID": "rdbg", "linesStartAt1": True,
                                      "columnsStartAt1": True, "pathFormat": "path"})
        client.event("initialized")
        client.request("attach", {"localfsMap": f"{sources.remote_root}:{sources.local_root}", "localfs": True})
        # Version 1.4 knows no mapping: there the debuggee's own path is what is asked for.
        path = f"{sources.remote_root}/steps.rb"
        client.request("setBreakpoints", {"source": {"path": path}, "breakpoints": [{"line": line}]})
        client.request("configurationDone")

        def stopped() -> dict:
            thread = client.event("stopped")["threadId"]
            return {**client.request("stackTrace", {"threadId": thread})["stackFrames"][0], "threadId": thread}

        frame = stopped()
        if frame["line"] != line:
            # It stops at the beginning, since it has waited.
            client.request("continue", {"threadId": frame["threadId"]})
            frame = stopped()
        run.equal("line of the breakpoint", frame["line"], line)
        value = client.request("evaluate", {"expression": "n", "frameId": frame["id"], "context": "hover"})
        run.equal("n", value["result"], "21")
        times = []
        for step in range(1, STEPS + 1):
            began = time.monotonic()
            client.request("next", {"threadId": frame["threadId"]})
            frame = stopped()
            times.append(time.monotonic() - began)
            run.equal(f"line after {step} steps", frame["line"], line + step)
        client.send("continue", {"threadId": frame["threadId"]})
        run.saw(breakpoint=f"steps.rb:{line}", variable="n = 21", step_ms=scenario.median_ms(times))

    scenario.run("rdbg_attach", args.timeout, body)


main()
