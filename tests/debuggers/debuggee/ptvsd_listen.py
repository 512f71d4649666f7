#!/usr/bin/env python3
"""The debuggee of `ptvsd --wait`, which debugpy has succeeded; Pythons up to 3.11 run it.

    ptvsd_listen.py [--port P]

Prints the port once ptvsd listens on it, then waits for the program to end and looks at what it printed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, programs, scenario  # noqa: E402
from fixture.children import Child  # noqa: E402
from fixture.passive import is_listening, unused_port, wait_until  # noqa: E402
from fixture.scenario import MissingTool  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port to listen on (default 0: any, printed)")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        if sys.version_info >= (3, 12):
            raise MissingTool("ptvsd runs on Python 3.11 at the latest")
        paths.require_module("ptvsd")
        port = args.port or unused_port(args.host)
        child = Child(run, "ptvsd", [
            sys.executable, "-Xfrozen_modules=off", "-m", "ptvsd", "--host", args.host, "--port", str(port), "--wait",
            str(paths.PROGRAMS / "steps.py")])
        wait_until(run, f"port {port} to listen", lambda: is_listening(port), lambda: child.process.poll() is None)
        run.emit("listening", port=port)
        programs.ended_as_told(run, child, "steps.py", 0)

    scenario.run("ptvsd_listen", args.timeout, body)


main()
