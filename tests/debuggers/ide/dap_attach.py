#!/usr/bin/env python3
"""The IDE that attaches to `debugpy --listen`, or to ptvsd.

    dap_attach.py --port P [--program steps.py|spawning.py] [--local-root DIR] [--remote-root DIR]
    dap_attach.py --port P --unmapped
    dap_attach.py --port P --ptvsd

steps.py: breakpoint through a path mapping, stack, variables, a 3 MB evaluate, steps, run to the end.
--unmapped: without a path mapping the breakpoint is in a file that the debuggee does not have; run to the end.
--ptvsd: steps.py again, with an evaluate of 60 kB.
spawning.py: three subprocesses, each debugged on a connection of its own to the port that we named in `connect`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, scenario  # noqa: E402
from fixture.dap import DapClient  # noqa: E402
from fixture.dap_session import Children, DapSession, attach_arguments, walk_through  # noqa: E402
from fixture.passive import dial  # noqa: E402
from fixture.sources import Sources  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port beside the IDE")
    parser.add_argument("--program", default="steps.py", choices=["steps.py", "spawning.py"])
    parser.add_argument("--local-root", type=Path, help="the IDE's sources (default: a copy made for the occasion)")
    parser.add_argument("--remote-root", default=str(paths.PROGRAMS), help="the debuggee's sources")
    parser.add_argument("--unmapped", action="store_true", help="leave the path mapping out")
    parser.add_argument("--ptvsd", action="store_true", help="the debuggee has ptvsd")
    parser.add_argument("--stay", type=Path, help="stay stopped after the steps until this file is there")
    args = parser.parse_args()

    def connect(run: scenario.Scenario, name: str, host: str, port: int) -> DapClient:
        return DapClient.over(run, name, dial(run, host, port))

    def body(run: scenario.Scenario) -> None:
        sources = Sources(args.local_root or paths.workspace(run), args.remote_root)
        session = DapSession(run, connect(run, "debugpy", args.host, args.port), sources)
        attach = attach_arguments(sources, connect={"host": args.host, "port": args.port})
        if args.unmapped:
            session.begin({**attach, "pathMappings": []})
            session.miss("steps.py", "step")
            session.ended()
        elif args.program == "steps.py":
            session.start(attach, {"steps.py": ["step"]})
            walk_through(run, session, args.ptvsd, args.stay)
        else:
            session.start(attach, {"worker.py": ["work"]})

            def own_connection(name: str, where: dict) -> DapClient:
                run.equal(f"{name}: where debugpyAttach points", (where["host"], where["port"]), (args.host, args.port))
                return connect(run, name, where["host"], where["port"])

            Children(run, session, own_connection).follow()

    scenario.run("dap_attach", args.timeout, body)


main()
