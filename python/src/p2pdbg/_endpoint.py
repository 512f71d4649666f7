"""Where the debugger meets the IDE, as the environment says it.

``p2pdbg connect`` sets these for the program that it runs, and ``start_tunnel`` for this process and its children:

    START_DEBUGGER   1: this program is to be debugged
    DEBUGGER_HOST    127.0.0.1
    DEBUGGER_PORT    the port of the forward at this end
    DEBUGGER_MODE    listen: the debuggee listens there; connect: it connects there, since the IDE listens
"""

from __future__ import annotations

import os
from typing import Literal, NamedTuple, Optional

Mode = Literal["listen", "connect"]


class Endpoint(NamedTuple):
    """A host, a port, and what the debuggee does there."""

    host: str
    port: int
    #: ``listen`` or ``connect``; None where nothing says which.
    mode: Optional[Mode]


def enabled() -> bool:
    """Whether ``START_DEBUGGER`` says that this program is to be debugged: set, and not 0, false, no or off."""
    return os.environ.get("START_DEBUGGER", "").strip().lower() not in ("", "0", "false", "no", "off")


def endpoint() -> Endpoint | None:
    """Where to meet the IDE; None if there is no tunnel yet.

    Raises ValueError if ``DEBUGGER_PORT`` or ``DEBUGGER_MODE`` is nonsense.
    """
    text = os.environ.get("DEBUGGER_PORT", "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError(f"DEBUGGER_PORT is {text!r}, which is no port from 1 to 65535")
    return Endpoint(os.environ.get("DEBUGGER_HOST", "").strip() or "127.0.0.1", int(text), _mode())


def _mode() -> Mode | None:
    mode = os.environ.get("DEBUGGER_MODE", "").strip()
    if mode == "listen":
        return "listen"
    if mode == "connect":
        return "connect"
    if mode:
        raise ValueError(f"DEBUGGER_MODE is {mode!r}; it must be listen or connect")
    return None


def announce(where: Endpoint) -> None:
    """Tells this process and those that it starts where the IDE is met."""
    os.environ["DEBUGGER_HOST"] = where.host
    os.environ["DEBUGGER_PORT"] = str(where.port)
    if where.mode is not None:
        os.environ["DEBUGGER_MODE"] = where.mode
