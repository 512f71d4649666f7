#!/usr/bin/env python3
"""The debuggee of `debugpy --listen --wait-for-client`.

    debugpy_listen.py [--port P] [--program steps.py|spawning.py] [--status N]

Prints the port once the adapter listens on it, then waits for the program to end and looks at what it printed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, programs, scenario  # noqa: E402
from fixture.children import Child  # noqa: E402
from fixture.passive import is_listening, wait_until  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port to listen on (default 0: any, printed)")
    parser.add_argument("--program", default="steps.py", choices=programs.PYTHON)
    parser.add_argument("--status", type=int, default=0, help="exit status that the program is told to end with")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        paths.require_module("debugpy")
        # The adapter writes the port that it has into this file; with --port 0 nothing else tells it.
        endpoints = str(paths.scratch(run) / "endpoints.json")
        child = Child(run, "debugpy", [
            sys.executable, "-Xfrozen_modules=off", "-m", "debugpy", "--listen", f"{args.host}:{args.port}",
            "--wait-for-client", str(paths.PROGRAMS / args.program), *programs.arguments(args.program, args.status)],
            env={"DEBUGPY_ADAPTER_ENDPOINTS": endpoints})
        port = programs.debugpy_port(run, endpoints, child)
        wait_until(run, f"port {port} to listen", lambda: is_listening(port), lambda: child.process.poll() is None)
        run.emit("listening", port=port)
        programs.ended_as_told(run, child, args.program, args.status)

    scenario.run("debugpy_listen", args.timeout, body)


main()
