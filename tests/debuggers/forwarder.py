#!/usr/bin/env python3
"""A plain TCP forwarder: what the scenarios are proved against before anything of p2pdbg takes part.

    forwarder.py --to PORT [--port P] [--delay MS] [--quickack]

Holds like p2pdbg: accepts at once, and dials only when the other end is seen to listen (without probing it). Each
direction ends on its own. --delay is added to every byte in each direction; --quickack acknowledges what it reads at
once, as p2pdbg does. Prints {"event": "accepted", "connections": N} for every connection that it takes.
"""

import queue
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fixture import scenario  # noqa: E402
from fixture.passive import dial, is_listening, no_delay, wait_until  # noqa: E402


def carry(source: socket.socket, sink: socket.socket, delay: float, quickack: bool) -> None:
    """One direction, until its end."""
    line: "queue.Queue[tuple]" = queue.Queue(64)

    def deliver() -> None:
        try:
            while True:
                due, data = line.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
        except OSError:
            return

    threading.Thread(target=deliver, daemon=True).start()
    data = b"first"
    while data:
        try:
            if quickack:
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            data = source.recv(65536)
        except OSError:
            data = b""
        line.put((time.monotonic() + delay, data))


def main() -> None:
    parser = scenario.arguments(__doc__, "the port to accept at (default 0: any, printed)")
    parser.add_argument("--to", type=int, required=True, help="the port to forward to")
    parser.add_argument("--delay", type=float, default=0.0, help="milliseconds added in each direction")
    parser.add_argument("--quickack", action="store_true")
    args = parser.parse_args()

    def forward(run: scenario.Scenario, accepted: socket.socket) -> None:
        wait_until(run, f"port {args.to} to listen", lambda: is_listening(args.to))
        dialled = dial(run, args.host, args.to)
        for source, sink in ((accepted, dialled), (dialled, accepted)):
            threading.Thread(target=carry, args=(source, sink, args.delay / 1000, args.quickack), daemon=True).start()

    def body(run: scenario.Scenario) -> None:
        server = socket.create_server((args.host, args.port))
        run.emit("listening", port=server.getsockname()[1])
        connections = 0
        while True:
            accepted, _ = server.accept()
            no_delay(accepted)
            connections += 1
            run.emit("accepted", connections=connections)
            threading.Thread(target=forward, args=(run, accepted), daemon=True).start()

    scenario.run("forwarder", args.timeout, body)


main()
