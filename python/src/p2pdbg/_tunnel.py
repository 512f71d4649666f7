"""Starts ``p2pdbg connect`` beside this program, and ends it with this process."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from typing import IO, Any

from ._endpoint import Endpoint, announce
from ._executable import executable

#: How long the tunnel may take to say goodbye, in seconds.
_GOODBYE = 3.0


class TunnelFailed(RuntimeError):
    """``p2pdbg connect`` could not connect. ``code`` is that of its error, as in docs/JSON.md."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


def start_tunnel(
    code: str | None = None,
    *,
    peer: str | None = None,
    rendezvous: str | None = None,
    timeout: float | None = None,
) -> Endpoint:
    """Connects to the IDE's host and waits until its forward stands; the tunnel lives as long as this process, however
    that ends.

    ``code`` is what ``p2pdbg listen`` printed (or ``P2PDBG_CODE``), ``peer`` the name of a host known from before (or
    ``P2PDBG_PEER``); ``rendezvous`` is its URL (or ``P2PDBG_RENDEZVOUS``). Secrets are handed on in the environment,
    never on the command line. ``timeout`` is in seconds; None waits for as long as it takes.

    Raises TunnelFailed, with what ``p2pdbg`` said.
    """
    environment = dict(os.environ)
    command = [executable(), "connect", "--json"]
    if os.name == "posix":
        # It ends with this process, and not with those that this one forks or becomes by exec: even one that is killed
        # leaves no tunnel behind.
        command += ["--pid", str(os.getpid())]
    else:
        # By the pipe that this process holds: where there are no signals, to terminate it would leave it no time to tell
        # the other side.
        command += ["--until-stdin-ends"]
    peer = peer or (None if code else environment.get("P2PDBG_PEER"))
    if peer:
        command += ["--peer", peer]
    elif code or environment.get("P2PDBG_CODE"):
        environment["P2PDBG_CODE"] = code or environment["P2PDBG_CODE"]
    else:
        raise TunnelFailed("there is no tunnel, and neither P2PDBG_CODE nor P2PDBG_PEER to start one with", "code_missing")
    if rendezvous:
        environment["P2PDBG_RENDEZVOUS"] = rendezvous
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL if os.name == "posix" else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # It writes UTF-8 everywhere. The locale's encoding is another on Windows, where the peer's directory may fail in it.
        encoding="utf-8",
        errors="replace",
    )
    atexit.register(_stop, process, os.getpid())
    late = threading.Event()

    def give_up() -> None:
        late.set()
        _ask_to_end(process)

    timer = threading.Timer(timeout or 0, give_up)
    timer.daemon = True
    if timeout is not None:
        timer.start()
    try:
        where = _wait(process)
    except TunnelFailed:
        if late.is_set():
            raise TunnelFailed(f"no tunnel to the IDE within {timeout:g} s") from None
        raise
    except BaseException:
        # Whoever catches this has no use for the tunnel.
        _ask_to_end(process)
        raise
    finally:
        timer.cancel()
    announce(where)
    return where


def _wait(process: subprocess.Popen[str]) -> Endpoint:
    """Reads events until a forward stands, and leaves the rest to a thread, so that no pipe fills. Of several it is the
    first that has a port: those of debuggers come first."""
    assert process.stdout is not None and process.stderr is not None
    complaints: list[str] = []
    errors = _drain(process.stderr, complaints)
    said: set[str] = set()
    for line in process.stdout:
        event = _event(line)
        if event.get("event") == "forward" and (where := _endpoint(event)) is not None:
            _drain(process.stdout, [])
            return where
        if event.get("event") == "error":
            hint = f" ({event['hint']})" if event.get("hint") else ""
            raise TunnelFailed(f"{event.get('message')}{hint}", event.get("code"))
        news = _news(event)
        if news is not None and news not in said:
            said.add(news)
            print(f"p2pdbg: {news}", file=sys.stderr, flush=True)
    process.wait()
    errors.join(timeout=1)
    complaint = " ".join(complaints).strip() or f"exit status {process.returncode}"
    raise TunnelFailed(f"p2pdbg connect ended before a forward stood: {complaint}")


def _news(event: dict[str, Any]) -> str | None:
    """What whoever looks at a program that stands still is to know of an event."""
    news = None
    if event.get("event") == "waiting":
        at = f" at {event['at']}" if event.get("at") else ""
        run = f"; there: {event['run']}" if event.get("run") else ""
        awaited = {"peer": "the peer", "ide": f"the IDE to listen{at}", "debuggee": f"a debuggee to listen{at}"}
        news = f"waiting for {awaited.get(event.get('for', ''), 'the rendezvous to answer')}{run}"
    elif event.get("event") == "warning":
        hint = f" ({event['hint']})" if event.get("hint") else ""
        news = f"warning: {event.get('message')}{hint}"
    elif event.get("event") == "forward":
        news = f"the forward to {event.get('to')} has no port at which a debugger could be met"
    # Parts of it are the other side's, and this goes to a terminal.
    return news and "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in news)


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _endpoint(event: dict[str, Any]) -> Endpoint | None:
    """Where a forward meets the IDE; None if that is a Unix socket."""
    # `to_ide`: the port that p2pdbg opened here leads to the IDE. Else the debuggee is to listen at the target.
    is_to_ide = event["direction"] == "to_ide"
    port = event["listen" if is_to_ide else "to"].rpartition(":")[2]
    if not port.isdecimal():
        return None
    return Endpoint("127.0.0.1", int(port), "connect" if is_to_ide else "listen")


def _drain(stream: IO[str], kept: list[str]) -> threading.Thread:
    def read() -> None:
        for line in stream:
            if len(kept) < 20:
                kept.append(line.strip())

    thread = threading.Thread(target=read, name="p2pdbg", daemon=True)
    thread.start()
    return thread


def _ask_to_end(process: subprocess.Popen[str]) -> None:
    """Has it end and tell the other side at once: by the end of its input, where it ends with that."""
    if process.stdin is not None:
        process.stdin.close()
    else:
        # Not SIGINT: where this program was started with that ignored, it is there too.
        process.terminate()


def _stop(process: subprocess.Popen[str], owner: int) -> None:
    # A forked process has inherited this call with the rest, but the tunnel is not its own.
    if os.getpid() != owner or process.poll() is not None:
        return
    _ask_to_end(process)
    try:
        process.wait(_GOODBYE)
    except subprocess.TimeoutExpired:
        process.kill()
