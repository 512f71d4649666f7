#!/usr/bin/env python3
"""The debuggee of node's inspector: programs/steps.js, which waits for its debugger.

    node.py [--port P]
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
        node = require("node", "nodejs")
        child = Child(run, "node", [node, f"--inspect-brk={args.host}:{args.port}", str(paths.PROGRAMS / "steps.js")])
        run.emit("listening", port=int(child.expect(r"Debugger listening on ws://[^/]*:(\d+)/").group(1)))
        # It does not end before its debugger has gone.
        child.expect(r"Waiting for the debugger to disconnect")
        programs.ended_as_told(run, child, "steps.js", 0)

    scenario.run("node", args.timeout, body)


main()
