#!/usr/bin/env python3
"""Proves the scenarios themselves, over a plain forwarder and in both orders, before a tunnel is blamed.

    check.py [--delay MS] [--quickack] [--only TEXT]

Prints one line of JSON for each scenario and order. Exit status 1 if one of them failed.
"""

import argparse
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import List, Optional

HERE = Path(__file__).resolve().parent

#: Name, the script that listens, the script that connects.
SCENARIOS = [
    ("debugpy --listen", "debuggee/debugpy_listen.py", "ide/dap_attach.py"),
    ("debugpy --listen, subprocesses", "debuggee/debugpy_listen.py --program spawning.py",
     "ide/dap_attach.py --program spawning.py"),
    ("debugpy --connect", "ide/dap_listen.py", "debuggee/debugpy_connect.py"),
    ("debugpy --connect, subprocesses", "ide/dap_listen.py --program spawning.py",
     "debuggee/debugpy_connect.py --program spawning.py"),
    ("pydevd settrace", "ide/pydevd_server.py", "debuggee/pydevd_settrace.py"),
    ("pydevd settrace, processes", "ide/pydevd_server.py --program processes",
     "debuggee/pydevd_settrace.py --program processes"),
    ("gdbserver", "debuggee/gdbserver.py", "ide/gdb_remote.py"),
    ("jdwp server=y", "debuggee/jdwp.py --server y", "ide/jdb.py --attach"),
    ("jdwp server=n", "ide/jdb.py --listen", "debuggee/jdwp.py --server n"),
]


class Script:
    """A running script with its JSON lines."""

    def __init__(self, command: str, *more: str) -> None:
        path, *arguments = command.split()
        self.process = subprocess.Popen([sys.executable, str(HERE / path), *arguments, *more],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.errors = ""
        self._errors_read = threading.Thread(target=self._drain, daemon=True)
        self._errors_read.start()

    def _drain(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()

    def event(self, *names: str) -> dict:
        """The next line with one of these events, or `{}` at the end of the output."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if message["event"] in names:
                return message
        return {}

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._errors_read.join()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def one(listens: str, connects: str, listener_first: bool, through: List[str], timeout: str) -> dict:
    """Both ends of one scenario; returns what they saw, with `ok`."""
    target = unused_port()
    limit = ["--timeout", timeout]
    forwarder = Script("forwarder.py", "--to", str(target), "--timeout", str(float(timeout) + 10), *through)
    port = forwarder.event("listening")["port"]
    connecting: Optional[Script] = None
    if not listener_first:
        connecting = Script(connects, "--port", str(port), *limit)
        forwarder.event("accepted")
    listening = Script(listens, "--port", str(target), *limit)
    if connecting is None:
        listening.event("listening", "done")
        connecting = Script(connects, "--port", str(port), *limit)
    outcomes = [connecting.event("done"), listening.event("done")]
    for script in (connecting, listening, forwarder):
        script.end()
    result = {"ok": all(outcome.get("ok") for outcome in outcomes),
              **{key: value for outcome in outcomes for key, value in outcome.get("seen", {}).items()}}
    if not result["ok"]:
        result["errors"] = [outcome.get("error", "no last line") for outcome in outcomes if not outcome.get("ok")]
        print(connecting.errors, listening.errors, sep="\n", file=sys.stderr)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", default="0", help="milliseconds in each direction")
    parser.add_argument("--quickack", action="store_true", help="let the forwarder acknowledge at once")
    parser.add_argument("--only", default="", help="scenarios whose name contains this text")
    parser.add_argument("--timeout", default="60", help="seconds for each scenario")
    args = parser.parse_args()
    through = ["--delay", args.delay] + (["--quickack"] if args.quickack else [])
    good = True
    for name, listens, connects in SCENARIOS:
        if args.only not in name:
            continue
        for listener_first in (True, False):
            result = one(listens, connects, listener_first, through, args.timeout)
            good = good and result["ok"]
            order = "listener first" if listener_first else "connector first"
            print(json.dumps({"scenario": name, "order": order, **result}), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
