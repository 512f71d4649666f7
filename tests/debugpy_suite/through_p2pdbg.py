"""Has debugpy's own tests go through p2pdbg: a plugin of pytest, which scripts/debugpy-suite loads.

On one host the two ends of a forward cannot have the same port. So an adapter that listens at P is dialled at P + 10000,
where `p2pdbg listen -L` has opened a port, and a debuggee that is told to connect to an IDE at P is told P + 20000, where
`p2pdbg connect` has opened one for `-R`. Each connection of these tests is counted, so that a run that went past the tunnel
cannot be taken for one through it.
"""

import os

SHIFT_TO_DEBUGGEE = 10_000
SHIFT_TO_IDE = 20_000


def _count(direction: str) -> None:
    with open(os.environ["P2PDBG_SUITE_COUNTS"], "a", encoding="ascii") as counts:
        counts.write(direction + "\n")


def pytest_configure(config) -> None:
    from tests.debug import runners, session

    connect_to_adapter = session.Session.connect_to_adapter

    def through_the_forward(self, address):
        host, port = address
        # Others are adapters beside the IDE, which have ports of the system's choice: the one of `debugpy --connect`, where
        # the sessions of subprocesses go, and the one that launches.
        if port == runners.attach_connect.port:
            _count("to debuggee")
            port += SHIFT_TO_DEBUGGEE
        return connect_to_adapter(self, (host, port))

    session.Session.connect_to_adapter = through_the_forward

    spawn_debuggee = session.Session.spawn_debuggee

    def to_the_forward(self, args, cwd=None, exe=None, setup=None):
        if "listen" in self.config and self.config["listen"]:
            host, port = runners.attach_listen.host, runners.attach_listen.port
            there = port + SHIFT_TO_IDE
            _count("to ide")
            args = [f"{host}:{there}" if each == f"{host}:{port}" else each for each in args]
            if setup is not None:
                setup = setup.replace(repr((host, port)), repr((host, there)))
        kwargs = {"cwd": cwd, "setup": setup}
        if exe is not None:
            kwargs["exe"] = exe
        return spawn_debuggee(self, args, **kwargs)

    session.Session.spawn_debuggee = to_the_forward
