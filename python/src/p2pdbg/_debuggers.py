"""The two debuggers for Python, behind one face: debugpy (VS Code, Visual Studio, …) and pydevd-pycharm (PyCharm)."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import socket
import sys
import threading
from types import FrameType
from typing import Any, Protocol

from ._endpoint import Endpoint


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

    def attach(self, where: Endpoint, timeout: float | None) -> bool:
        # In a process that the debugger has followed, the way to the IDE is the parent's.
        if _pydevd() is None:
            at = (where.host, where.port)
            (self._debugpy.connect if where.mode == "connect" else self._debugpy.listen)(at)
        _send_at_once()
        cancel = threading.Timer(timeout or 0, self._debugpy.wait_for_client.cancel)
        cancel.daemon = True
        if timeout is not None:
            cancel.start()
        try:
            self._debugpy.wait_for_client()
        finally:
            cancel.cancel()
        return self.attached()

    def attached(self) -> bool:
        return _pydevd() is not None and bool(self._debugpy.is_client_connected())

    def pause(self, frame: FrameType) -> None:
        # `debugpy.breakpoint` would pause in the function that calls it, which is ours.
        pydevd: Any = importlib.import_module("pydevd")
        pydevd.settrace(
            suspend=True, trace_only_current_thread=True, patch_multiprocessing=False, stop_at_frame=frame
        )


class Pydevd:
    """pydevd-pycharm: connects to PyCharm's Python Debug Server, as do the processes that this one starts."""

    def __init__(self, where: Endpoint) -> None:
        self._pydevd: Any = importlib.import_module("pydevd_pycharm")
        self._where = where

    def attach(self, where: Endpoint, timeout: float | None) -> bool:
        self._settrace(suspend=False, patch_multiprocessing=True)
        return self.attached()

    def attached(self) -> bool:
        debugger = _pydevd()
        return debugger is not None and not getattr(debugger, "pydb_disposed", False)

    def pause(self, frame: FrameType) -> None:
        self._settrace(suspend=True, stop_at_frame=frame)

    def _settrace(self, **arguments: Any) -> None:
        known = inspect.signature(self._pydevd.settrace).parameters
        # Old builds spell these in camel case.
        for new, old in (("stdout_to_server", "stdoutToServer"), ("stderr_to_server", "stderrToServer")):
            arguments[new if new in known else old] = True
        self._pydevd.settrace(self._where.host, port=self._where.port, **arguments)


def _pydevd() -> Any:
    """The debugger inside this process, which both packages bring; None if it has not been started."""
    module = sys.modules.get("pydevd")
    return module.get_global_debugger() if module is not None else None


def _send_at_once() -> None:
    """Switches Nagle's algorithm off on the debugger's own connection.

    debugpy writes each message in two pieces, header and body. To its adapter, where it listens, the second would wait
    until the first is acknowledged, which the system puts off for 40 ms: 0.2 s for each step."""
    connection = getattr(getattr(_pydevd(), "writer", None), "sock", None)
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
