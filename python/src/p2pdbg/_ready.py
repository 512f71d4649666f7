"""pydevd's wait for the word of the IDE to run, with an end.

``settrace`` has connected when it begins to wait, since p2pdbg holds the connection until the IDE listens; and then it
waits without end, even for an IDE that has left again.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import Any, Callable

#: Between two looks, in seconds.
_LOOK = 0.05


def global_debugger() -> Any:
    """The debugger inside this process, which both packages bring; None if it has not been started."""
    # Another thread may be importing it.
    ask = getattr(sys.modules.get("pydevd"), "get_global_debugger", None)
    return ask() if ask is not None else None


def ready_within(timeout: float | None, connect: Callable[[], object]) -> bool:
    """Runs what connects to the IDE and waits for its word; whether that came, before the IDE left and within
    ``timeout`` seconds. Otherwise the debugger has been ended, and may be started again."""
    module: Any = sys.modules.get("pydevd")
    if module is not None and global_debugger() is None:
        # One that has been ended leaves this behind, by which the next would take itself for connected.
        module.connected = False
    watch = _Watch(timeout)
    watch.start()
    try:
        connect()
    finally:
        watch.done.set()
        watch.join()
    if watch.gave_up is not None:
        _end(watch.gave_up)
    return watch.gave_up is None


class _Watch(threading.Thread):
    """Lets the program go on once there is nothing to wait for."""

    def __init__(self, timeout: float | None) -> None:
        super().__init__(name="p2pdbg", daemon=True)
        self._until = None if timeout is None else time.monotonic() + timeout
        self.done = threading.Event()
        #: The debugger whose IDE has not said its word.
        self.gave_up: Any = None
        # It is none of the program's threads, for pydevd to trace or to show.
        self.is_pydev_daemon_thread = True
        self.pydev_do_not_trace = True

    def run(self) -> None:
        debugger: Any = None
        while not self.done.wait(_LOOK):
            debugger = debugger or global_debugger()
            if debugger is None or debugger.ready_to_run:
                continue
            is_late = self._until is not None and time.monotonic() >= self._until
            if is_late or getattr(debugger, "pydb_disposed", False):
                self.gave_up = debugger
                debugger.ready_to_run = True
                return


def _end(debugger: Any) -> None:
    pydevd: Any = sys.modules["pydevd"]
    pydevd.stoptrace()
    # If the IDE has left, it began with threads that nobody ends.
    for thread in list(getattr(debugger, "created_pydb_daemon_threads", ())):
        with contextlib.suppress(Exception):
            thread.do_kill_pydev_thread()
