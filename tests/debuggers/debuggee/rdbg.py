#!/usr/bin/env python3
"""The debuggee of rdbg: programs/steps.rb, which waits for its debugger.

    rdbg.py [--port P]
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
        # Debian has no command for it but one with Ruby's version in its name; -S finds the gem's own.
        rdbg = [require("ruby", "ruby"), "-rdebug/open"]
        child = Child(run, "rdbg", [*rdbg, str(paths.PROGRAMS / "steps.rb")], env={
            "RUBY_DEBUG_HOST": args.host, "RUBY_DEBUG_PORT": str(args.port), "NO_COLOR": "1"})
        run.emit("listening", port=int(child.expect(r"TCP/IP \([^)]*:(\d+)\)").group(1)))
        programs.ended_as_told(run, child, "steps.rb", 0)

    scenario.run("rdbg", args.timeout, body)


main()
