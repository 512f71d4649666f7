#!/usr/bin/env python3
"""An IDE that waits for PHP's Xdebug (DBGp, https://xdebug.org/docs/dbgp).

    dbgp_server.py [--port P]

A breakpoint through a path mapping, a variable, `step_over` seven times, run to the end.
"""

import base64
import socket
import sys
import time
import xml.etree.ElementTree as xml
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, scenario  # noqa: E402
from fixture.passive import no_delay  # noqa: E402
from fixture.sources import STEPS, Sources  # noqa: E402


class Engine:
    """One connection of Xdebug: commands out, packets `LENGTH NUL XML NUL` in."""

    def __init__(self, run: scenario.Scenario, connection: socket.socket) -> None:
        self.run = run
        self.connection = connection
        self.incoming = connection.makefile("rb")
        self._number = 0

    def packet(self) -> xml.Element:
        length = b""
        while (byte := self.incoming.read(1)) != b"\0":
            self.run.check(byte.isdigit(), f"no length of a packet: {length + byte!r}")
            length += byte
        body = self.incoming.read(int(length) + 1)
        return xml.fromstring(body[:-1])

    def ask(self, command: str) -> xml.Element:
        self._number += 1
        name, _, rest = command.partition(" ")
        self.connection.sendall(f"{name} -i {self._number} {rest}".rstrip().encode() + b"\0")
        with self.run.waiting_for(f"Xdebug's answer to {command}"):
            answer = self.packet()
        self.run.equal("number of the answer", answer.get("transaction_id"), str(self._number))
        self.run.check(answer.find("{urn:debugger_protocol_v1}error") is None, xml.tostring(answer).decode())
        return answer


def main() -> None:
    parser = scenario.arguments(__doc__, "the port to listen on (default 0: any, printed)")
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        sources = Sources(paths.workspace(run), str(paths.PROGRAMS))
        line = sources.line("steps.php", "step")
        listener = socket.create_server((args.host, args.port))
        run.emit("listening", port=listener.getsockname()[1])
        listener.settimeout(run.remaining())
        with run.waiting_for("Xdebug to connect"):
            connection, _ = listener.accept()
        connection.settimeout(run.remaining())
        no_delay(connection)
        engine = Engine(run, connection)
        remote = f"file://{sources.remote_root}/steps.php"
        run.equal("the program", engine.packet().get("fileuri"), remote)
        engine.ask(f"breakpoint_set -t line -f {remote} -n {line}")

        def at(answer: xml.Element) -> int:
            run.equal("state", answer.get("status"), "break")
            return int(answer[0].get("lineno", "0"))

        run.equal("line of the breakpoint", at(engine.ask("run")), line)
        value = engine.ask("property_get -n $n")[0].text or ""
        run.equal("$n", value, "21")
        times = []
        for step in range(1, STEPS + 1):
            began = time.monotonic()
            run.equal(f"line after {step} steps", at(engine.ask("step_over")), line + step)
            engine.ask("stack_get")
            engine.ask("context_get")
            times.append(time.monotonic() - began)
        answer = engine.ask("eval -- " + base64.b64encode(b"$result").decode())
        run.equal("$result", answer[0].text, str(21 * 2 + STEPS - 1))
        run.equal("state at the end", engine.ask("run").get("status"), "stopping")
        # It ends with the connection, and without another answer.
        connection.sendall(b"run -i 99\0")
        run.saw(breakpoint=f"steps.php:{line}", variable="$n = 21", step_ms=scenario.median_ms(times))

    scenario.run("dbgp_server", args.timeout, body)


main()
