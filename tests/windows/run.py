"""Runs the programs for Windows under Wine against those for Linux, in two network namespaces with a link between them.

    run.py WINDOWS LINUX [TRIAL...]

WINDOWS and LINUX are the directories of the programs. Each trial prints "ok" or what went wrong; the exit status is 0 only
if all were ok. Called by scripts/test-windows, which makes what is needed.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types

PATIENCE = 60
WINDOWS, LINUX = "10.91.0.1", "10.91.0.2"
LENGTH = 1 << 20


class Failed(Exception):
    pass


def enter(namespace):
    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


class Lab:
    """Two hosts and the link between them: `w` is where Wine runs."""

    def __init__(self):
        self.names = {host: f"p2pdbg-{host}-{os.getpid()}" for host in "wl"}

    def __enter__(self):
        for name in self.names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        w, l = self.names["w"], self.names["l"]
        ip("link", "add", "eth0", "netns", w, "type", "veth", "peer", "name", "eth0", "netns", l)
        for name, address in [(w, WINDOWS), (l, LINUX)]:
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        return self

    def __exit__(self, *_):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "delete", name], check=False)

    def link(self, state):
        ip("-n", self.names["l"], "link", "set", "eth0", state)

    @contextlib.contextmanager
    def at(self, host):
        """Sockets that are opened meanwhile are of that host."""
        with open(f"/run/netns/{self.names[host]}") as there, open("/proc/self/ns/net") as here:
            enter(there)
            try:
                yield
            finally:
                enter(here)


class Program:
    """A program that runs, and what it has written."""

    def __init__(self, trial, host, name, arguments, environment, stdin=subprocess.DEVNULL, cwd=None, raw=False):
        self.name = name
        netns = trial.lab.names[host]
        program = trial.windows / f"{name}.exe" if host == "w" else trial.linux / name
        command = ["ip", "netns", "exec", netns]
        command += ["wine64", str(program)] if host == "w" else [str(program)]
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "WINEPREFIX", "WINEDLLOVERRIDES") if key in os.environ}
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command + arguments,
            env={**kept, "LC_ALL": "C.UTF-8", "WINEDEBUG": "-all", "P2PDBG_LOG": "debug", **environment},
            stdin=stdin, stdout=subprocess.PIPE, stderr=self.log, cwd=cwd or trial.directory,
        )
        self.lines, self.changed = [], threading.Condition()
        self.chunks, self.ended = [], threading.Event()
        threading.Thread(target=self._read_raw if raw else self._read, daemon=True).start()

    def _read_raw(self):
        while chunk := self.process.stdout.read1(65536):
            self.chunks.append(chunk)
        self.ended.set()

    def wait_for(self, bytes):
        deadline = time.monotonic() + PATIENCE
        while b"".join(self.chunks) != bytes:
            expect(time.monotonic() < deadline, f"{bytes} does not come\n{self.told()}")
            time.sleep(0.05)

    def output(self):
        """What came on standard output, which is no text."""
        expect(self.ended.wait(PATIENCE), "standard output does not end")
        return b"".join(self.chunks)

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.decode(errors="replace").rstrip("\r\n"))
                self.changed.notify_all()
        with self.changed:
            self.lines.append(None)
            self.changed.notify_all()
        self.ended.set()

    def line(self, pick, what):
        """What `pick` makes of the first line of which it makes anything."""
        deadline = time.monotonic() + PATIENCE
        seen = 0
        with self.changed:
            while True:
                while seen < len(self.lines):
                    line, seen = self.lines[seen], seen + 1
                    if line is None:
                        raise Failed(f"{self.name} ended without {what}\n{self.told()}")
                    if (picked := pick(line)) is not None:
                        return picked
                if not self.changed.wait(max(0, deadline - time.monotonic())):
                    raise Failed(f"{self.name} gave no {what}\n{self.told()}")

    def event(self, name, /, **fields):
        def pick(line):
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and event.get("event") == name:
                    if all(event.get(key) == value for key, value in fields.items()):
                        return event
            return None

        return self.line(pick, f"{name} {fields or ''}")

    def told(self):
        self.log.seek(0)
        log = self.log.read().decode(errors="replace").splitlines()
        return "\n".join([line for line in self.lines if line is not None][-12:] + log[-12:])

    def text(self):
        return "\n".join(line for line in self.lines if line is not None)

    def status(self):
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} does not end\n{self.told()}") from None

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Trial:
    """What one trial has: a directory, a rendezvous at the Linux host, and the programs that it started."""

    def __init__(self, lab, windows, linux, directory):
        self.lab, self.windows, self.linux, self.directory = lab, windows, linux, directory
        self.programs, self.url = [], None

    def start(self, host, *arguments, program="p2pdbg", **more):
        environment = {"P2PDBG_STATE": self.state(host)}
        if self.url:
            environment["P2PDBG_RENDEZVOUS"] = self.url
        environment |= more.pop("environment", {})
        started = Program(self, host, program, list(arguments), environment, **more)
        self.programs.append(started)
        return started

    def run(self, host, *arguments, expected=(0,)):
        """What a program says on standard output and error that ends with such a status."""
        said = self.start(host, *arguments, environment={"P2PDBG_LOG": "off"})
        expect(said.status() in expected, f"exit status {said.process.returncode}\n{said.told()}")
        said.ended.wait(PATIENCE)
        said.log.seek(0)
        return said.text() + said.log.read().decode(errors="replace")

    def windows_path(self, path):
        return "Z:" + str(path).replace("/", "\\")

    def state(self, host):
        # With a space and letters that are not in ASCII, as users' names are.
        path = f"{self.directory}/Zustand für {host}"
        return self.windows_path(path) if host == "w" else path

    def rendezvous(self, host="l"):
        address = LINUX if host == "l" else WINDOWS
        server = self.start(
            host, "--bind", f"{address}:3478", "--alt-port", "0", "--state", self.state(host) + "r", program="p2pdbg-rendezvous"
        )
        self.url = server.line(lambda line: re.search(r"p2pdbg://\S+", line), "URL").group()
        return server

    def pair(self, ide, *, listen=(), connect=(), server="l", ports=True):
        """A session that stands: its listener at one host, its connector at the other."""
        self.rendezvous(server)
        forward = ["-L", "7001:localhost:7002"] if ports else []
        listener = self.start(ide, "listen", "--json", *forward, *listen)
        code = listener.event("ready")["code"]
        connector = self.start("l" if ide == "w" else "w", "connect", "--json", code, *connect)
        return listener, connector

    def stop(self):
        for program in reversed(self.programs):
            program.stop()

    def exchange(self, ide, meanwhile=lambda: None, slowly=False):
        """Sends bytes from the IDE's host to the debuggee's and back, and compares them."""
        with self.lab.at("l" if ide == "w" else "w"):
            target = socket.create_server(("127.0.0.1", 7002))
        target.settimeout(PATIENCE)
        with self.lab.at(ide):
            client = socket.create_connection(("127.0.0.1", 7001), PATIENCE)
        sent = os.urandom(LENGTH)

        def echo():
            with contextlib.suppress(OSError), target, target.accept()[0] as connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

        def send():
            with contextlib.suppress(OSError):
                for start in range(0, LENGTH, LENGTH // 64):
                    client.sendall(sent[start : start + LENGTH // 64])
                    if slowly:
                        time.sleep(0.1)
                client.shutdown(socket.SHUT_WR)

        threads = [threading.Thread(target=work, daemon=True) for work in (echo, send, meanwhile)]
        for thread in threads:
            thread.start()
        received = b""
        client.settimeout(PATIENCE)
        with client:
            while data := client.recv(65536):
                received += data
        threads[2].join()
        if received != sent:
            raise Failed(f"{len(received)} bytes came back of {LENGTH}, or others")


def expect(condition, message):
    if not condition:
        raise Failed(message)


def version(trial):
    """Both programs say their version and their target."""
    for program in ["p2pdbg", "p2pdbg-rendezvous"]:
        said = trial.start("w", "--version", program=program)
        expect(said.status() == 0, said.told())
        said.line(lambda line: "x86_64-pc-windows-gnu" in line or None, "version")


def listen_direct(trial):
    """`listen` on Windows, `connect` on Linux: paired by code, direct, bytes there and back."""
    listener, _ = trial.pair("w")
    listener.event("path", kind="direct")
    listener.event("forward")
    trial.exchange("w")


def connect_direct(trial):
    """`connect` on Windows, whose socket table hides the target: it is dialled all the same."""
    listener, connector = trial.pair("l")
    connector.event("path", kind="direct")
    listener.event("forward")
    trial.exchange("l")


def relay_udp(trial):
    """Through the relay alone, over UDP."""
    listener, connector = trial.pair("w", listen=["--path", "relay"])
    expect(listener.event("path")["kind"] == "relay", listener.told())
    listener.event("forward")
    trial.exchange("w")
    expect('"direct"' not in listener.text(), listener.told())


def relay_tcp(trial):
    """Through the relay alone, over TCP at the end on Windows."""
    listener, connector = trial.pair("l", connect=["--path", "relay-tcp"])
    connector.event("path", kind="relay", via="tcp")
    listener.event("forward")
    trial.exchange("l")


def outage(trial):
    """The link is down for 6 s in the middle of a transfer: every byte comes, once, in order."""
    listener, _ = trial.pair("w")
    listener.event("path", kind="direct")
    listener.event("forward")

    def meanwhile():
        time.sleep(1)
        trial.lab.link("down")
        time.sleep(6)
        trial.lab.link("up")

    trial.exchange("w", meanwhile, slowly=True)


def command(trial):
    """A COMMAND of Windows: its exit status comes back, its variables name the forward, and no secret."""
    _, connector = trial.pair("l", connect=["--", "cmd", "/c", "echo %DEBUGGER_PORT% %DEBUGGER_MODE% [%P2PDBG_RENDEZVOUS%] & exit 7"])
    expect(connector.status() == 7, f"exit status {connector.status()}\n{connector.told()}")
    connector.line(lambda line: line.startswith("7002 listen [%P2PDBG") or line.startswith("7002 listen []") or None, "variables")


def command_missing(trial):
    """A COMMAND that there is not: status 127, and the code is not used up."""
    trial.rendezvous()
    listener = trial.start("l", "listen", "--json", "-L", "7001:localhost:7002")
    code = listener.event("ready")["code"]
    connector = trial.start("w", "connect", code, "--", "nosuchprogram")
    expect(connector.status() == 127, f"exit status {connector.status()}\n{connector.told()}")
    trial.start("w", "connect", "--json", code)
    listener.event("paired")


def command_batch(trial):
    """A batch file, as npm is one beside a script for Unix, is no program by its name alone; that is told before a code is
    used up, and by its whole name it runs."""
    tools = trial.directory / "tools"
    tools.mkdir()
    (tools / "npm").write_text("#!/bin/sh\n")
    (tools / "npm.cmd").write_text("@exit /b 9\r\n")
    trial.rendezvous()
    listener = trial.start("l", "listen", "--json", "-L", "7001:localhost:7002")
    code = listener.event("ready")["code"]
    environment = {"WINEPATH": trial.windows_path(tools)}
    refused = trial.start("w", "connect", code, "--", "npm", "start", environment=environment)
    expect(refused.status() == 126 and 'what is there is "npm.cmd"' in refused.told(), refused.told())
    connector = trial.start("w", "connect", "--json", code, "--", "npm.cmd", "start", environment=environment)
    listener.event("paired")
    expect(connector.status() == 9, f"exit status {connector.status()}\n{connector.told()}")


def known_peer(trial):
    """The second session needs no code: what the first left in the state directory serves."""
    listener, connector = trial.pair("w")
    peer = listener.event("paired")["peer"]
    listener.event("forward")
    trial.exchange("w")
    for program in [connector, listener]:
        program.stop()
    listener = trial.start("w", "listen", "--json", "--peer", peer, "-L", "7001:localhost:7002")
    here = connector.event("paired")["peer"]
    connector = trial.start("l", "connect", "--json", "--peer", here)
    expect(listener.event("paired")["known"], listener.told())
    listener.event("forward")
    trial.exchange("w")


def ide_vscode(trial):
    """`ide vscode --write` on Windows: the project's Windows path stands for the debuggee's Linux path."""
    project, there = trial.directory / "Prüf stand", trial.directory / "srv"
    project.mkdir()
    there.mkdir()
    trial.rendezvous()
    listener = trial.start("w", "listen", "debugpy", "--json", cwd=project)
    code = listener.event("ready")["code"]
    trial.start("l", "connect", "--json", code, cwd=there)
    listener.event("facts")
    listener.event("forward")
    for round in range(2):
        written = trial.start("w", "ide", "vscode", "--write", cwd=project)
        expect(written.status() == 0, written.told())
        launch = (project / ".vscode/launch.json").read_text()
        mapping = re.search(r'"localRoot": *"([^"]*)",\s*"remoteRoot": *"([^"]*)"', launch)
        expect(mapping and mapping[2] == str(there), launch + written.told())
        expect("workspaceFolder" in mapping[1] or mapping[1].endswith("Prüf stand"), launch)
        expect("\\\\\\\\?" not in launch, launch)


def status(trial):
    """`status` on Windows tells of the session of a `listen` there, and no more once that was killed."""
    listener, _ = trial.pair("w")
    listener.event("forward")
    process = json.loads(trial.run("w", "status", "--json"))
    expect(process["command"] == "listen" and process["sessions"][0]["state"] == "connected", process)
    expect("7001" in (shown := trial.run("w", "status")), shown)
    listener.stop()
    nothing = trial.start("w", "status")
    expect(nothing.status() == 1 and "no p2pdbg of yours runs" in nothing.told(), nothing.told())


def pipe(trial):
    """`pipe` on Windows: bytes both ways, the end of standard input and that of the target's writing each on its own."""
    listener, _ = trial.pair("w")
    listener.event("forward")
    with trial.lab.at("l"):
        target = socket.create_server(("127.0.0.1", 7003))
    target.settimeout(PATIENCE)
    joined = trial.start("w", "pipe", "localhost:7003", stdin=subprocess.PIPE, raw=True)
    sent = os.urandom(LENGTH)
    # The end of standard input reaches the target, which answers after it.
    with target, target.accept()[0] as connection:
        connection.settimeout(PATIENCE)
        threading.Thread(target=lambda: (joined.process.stdin.write(sent), joined.process.stdin.close()), daemon=True).start()
        received = b""
        while data := connection.recv(65536):
            received += data
        expect(received == sent, f"{len(received)} bytes arrived of {LENGTH}, or others")
        connection.sendall(sent[::-1])
    expect(joined.status() == 0, joined.told())
    expect(joined.output() == sent[::-1], f"{len(joined.output())} bytes came back of {LENGTH}, or others")
    # The target ends first, and is still written to. That standard output is closed then cannot be seen here: the Unix
    # process under Wine keeps it.
    with trial.lab.at("l"):
        target = socket.create_server(("127.0.0.1", 7003))
    target.settimeout(PATIENCE)
    joined = trial.start("w", "pipe", "localhost:7003", stdin=subprocess.PIPE, raw=True)
    with target, target.accept()[0] as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(b"last")
        connection.shutdown(socket.SHUT_WR)
        joined.wait_for(b"last")
        joined.process.stdin.write(b"more")
        joined.process.stdin.close()
        received = b""
        while data := connection.recv(65536):
            received += data
    expect((joined.output(), received, joined.status()) == (b"last", b"more", 0), joined.told())


def forward(trial):
    """`forward` on Windows opens a port for a debugger that came later."""
    listener, _ = trial.pair("w")
    listener.event("forward")
    with trial.lab.at("l"):
        target = socket.create_server(("127.0.0.1", 7004))
    target.settimeout(PATIENCE)
    said = trial.run("w", "forward", "debugpy:7004")
    port = int(re.search(r"forward: \S+:(\d+) here", said)[1])
    with trial.lab.at("w"):
        client = socket.create_connection(("127.0.0.1", port), PATIENCE)
    # Nothing is dialled before the client has shown that it is no web page.
    word = b"Content-Length: 2\r\n\r\n{}"
    client.sendall(word)
    with target, client, target.accept()[0] as connection:
        connection.settimeout(PATIENCE)
        expect(connection.recv(64) == word, "other bytes")


def attach(trial):
    """`attach` on Windows lists what runs at a Linux host and has gdbserver attach there, where there is one."""
    listener, connector = trial.pair("w", connect=["--accept-attach"])
    listener.event("forward")
    # In the same mount namespace: another one is taken for a container.
    sleeper = subprocess.Popen(["nsenter", "-t", str(connector.process.pid), "-m", "-n", "sleep", "86399"])
    trial.programs.append(types.SimpleNamespace(stop=lambda: (sleeper.kill(), sleeper.wait())))
    deadline = time.monotonic() + PATIENCE
    # Wine's processes are those of this host too.
    while not re.search(rf"\b{sleeper.pid} +gdbserver +sleep 86399", listed := trial.run("w", "attach")):
        expect(time.monotonic() < deadline, listed)
    if shutil.which("gdbserver"):
        said = trial.run("w", "attach", str(sleeper.pid), "--with", "gdbserver")
        expect(f"gdbserver is attached to process {sleeper.pid}" in said, said)


def attach_to_windows(trial):
    """A `connect` on Windows says that nothing is attached to there, and what to do."""
    listener, _ = trial.pair("l")
    listener.event("forward")
    said = trial.start("l", "attach")
    expect(said.status() == 1 and "on Linux alone" in said.told() and "--pid PID" in said.told(), said.told())


def sources(trial, ide="w"):
    """`sources` and `push` from Windows to Linux: what differs is told, copied, and then no more."""
    here, there = trial.directory / "hier ü", trial.directory / "there"
    for root, text in [(here, "new"), (there, "old")]:
        for name in ["web/über.py", "same.py", "again.py"]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"print('{text if 'web' in name else name}')\n")
    at = lambda path, host: trial.windows_path(path) if host == "w" else str(path)
    other = "l" if ide == "w" else "w"
    listener, _ = trial.pair(
        ide, listen=["--sources", at(here, ide)], connect=["--sources", at(there, other), "--accept-push", at(there, other)]
    )
    listener.event("forward")
    told = listener.event("sources")
    expect(told["differ"] == ["web/über.py"] and told["same"] == 2, told)
    expect("web/über.py" in trial.run(ide, "sources", expected=(0, 1)), "the file is not listed")
    said = trial.run(ide, "push")
    expect((there / "web/über.py").read_text() == "print('new')\n", said)
    again = trial.run(ide, "push", "--sources", at(here, ide), at(here / "web", ide))
    expect("0 copied, 1 the same already" in again, again)
    return here, there


def push_to_windows(trial):
    """The same from Linux to Windows: what it would take for another file, a device or `.git` is not written."""
    here, there = sources(trial, ide="l")
    (there / ".git/hooks").mkdir(parents=True)
    (there / "WEB2").mkdir()
    outside = trial.directory / "outside"
    outside.mkdir()
    for name in ["nul.py", "aux", "app.py.", "a|b.py", "ok.py", "web2/case.py"]:
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text("x\n")
    said = trial.start("l", "push", "--sources", str(here), *[str(here / name) for name in ["nul.py", "aux", "app.py.", "a|b.py"]])
    expect(said.status() == 1 and said.told().count("is none on that system") == 4, said.told())
    trial.run("l", "push", "--sources", str(here), str(here / "ok.py"), str(here / "web2/case.py"))
    expect((there / "ok.py").exists() and (there / "WEB2/case.py").exists(), "not in the directory that is there in another case")
    expect(not any((there / name).exists() for name in ["nul.py", "aux", "app.py.", "app.py", "a|b.py", "web2"]), os.listdir(there))
    # What only this end has is kept beside it.
    (there / "again.py").write_text("changed there\n")
    trial.run("l", "push", "--sources", str(here), str(here / "again.py"))
    kept = [name for name in os.listdir(there) if name.startswith(".again.py.") and name.endswith(".before")]
    expect(len(kept) == 1 and (there / kept[0]).read_text() == "changed there\n", os.listdir(there))


def first_run(trial):
    """The first `listen` closes its state directory, whose path is longer than 260 characters, and tells of the firewall."""
    trial.rendezvous()
    long = trial.directory / "/".join(["ein langer Name " + "ü" * 60] * 5)
    environment = {"P2PDBG_STATE": trial.windows_path(long)}
    for said_before in [False, True]:
        listener = trial.start("w", "listen", "--json", "-L", "7001:localhost:7002", environment=environment)
        listener.event("ready")
        expect(('"firewall"' in listener.text()) != said_before, listener.told())
        listener.stop()
    expect((long / "identity.pem").exists(), os.listdir(long))


def interrupt(trial):
    """^C ends `listen`."""
    trial.rendezvous()
    listener = trial.start("w", "listen", "--json", "-L", "7001:localhost:7002")
    listener.event("ready")
    listener.process.send_signal(signal.SIGINT)
    expect(listener.status() in (0, 130), f"exit status {listener.status()}\n{listener.told()}")


def console(trial):
    """A console is told to take escape sequences by whichever program is about to write some, whoever wants no colours too."""
    trial.rendezvous()
    programs = [
        ("p2pdbg", ["doctor"], {"NO_COLOR": "1"}),
        ("p2pdbg", ["doctor"], {}),
        # It begins its log, and ends since that address is not this host's.
        ("p2pdbg-rendezvous", ["--bind", "192.0.2.1:3478"], {}),
    ]
    for program, arguments, environment in programs:
        path = trial.windows_path(trial.windows / f"{program}.exe")
        asked = trial.start("w", path, *arguments, program="console", environment=environment)
        expect(asked.status() == 0, f"{program} {arguments} {environment}: {asked.process.returncode}\n{asked.told()}")


def rendezvous_exe(trial):
    """The rendezvous on Windows: a session of two peers at it, direct."""
    listener, _ = trial.pair("w", server="w")
    listener.event("path", kind="direct")
    listener.event("forward")
    trial.exchange("w")


def doctor(trial):
    """`doctor` measures, and says what it found."""
    trial.rendezvous()
    said = trial.start("w", "doctor", "--json")
    said.line(lambda line: line if line.startswith("{") else None, "findings")


TRIALS = [
    version, listen_direct, connect_direct, relay_udp, relay_tcp, outage, command, command_missing, command_batch, known_peer, ide_vscode,
    status, pipe, forward, attach, attach_to_windows, sources, push_to_windows, first_run, interrupt, console, rendezvous_exe, doctor,
]


def main():
    windows, linux, *wanted = sys.argv[1:]
    names = [trial.__name__.replace("_", "-") for trial in TRIALS]
    if unknown := sorted(set(wanted) - set(names)):
        sys.exit(f"no trial is called {unknown[0]}; there are {', '.join(names)}")
    failed = False
    with Lab() as lab:
        for trial in TRIALS:
            name = trial.__name__.replace("_", "-")
            if wanted and name not in wanted:
                continue
            began = time.monotonic()
            directory = pathlib.Path(tempfile.mkdtemp(prefix="p2pdbg-windows-"))
            world = Trial(lab, pathlib.Path(windows).resolve(), pathlib.Path(linux).resolve(), directory)
            try:
                trial(world)
                result = "ok    "
            except (Failed, OSError) as error:
                failed, result = True, "FAILED"
                print("\n".join("        " + line for line in str(error).splitlines()))
            finally:
                world.stop()
                shutil.rmtree(directory, ignore_errors=True)
            print(f"{result}  {name:<16} {time.monotonic() - began:3.0f} s  {trial.__doc__}", flush=True)
    sys.exit(failed)


main()
