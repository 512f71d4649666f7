#!/usr/bin/env python3
"""The IDE of the demo: attaches to debugpy, looks for the fault in shop.py, and mends the sum.

    ide.py --port P --remote-root DIR

What it does goes over the Debug Adapter Protocol, as an IDE's would. It works on a copy of shop.py in a directory of its
own, so that breakpoints get through by the path mapping alone. Prints JSON, one object a line; see fixture/scenario.py.
"""

import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "debuggers"))

from fixture import paths, scenario  # noqa: E402
from fixture.dap import DapClient  # noqa: E402
from fixture.dap_session import DapSession, attach_arguments  # noqa: E402
from fixture.passive import dial  # noqa: E402
from fixture.sources import Sources  # noqa: E402

PROGRAM = "shop.py"
#: Where the breakpoint goes.
FAULT = "cents = count * price"


class Shop(Sources):
    """The IDE's copy, in which a line is found by what it says."""

    def line(self, name: str, marker: str) -> int:
        lines = self.text(name)
        return next(number for number, line in enumerate(lines, 1) if marker in line)

    def text(self, name: str) -> list:
        return (self.local_root / name).read_text().splitlines()


def main() -> None:
    parser = scenario.arguments(__doc__, "the port beside the IDE")
    parser.add_argument("--remote-root", required=True, help="the directory of shop.py at the debuggee")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        local = paths.scratch(run)
        shutil.copy(Path(__file__).with_name(PROGRAM), local)
        shop = Shop(local, args.remote_root)

        def tell(event: str, frame: dict, **more: object) -> None:
            line = frame["line"]
            run.emit(event, file=PROGRAM, line=line, source=shop.text(PROGRAM)[line - 1].strip(), **more)

        def variable(name: str, variables: dict) -> None:
            run.emit("variable", name=name, value=variables[name])

        def step() -> dict:
            began = time.monotonic()
            view = session.step_over()
            tell("step", view["frame"], ms=round((time.monotonic() - began) * 1000, 1))
            return view

        client = DapClient.over(run, "debugpy", dial(run, args.host, args.port))
        session = DapSession(run, client, shop)
        session.start(attach_arguments(shop, connect={"host": args.host, "port": args.port}), {PROGRAM: [FAULT]})
        run.emit("attached", local=str(local), remote=args.remote_root)

        # The sum is 0 before the first item, and only that item's after each.
        for first in (True, False):
            frame = session.stopped_at(PROGRAM, FAULT, "total")
            tell("breakpoint", frame, function=frame["name"])
            before = session.variables()
            variable("item", before)
            variable("cents", before)
            view = step()
            variable("cents", view["variables"])
            if first:
                session.resume()

        frame = view["frame"]
        expression = "sum(count * price for _, count, price in basket)"
        right = session.evaluate(expression, frame)
        run.emit("evaluated", expression=expression, value=right)
        scope = client.request("scopes", {"frameId": frame["id"]})["scopes"][0]["variablesReference"]
        client.request("setVariable", {"variablesReference": scope, "name": "cents", "value": right})
        run.equal("cents", session.variables()["cents"], right)
        run.emit("set", name="cents", value=right)
        session.resume()
        session.ended()
        run.saw(total=right)

    scenario.run("demo", args.timeout, body)


main()
