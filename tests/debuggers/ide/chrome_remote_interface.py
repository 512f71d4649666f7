#!/usr/bin/env python3
"""An IDE that attaches to node's inspector by the npm package chrome-remote-interface, as tools for node do.

    chrome_remote_interface.py --port P

A breakpoint, a variable, `stepOver` seven times, run to the end. Beside cdp.py, it shows a client that is not of these
tests' own making: it asks for /json/version and /json/list first, each on a connection of its own.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, scenario  # noqa: E402
from fixture.children import Child, require  # noqa: E402
from fixture.sources import STEPS, Sources  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port beside the IDE")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        node = require("node", "nodejs")
        modules = paths.node_modules("chrome-remote-interface")
        sources = Sources(paths.workspace(run), str(paths.PROGRAMS))
        line = sources.line("steps.js", "step")
        child = Child(run, "chrome-remote-interface", [
            node, str(Path(__file__).with_suffix(".js")), modules, args.host, str(args.port),
            f"file://{sources.remote_root}/steps.js", str(line), str(STEPS)])
        said = json.loads(child.expect(r"^(\{.*\})\r?\n").group(1))
        run.equal("exit status of the client", child.wait(), 0)
        run.check(said["browser"].startswith("node.js/"), f"this is not node: {said}")
        run.equal("n", said["n"], 21)
        run.equal("lines", said["lines"], list(range(line, line + STEPS + 1)))
        run.saw(breakpoint=f"steps.js:{line}", variable="n = 21", debugger=said["browser"])

    scenario.run("chrome_remote_interface", args.timeout, body)


main()
