#!/usr/bin/env python3
"""gdb, with nothing but its defaults, against gdbserver.

    gdb_remote.py --port P
    gdb_remote.py --socket PATH
    gdb_remote.py --pipe COMMAND
    gdb_remote.py --pipe-program COMMAND

`target remote`, a breakpoint, `continue`, a variable, `next` seven times, `continue` to the end. gdb runs with its
machine interface, as IDEs run it, so that each answer is told from the next. `remotetimeout` stays what gdb makes it,
and so does the sysroot: gdb fetches the program's libraries through the connection, which is a few megabytes. With --pipe
gdb speaks to the standard input and output of a command (`target remote | COMMAND`), which a shell reads.

With --pipe-program there is no gdb here: as VS Code's cpptools do with `pipeTransport`, the machine interface is spoken to
a command, which is given the debugger's command line as further arguments, and gdb runs the program at the other end.
"""

import shlex
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, programs, scenario  # noqa: E402
from fixture.children import Child, require  # noqa: E402
from fixture.sources import STEPS, Sources  # noqa: E402


class Gdb:
    """gdb/MI: numbered commands, one result record each (GDB manual, "GDB/MI Output Syntax")."""

    def __init__(self, run: scenario.Scenario, argv: list) -> None:
        self.run = run
        self.child = Child(run, "gdb", argv)
        self._number = 0

    def ask(self, command: str) -> str:
        """Sends a command and returns its result record, which must not be an error."""
        self._number += 1
        self.child.send(f"{self._number}{command}")
        answer = self.child.expect(rf"^{self._number}\^(.*)\n", f"gdb's answer to {command}").group(1)
        self.run.check(not answer.startswith("error"), f"gdb on {command}: {answer}; {self.child.tail()}")
        return answer

    def stopped(self, what: str) -> str:
        return self.child.expect(r"^\*stopped,(.*)\n", f"gdb to stop {what}").group(1)


def main() -> None:
    parser = scenario.arguments(__doc__, "the port beside gdb")
    parser.add_argument("--socket", metavar="PATH", help="a Unix socket, instead of a port")
    parser.add_argument("--pipe", metavar="COMMAND", help="what joins gdb to gdbserver, instead of a port")
    parser.add_argument("--pipe-program", metavar="COMMAND", help="what joins this to a gdb at the other end")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        gdb_path = require("gdb", "gdb")
        line = Sources(paths.PROGRAMS, str(paths.PROGRAMS)).line("steps.c", "step")
        if args.pipe_program:
            gdb = Gdb(run, [*shlex.split(args.pipe_program), gdb_path, "--interpreter=mi"])
            run.emit("connecting")
        else:
            binary = programs.compile_c(run, paths.scratch(run), paths.PROGRAMS / "steps.c")
            gdb = Gdb(run, [gdb_path, "--quiet", "--nx", "--interpreter=mi2", str(binary)])
            timeout = gdb.ask("-gdb-show remotetimeout")
            run.equal("gdb's own remotetimeout", timeout, 'done,value="2"')
            run.emit("connecting")
        began = time.monotonic()
        if not args.pipe_program:
            # gdb tries for 15 s while nobody listens (show tcp connect-timeout).
            gdb.ask(f"-target-select remote | {args.pipe}" if args.pipe
                    else f"-target-select remote {args.socket or f'{args.host}:{args.port}'}")
        gdb.ask("-break-insert twice")
        connect_ms = round((time.monotonic() - began) * 1000, 1)
        gdb.ask("-exec-run" if args.pipe_program else "-exec-continue")
        stop = gdb.stopped("at the breakpoint")
        run.check('reason="breakpoint-hit"' in stop and f'line="{line}"' in stop, f"gdb stopped elsewhere: {stop}")
        run.equal("print n", gdb.ask("-data-evaluate-expression n"), 'done,value="21"')

        times = []
        for step in range(1, STEPS + 1):
            began = time.monotonic()
            gdb.ask("-exec-next")
            stop = gdb.stopped("after next")
            gdb.ask("-stack-list-frames")
            gdb.ask("-stack-list-variables --simple-values")
            times.append(time.monotonic() - began)
            run.check(f'line="{line + step}"' in stop, f"after {step} steps gdb is elsewhere: {stop}")
        run.equal("print result", gdb.ask("-data-evaluate-expression result"), f'done,value="{21 * 2 + STEPS - 1}"')

        gdb.ask("-exec-continue")
        stop = gdb.stopped("at the end of the program")
        run.check('reason="exited-normally"' in stop, f"the program did not end well: {stop}")
        complaint = [text for text in ("Remote replied unexpectedly", "Ignoring packet error", "packet error",
                                       "Bogus trace", "timed out") if text in gdb.child.output]
        run.equal("complaints of gdb about the connection", complaint, [])
        gdb.child.send("-gdb-exit")
        gdb.child.close_input()
        gdb.child.wait()
        run.saw(breakpoint=f"steps.c:{line}", variable="n = 21", connect_ms=connect_ms,
                step_ms=scenario.median_ms(times), steps_ms=[round(each * 1000, 1) for each in times])

    scenario.run("gdb_remote", args.timeout, body)


main()
