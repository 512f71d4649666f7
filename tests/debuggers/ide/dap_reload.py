#!/usr/bin/env python3
"""An IDE that follows the workers of a web application with an auto-reloader.

    dap_reload.py --port P --http P --root DIR

Attaches to programs/shop.py, of which DIR holds a copy, stops in a route of its worker, once by a breakpoint and once
where the program pauses itself. Then it changes the copy, and does the same with the worker that comes instead.
"""

import sys
import threading
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import scenario  # noqa: E402
from fixture.dap import DapClient  # noqa: E402
from fixture.dap_session import DapSession, attach_arguments  # noqa: E402
from fixture.passive import dial  # noqa: E402
from fixture.sources import Sources  # noqa: E402


class Request:
    """A request under way, since the answer comes only when the debugger lets it."""

    def __init__(self, run: scenario.Scenario, url: str) -> None:
        self.answer = ""
        self._run = run
        self._thread = threading.Thread(target=self._get, args=(url, run.remaining()), daemon=True)
        self._thread.start()

    def _get(self, url: str, timeout: float) -> None:
        # The watcher binds the port long before a worker serves, so the request waits there rather than being refused.
        with urllib.request.urlopen(url, timeout=timeout) as response:
            self.answer = response.read().decode()

    def ended(self, expected: str) -> None:
        with self._run.waiting_for("the answer of the application"):
            self._thread.join(self._run.remaining())
        self._run.equal("answer", self.answer, expected)


def main() -> None:
    parser = scenario.arguments(__doc__, "the port beside the IDE")
    parser.add_argument("--http", type=int, required=True, help="the application's own port")
    parser.add_argument("--root", type=Path, required=True, help="the directory of shop.py")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        sources = Sources(args.root, str(args.root))
        client = DapClient.over(run, "the watcher", dial(run, args.host, args.port))
        watcher = DapSession(run, client, sources)
        watcher.start(attach_arguments(sources, connect={"host": args.host, "port": args.port}), {})
        pids = []
        for number in (1, 2):
            attach = client.event("debugpyAttach")
            where = attach["connect"]
            run.equal("where debugpyAttach points", (where["host"], where["port"]), (args.host, args.port))
            connection = DapClient.over(run, f"worker {number}", dial(run, where["host"], where["port"]))
            worker = DapSession(run, connection, sources)
            worker.start(attach, {"shop.py": ["price"]})
            pids.append(visit(run, worker, f"http://127.0.0.1:{args.http}"))
            if number == 1:
                program = args.root / "shop.py"
                program.write_text(program.read_text() + "\n# Changed.\n")
                worker.ended()
        # As an IDE ends its sessions: the program is to go on.
        for session in (worker, watcher):
            session.client.request("disconnect", {"terminateDebuggee": False})
        run.equal("workers", len(set(pids)), 2)
        run.saw(workers=pids)

    scenario.run("dap_reload", args.timeout, body)


def visit(run: scenario.Scenario, worker: DapSession, base: str) -> str:
    """Stops in both routes, and gives the worker's process id."""
    price = Request(run, f"{base}/price?n=21")
    worker.stopped_at("shop.py", "price", "price")
    run.equal("variable", worker.variables().get("n"), "21")
    worker.resume()
    price.ended("42")

    paused = Request(run, f"{base}/pause")
    event, stop = worker.client.first_of(["stopped", "terminated"])
    run.equal("what happened in /pause", event, "stopped")
    worker.thread = stop["threadId"]
    worker.at("shop.py", "pause", "pause")
    worker.resume()
    paused.ended("paused")

    with urllib.request.urlopen(f"{base}/pid", timeout=run.remaining()) as response:
        return response.read().decode()


main()
