# SPDX-License-Identifier: MIT
"""The programs of examples/ and their counterparts in Python, tests/e2e/python/: each client with
each server, ours and theirs, and what both print."""

import pathlib
import re
import signal
import socket
import sys

import pytest

from pierlib import SCALE, WAIT, Client, Process, check_report, run, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON = ROOT / "tests/e2e/python"
LISTENING = re.compile(r"listening.*?((tcp://127|udp://127|udp://0)\.0\.0\.[01]:\d+)")
LANGUAGES = ("c", "python")


@pytest.fixture
def base_env(base_env):
    """A short program that fails leaves the rest to its end: that is no leak."""
    return {**base_env, "ASAN_OPTIONS": "detect_leaks=0"}


@pytest.fixture
def program(pier_bin, base_env):
    """program(language, name) → its command line."""
    examples = pathlib.Path(pier_bin).parents[1] / "examples"

    def command(language, name):
        return [examples / name] if language == "c" else [sys.executable, PYTHON / f"{name}.py"]

    return command


@pytest.fixture
def finish(program, base_env):
    """finish(language, name, *args) → Result of the program run to its end."""
    return lambda language, name, *args, timeout=WAIT: run(
        [*program(language, name), *args], base_env, timeout=timeout)


@pytest.fixture
def listen(program, base_env):
    """listen(language, name) → the running server, its .url read from what it says."""
    started = []

    def start(language, name, url="tcp://127.0.0.1:0"):
        server = Process([*program(language, name), url], base_env)
        started.append(server)
        line = wait_until(lambda: LISTENING.search(server.stderr()), f"{name} listens")
        server.url = line[1]
        server.connect = lambda: Client.to(server.url)
        return server

    yield start
    for server in started:
        check_report(server.stderr())
        server.kill()


# -- each client with each server, in both languages

CONVERSATIONS = [
    ("tcp_server", "tcp_client", "Hello, Client!\n"),
    ("threads_server", "tcp_client", "服务器已收到: Hello, World!\n"),
    ("processes_server", "tcp_client", "服务器已收到: Hello, World!\n"),
    ("tasks_server", "talk_client", "服务器已收到: Hello, Server! How are you?\n"),
    ("reply_server", "talk_client", "服务器已收到你的消息: Hello, Server! How are you?\n"),
    ("message_server", "talk_client", "已收到: Hello, Server! How are you?\n"),
    ("message_server", "send_client", ""),
    ("greeting_server", "greeting_client", "Hello, client!\n"),
    ("hello_server", "hello_client",
     "Welcome!\nHello, Michael!\nHello, Tracy!\nHello, Sarah!\n"),
    ("loop_server", "threads_client", "Hello, world\n" * 8),
    ("threads_server", "threads_client", "服务器已收到: Hello, World!\n" * 8),
    ("processes_server", "threads_client", "服务器已收到: Hello, World!\n" * 8),
]


@pytest.mark.parametrize("theirs", LANGUAGES)
@pytest.mark.parametrize("ours", LANGUAGES)
@pytest.mark.parametrize("server, client, out", CONVERSATIONS)
def test_client_and_server_understand_each_other(listen, finish, ours, theirs, server, client,
                                                  out):
    if (ours, theirs) == ("python", "python"):
        pytest.skip("neither is Pier's")
    result = finish(theirs, client, listen(ours, server).url)
    assert (result.rc, result.out.decode(), result.err) == (0, out, "")


@pytest.mark.parametrize("theirs", LANGUAGES)
@pytest.mark.parametrize("ours", LANGUAGES)
def test_a_thousand_clients_are_answered(listen, finish, ours, theirs):
    url = listen(ours, "tasks_server").url
    result = finish(theirs, "async_client", url, "200" if SCALE > 1 else "1000", "--expect",
                    "服务器已收到: Hello, World!", timeout=3 * WAIT)
    assert (result.rc, result.err) == (0, "")
    assert re.fullmatch(rb"(\d+) of \1\n", result.out)


@pytest.mark.parametrize("language", LANGUAGES)
def test_async_client_counts_what_is_not_right(listen, finish, language):
    result = finish(language, "async_client", listen("c", "tasks_server").url, "3")
    assert (result.rc, result.out) == (1, b"0 of 3\n")
    assert result.err == "async_client: another reply\n"


# -- servers, message by message

@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["threads_server", "processes_server", "tasks_server"])
def test_many_clients_at_once_get_each_message_back(listen, language, name):
    server = listen(language, name)
    clients = [server.connect() for _ in range(20)]
    for _ in range(2):
        for number, client in enumerate(clients):
            client.send(f"第{number}")
        for number, client in enumerate(clients):
            client.expect(f"服务器已收到: 第{number}")
    for client in clients:
        client.close()
    wait_until(lambda: server.stderr().count("left: ") == 20, "all have left")
    assert server.stderr().count("connected: ") == 20


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["threads_server", "processes_server", "tasks_server",
                                  "reply_server"])
def test_no_byte_ends_a_message_early(listen, language, name):
    with listen(language, name).connect() as client:
        client.send(b"a\0b")
        client.half_close()
        assert client.read_to_end().endswith(": a\0b".encode())


@pytest.mark.parametrize("language", LANGUAGES)
def test_message_server_knows_time_and_exit(listen, language):
    client = listen(language, "message_server").connect()
    for sent in "timely", "exit now", "你好\n":
        client.send(sent)
        client.expect(f"已收到: {sent}")
    client.send("Time\r\n")
    client.recv_matching("当前时间: ".encode() + rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
    client.send("EXIT\n")
    assert client.read_to_end() == "再见!".encode()


@pytest.mark.parametrize("language", LANGUAGES)
def test_loop_server_prints_who_came_and_what_at_once(listen, language):
    server = listen(language, "loop_server")
    first, second = server.connect(), server.connect()
    second.send("b\0\x1b\\\n")
    first.send("a\t你好")
    assert first.read_to_end() == second.read_to_end() == b"Hello, world"
    server.out.wait_for(lambda data: data.count(b"\n") == 2, "both lines")
    assert server.out.data.decode() == (
        f"{first.address}: a\\t你好\n{second.address}: b\\x00\\x1b\\\\\\n\n")


@pytest.mark.parametrize("language", LANGUAGES)
def test_greeting_server_survives_resets(listen, language):
    server = listen(language, "greeting_server")
    client = server.connect()
    client.send("hi")
    client.expect("Hello, client!")
    client.reset()
    wait_until(lambda: re.search("connection reset", server.stderr(), re.I), "the reset is told")
    with server.connect() as other:
        other.send("hi")
        other.expect("Hello, client!")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["greeting_server", "tasks_server", "tcp_server"])
def test_a_port_in_use_is_told(listen, finish, language, name):
    url = listen("c", "greeting_server").url
    result = finish(language, name, url)
    assert result.rc == 1
    assert re.search("address already in use", result.err, re.I)


@pytest.mark.parametrize("name", ["threads_server", "processes_server", "tasks_server",
                                  "reply_server", "greeting_server",
                                  "loop_server", "hello_server", "message_server"])
def test_servers_stop_on_a_signal(listen, name):
    server = listen("c", name)
    with server.connect() as client:
        client.half_close()
        client.read_to_end()  # it runs: the signal is its own from now on
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert len(re.findall("info stopped url=tcp://", server.stderr())) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_tcp_server_prints_one_message_and_ends(listen, language):
    server = listen(language, "tcp_server")
    client = server.connect()
    client.send("你好")
    assert client.read_to_end() == b"Hello, Client!"
    assert (server.wait(), server.out.data.decode()) == (0, "你好\n")


# -- clients against what goes wrong

CLIENTS = ("tcp_client", "send_client", "talk_client", "greeting_client", "hello_client",
           "threads_client")


def unused_url():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return "tcp://127.0.0.1:%d" % server.getsockname()[1]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CLIENTS)
def test_a_refusal_is_exit_4(finish, language, name):
    result = finish(language, name, unused_url())
    assert (result.rc, result.out) == (4, b"")
    assert re.search("connection refused", result.err, re.I)


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["tcp_client", "talk_client", "greeting_client",
                                  "hello_client"])
def test_silence_is_exit_6_after_five_seconds(finish, language, name):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = "tcp://127.0.0.1:%d" % silent.getsockname()[1]
        result = finish(language, name, url, timeout=4 * WAIT)
    assert (result.rc, result.out) == (6, b"")
    assert 4.9 < result.elapsed < 5 + 2 * WAIT


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["tcp_client", "talk_client", "greeting_client",
                                  "hello_client"])
def test_an_end_instead_of_a_reply_is_an_error(finish, peer, language, name):
    closing = peer(lambda client: client.half_close() or client.drain())
    result = finish(language, name, closing.url)
    assert (result.rc, result.out) == (1, b"")
    assert "no reply" in result.err


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_reply_is_printed_when_it_comes(program, base_env, peer, language):
    running = []

    def greet(client):
        for said, name in enumerate(["", "Michael", "Tracy", "Sarah"]):
            client.expect(name)
            client.send(f"{said}")
            wait_until(lambda: running, "the client runs")[0].out.wait_for(
                lambda out, count=said + 1: out.count(b"\n") == count, "the reply on stdout")
        client.expect("exit")

    running.append(Process([*program(language, "hello_client"), peer(greet).url], base_env))
    assert (running[0].wait(), running[0].out.data) == (0, b"0\n1\n2\n3\n")


# -- raw_http_get

def http(finish, peer, language, tmp_path, answer):
    def script(client):
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += client.recv_exactly(1)
        host = "127.0.0.1:%d" % client.sock.getsockname()[1]
        assert asked.decode() == f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        for piece in answer:
            client.send(piece)

    server, page = peer(script), tmp_path / "page"
    result = finish(language, "raw_http_get", server.url[len("tcp://"):], page)
    return result, page.read_bytes() if page.exists() else None


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("answer, out, body, rc", [
    ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
     "HTTP/1.1 200 OK\nContent-Length: 5\n", b"hello", 0),
    ([b"HTTP/1.0 200 OK\r\n\r\n", b"\0\xff" * 50_000], "HTTP/1.0 200 OK\n", b"\0\xff" * 50_000, 0),
    ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", b"lo\r\n",
      b"A;x=y\r\n, world 1!\r\n0\r\n\r\n"],
     "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n", b"hello, world 1!", 0),
    ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"],
     "HTTP/1.1 404 Not Found\nContent-Length: 2\n", b"no", 1),
    ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel"],
     "HTTP/1.1 200 OK\nContent-Length: 9\n", b"hel", 1),
    ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"],
     "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", b"hel", 1),
    ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"],
     "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", b"", 1),
    ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
     "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", b"abc", 1),
], ids=["length", "to the end", "chunks", "404", "short", "short chunk", "no chunk", "no end"])
def test_a_page_is_fetched_by_hand(finish, peer, language, tmp_path, answer, out, body, rc):
    result, page = http(finish, peer, language, tmp_path, answer)
    assert (result.rc, result.out.decode(), page) == (rc, out, body), result.err


# -- programs that talk to nobody

@pytest.mark.parametrize("language", LANGUAGES)
def test_encodings_shows_bytes_and_text(finish, language):
    gbk = "".join(f"\\x{byte:02x}" for byte in "你好,世界!".encode("gbk"))
    utf8 = "".join(f"\\x{byte:02x}" for byte in "你好,世界!".encode())
    result = finish(language, "encodings")
    assert result.out.decode() == f"utf-8: {utf8}\nutf-8: 你好,世界!\ngbk: {gbk}\ngbk: 你好,世界!\n"
    assert finish(language, "encodings", "😀").rc == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_threads_are_all_joined(finish, language):
    result = finish(language, "threads", "0.05")
    lines = result.out.decode().splitlines()
    assert lines[-1] == "all done" and len(lines) == 11
    for i in range(5):
        assert lines.index(f"worker-{i}: {i * 0.05:g} s") < lines.index(f"worker-{i}: done")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_locked_counter_loses_nothing(finish, language):
    assert finish(language, "lock_counter", timeout=6 * WAIT).out == b"1000000\n"


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_unlocked_counter_loses(finish, language):
    counts = [int(finish(language, "lock_counter", "--unlocked").out) for _ in range(5)]
    assert min(counts) < 1_000_000 and max(counts) <= 1_000_000


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_item_is_consumed_once(finish, language):
    lines = finish(language, "thread_safety").out.decode().splitlines()
    assert sorted(int(line.partition(": ")[2]) for line in lines) == list(range(1, 11))
    assert {line.partition(": ")[0] for line in lines} <= {f"consumer-{i}" for i in (1, 2, 3)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_pool_of_processes_sums_the_squares(finish, language):
    result = finish(language, "pool_map", timeout=6 * WAIT)
    assert (result.rc, result.out, result.err) == (0, b"333333283333335000000\n" * 8, "")


# -- length

def code_lines(text, comment):
    """Lines of code: neither blank, nor of comment, nor of braces alone."""
    text = re.sub(comment, lambda found: "\n" * found[0].count("\n"), text, flags=re.S | re.M)
    return sum(1 for line in text.splitlines() if line.strip(" {};"))


def test_the_examples_are_no_longer_than_python(capsys):
    lines = {"c": 0, "python": 0}
    for path in sorted(PYTHON.glob("*.py")):
        c = code_lines((ROOT / f"examples/{path.stem}.c").read_text(), r"/\*.*?\*/")
        python = code_lines(path.read_text(), r'^\s*#.*?$|^\s*""".*?"""')
        lines["c"] += c
        lines["python"] += python
        with capsys.disabled():
            print(f"\n{path.stem}: {c} lines of C, {python} of Python", end="")
    with capsys.disabled():
        print(f"\nall: {lines['c']} of C, {lines['python']} of Python, "
              f"{lines['c'] / lines['python']:.2f}")
    assert lines["c"] <= lines["python"]
