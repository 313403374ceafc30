# SPDX-License-Identifier: MIT
"""The programs of examples/ that exchange datagrams, and their counterparts in Python: as
test_examples.py, whose fixtures they share. Broadcast stays on loopback here: 127.255.255.255."""

import contextlib
import re
import signal
import socket

import pytest

from pierlib import WAIT, Process, wait_until
from test_examples import LANGUAGES, base_env, finish, listen, program  # noqa: F401: fixtures
from test_udp_net import net  # noqa: F401: a fixture

LOCAL, EVERYBODY = "udp://127.0.0.1:0", "udp://0.0.0.0:0"
SERVERS = ("udp_server", "udp_greeting_server", "udp_hello", "udp_receiver", "broadcast_receiver")
CLIENTS = ("udp_client", "udp_greeting_client", "udp_hello_client")


@contextlib.contextmanager
def bound():
    """A UDP socket of our own, and its URL."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(WAIT)
        yield sock, "udp://%s:%d" % sock.getsockname()


@contextlib.contextmanager
def connected(url):
    with bound() as (sock, _):
        sock.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        yield sock


def unused_url():
    with bound() as (_, url):
        return url


def ask(sock, text):
    sock.send(text.encode())
    return sock.recv(65536).decode()


def printed(sock, text):
    """What a receiver prints of a message."""
    return "收到来自 %s:%d 的消息: %s\n" % (*sock.getsockname(), text)


# -- each client with each server, in both languages

CONVERSATIONS = [
    ("udp_server", "udp_client", "Hello, Client!\n"),
    ("udp_greeting_server", "udp_greeting_client", "Hello, client!\n"),
    ("udp_hello", "udp_hello_client", "Hello, Michael!\nHello, Tracy!\nHello, Sarah!\n"),
    ("udp_hello", "udp_client", "Hello, Hello, World!!\n"),
]


@pytest.mark.parametrize("theirs", LANGUAGES)
@pytest.mark.parametrize("ours", LANGUAGES)
@pytest.mark.parametrize("server, client, out", CONVERSATIONS)
def test_client_and_server_understand_each_other(listen, finish, ours, theirs, server, client,
                                                  out):
    if (ours, theirs) == ("python", "python"):
        pytest.skip("neither is Pier's")
    result = finish(theirs, client, listen(ours, server, LOCAL).url)
    assert (result.rc, result.out.decode(), result.err) == (0, out, "")


@pytest.mark.parametrize("theirs", LANGUAGES)
@pytest.mark.parametrize("ours", LANGUAGES)
@pytest.mark.parametrize("kind, host", [("udp", "127.0.0.1"), ("broadcast", "127.255.255.255")])
@pytest.mark.parametrize("end", ["exit\nlate\n", "Exit\r\n", ""])
def test_what_is_typed_is_received(listen, program, base_env, ours, theirs, kind, host, end):
    receiver = listen(ours, f"{kind}_receiver", LOCAL if kind == "udp" else EVERYBODY)
    url = f"udp://{host}:{receiver.url.rpartition(':')[2]}"
    sender = Process([*program(theirs, f"{kind}_sender"), url], base_env, stdin=-1)
    sender.proc.stdin.write(f"你好\nhello\nexit now\n{end}".encode())
    sender.proc.stdin.close()
    assert (sender.wait(), sender.out.data) == (0, b"")
    assert sender.stderr() == "> " * 4
    receiver.out.wait_for(lambda data: data.count(b"\n") == 3, "three lines")
    with connected(receiver.url) as last:
        last.send(b"last")
        receiver.out.wait_for(lambda data: data.endswith(b"last\n"), "the last line")
        assert receiver.out.data.decode().endswith(printed(last, "last"))
    lines = receiver.out.data.decode().splitlines()[:-1]
    assert all(re.match(r"收到来自 127\.0\.0\.1:\d+ 的消息: ", line) for line in lines)
    assert [line.partition("的消息: ")[2] for line in lines] == ["你好", "hello", "exit now"]


@pytest.mark.parametrize("theirs", LANGUAGES)
@pytest.mark.parametrize("ours", LANGUAGES)
def test_every_host_receives_a_broadcast(net, program, base_env, ours, theirs):
    receivers = []
    try:
        for host in 1, 2:
            receivers.append(Process([*net.on(host), *program(ours, "broadcast_receiver")],
                                     base_env))
            receivers[-1].wait_line("listening")
        sender = Process([*net.on(0), *program(theirs, "broadcast_sender")], base_env, stdin=-1)
        sender.proc.stdin.write("大家好\nexit\n".encode())
        sender.proc.stdin.close()
        assert (sender.wait(), sender.stderr()) == (0, "> > ")
        for receiver in receivers:
            receiver.out.wait_for(lambda data: data.endswith("大家好\n".encode()), "大家好")
            assert re.fullmatch(r"收到来自 10\.77\.0\.1:\d+ 的消息: 大家好\n",
                                receiver.out.data.decode())
    finally:
        for receiver in receivers:
            receiver.kill()


# -- servers, datagram by datagram

@pytest.mark.parametrize("language", LANGUAGES)
def test_udp_server_prints_one_datagram_and_ends(listen, language):
    server = listen(language, "udp_server", LOCAL)
    with connected(server.url) as sock:
        assert ask(sock, "你好") == "Hello, Client!"
    assert (server.wait(), server.out.data.decode()) == (0, "你好\n")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name, reply", [("udp_hello", "Hello, {}!"),
                                         ("udp_greeting_server", "Hello, client!")])
def test_many_peers_at_once_are_answered(listen, language, name, reply):
    server = listen(language, name, LOCAL)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connected(server.url)) for _ in range(20)]
        for _ in range(2):
            for number, sock in enumerate(socks):
                sock.send(f"第{number}".encode())
            for number, sock in enumerate(socks):
                assert sock.recv(65536).decode() == reply.format(f"第{number}")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["udp_receiver", "broadcast_receiver"])
def test_a_receiver_answers_hello_alone(listen, language, name):
    server = listen(language, name, LOCAL)
    with connected(server.url) as sock:
        sock.send(b"who?")
        assert ask(sock, "HELLO\r\n") == ask(sock, "hello") == "Hello from UDP Receiver!"
        server.out.wait_for(lambda data: data.count(b"\n") == 3, "three lines")
        assert server.out.data.decode() == "".join(
            printed(sock, text) for text in ("who?", "HELLO", "hello"))
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):  # no third reply
            sock.recv(65536)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["udp_receiver", "broadcast_receiver"])
def test_a_message_is_one_line_whatever_is_in_it(listen, language, name):
    server = listen(language, name, LOCAL)
    with connected(server.url) as sock:
        sock.send("a\n收到来自 b\0\x1b\\\n".encode())
        server.out.wait_for(lambda data: data.endswith(b"\n"), "a line")
        assert server.out.data.decode() == printed(sock, "a\\n收到来自 b\\x00\\x1b\\\\")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", SERVERS)
def test_a_port_in_use_is_told(finish, language, name):
    with bound() as (_, url):
        result = finish(language, name, url)
    assert (result.rc, result.out) == (1, b"")
    assert re.search("address already in use", result.err, re.I)


@pytest.mark.parametrize("name", SERVERS[1:])
def test_servers_stop_on_a_signal(listen, name):
    server = listen("c", name, LOCAL)
    with connected(server.url) as sock:
        sock.send(b"hello")
        sock.recv(65536)  # it runs: the signal is its own from now on
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert len(re.findall("info stopped url=udp://", server.stderr())) == 1


# -- clients

@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name, said", [("udp_client", b"Hello, World!"),
                                        ("udp_greeting_client", b"Hello, server!")])
def test_clients_say_what_they_should(program, base_env, language, name, said):
    with bound() as (sock, url):
        client = Process([*program(language, name), url], base_env)
        data, peer = sock.recvfrom(65536)
        sock.sendto("你好".encode(), peer)
        assert (data, client.wait(), client.out.data.decode()) == (said, 0, "你好\n")


# -- clients against what goes wrong

@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CLIENTS)
def test_a_refusal_is_exit_4(finish, language, name):
    result = finish(language, name, unused_url())
    assert (result.rc, result.out) == (4, b"")
    assert re.search("connection refused", result.err, re.I)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sender_hears_of_a_refusal_with_the_next_line(program, base_env, language):
    sender = Process([*program(language, "udp_sender"), unused_url()], base_env, stdin=-1)
    sender.proc.stdin.write(b"a\nb\n")
    sender.proc.stdin.close()
    assert sender.wait() == 4
    assert re.search("connection refused", sender.stderr(), re.I)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [*CLIENTS, "udp_sender", "broadcast_sender"])
def test_an_unknown_name_is_exit_3(finish, language, name):
    result = finish(language, name, "udp://no-such-host.invalid:9999", timeout=3 * WAIT)
    assert (result.rc, result.out) == (3, b"")
    assert "no-such-host.invalid" in result.err


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CLIENTS)
def test_silence_is_exit_6_after_five_seconds(finish, language, name):
    with bound() as (_, url):
        result = finish(language, name, url, timeout=4 * WAIT)
    assert (result.rc, result.out) == (6, b"")
    assert 4.9 < result.elapsed < 5 + 2 * WAIT


@pytest.mark.parametrize("language", LANGUAGES)
def test_udp_hello_client_prints_each_reply_when_it_comes(program, base_env, language):
    with bound() as (sock, url):
        client = Process([*program(language, "udp_hello_client"), url], base_env)
        for count, name in enumerate(["Michael", "Tracy", "Sarah"], 1):
            data, peer = sock.recvfrom(65536)
            assert data.decode() == name
            sock.sendto(f"{count}".encode(), peer)
            client.out.wait_for(lambda out, count=count: out.count(b"\n") == count, "the reply")
        assert (client.wait(), client.out.data) == (0, b"1\n2\n3\n")
