"""A web application with an auto-reloader, whose workers wait for the IDE.

    shop.py PORT

GET /price?n=N gives twice N; a breakpoint goes there. GET /pause gives "paused" and pauses by itself. GET /pid tells one
worker from the next, which comes when this file changes. Each process prints whether debugpy sends at once in it
(TCP_NODELAY).
"""

import os
import socket
import sys

import flask

import p2pdbg

p2pdbg.wait_for_ide()
# debugpy brings its own; that of PyCharm may be installed as well, and must not be imported before it.
connection = sys.modules["pydevd"].get_global_debugger().writer.sock
print("sends at once:", bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)), flush=True)
shop = flask.Flask(__name__)


@shop.get("/price")
def price() -> str:
    n = int(flask.request.args["n"])
    return str(n * 2)  # BREAK: price


@shop.get("/pause")
def pause() -> str:
    word = "paused"
    p2pdbg.break_here()
    return word  # BREAK: pause


@shop.get("/pid")
def pid() -> str:
    return str(os.getpid())


if __name__ == "__main__":
    shop.run(port=int(sys.argv[1]), debug=True)
