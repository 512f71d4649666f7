#!/usr/bin/env python3
"""An IDE that attaches to programs/endless.py, which runs already: a breakpoint, a variable, and detach.

    dap_running.py --port P [--stay FILE]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, scenario  # noqa: E402
from fixture.dap import DapClient  # noqa: E402
from fixture.dap_session import DapSession, attach_arguments  # noqa: E402
from fixture.passive import dial, wait_until  # noqa: E402
from fixture.sources import Sources  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port beside the IDE")
    parser.add_argument("--stay", type=Path, help="stay stopped until this file is there, and stop once more then")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        sources = Sources(paths.workspace(run), str(paths.PROGRAMS))
        client = DapClient.over(run, "the program", dial(run, args.host, args.port))
        session = DapSession(run, client, sources)
        attach = attach_arguments(sources, connect={"host": args.host, "port": args.port})
        session.start(attach, {"endless.py": ["count"]})
        session.stopped_at("endless.py", "count", "count")
        total, n = (int(session.variables()[name]) for name in ("total", "n"))
        run.equal("total", total, n + 1)
        if args.stay is not None:
            run.emit("stopped")
            wait_until(run, f"{args.stay} to be there", args.stay.exists)
            session.resume()
            session.stopped_at("endless.py", "count", "count")
        client.request("disconnect", {"terminateDebuggee": False})
        run.saw(variable=f"n = {n}")

    scenario.run("dap_running", args.timeout, body)


main()
