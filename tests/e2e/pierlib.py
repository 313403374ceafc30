# SPDX-License-Identifier: MIT
"""What the end-to-end tests stand on: processes, sockets and waits, all of them bounded.

A Server is a running `pier serve`, a Client a socket that says what it expected and what came
instead, a Peer a scripted server for the client verbs. Nothing here knows a fixed port or sleeps to
"let things settle": a wait names the condition it waits for and ends with a message when the
condition never comes. Not here: fixtures and parametrisation (conftest.py), and anything that only
one test file needs.
"""

import array
import collections
import contextlib
import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

SCALE = 5 if os.environ.get("PIER_TEST_SLOW") == "1" else 1
WAIT = 10 * SCALE  # how long anything that should happen may take before the test fails
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

LISTENING = re.compile(r"^listening on (\S+) \(([^,()]+), (\w+), (\w+)\)$", re.M)
SANITIZER = re.compile(
    r"(Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|runtime error: |^==\d+==", re.M
)

Listening = collections.namedtuple("Listening", "url handler model backend")
Result = collections.namedtuple("Result", "rc out err elapsed")
Model = collections.namedtuple("Model", "name backend")  # backend: as the listening line shows it


# -- waits ----------------------------------------------------------------------------------------


def wait_until(condition, what, timeout=WAIT):
    """Polls until condition() is true and returns its value; fails, naming what was waited for."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.005)


class Reader(threading.Thread):
    """Drains one pipe of a process for good, so that the process never blocks on it."""

    def __init__(self, pipe):
        super().__init__(daemon=True)
        self.pipe, self.data, self.ended, self.changed = pipe, b"", False, threading.Condition()
        self.start()

    def run(self):
        while True:
            try:
                piece = os.read(self.pipe.fileno(), 65536)
            except OSError:  # EIO: the other side of a terminal is gone
                piece = b""
            with self.changed:
                self.data += piece
                self.ended = not piece
                self.changed.notify_all()
            if not piece:
                return

    def wait_for(self, test, what, timeout=WAIT):
        """Waits until test(data) is true, returns that value; fails early when the pipe ends."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                value = test(self.data)
                if value:
                    return value
                left = deadline - time.monotonic()
                assert not self.ended, f"output ended without {what}:\n{show(self.data)}"
                assert (
                    left > 0
                ), f"not within {timeout:g} s: {what}; output so far:\n{show(self.data)}"
                self.changed.wait(left)

    def finish(self):
        self.join(WAIT)
        return self.data


def show(data):
    return data.decode("utf-8", "backslashreplace")


# -- clients --------------------------------------------------------------------------------------


def printed_address(sockname, family):
    """An address as Pier prints it: 127.0.0.1:5555, [::1]:5555, unix."""
    if family == socket.AF_UNIX:
        return "unix"
    return f"[{sockname[0]}]:{sockname[1]}" if family == socket.AF_INET6 else "%s:%d" % sockname[:2]


def parse_url(url):
    """(family, address for connect) of a listening URL; every address becomes this machine."""
    if url.startswith("unix://"):
        name = url[len("unix://") :]
        return socket.AF_UNIX, "\0" + name[1:] if name.startswith("@") else name
    host, port = re.fullmatch(r"(?:tcp|tls)://(.*):(\d+)", url).groups()
    if host.startswith("["):
        return socket.AF_INET6, ({"[::]": "::1"}.get(host, host[1:-1]), int(port))
    return socket.AF_INET, ({"0.0.0.0": "127.0.0.1", "": "127.0.0.1"}.get(host, host), int(port))


class Client:
    """A socket with a deadline on every call. Assertions name what was expected and what came."""

    def __init__(self, sock):
        self.sock = sock
        self.address = printed_address(sock.getsockname(), sock.family)
        sock.settimeout(WAIT)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def to(cls, url, rcvbuf=0, sndbuf=0):
        family, address = parse_url(url)
        sock = socket.socket(family, socket.SOCK_STREAM)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if sndbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
        sock.settimeout(WAIT)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return cls(sock)

    def send(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def wait_arrived(self):
        """Returns when all that was sent over TCP is in the other side's socket, read or not."""

        def unacknowledged():
            left = array.array("i", [0])
            fcntl.ioctl(self.sock, termios.TIOCOUTQ, left)
            return left[0]

        wait_until(lambda: not unacknowledged(), "the peer's kernel has all that was sent")

    def stuff(self, limit=200 << 20):
        """Sends b"x" and reads nothing until no more is taken for half a second; how much was."""
        poll, sent, piece = select.poll(), 0, b"x" * 65536
        poll.register(self.sock, select.POLLOUT)
        self.sock.setblocking(False)
        while poll.poll(500):
            with contextlib.suppress(BlockingIOError):
                sent += self.sock.send(piece)
            assert sent < limit, f"{sent >> 20} MiB were taken from a client that reads nothing"
        self.sock.settimeout(WAIT)
        return sent

    def expect(self, data):
        """Reads exactly these bytes, complaining at the first one that differs."""
        want, got = data.encode() if isinstance(data, str) else data, b""
        while got != want:
            assert want.startswith(got), f"expected {want!r}, got {got!r}"
            piece = self._recv(len(want) - len(got), want, got)
            assert piece, f"expected {want!r}, got {got!r} and the end"
            got += piece

    def recv_exactly(self, count):
        got = b""
        while len(got) < count:
            piece = self._recv(count - len(got), f"{count} bytes", got)
            assert piece, f"expected {count} bytes, got {got!r} and the end"
            got += piece
        return got

    def recv_matching(self, pattern):
        """Reads until all that was read matches pattern wholly; returns the match."""
        got = b""
        while not (match := re.fullmatch(pattern, got, re.S)):
            piece = self._recv(65536, pattern, got)
            assert piece, f"expected {pattern!r}, got {got!r} and the end"
            got += piece
        return match

    def recv_line(self):
        got = b""
        while not got.endswith(b"\n"):
            ahead = self._recv(65536, "a line", got, socket.MSG_PEEK)
            assert ahead, f"expected a line, got {got!r} and the end"
            got += self._recv(ahead.find(b"\n") + 1 or len(ahead), "a line", got)
        return got

    def read_to_end(self):
        """All bytes up to a clean end; a reset fails."""
        pieces = []
        while piece := self._recv(1 << 20, "the end", b"".join(pieces)[-200:]):
            pieces.append(piece)
        return b"".join(pieces)

    def drain(self):
        """(all bytes, "end" or "reset"): for tests in which a reset is fair play."""
        pieces = []
        try:
            while piece := self._recv(1 << 20, "the end or a reset", b"".join(pieces)[-200:]):
                pieces.append(piece)
        except (ConnectionResetError, BrokenPipeError):
            return b"".join(pieces), "reset"
        return b"".join(pieces), "end"

    def expect_end(self):
        rest = self.read_to_end()
        assert rest == b"", f"expected the end, got {rest[:200]!r}"

    def has_input(self, within=0.0):
        """Whether anything, data or end, is there to read; a window for proving silence."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(within * 1000))

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Closes with an RST: what the other side sees of a crashed or hostile client."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _recv(self, count, want, got, flags=0):
        try:
            return self.sock.recv(count, flags)
        except socket.timeout:
            raise AssertionError(
                f"expected {want!r}, got {got!r} and silence for {WAIT} s"
            ) from None


def round_trip(client, text="ping"):
    """One message and its reply on the `message` handler: afterwards the handler surely runs."""
    client.send(text)
    client.expect("已收到: " + text)


def chat_join(members, client):
    """The newcomer asks until all others hear it: then the handlers of all of them surely run."""

    def heard():
        client.send("here?\n")
        return all(member.has_input(0.05) for member in members)

    if members:  # the first one says nothing, for somebody might hear it late
        wait_until(heard, "all members of the room hear the newcomer")
        client.send("here\n")
    for member in members:
        while not member.recv_line().endswith(b"here\n"):
            pass
    return [*members, client]


def chat_room(server, count):
    """Clients of the `chat` handler that hear each other."""
    members = []
    for _ in range(count):
        members = chat_join(members, server.connect())
    return members


def send_each(clients, text):
    """Client i sends text(i); returns when everything has arrived, read or not."""
    for number, client in enumerate(clients):
        client.send(text(number))
    for client in clients:
        client.wait_arrived()


def refused(url):
    """Whether nobody listens at url."""
    try:
        Client.to(url).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except OSError:
        pass
    return False


def wait_listener_closed(server):
    """Waits until nobody listens on the TCP port, without connecting: that would be served."""
    port, listen = f":{server.port:04X}", "0A"

    def closed():
        for table in "/proc/net/tcp", "/proc/net/tcp6":
            with contextlib.suppress(FileNotFoundError), open(table, encoding="ascii") as file:
                for _, local, _, state, *_ in map(str.split, file):
                    if local.endswith(port) and state == listen:
                        return False
        return True

    wait_until(closed, "the listener is closed")


def free_port_held():
    """A socket whose TCP port of 127.0.0.1 refuses connections for as long as it is open."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def ipv6_missing():
    """Why IPv6 tests cannot run here, or None."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError as error:
        return f"no IPv6 loopback here: {error.strerror}"
    return None


# -- processes ------------------------------------------------------------------------------------


def shell_rc(returncode):
    """The exit status as a shell sees it: killed by SIGINT is 130."""
    return 128 - returncode if returncode < 0 else returncode


def check_report(err):
    """Fails when a sanitizer has spoken."""
    found = SANITIZER.search(err)
    assert not found, f"sanitizer report:\n{err}"


class Process:
    """A started command with both outputs drained; always killed and reaped by its owner."""

    def __init__(self, argv, env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **popen):
        self.argv, self.signalled, self.waited = argv, False, False
        self.proc = subprocess.Popen(
            argv, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, **popen
        )
        self.pid = self.proc.pid
        self.out = Reader(self.proc.stdout)
        self.log = Reader(self.proc.stderr) if self.proc.stderr else None

    def signal(self, number):
        self.signalled = self.signalled or number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
        self.proc.send_signal(number)

    def wait(self, timeout=WAIT):
        """Exit status as a shell sees it, all output read. Who calls this answers for it."""
        try:
            self.proc.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s:\n{self.stderr()}") from None
        self.waited = True
        self.out.finish()
        if self.log:
            self.log.finish()
        return shell_rc(self.proc.returncode)

    def running(self):
        return self.proc.poll() is None

    def kill(self):
        if self.running():
            self.signal(signal.SIGCONT)
            self.proc.kill()
            self.proc.wait()

    def stderr(self):
        return show(self.log.data) if self.log else ""

    def lines(self, since=0):
        """Complete lines on stderr, from byte `since` (see mark) on."""
        return show(self.log.data[since:]).split("\n")[:-1]

    def mark(self):
        return len(self.log.data)

    def wait_line(self, pattern, since=0, timeout=WAIT):
        """Waits for a complete stderr line in which the pattern is found; returns the line."""

        def find(data):
            for line in show(data[since:]).split("\n")[:-1]:
                if re.search(pattern, line):
                    return line
            return None

        return self.log.wait_for(find, f"a line with {pattern!r} on stderr", timeout)

    # what the kernel knows of it

    def processes(self):
        """Its own pid and those of the processes that it has forked, not of other programs'."""
        table = process_table()
        name = table[self.pid].name if self.pid in table else None
        own = {self.pid}
        while more := {
            pid
            for pid, entry in table.items()
            if entry.parent in own and entry.name == name and pid not in own
        }:
            own |= more
        return own

    def _sum(self, figure):
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                total += figure(pid)
        return total

    def rss(self):
        def pages(pid):
            with open(f"/proc/{pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1])

        return self._sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self):
        def ticks(pid):
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                fields = file.read().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        return self._sum(ticks) / CLOCK_TICKS

    def descriptors(self):
        return self._sum(lambda pid: len(os.listdir(f"/proc/{pid}/fd")))

    def wait_descriptors(self, before):
        """Waits until no more are open than `before`, and a few that the server may need."""
        wait_until(
            lambda: self.descriptors() <= before + 4, f"the server is back at {before} descriptors"
        )

    def children(self):
        """{pid: state} of the programs that it has started, zombies included."""
        own = self.processes()
        return {
            pid: entry.state
            for pid, entry in process_table().items()
            if entry.parent in own and pid not in own
        }

    def freeze(self):
        """SIGSTOP; returns when every thread stands still: what clients send now just arrives."""

        def stopped():
            states = set()
            for pid in self.processes():
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/stat", encoding="utf-8") as file:
                        states.add(file.read().rpartition(")")[2].split()[0])
            return states <= {"T", "t"}

        self.signal(signal.SIGSTOP)  # first of all: then it starts no more processes
        wait_until(lambda: process_table()[self.pid].state in "Tt", "the process stands still")
        for pid in self.processes():
            os.kill(pid, signal.SIGSTOP)
        wait_until(stopped, "all its processes stand still")

    def thaw(self):
        for pid in self.processes():
            os.kill(pid, signal.SIGCONT)


def run(argv, env, stdin=b"", timeout=WAIT):
    """Runs a command to its end: not by a signal, and without a sanitizer report."""
    begin = time.monotonic()
    try:
        done = subprocess.run(argv, env=env, input=stdin, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{argv} took over {timeout:g} s; stderr: {late.stderr}") from None
    err = show(done.stderr)
    check_report(err)
    assert done.returncode >= 0, f"{argv} was killed by signal {-done.returncode}:\n{err}"
    return Result(done.returncode, done.stdout, err, time.monotonic() - begin)


Entry = collections.namedtuple("Entry", "state parent name")


def process_table():
    """{pid: Entry} of every process."""
    table = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
            state, parent = rest.split()[:2]
            table[int(pid)] = Entry(state, int(parent), name)
    return table


def process_gone(pid):
    """Whether it runs no more. A zombie does not; `children` shows whose it is."""
    return pid not in (table := process_table()) or table[pid].state == "Z"


class Server(Process):
    """A `pier serve`; endpoints are what its "listening on" lines say."""

    def __init__(self, argv, env, **popen):
        super().__init__(argv, env, **popen)
        self.clients = []
        self.endpoints = []

    def wait_listening(self, lines):
        if lines:
            self.log.wait_for(
                lambda data: len(LISTENING.findall(show(data))) >= lines and data.endswith(b"\n"),
                f'{lines} "listening on" line(s)',
            )
            self.endpoints = self.listening()

    def listening(self):
        return [Listening(*found) for found in LISTENING.findall(self.stderr())]

    @property
    def url(self):
        return self.endpoints[0].url

    @property
    def port(self):
        return parse_url(self.url)[1][1]

    def connect(self, url=None, **options):
        client = Client.to(url or self.url, **options)
        self.clients.append(client)
        return client

    def wait_served(self, count):
        """Where each connection has a process: waits until there are so many, no more, no less."""
        if self.endpoints[0].model == "processes":
            wait_until(
                lambda: len(self.processes()) == 1 + count, f"{count} processes serve connections"
            )

    def extra_lines(self, since=0):
        """Stderr lines that are not "listening on"."""
        return [line for line in self.lines(since) if not LISTENING.match(line)]

    def stop(self, number=signal.SIGTERM, timeout=WAIT):
        self.signal(number)
        return self.wait(timeout)

    def close_clients(self):
        for client in self.clients:
            client.close()

    def exchange(self, sent):
        """Everything that a new connection gets for these bytes and a half-close."""
        with self.connect() as client:

            def speak():
                with contextlib.suppress(OSError):  # closed under our hands: who reads will see it
                    client.send(sent)
                    client.half_close()

            sender = threading.Thread(target=speak, daemon=True)
            sender.start()
            got = client.read_to_end()
            sender.join(WAIT)
            return got

    def assert_serves(self):
        """A new client of the `message` handler is answered."""
        with self.connect() as client:
            round_trip(client, "still there")


class NotifySocket:
    """What a service manager has: it hears when a server accepts."""

    def __enter__(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(f"\0pier-e2e-notify-{os.getpid()}-{time.monotonic_ns()}")
        self.sock.settimeout(WAIT)
        self.name = "@" + self.sock.getsockname()[1:].decode()
        return self

    def wait_ready(self):
        assert self.sock.recv(100) == b"READY=1"

    def __exit__(self, *_):
        self.sock.close()


class Peer:
    """A scripted server for the client verbs: script(client) runs once for each connection."""

    def __init__(self, script, path=None, connections=1):
        self.listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.listener.bind(str(path) if path else ("127.0.0.1", 0))
        self.listener.listen(16)
        self.listener.settimeout(WAIT)
        self.url = (
            f"unix://{path}" if path else "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        )
        self.port = None if path else self.listener.getsockname()[1]
        self.failure = None
        self.thread = threading.Thread(target=self._run, args=(script, connections), daemon=True)
        self.thread.start()

    def _run(self, script, connections):
        try:
            for _ in range(connections):
                sock, _ = self.listener.accept()
                with Client(sock) as client:
                    script(client)
        except BaseException as failure:  # handed to the test by join
            self.failure = failure

    def join(self):
        """Waits for the script's end and raises what it raised."""
        self.thread.join(WAIT)
        assert not self.thread.is_alive(), "the peer's script did not end"
        self.listener.close()
        failure, self.failure = self.failure, None
        if failure:
            raise failure


def in_parallel(count, work, timeout=3 * WAIT):
    """Runs work(i) for i < count, a thread each; returns the results, raises the first failure."""
    results, failures = [None] * count, []

    def run(i):
        try:
            results[i] = work(i)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    if failures:
        raise failures[0]
    assert not any(
        thread.is_alive() for thread in threads
    ), f"clients still busy after {timeout:g} s"
    return results
