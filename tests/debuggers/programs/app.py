"""The program under test for `p2pdbg connect … -- python app.py`: starts its debugger when it is told to.

    app.py [debugpy|debugpy-connect|pydevd|package|package-break] [--status N] [--until-term N]

Prints what it was told as one line of JSON, starts the debugger when START_DEBUGGER is 1, computes, and ends with
--status. Under debugpy it prints in the end whether that sends at once (TCP_NODELAY), for which it waits 5 s. `package`
waits by the Python package p2pdbg, `package-break` pauses by it. With --until-term it waits for SIGTERM after that, and
ends with that status when it comes.
"""

import argparse
import json
import os
import signal
import socket
import sys
import time

import steps


def start_debugger(kind: str, host: str, port: int) -> None:
    if kind == "pydevd":
        import pydevd_pycharm
        pydevd_pycharm.settrace(host, port=port, stdout_to_server=True, stderr_to_server=True)
        print("settrace has returned", flush=True)
        return
    if kind.startswith("package"):
        import p2pdbg
        if kind == "package-break":
            p2pdbg.break_here()
            print("settrace has returned", flush=True)
        else:
            print("attached", p2pdbg.wait_for_ide(), flush=True)
        return
    import debugpy
    if kind == "debugpy":
        debugpy.listen((host, port))
    else:
        debugpy.connect((host, port))
    debugpy.wait_for_client()


def sends_at_once() -> bool:
    import pydevd
    connection = pydevd.get_global_debugger().writer.sock
    until = time.monotonic() + 5
    while not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("debugger", nargs="?", default="debugpy", choices=["debugpy", "debugpy-connect", "pydevd", "package", "package-break"])
    parser.add_argument("--status", type=int, default=0)
    parser.add_argument("--until-term", type=int)
    args = parser.parse_args()
    sys.argv[1:] = []

    told = {name: os.environ.get(name) for name in ("START_DEBUGGER", "DEBUGGER_HOST", "DEBUGGER_PORT")}
    print(json.dumps({**told, "pid": os.getpid()}), flush=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM] if args.until_term is not None else [])
    if told["START_DEBUGGER"] == "1":
        start_debugger(args.debugger, str(told["DEBUGGER_HOST"]), int(str(told["DEBUGGER_PORT"])))
    steps.main()
    if told["START_DEBUGGER"] == "1" and args.debugger == "debugpy":
        print("sends at once:", sends_at_once(), flush=True)
    if args.until_term is not None:
        print("waiting for SIGTERM", flush=True)
        signal.sigwait([signal.SIGTERM])
        print("got SIGTERM", flush=True)
        return int(args.until_term)
    return int(args.status)


if __name__ == "__main__":
    sys.exit(main())
