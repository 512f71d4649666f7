#!/usr/bin/env python3
"""The IDE that `debugpy --connect` comes to.

    dap_listen.py [--port P] [--program steps.py|spawning.py] [--local-root DIR] [--remote-root DIR]

Starts debugpy's adapter on stdio, as VS Code does for a launch.json with "listen"; it is the adapter that opens the
port. Prints the port, waits for the debuggee, then the same conversation as dap_attach.py. The subprocesses of the
debuggee come to the same port; the sessions for them run between us and the adapter, beside the IDE.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, programs, scenario  # noqa: E402
from fixture.children import Child  # noqa: E402
from fixture.dap import DapClient  # noqa: E402
from fixture.dap_session import Children, DapSession, attach_arguments, walk_through  # noqa: E402
from fixture.passive import dial  # noqa: E402
from fixture.sources import Sources  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port to listen on (default 0: any, printed)")
    parser.add_argument("--program", default="steps.py", choices=programs.PYTHON)
    parser.add_argument("--local-root", type=Path, help="the IDE's sources (default: a copy made for the occasion)")
    parser.add_argument("--remote-root", default=str(paths.PROGRAMS), help="the debuggee's sources")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        sources = Sources(args.local_root or paths.workspace(run), args.remote_root)
        adapter = Child(run, "adapter", [sys.executable, paths.debugpy_adapter()], binary=True)
        client = DapClient(run, "adapter", adapter.process.stdout, adapter.process.stdin)
        session = DapSession(run, client, sources)
        session.begin(attach_arguments(sources, listen={"host": args.host, "port": args.port}))
        run.emit("listening", port=client.event("debugpyWaitingForServer")["port"])
        if args.program == "steps.py":
            session.configure({"steps.py": ["step"]})
            walk_through(run, session)
        else:
            session.configure({"worker.py": ["work"]})
            Children(run, session,
                     lambda name, where: DapClient.over(run, name, dial(run, where["host"], where["port"]))).follow()

    scenario.run("dap_listen", args.timeout, body)


main()
