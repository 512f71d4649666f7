"""Runs a program on a terminal of its own, in the foreground there, with its output where this one's is.

    terminal.py terminal|null PROGRAM [ARGUMENT...]

The first word is its standard input. SIGUSR1 to this process presses ^C.
"""

import os
import pty
import signal
import sys

output = [os.dup(1), os.dup(2)]
pid, terminal = pty.fork()
if pid == 0:
    os.dup2(output[0], 1)
    os.dup2(output[1], 2)
    if sys.argv[1] == "null":
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(sys.argv[2], sys.argv[2:])
signal.signal(signal.SIGUSR1, lambda *_: os.write(terminal, b"\x03"))
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
