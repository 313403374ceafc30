# SPDX-License-Identifier: MIT
"""Datagrams: `pier serve udp://…` with real clients, `pier send`, `connect` and `broadcast`, on
loopback. What needs several hosts is in test_udp_net.py."""

import contextlib
import re
import shutil
import socket
import subprocess
import threading

import pytest

from pierlib import WAIT, ipv6_missing, wait_until

LOCAL = "udp://127.0.0.1:0"


def address(url):
    host, port = re.fullmatch(r"udp://(.*):(\d+)", url).groups()
    return (host.strip("[]"), int(port))


class Peer:
    """A UDP socket that is connected to url and gives up after WAIT seconds."""

    def __init__(self, url):
        family = socket.AF_INET6 if "[" in url else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(WAIT)
        self.sock.connect(address(url))
        self.address = "%s:%d" % self.sock.getsockname()[:2]

    def send(self, data):
        self.sock.send(data.encode() if isinstance(data, str) else data)

    def expect(self, data):
        got = self.sock.recv(70000)
        want = data.encode() if isinstance(data, str) else data
        assert got == want, f"expected {want!r}, got {got[:200]!r}"

    def ask_until(self, question, reply, timeout=WAIT):
        """Asks again and again, as long as datagrams get lost."""

        def answered():
            with contextlib.suppress(OSError):
                self.send(question)
                return self.sock.recv(70000) == reply.encode()
            return False

        self.sock.settimeout(0.1)
        wait_until(answered, f"{reply!r} from the server", timeout)
        self.sock.settimeout(WAIT)

    def ask(self, question, reply):
        self.send(question)
        self.expect(reply)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


@contextlib.contextmanager
def bound(address=("127.0.0.1", 0)):
    """A plain UDP socket, and its URL."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(WAIT)
        yield sock, "udp://%s:%d" % sock.getsockname()


def answer(sock, *replies):
    """Takes a message for each reply and answers it; the messages."""
    messages = []
    for reply in replies:
        data, peer = sock.recvfrom(70000)
        messages.append(data)
        if reply is not None:
            sock.sendto(reply, peer)
    return messages


# -- serving


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_message_answers_each_datagram(serve, host):
    if host != "127.0.0.1" and ipv6_missing():
        pytest.skip(ipv6_missing())
    server = serve(urls=[f"udp://{host}:0"], lines=2 if host == "localhost" else 1)
    for endpoint in server.endpoints:
        with Peer(endpoint.url) as peer:
            peer.ask("hello", "已收到: hello")
            peer.ask("你好\n", "已收到: 你好\n")
            peer.ask(b"\xff\xe4", b"\xe5\xb7\xb2\xe6\x94\xb6\xe5\x88\xb0: \xff\xe4")


def test_exit_ends_the_conversation_and_the_next_datagram_begins_one(serve):
    server = serve("-v", urls=[LOCAL])
    with Peer(server.url) as peer:
        peer.ask("hello", "已收到: hello")
        peer.ask("EXIT\n", "再见!")
        peer.ask("again", "已收到: again")
    wait_until(lambda: len(re.findall(r"\bconnected\b", server.stderr())) == 2, "two conversations")
    server.wait_line("disconnected.*closed by the handler")


def test_exit_and_what_follows_in_flight_are_both_answered(serve):
    server = serve(urls=[LOCAL])
    with Peer(server.url) as peer:
        for _ in range(20):
            peer.send("exit")
            peer.send("next")
            assert sorted(peer.sock.recv(100).decode() for _ in range(2)) == ["再见!", "已收到: next"]


def test_hello_has_no_welcome(serve):
    server = serve("--handler", "hello", urls=[LOCAL])
    with Peer(server.url) as peer:
        peer.ask("Michael", "Hello, Michael!")
        peer.send("exit")
        peer.ask("Sarah", "Hello, Sarah!")


def test_echo_sends_back_datagrams_of_every_size(serve):
    server = serve("--handler", "echo", urls=[LOCAL])
    with Peer(server.url) as peer:
        for size in (1, 100, 1472, 1473, 2048, 9000, 65507):
            data = bytes(i * 31 % 251 for i in range(size))
            peer.ask(data, data)


def test_reply_lines_exec_and_discard_serve_datagrams(serve):
    with Peer(serve("--reply", "you said %m", urls=[LOCAL]).url) as peer:
        peer.ask("x", "you said x")
    with Peer(serve("--lines", urls=[LOCAL]).url) as peer:
        peer.ask("one\ntwo", "已收到: one\n")
        peer.expect("已收到: two\n")
    with Peer(serve("--exec", "exec cat", urls=[LOCAL]).url) as peer:
        peer.ask("through a command", "through a command")
    server = serve("--handler", "discard", urls=[LOCAL])
    with Peer(server.url) as peer:
        peer.send("x")
        peer.sock.settimeout(0.1)
        with pytest.raises(socket.timeout):
            peer.sock.recv(1)


def test_receiver_prints_what_comes_and_answers_hello(serve):
    server = serve("--handler", "receiver", urls=[LOCAL])
    with Peer(server.url) as peer:
        peer.send("你好")
        peer.ask("HeLLo\n", "Hello from UDP Receiver!")
        peer.send("two\nlines\x1b[2J")
        lines = [
            f"收到来自 {peer.address} 的消息: 你好",
            f"收到来自 {peer.address} 的消息: HeLLo",
            rf"收到来自 {peer.address} 的消息: two\nlines\x1b[2J",
        ]
        want = ("\n".join(lines) + "\n").encode()
        server.out.wait_for(lambda data: len(data) >= len(want), "three lines on stdout")
        assert server.out.data == want


def test_many_peers_at_once_are_kept_apart(serve):
    server = serve("--handler", "echo", urls=[LOCAL])
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.url)) for _ in range(100)]
        for round_ in range(5):
            for number, peer in enumerate(peers):
                peer.send(f"{number} {round_}")
            for number, peer in enumerate(peers):
                peer.expect(f"{number} {round_}")


def test_a_silent_peer_is_forgotten(serve):
    server = serve("-v", "--idle-timeout", "100ms", urls=[LOCAL])
    with Peer(server.url) as peer:
        peer.ask("x", "已收到: x")
        server.wait_line(r"disconnected.*" + re.escape(peer.address))
        peer.ask("y", "已收到: y")


def test_sigterm_ends_idle_conversations(serve):
    server = serve(urls=[LOCAL])
    with Peer(server.url) as peer:
        peer.ask("x", "已收到: x")
        assert server.stop() == 0


def test_streams_and_datagrams_are_served_together(serve):
    server = serve(urls=["tcp://127.0.0.1:0", LOCAL])
    server.assert_serves()
    with Peer(server.endpoints[1].url) as peer:
        peer.ask("x", "已收到: x")


@pytest.mark.models("prefork")
def test_a_worker_that_is_killed_costs_its_conversations_only(serve):
    server = serve("--workers", "2", urls=[LOCAL])
    for _ in range(3):
        with Peer(server.url) as peer:
            peer.ask("x", "已收到: x")
            for pid in list(server.children()):
                subprocess.run(["kill", "-KILL", str(pid)], check=False)
            peer.ask_until("again", "已收到: again", 3 * WAIT)


# -- without a URL


@pytest.mark.models("tasks")
@pytest.mark.parametrize(
    "handler, schemes",
    [("message", ["tcp", "udp"]), ("chat", ["tcp"]), ("time", ["tcp"]), ("receiver", ["udp"])],
)
def test_the_default_endpoints(serve, handler, schemes):
    ports = {"tcp": 8888, "udp": 9999}
    try:
        server = serve("--handler", handler, urls=[], lines=len(schemes))
    except AssertionError as failure:
        if "address already in use" in str(failure):
            pytest.skip("port 8888 or 9999 is taken on this machine")
        raise
    assert [e.url for e in server.endpoints] == [f"{s}://127.0.0.1:{ports[s]}" for s in schemes]


@pytest.mark.parametrize(
    "args",
    [
        ("--handler", "chat", "udp://:0"),
        ("--handler", "time", "udp://:0"),
        ("--handler", "receiver", "tcp://:0"),
        ("--handler", "receiver", "udp://:0", "unix://@x"),
    ],
)
def test_a_handler_that_does_not_suit_the_url_is_a_usage_error(pier, args):
    result = pier("serve", *args)
    assert result.rc == 2 and "datagrams" in result.err


# -- hostile


def test_a_flood_of_peers_keeps_memory_bounded(serve, model):
    server = serve("--handler", "echo", "--max-conns", "50", urls=[LOCAL])
    with Peer(server.url) as peer:
        peer.ask("x", "x")

    def flood(count):
        for _ in range(count):
            with Peer(server.url) as peer:
                peer.send(b"y" * 1000)

    flood(500)
    before = server.rss()
    flood(3000)
    with Peer(server.url) as peer:
        peer.ask_until("still there", "still there")
    room = 16 + (50 * 4 if model.name == "processes" else 0)  # MiB; rss counts all processes
    assert server.rss() < before + (room << 20)


def test_empty_datagrams_and_refused_replies_do_no_harm(serve):
    server = serve("--handler", "echo", urls=[LOCAL])
    for _ in range(200):
        with Peer(server.url) as peer:
            peer.send(b"")
            peer.send("and gone")
    with Peer(server.url) as peer:
        peer.ask_until("x", "x")
        peer.send(b"")
        peer.ask("y", "y")


# -- other people's clients


@pytest.mark.models("tasks")
def test_ncat_and_socat_are_answered(serve):
    server = serve("--handler", "hello", urls=[LOCAL])
    host, port = address(server.url)
    clients = {
        "ncat": ["ncat", "-u", "-i", "1", host, str(port)],
        "socat": ["socat", "-t", "1", "-", f"UDP:{host}:{port}"],
    }
    for name, argv in clients.items():
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
        done = subprocess.run(argv, input=b"world", capture_output=True, timeout=3 * WAIT)
        assert done.stdout == b"Hello, world!", (name, done)


# -- pier send


def test_send_prints_one_reply_a_message(pier):
    with bound() as (sock, url):
        got = []
        thread = threading.Thread(target=lambda: got.extend(answer(sock, b"1", b"2\n")))
        thread.start()
        result = pier("send", url, "one", "two")
        thread.join(WAIT)
        assert (result.rc, result.out, got) == (0, b"1\n2\n", [b"one", b"two"])


def test_send_without_reply_does_not_wait(pier):
    with bound() as (sock, url):
        result = pier("send", "--no-reply", url, "one", "two")
        assert (result.rc, result.out) == (0, b"")
        assert answer(sock, None, None) == [b"one", b"two"]


def test_send_waits_for_a_reply_no_longer_than_its_timeout(pier):
    with bound() as (_, url):
        result = pier("send", "--timeout", "100ms", url, "x")
        assert result.rc == 6 and "timed out" in result.err


def test_send_to_a_port_that_nobody_has_is_refused(pier):
    with bound() as (_, url):
        pass
    result = pier("send", url, "x")
    assert result.rc == 4
    assert result.err == f"pier: read {url}: connection refused\n"


def test_send_to_a_name_finds_the_address_that_answers(pier, start):
    if ipv6_missing():
        pytest.skip(ipv6_missing())
    server = start("serve", "udp://[::1]:0")
    port = re.search(r":(\d+) \(", server.wait_line("listening on")).group(1)
    result = pier("send", f"udp://localhost:{port}", "six")
    assert (result.rc, result.out) == (0, "已收到: six\n".encode())


def test_send_of_too_much_names_the_limit(pier):
    with bound() as (_, url):
        result = pier("send", url, "x" * 65508)
        assert result.rc == 1
        assert "a datagram of 65508 bytes, 65507 are the most" in result.err


@pytest.mark.parametrize("option", ["--no-reply", "--broadcast"])
def test_options_of_datagrams_are_for_datagrams(pier, option):
    result = pier("send", option, "tcp://127.0.0.1:1", "x")
    assert result.rc == 2 and "datagrams" in result.err


def test_broadcast_send_needs_no_reply(pier):
    with bound() as (sock, url):
        result = pier("send", "--broadcast", "--timeout", "50ms", url, "x")
        assert (result.rc, result.out) == (0, b"")
        assert answer(sock, None) == [b"x"]


# -- pier connect


def test_connect_makes_lines_datagrams_and_datagrams_lines(serve, pier):
    server = serve("--handler", "hello", urls=[LOCAL])
    result = pier("connect", server.url, stdin=b"one\r\ntwo\n\nthree", timeout=3 * WAIT)
    assert (result.rc, result.err) == (0, "")
    assert result.out == b"Hello, one!\nHello, two!\nHello, three!\n"


# -- pier broadcast


def test_broadcast_sends_its_text(pier):
    with bound() as (sock, url):
        host, port = address(url)
        result = pier("broadcast", "--address", host, "--port", str(port), "你好")
        assert (result.rc, result.out, result.err) == (0, b"", "")
        assert answer(sock, None) == ["你好".encode()]


def test_broadcast_sends_lines_until_exit(pier):
    with bound() as (sock, url):
        host, port = address(url)
        result = pier(
            "broadcast", "--address", host, "--port", str(port), stdin=b"one\n\ntwo\r\nexit\nno\n"
        )
        assert (result.rc, result.out) == (0, b"")
        assert answer(sock, None, None) == [b"one", b"two"]
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)


@pytest.mark.parametrize("args", [("--port", "0"), ("--port", "65536"), ("--address", "nobody")])
def test_broadcast_refuses_what_is_no_address(pier, args):
    assert pier("broadcast", *args, "x").rc == 2
