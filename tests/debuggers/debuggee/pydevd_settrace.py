#!/usr/bin/env python3
"""The debuggee of PyCharm's debug server: a program that calls pydevd_pycharm.settrace.

    pydevd_settrace.py --port P [--program alone|processes]

settrace connects to the port; waits for the program to end and looks at what it printed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, programs, scenario  # noqa: E402
from fixture.children import Child  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port to connect to")
    parser.add_argument("--program", default="alone", choices=["alone", "processes"])
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        paths.require_module("pydevd_pycharm")
        child = Child(run, "settrace.py", [
            sys.executable, "-Xfrozen_modules=off", str(paths.PROGRAMS / "settrace.py"), args.host, str(args.port),
            args.program])
        programs.ended_as_told(run, child, "settrace.py", 0)

    scenario.run("pydevd_settrace", args.timeout, body)


main()
