"""Waiting for the IDE, once or wherever a program wishes."""

from __future__ import annotations

import sys
import threading
import time

from . import _debuggers
from ._endpoint import Endpoint, enabled, endpoint
from ._tunnel import start_tunnel

_attaching = threading.Lock()
_debugger: _debuggers.Debugger | None = None


def wait_for_ide(
    code: str | None = None,
    *,
    peer: str | None = None,
    rendezvous: str | None = None,
    timeout: float | None = None,
) -> bool:
    """Attaches the IDE's debugger to this process, and waits for it; whether it is attached.

    Does nothing, and imports no debugger, unless ``START_DEBUGGER`` is set. A tunnel that stands (``DEBUGGER_PORT``) is
    used; otherwise one is started, see ``start_tunnel``. If an IDE is attached already it returns at once; one that
    has gone is waited for again. With ``timeout``, in seconds, it gives up and returns False.

    Processes that this one starts are debugged too, and have their IDE already when they call this: the workers of an
    auto-reloader, say, however often they are replaced. Of several that call it and start none of each other, one
    can listen at a time; for another it waits 10 s at the most, says so and returns False.

    Raises TunnelFailed, NoDebugger, NoExecutable, or what the debugger raises.
    """
    if not enabled():
        return False
    until = None if timeout is None else time.monotonic() + timeout

    def left() -> float | None:
        return None if until is None else max(0.0, until - time.monotonic())

    # Another thread may wait already.
    if not _attaching.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
        return False
    try:
        if _debugger is not None and _debugger.attached():
            return True
        where = endpoint() or start_tunnel(code, peer=peer, rendezvous=rendezvous, timeout=left())
        return _attach(where, left())
    finally:
        _attaching.release()


def break_here(*, timeout: float | None = None) -> None:
    """Waits for the IDE as ``wait_for_ide`` does, and pauses at the next line of the caller: for one route of a web
    application, say. Does nothing unless ``START_DEBUGGER`` is set."""
    frame = sys._getframe(1)
    if wait_for_ide(timeout=timeout) and _debugger is not None:
        _debugger.pause(frame)


def _attach(where: Endpoint, timeout: float | None) -> bool:
    global _debugger
    if _debugger is None:
        _debugger, where = _debuggers.choose(where)
    # Whoever looks at a program that stands still is to see what it waits for, and where.
    how = "to attach to" if where.mode == "listen" else "to listen behind"
    print(f"p2pdbg: waiting for the IDE {how} {where.host}:{where.port}", file=sys.stderr, flush=True)
    return _debugger.attach(where, timeout)
