"""The two debuggers for Python, behind one face: debugpy (VS Code, Visual Studio, …) and pydevd-pycharm (PyCharm)."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import importlib.util
import inspect
import socket
import sys
import threading
import time
from types import FrameType
from typing import Any, Callable, Protocol

from ._endpoint import Endpoint
from ._ready import global_debugger, ready_within


#: How long the port is waited for that another process has, in seconds.
_PATIENCE = 10.0

#: Between two tries, in seconds.
_LOOK = 0.1

#: Between two times that a wait is cancelled, in seconds.
_AGAIN = 0.05

#: What debugpy says of such a port, on Linux, on others and on Windows.
_IN_USE = (f"[Errno {errno.EADDRINUSE}]", "in use", "[WinError 10048]")


class NoDebugger(ImportError):
    """Neither debugpy nor pydevd-pycharm is installed, or the one that is cannot do what the forward asks."""


class Debugger(Protocol):
    """What the rest of this package wants of a debugger."""

    def attach(self, where: Endpoint, timeout: float | None) -> bool:
        """Meets the IDE; whether it came."""

    def attached(self) -> bool:
        """Whether an IDE is attached to this process."""

    def pause(self, frame: FrameType) -> None:
        """Pauses this thread at the next line of ``frame``."""


class Debugpy:
    """debugpy: listens for the IDE, or connects to it. It follows the processes that this one starts."""

    def __init__(self) -> None:
        self._debugpy: Any = importlib.import_module("debugpy")
        #: Another process has the port, as was seen and said; it is not waited for at each call.
        self._is_taken = False

    def attach(self, where: Endpoint, timeout: float | None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        # In a process that the debugger has followed, the way to the IDE is the parent's.
        if global_debugger() is None:
            at = (where.host, where.port)
            if where.mode == "connect":
                met = ready_within(timeout, lambda: self._debugpy.connect(at))
            else:
                met = self._listen(at, timeout)
            if not met:
                return False
        _send_at_once()
        if until is None:
            self._debugpy.wait_for_client()
        elif (left := until - time.monotonic()) > 0:
            end = _End(left, lambda: self._debugpy.wait_for_client.cancel())
            end.start()
            try:
                self._debugpy.wait_for_client()
            finally:
                end.stop()
        return self.attached()

    def _listen(self, at: tuple[str, int], timeout: float | None) -> bool:
        """Listens there; whether it could. A worker that this one replaces has the port until its IDE has gone."""
        patience = 0 if self._is_taken else _PATIENCE if timeout is None else min(timeout, _PATIENCE)
        until = time.monotonic() + patience
        while True:
            try:
                self._debugpy.listen(at)
                return True
            except RuntimeError as error:
                if not any(sign in str(error) for sign in _IN_USE):
                    raise
            if time.monotonic() >= until:
                break
            time.sleep(_LOOK)
        if not self._is_taken:
            self._is_taken = True
            print(
                f"p2pdbg: another process of this program has port {at[1]}: start one worker, or run p2pdbg listen "
                "debugpy-connect beside the IDE",
                file=sys.stderr,
                flush=True,
            )
        return False

    def attached(self) -> bool:
        return global_debugger() is not None and bool(self._debugpy.is_client_connected())

    def pause(self, frame: FrameType) -> None:
        # `debugpy.breakpoint` would pause in the function that calls it, which is ours.
        pydevd: Any = importlib.import_module("pydevd")
        pydevd.settrace(
            suspend=True, trace_only_current_thread=True, patch_multiprocessing=False, stop_at_frame=frame
        )


class _End(threading.Thread):
    """Ends debugpy's wait for its IDE once its time is over, until it is told to stop.

    A wait can be cancelled from a moment on that cannot be seen from outside: what cancels it is there when it has begun,
    and before that is missing, or of the wait before. So it is cancelled again and again."""

    def __init__(self, left: float, cancel: Callable[[], object]) -> None:
        super().__init__(name="p2pdbg", daemon=True)
        self._left = left
        self._cancel = cancel
        self._done = threading.Event()
        # It is none of the program's threads, for pydevd to trace or to show.
        self.is_pydev_daemon_thread = True
        self.pydev_do_not_trace = True

    def run(self) -> None:
        if self._done.wait(self._left):
            return
        while True:
            # No wait has begun.
            with contextlib.suppress(RuntimeError):
                self._cancel()
            if self._done.wait(_AGAIN):
                return

    def stop(self) -> None:
        """Comes back when no later wait can be cancelled by this any more."""
        self._done.set()
        self.join()


class Pydevd:
    """pydevd-pycharm: connects to PyCharm's Python Debug Server, as do the processes that this one starts."""

    def __init__(self, where: Endpoint) -> None:
        self._pydevd: Any = importlib.import_module("pydevd_pycharm")
        self._where = where

    def attach(self, where: Endpoint, timeout: float | None) -> bool:
        settrace = functools.partial(self._settrace, suspend=False, patch_multiprocessing=True)
        return ready_within(timeout, settrace) and self.attached()

    def attached(self) -> bool:
        debugger = global_debugger()
        return debugger is not None and not getattr(debugger, "pydb_disposed", False)

    def pause(self, frame: FrameType) -> None:
        self._settrace(suspend=True, stop_at_frame=frame)

    def _settrace(self, **arguments: Any) -> None:
        known = inspect.signature(self._pydevd.settrace).parameters
        # Old builds spell these in camel case.
        for new, old in (("stdout_to_server", "stdoutToServer"), ("stderr_to_server", "stderrToServer")):
            arguments[new if new in known else old] = True
        self._pydevd.settrace(self._where.host, port=self._where.port, **arguments)


def _send_at_once() -> None:
    """Switches Nagle's algorithm off on the debugger's own connection.

    debugpy writes each message in two pieces, header and body. To its adapter, where it listens, the second would wait
    until the first is acknowledged, which the system puts off for 40 ms: 0.2 s for each step."""
    connection = getattr(getattr(global_debugger(), "writer", None), "sock", None)
    if isinstance(connection, socket.socket):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def choose(where: Endpoint) -> tuple[Debugger, Endpoint]:
    """The debugger that is installed and fits, and the endpoint with what it does there."""
    debugpy, pydevd = (_installed(name) for name in ("debugpy", "pydevd_pycharm"))
    # pydevd can only connect. Where nothing says what the forward wants, pydevd alone means PyCharm.
    mode = where.mode or ("connect" if pydevd and not debugpy else "listen")
    where = where._replace(mode=mode)
    if mode == "connect" and pydevd:
        return Pydevd(where), where
    if debugpy:
        return Debugpy(), where
    if pydevd:
        raise NoDebugger(
            "pydevd-pycharm cannot listen, and this forward wants it to: run p2pdbg listen pydevd beside PyCharm, "
            "or install debugpy here"
        )
    raise NoDebugger(
        "there is no debugger: install debugpy, or for PyCharm the pydevd-pycharm that its Debug Server dialog names"
    )


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
