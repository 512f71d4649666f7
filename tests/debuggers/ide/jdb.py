#!/usr/bin/env python3
"""jdb, the JDK's own debugger, on either end of the connection.

    jdb.py --attach --port P           attaches to a JVM with server=y
    jdb.py --listen [--port P]         waits for a JVM with server=n; prints the port

`stop at` a line, `cont`, `print`, `next` seven times, `cont` to the end.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, scenario  # noqa: E402
from fixture.children import Child, require  # noqa: E402
from fixture.sources import STEPS, Sources  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "--attach: the port beside jdb; --listen: the port to open (default 0: any)")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--attach", action="store_true")
    how.add_argument("--listen", action="store_true")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        jdb_path = require("jdb", "openjdk-17-jdk-headless")
        line = Sources(paths.PROGRAMS, str(paths.PROGRAMS)).line("Steps.java", "step")
        # `jdb -listen` would open every address.
        where = ["-connect", f"com.sun.jdi.SocketListen:localAddress={args.host},port={args.port}"] if args.listen \
            else ["-attach", f"{args.host}:{args.port}"]
        jdb = Child(run, "jdb", [jdb_path, *where], env={"LC_ALL": "C"})
        if args.listen:
            run.emit("listening", port=int(jdb.expect(r"Listening at address: \S+:(\d+)\n").group(1)))
        jdb.expect(r"VM Started:")
        jdb.expect(r"main\[1\] ", "jdb's prompt")
        jdb.send(f"stop at Steps:{line}")
        jdb.expect(rf"(Deferring|Set) breakpoint Steps:{line}")
        jdb.send("cont")
        # jdb's prompt may come between any two words that it prints.
        jdb.expect(r"Breakpoint hit: ")
        jdb.expect(rf"Steps\.twice\(\), line={line} ")
        jdb.send("print n")
        jdb.expect(r" n = 21\n")

        times = []
        for step in range(1, STEPS + 1):
            began = time.monotonic()
            jdb.send("next")
            jdb.expect(r"Step completed: ")
            jdb.expect(rf"Steps\.twice\(\), line={line + step} ")
            jdb.send("where")
            jdb.expect(r"\[2\] Steps\.main \(Steps\.java:\d+\)\n")
            jdb.send("locals")
            jdb.expect(r"result = \d+\n")
            times.append(time.monotonic() - began)
        jdb.send("print result")
        jdb.expect(rf" result = {21 * 2 + STEPS - 1}\n")
        jdb.send("cont")
        jdb.expect(r"The application exited")
        jdb.wait()
        run.saw(breakpoint=f"Steps.java:{line}", variable="n = 21", step_ms=scenario.median_ms(times),
                steps_ms=[round(each * 1000, 1) for each in times])

    scenario.run("jdb", args.timeout, body)


main()
