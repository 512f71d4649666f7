#!/usr/bin/env python3
"""The debuggee of `debugpy --connect`.

    debugpy_connect.py --port P [--program steps.py|spawning.py] [--status N]

Connects to the port, waits for the program to end and looks at what it printed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, programs, scenario  # noqa: E402
from fixture.children import Child  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port to connect to")
    parser.add_argument("--program", default="steps.py", choices=programs.PYTHON)
    parser.add_argument("--status", type=int, default=0, help="exit status that the program is told to end with")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        paths.require_module("debugpy")
        child = Child(run, "debugpy", [
            sys.executable, "-Xfrozen_modules=off", "-m", "debugpy", "--connect", f"{args.host}:{args.port}",
            "--wait-for-client", str(paths.PROGRAMS / args.program), *programs.arguments(args.program, args.status)])
        programs.ended_as_told(run, child, args.program, args.status)

    scenario.run("debugpy_connect", args.timeout, body)


main()
