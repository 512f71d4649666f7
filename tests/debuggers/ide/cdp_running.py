#!/usr/bin/env python3
"""A tool that attaches to the inspector of a node that runs already, and reads a variable.

    cdp_running.py --port P
"""

import json
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import scenario  # noqa: E402
from fixture.passive import dial  # noqa: E402
from fixture.websocket import WebSocket  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "the port beside the IDE")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        where = f"{args.host}:{args.port}"
        with urllib.request.urlopen(f"http://{where}/json", timeout=run.remaining()) as response:
            target = json.load(response)[0]
        path = "/" + target["webSocketDebuggerUrl"].split("/", 3)[3]
        cdp = WebSocket(run, dial(run, args.host, args.port), where, path)
        cdp.ask("Runtime.enable")
        answer = cdp.ask("Runtime.evaluate", expression="process.argv[1].endsWith('endless.js')")
        run.equal("the program", answer["result"]["value"], True)
        cdp.connection.close()
        cdp.incoming.close()
        run.saw(program="endless.js")

    scenario.run("cdp_running", args.timeout, body)


main()
