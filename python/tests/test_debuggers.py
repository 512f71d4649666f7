"""What needs no tunnel, and the debuggers. Run by tests/debuggers/package.rs of the workspace, or:
python -m unittest discover -s python/tests"""

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import unittest
from typing import Any, Dict, Iterator

#: What a test waits for comes long before, or never.
PATIENCE = 60.0


@contextlib.contextmanager
def program(script: str, port: int, mode: str) -> Iterator["subprocess.Popen[str]"]:
    """A program that is told of a forward; its output is a pipe."""
    where = {"START_DEBUGGER": "1", "DEBUGGER_HOST": "127.0.0.1", "DEBUGGER_PORT": str(port), "DEBUGGER_MODE": mode}
    pipes: Dict[str, Any] = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    with subprocess.Popen(
        [sys.executable, "-Xfrozen_modules=off", "-c", script], env={**os.environ, **where}, text=True, **pipes
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()


def listen() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE)
    return listener


def has(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@unittest.skipUnless(has("debugpy") and has("pydevd_pycharm"), "debugpy or pydevd-pycharm is not installed")
class TheIde(unittest.TestCase):
    def test_pycharms_that_says_nothing_is_given_up_and_one_that_speaks_later_is_met(self) -> None:
        script = """
import p2pdbg
print(p2pdbg.wait_for_ide(timeout=1), flush=True)
input()
print(p2pdbg.wait_for_ide(timeout=50), flush=True)
"""
        with listen() as ide, program(script, ide.getsockname()[1], "connect") as process:
            self.assertEqual(line(process), "False")
            ide.accept()[0].close()
            tell(process, "again")
            connection, _ = ide.accept()
            with connection:
                connection.sendall(b"501\t1\t0.1\tUNIX\n101\t3\t\n")
                self.assertEqual(line(process), "True")

    def test_pycharms_that_leaves_without_a_word_is_not_waited_for(self) -> None:
        script = "import p2pdbg; print(p2pdbg.wait_for_ide(), flush=True); input()"
        with listen() as ide, program(script, ide.getsockname()[1], "connect") as process:
            ide.accept()[0].close()
            self.assertEqual(line(process), "False")

    def test_thread_beside_one_that_waits_gives_up_in_its_own_time(self) -> None:
        script = """
import threading, p2pdbg
threading.Thread(target=p2pdbg.wait_for_ide, daemon=True).start()
input()
print(p2pdbg.wait_for_ide(timeout=1), flush=True)
"""
        with listen() as ide, program(script, ide.getsockname()[1], "connect") as process:
            # The first waits.
            connection, _ = ide.accept()
            with connection:
                tell(process, "now")
                self.assertEqual(line(process), "False")

    def test_debugpys_that_says_nothing_is_given_up(self) -> None:
        script = """
import sys
sys.modules["pydevd_pycharm"] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "pydevd_pycharm" else find(name)
import p2pdbg
print(p2pdbg.wait_for_ide(timeout=1), flush=True)
input()
"""
        with listen() as ide, program(script, ide.getsockname()[1], "connect") as process:
            self.assertEqual(line(process), "False")


#: Says of each try that debugpy's port was taken.
COUNTED = """
import debugpy, p2pdbg
listen = debugpy.listen
def counted(at):
    try:
        return listen(at)
    except RuntimeError:
        print("taken", flush=True)
        raise
debugpy.listen = counted
"""


def attach(connection: socket.socket) -> None:
    """What an IDE says, as far as debugpy's ``wait_for_client`` goes."""
    with connection.makefile("rb") as said:
        def send(seq: int, command: str) -> None:
            body = json.dumps({"seq": seq, "type": "request", "command": command, "arguments": {"adapterID": "p2pdbg"}})
            connection.sendall(f"Content-Length: {len(body)}\r\n\r\n{body}".encode())

        send(1, "initialize")
        send(2, "attach")
        while True:
            length = int(said.readline().partition(b":")[2])
            said.readline()
            if json.loads(said.read(length)).get("event") == "initialized":
                break
        send(3, "configurationDone")


def dial(port: int, process: "subprocess.Popen[str]") -> socket.socket:
    """Connects as soon as the program listens there."""
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), PATIENCE)
        except ConnectionRefusedError:
            if process.poll() is not None:
                raise


@unittest.skipUnless(has("debugpy"), "debugpy is not installed")
class ThePort(unittest.TestCase):
    def test_is_waited_for_while_another_process_has_it(self) -> None:
        script = COUNTED + "print(p2pdbg.wait_for_ide(), flush=True)"
        holder = listen()
        port = holder.getsockname()[1]
        with program(script, port, "listen") as process:
            self.assertEqual(line(process), "taken")
            holder.close()
            with dial(port, process) as ide:
                attach(ide)
                said = "taken"
                while said == "taken":
                    said = line(process)
            self.assertEqual(said, "True")

    def test_that_stays_another_processs_is_told_once_and_the_program_goes_on(self) -> None:
        script = COUNTED + "print([p2pdbg.wait_for_ide(timeout=1) for _ in range(2)], flush=True)"
        with listen() as holder:
            port = holder.getsockname()[1]
            with program(script, port, "listen") as process:
                output, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(output.splitlines()[-1], "[False, False]")
        told = f"another process of this program has port {port}: start one worker"
        self.assertEqual(errors.count(told), 1, errors)


@unittest.skipUnless(has("debugpy"), "debugpy is not installed")
class TheTime(unittest.TestCase):
    def said(self, script: str) -> str:
        """What a program says where no IDE comes, if it ends."""
        with listen() as taken:
            port = taken.getsockname()[1]
        with program(script, port, "listen") as process:
            # debugpy's adapter, which stays a while, has the pipe too.
            self.assertEqual(process.wait(timeout=PATIENCE), 0)
            return line(process)

    def test_that_is_none_lets_the_program_go_on_each_time(self) -> None:
        script = "import p2pdbg; print([p2pdbg.wait_for_ide(timeout=0) for _ in range(3)])"
        self.assertEqual(self.said(script), "[False, False, False]")

    def test_that_is_over_before_debugpy_waits_ends_the_wait_all_the_same(self) -> None:
        script = """
import threading, debugpy, p2pdbg
class Late:
    def __init__(self, wait):
        self.wait, self.is_cancelled = wait, threading.Event()
    def __call__(self):
        self.is_cancelled.wait()
        self.wait()
    def cancel(self):
        self.is_cancelled.set()
        self.wait.cancel()
debugpy.wait_for_client = Late(debugpy.wait_for_client)
print(p2pdbg.wait_for_ide(timeout=5))
"""
        self.assertEqual(self.said(script), "False")

    def test_is_one_for_the_port_and_the_ide(self) -> None:
        # The port comes free when nearly all of the time is over, or all of it.
        for over in (999, 1000):
            script = f"""
import time, debugpy
from p2pdbg import _debuggers, wait_for_ide
class Clock:
    over = 0
    sleep = time.sleep
    def monotonic():
        return time.monotonic() + Clock.over
_debuggers.time = Clock
listen = debugpy.listen
def late(at):
    Clock.over = {over}
    return listen(at)
debugpy.listen = late
print(wait_for_ide(timeout=1000))
"""
            self.assertEqual(self.said(script), "False", over)


if __name__ == "__main__":
    unittest.main()
