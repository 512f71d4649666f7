#!/usr/bin/env python3
"""PyCharm's "Python Debug Server", as far as one debugging session needs it.

    pydevd_server.py [--port P] [--program alone|processes] [--entry app.py] [--local-root DIR] [--remote-root DIR]

Listens, takes the connection of `pydevd_pycharm.settrace`, exchanges versions, sets a breakpoint, lets the program run
from settrace to it, reads a variable, evaluates 3 MB, steps, and lets it run to its end. With `processes`, two
processes that the program starts come on connections of their own and are stopped in turn.
"""

import hashlib
import socket
import sys
import time
from pathlib import Path
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, scenario  # noqa: E402
from fixture.passive import no_delay  # noqa: E402
from fixture.pydevd import PydevdConnection  # noqa: E402
from fixture.sources import LONG_ANSWER, STEPS, Sources, payload  # noqa: E402


def accept(run: scenario.Scenario, server: socket.socket, name: str) -> PydevdConnection:
    with run.waiting_for(f"{name} to connect"):
        server.settimeout(run.remaining())
        connection, _ = server.accept()
    connection.settimeout(None)
    no_delay(connection)
    return PydevdConnection(run, name, connection)


def begin(run: scenario.Scenario, process: PydevdConnection, sources: Sources) -> str:
    """Version, breakpoints, go. Returns the debuggee's version."""
    version = process.greet()
    for program, marker, function in (("steps.py", "step", "double"), ("worker.py", "work", "work")):
        process.set_break(f"{sources.remote_root}/{program}", sources.line(program, marker), function)
    process.run()
    return version


def main() -> None:
    parser = scenario.arguments(__doc__, "the port to listen on (default 0: any, printed)")
    parser.add_argument("--program", default="alone", choices=["alone", "processes"])
    parser.add_argument("--entry", default="settrace.py", help="the program that calls settrace")
    parser.add_argument("--local-root", type=Path, help="the IDE's sources (default: a copy made for the occasion)")
    parser.add_argument("--remote-root", default=str(paths.PROGRAMS), help="the debuggee's sources")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        sources = Sources(args.local_root or paths.workspace(run), args.remote_root)
        server = socket.create_server((args.host, args.port))
        run.emit("listening", port=server.getsockname()[1])

        process = accept(run, server, "the program")
        run.saw(pydevd_version=begin(run, process, sources))
        thread, frame = process.suspended()
        run.equal("file in which settrace stopped", frame[1], f"{args.remote_root}/{args.entry}")
        process.resume(thread)

        if args.program == "processes":
            stopped: List[str] = []
            for number in (1, 2):
                child = accept(run, server, f"process {number}")
                begin(run, child, sources)
                child_thread, child_frame = child.suspended()
                run.equal(f"process {number}: stop", child_frame[1:],
                          (f"{args.remote_root}/worker.py", sources.line("worker.py", "work"), "work"))
                stopped.append(child.variables(child_thread, child_frame)["kind"])
                child.resume(child_thread)
                child.ended()
            run.equal("processes that stopped at the breakpoint", sorted(stopped), ["command", "fork"])
            run.saw(processes=sorted(stopped))

        walk_through(run, process, sources)

    scenario.run("pydevd_server", args.timeout, body)


def walk_through(run: scenario.Scenario, process: PydevdConnection, sources: Sources) -> None:
    """From the breakpoint in steps.py to the end of the program."""
    path, line = f"{sources.remote_root}/steps.py", sources.line("steps.py", "step")
    thread, frame = process.suspended()
    run.equal("stop", frame[1:], (path, line, "double"))
    run.equal("variable at the breakpoint", process.variables(thread, frame)["n"], "21")

    # Of what is printed just before the end, pydevd may drop some; what was printed before the stop must come.
    process.printed("settrace has returned")

    answer = process.evaluate(thread, frame, f"payload({LONG_ANSWER})")
    run.equal("length of the long answer", len(answer), LONG_ANSWER)
    run.equal("SHA-256 of the long answer", hashlib.sha256(answer.encode()).hexdigest(),
              hashlib.sha256(payload(LONG_ANSWER).encode()).hexdigest())

    process.remove_break(path, line)
    times = []
    for step in range(1, STEPS + 1):
        began = time.monotonic()
        process.step_over(thread)
        thread, frame = process.suspended()
        result = process.variables(thread, frame)["result"]
        times.append(time.monotonic() - began)
        run.equal("line after a step", frame[2], line + step)
    run.equal("variable after the steps", result, str(21 * 2 + STEPS - 1))
    process.resume(thread)
    process.ended()
    run.saw(breakpoint=f"steps.py:{line}", variable="n = 21", evaluated_bytes=len(answer),
            step_ms=scenario.median_ms(times), steps_ms=[round(each * 1000, 1) for each in times])


main()
