#!/usr/bin/env python3
"""The debuggee of lldb: programs/steps.c under `lldb-server gdbserver`.

    lldb_server.py [--port P] [--platform]

With `--platform` it is `lldb-server platform`, which runs what lldb sends it; the program's own server is on the next
port.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, programs, scenario  # noqa: E402
from fixture.children import Child, require  # noqa: E402
from fixture.passive import is_listening, unused_port, wait_until  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port to listen on (default 0: any, printed)")
    parser.add_argument("--platform", action="store_true", help="the program comes from lldb")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        server = require("lldb-server", "lldb")
        port = args.port or unused_port(args.host)
        if args.platform:
            command = [server, "platform", "--listen", f"{args.host}:{port}", "--gdbserver-port", str(port + 1)]
            child = Child(run, "lldb-server", command, cwd=str(paths.scratch(run)))
            wait_until(run, "lldb-server to listen", lambda: is_listening(port), lambda: child.process.poll() is None)
            run.emit("listening", port=port)
            # It serves until it is told to end.
            child.wait()
            return
        binary = programs.compile_c(run, paths.scratch(run), paths.PROGRAMS / "steps.c")
        # The program writes to a terminal of lldb's making; where its output goes is lldb's affair.
        child = Child(run, "lldb-server", [server, "gdbserver", f"{args.host}:{port}", "--", str(binary)],
                      cwd=os.path.dirname(binary))
        wait_until(run, "lldb-server to listen", lambda: is_listening(port), lambda: child.process.poll() is None)
        run.emit("listening", port=port)
        run.equal("exit status of lldb-server", child.wait(), 0)

    scenario.run("lldb_server", args.timeout, body)


main()
