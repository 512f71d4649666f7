"""``python -m p2pdbg …``: the program p2pdbg, with one convenience.

After ``--``, a Python script may stand alone, as may ``-m MODULE`` and ``-c CODE``: they run in this interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys

from ._executable import NoExecutable, executable


def command_line(arguments: list[str]) -> list[str]:
    """The arguments, with this interpreter before a script."""
    if "--" not in arguments:
        return arguments
    at = arguments.index("--") + 1
    first = arguments[at : at + 1]
    if first and (first[0] in ("-m", "-c") or first[0].endswith((".py", ".pyw"))):
        return [*arguments[:at], sys.executable, *arguments[at:]]
    return arguments


def main() -> int:
    try:
        command = [executable(), *command_line(sys.argv[1:])]
    except NoExecutable as error:
        print(f"p2pdbg: {error}", file=sys.stderr)
        return 127
    if os.name == "posix":
        os.execv(command[0], command)
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
