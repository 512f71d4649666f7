"""What needs no tunnel. Run by tests/python of the workspace, or: python -m unittest discover -s python/tests"""

import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import p2pdbg
from p2pdbg import _tunnel
from p2pdbg.__main__ import command_line


def variables(**values: str) -> "mock._patch_dict":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DEBUGGER_", "START_", "P2PDBG_"))}
    return mock.patch.dict(os.environ, {**kept, **values}, clear=True)


def waited_for(*events: "dict[str, str]") -> "tuple[p2pdbg.Endpoint, str]":
    """Where a program that says these events has its tunnel, and what was said of them."""
    script = "".join(f"printf '%s\\n' {shlex.quote(json.dumps(event))}\n" for event in events)
    with subprocess.Popen(
        ["sh", "-c", script], encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            return _tunnel._wait(process), said.getvalue()


class TheEnvironment(unittest.TestCase):
    def test_nothing_happens_unless_the_debugger_is_wanted(self) -> None:
        for value in ("", "0", "false", "No", "off"):
            with variables(START_DEBUGGER=value, DEBUGGER_PORT="nonsense"):
                self.assertFalse(p2pdbg.enabled())
                self.assertFalse(p2pdbg.wait_for_ide())
                p2pdbg.break_here()

    def test_no_debugger_is_imported_unless_it_is_wanted(self) -> None:
        script = "import sys, p2pdbg; p2pdbg.wait_for_ide(); print([n for n in sys.modules if 'pydev' in n or 'debugpy' in n])"
        with variables():
            said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        self.assertEqual(said.stdout.strip(), "[]")

    def test_the_endpoint_is_what_connect_tells_a_command(self) -> None:
        with variables():
            self.assertIsNone(p2pdbg.endpoint())
        with variables(DEBUGGER_HOST="127.0.0.1", DEBUGGER_PORT="5678", DEBUGGER_MODE="connect"):
            self.assertEqual(p2pdbg.endpoint(), ("127.0.0.1", 5678, "connect"))
        with variables(DEBUGGER_PORT="5678"):
            self.assertEqual(p2pdbg.endpoint(), ("127.0.0.1", 5678, None))

    def test_nonsense_is_refused_with_the_name_of_the_variable(self) -> None:
        for name, value in (("PORT", "0"), ("PORT", "65536"), ("PORT", "²"), ("PORT", "-1"), ("MODE", "both")):
            with variables(**{"DEBUGGER_PORT": "5678", f"DEBUGGER_{name}": value}):
                with self.assertRaisesRegex(ValueError, f"DEBUGGER_{name}"):
                    p2pdbg.endpoint()

    def test_without_a_code_or_a_peer_no_tunnel_is_started(self) -> None:
        with variables(START_DEBUGGER="1"):
            with self.assertRaisesRegex(p2pdbg.TunnelFailed, "P2PDBG_CODE") as caught:
                p2pdbg.wait_for_ide()
        self.assertEqual(caught.exception.code, "code_missing")

    def test_what_the_program_complains_of_is_passed_on(self) -> None:
        url = "p2pdbg://127.0.0.1:9#" + "A" * 43
        with self.assertRaises(p2pdbg.TunnelFailed) as caught:
            with variables():
                p2pdbg.start_tunnel("482913-zebra-zone", rendezvous=url)
        self.assertEqual(caught.exception.code, "code_malformed")
        self.assertNotIn("zebra", str(caught.exception))

    @unittest.skipIf(os.name == "nt", "the program here is a script")
    def test_what_the_program_writes_is_utf8_whatever_the_locale(self) -> None:
        facts = '{"event":"facts","directory":"/home/Ícaro"}'
        forward = '{"event":"forward","direction":"to_debuggee","listen":"127.0.0.1:1","to":"localhost:5678"}'
        with tempfile.TemporaryDirectory() as directory:
            program = os.path.join(directory, "p2pdbg")
            with open(program, "w", encoding="utf-8") as file:
                file.write(f"#!/bin/sh\necho '{facts}'\necho '{forward}'\n")
            os.chmod(program, 0o700)
            script = f"import p2pdbg._tunnel as t; t.executable = lambda: {program!r}; print(t.start_tunnel('482913-a-b-c').port)"
            # The encoding of this locale has no such letter.
            environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
            said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        self.assertEqual((said.returncode, said.stdout), (0, "5678\n"), said.stderr)

    @unittest.skipIf(os.name == "nt", "the program here is a script")
    def test_a_forward_without_a_port_is_passed_over_for_the_next(self) -> None:
        socket = {"event": "forward", "direction": "to_debuggee", "listen": "127.0.0.1:8000", "to": "/run/app.sock"}
        port = {"event": "forward", "direction": "to_ide", "listen": "127.0.0.1:5678", "to": "localhost:5679"}
        where, said = waited_for(socket, port, port)
        self.assertEqual(where, ("127.0.0.1", 5678, "connect"))
        self.assertIn("/run/app.sock", said)

    @unittest.skipIf(os.name == "nt", "the program here is a script")
    def test_what_is_waited_for_and_warned_of_is_said_once_and_safe_for_a_terminal(self) -> None:
        forward = {"event": "forward", "direction": "to_debuggee", "listen": "127.0.0.1:1", "to": "localhost:5678"}
        waiting = {"event": "waiting", "for": "peer", "run": "p2pdbg listen --peer web-1"}
        warning = {"event": "warning", "code": "name_taken", "message": "it is \x1b[2J here", "hint": "look"}
        _, said = waited_for(waiting, {"event": "waiting", "for": "rendezvous"}, warning, waiting, forward)
        self.assertEqual(
            said.splitlines(),
            [
                "p2pdbg: waiting for the peer; there: p2pdbg listen --peer web-1",
                "p2pdbg: waiting for the rendezvous to answer",
                "p2pdbg: warning: it is \N{REPLACEMENT CHARACTER}[2J here (look)",
            ],
        )

    @unittest.skipIf(os.name == "nt", "the program here is a script")
    def test_a_tunnel_that_ends_with_its_input_is_ended_by_that_and_not_killed(self) -> None:
        script = "trap '' TERM; echo ready; cat; exit 130"
        command = ["sh", "-c", script]
        with subprocess.Popen(command, encoding="utf-8", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), "ready\n")
            _tunnel._stop(process, os.getpid())
            self.assertEqual(process.returncode, 130)


class TheCommandLine(unittest.TestCase):
    def test_a_script_runs_in_this_interpreter(self) -> None:
        here = sys.executable
        for given, expected in [
            ("connect CODE -- app.py --port 80", f"connect CODE -- {here} app.py --port 80"),
            ("connect CODE -- -m flask run", f"connect CODE -- {here} -m flask run"),
            ("connect CODE -- gunicorn app.py", "connect CODE -- gunicorn app.py"),
            ("connect CODE --", "connect CODE --"),
            ("listen app.py", "listen app.py"),
        ]:
            self.assertEqual(command_line(given.split()), expected.split())

    def test_the_module_is_the_program(self) -> None:
        said = subprocess.run([sys.executable, "-m", "p2pdbg", "--version"], capture_output=True, text=True, check=True)
        self.assertRegex(said.stdout, r"^p2pdbg \d+\.\d+\.\d+")
        program = subprocess.run([p2pdbg.executable(), "--version"], capture_output=True, text=True, check=True)
        self.assertEqual(said.stdout, program.stdout)


if __name__ == "__main__":
    unittest.main()
