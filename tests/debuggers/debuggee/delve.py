#!/usr/bin/env python3
"""The debuggee of delve: programs/steps.go under `dlv exec --headless`.

    delve.py [--port P]
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
        dlv = require("dlv", "delve")
        binary = programs.compile_go(run, paths.scratch(run), paths.PROGRAMS / "steps.go")
        child = Child(run, "dlv", [dlv, "exec", "--headless", f"--listen={args.host}:{args.port}",
                                   "--check-go-version=false", str(binary)])
        run.emit("listening", port=int(child.expect(r"API server listening at: [^\n]*:(\d+)\n").group(1)))
        programs.ended_as_told(run, child, "steps.go", 0)

    scenario.run("delve", args.timeout, body)


main()
