#!/usr/bin/env python3
"""An IDE that attaches to node's inspector (the DevTools protocol).

    cdp.py --port P

Asks for /json, as IDEs do, and debugs over the WebSocket that is named there: a breakpoint, a variable, `stepOver` seven
times, run to the end. Two connections, one after the other.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, scenario  # noqa: E402
from fixture.passive import dial  # noqa: E402
from fixture.sources import STEPS, Sources  # noqa: E402
from fixture.websocket import WebSocket  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port beside the IDE")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        sources = Sources(paths.workspace(run), str(paths.PROGRAMS))
        line = sources.line("steps.js", "step")
        where = f"{args.host}:{args.port}"
        with dial(run, args.host, args.port) as http:
            http.sendall(f"GET /json HTTP/1.1\r\nHost: {where}\r\nConnection: close\r\n\r\n".encode())
            incoming = http.makefile("rb")
            length = 0
            while (header := incoming.readline().strip().lower()) != b"":
                if header.startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            target = json.loads(incoming.read(length))[0]
        # The address in it is the debuggee's own; only the path is of use here.
        path = "/" + target["webSocketDebuggerUrl"].split("/", 3)[3]
        cdp = WebSocket(run, dial(run, args.host, args.port), where, path)
        cdp.ask("Runtime.enable")
        cdp.ask("Debugger.enable")
        url = f"file://{sources.remote_root}/steps.js"
        cdp.ask("Debugger.setBreakpointByUrl", url=url, lineNumber=line - 1)
        cdp.ask("Runtime.runIfWaitingForDebugger")

        def stopped() -> dict:
            return cdp.event("Debugger.paused")["callFrames"][0]

        frame = stopped()
        if frame["location"]["lineNumber"] != line - 1:
            cdp.ask("Debugger.resume")
            frame = stopped()
        run.equal("line of the breakpoint", frame["location"]["lineNumber"] + 1, line)
        answer = cdp.ask("Debugger.evaluateOnCallFrame", callFrameId=frame["callFrameId"], expression="n")
        run.equal("n", answer["result"]["value"], 21)
        times = []
        for step in range(1, STEPS + 1):
            began = time.monotonic()
            cdp.ask("Debugger.stepOver")
            frame = stopped()
            times.append(time.monotonic() - began)
            run.equal(f"line after {step} steps", frame["location"]["lineNumber"] + 1, line + step)
        cdp.ask("Debugger.resume")
        cdp.event("Runtime.executionContextDestroyed")
        cdp.connection.close()
        cdp.incoming.close()
        run.saw(breakpoint=f"steps.js:{line}", variable="n = 21", step_ms=scenario.median_ms(times))

    scenario.run("cdp", args.timeout, body)


main()
