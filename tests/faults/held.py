#!/usr/bin/env python3
"""An IDE that attaches to `debugpy --listen`, and stays at the breakpoint until a file exists.

    held.py --port P --hold FILE

Prints {"event": "stopped"} at the breakpoint. Afterwards: the same frame, a long evaluate, steps, run to the end.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "debuggers"))

from fixture import paths, scenario  # noqa: E402
from fixture.dap import DapClient  # noqa: E402
from fixture.dap_session import DapSession, attach_arguments, walk_through  # noqa: E402
from fixture.passive import dial, wait_until  # noqa: E402
from fixture.sources import Sources  # noqa: E402


class Held(DapSession):
    """A session that is left alone at its breakpoint."""

    def __init__(self, run: scenario.Scenario, client: DapClient, sources: Sources, hold: Path) -> None:
        super().__init__(run, client, sources)
        self.hold = hold

    def stopped_at(self, name: str, marker: str, function: str) -> dict:
        super().stopped_at(name, marker, function)
        self.scenario.emit("stopped")
        wait_until(self.scenario, f"{self.hold} to exist", self.hold.exists)
        return self.at(name, marker, function)


def main() -> None:
    parser = scenario.arguments(__doc__, "the port beside the IDE")
    parser.add_argument("--hold", type=Path, required=True, help="the file whose existence ends the stop")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        sources = Sources(paths.workspace(run), str(paths.PROGRAMS))
        client = DapClient.over(run, "debugpy", dial(run, args.host, args.port))
        session = Held(run, client, sources, args.hold)
        session.start(attach_arguments(sources, connect={"host": args.host, "port": args.port}), {"steps.py": ["step"]})
        walk_through(run, session)

    scenario.run("held", args.timeout, body)


main()
