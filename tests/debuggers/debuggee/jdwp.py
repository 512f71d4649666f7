#!/usr/bin/env python3
"""The debuggee of jdb: programs/Steps.java in a JVM with the JDWP agent.

    jdwp.py --server y [--port P]      the JVM listens and prints the port
    jdwp.py --server n --port P        the JVM connects to the debugger
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixture import paths, programs, scenario  # noqa: E402
from fixture.children import Child, require  # noqa: E402


def main() -> None:
    parser = scenario.arguments(__doc__, "server=y: the port to listen on (default 0: any); server=n: where jdb is")
    parser.add_argument("--server", choices=["y", "n"], required=True)
    args = parser.parse_args()

    def body(run: scenario.Scenario) -> None:
        java = require("java", "openjdk-17-jdk-headless")
        classes = programs.compile_java(run, paths.scratch(run), paths.PROGRAMS / "Steps.java")
        agent = f"-agentlib:jdwp=transport=dt_socket,server={args.server},suspend=y,address={args.host}:{args.port}"
        child = Child(run, "java", [java, agent, "-cp", str(classes), "Steps"])
        if args.server == "y":
            listening = child.expect(r"Listening for transport dt_socket at address: (\d+)\n")
            run.emit("listening", port=int(listening.group(1)))
        programs.ended_as_told(run, child, "Steps.java", 0)

    scenario.run("jdwp", args.timeout, body)


main()
