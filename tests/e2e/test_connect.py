# SPDX-License-Identifier: MIT
"""`pier connect URL`: stdin to the connection, the connection to stdout, and how both end."""

import os
import signal
import subprocess
import threading

import pytest

from pierlib import WAIT, free_port_held


def echo_until_end(client):
    while piece := client.sock.recv(65536):
        client.send(piece)


def test_connect_relays_both_ways(pier, peer):
    got = []

    def script(client):
        client.send("welcome\n")
        got.append(client.read_to_end())
        client.send(b"bye \xff\0")

    result = pier("connect", peer(script).url, stdin=b"hello \xfe\0\n")
    assert (result.rc, result.out, result.err) == (0, b"welcome\nbye \xff\0", "")
    assert got == [b"hello \xfe\0\n"]


def test_connect_relays_bulk_data(pier, peer):
    sent = os.urandom(8_000_000)
    result = pier("connect", peer(echo_until_end).url, stdin=sent)
    assert result.rc == 0 and result.out == sent


def test_connect_half_closes_at_the_end_of_input_and_reads_on(pier, peer):
    def script(client):
        assert client.read_to_end() == b"question"
        for piece in "an", "sw", "er":
            client.send(piece)

    result = pier("connect", peer(script).url, stdin=b"question")
    assert (result.rc, result.out) == (0, b"answer")


def test_connect_without_input_only_reads(pier, peer):
    def script(client):
        client.expect_end()
        client.send("all there is")

    result = pier("connect", peer(script).url)
    assert (result.rc, result.out) == (0, b"all there is")


def test_connect_prints_what_comes_while_its_input_is_open(start, peer):
    def script(client):
        client.send("first")
        client.expect("typed")
        client.send("second")
        client.expect_end()

    process = start("connect", peer(script).url, stdin=subprocess.PIPE)
    process.out.wait_for(lambda data: data == b"first", "the greeting")
    process.proc.stdin.write(b"typed")
    process.proc.stdin.flush()
    process.out.wait_for(lambda data: data == b"firstsecond", "the answer")
    process.proc.stdin.close()
    assert process.wait() == 0


def test_connect_to_a_unix_socket(pier, peer, tmp_path):
    result = pier("connect", peer(echo_until_end, path=tmp_path / "p").url, stdin=b"hello")
    assert (result.rc, result.out) == (0, b"hello")


@pytest.mark.models("tasks", "threads")
def test_connect_talks_to_serve(serve, pier):
    server = serve("--lines")
    result = pier("connect", server.url, stdin="你好\nexit\n".encode())
    assert (result.rc, result.out) == (0, "已收到: 你好\n再见!\n".encode())


@pytest.mark.models("tasks")
def test_connect_talks_to_serve_over_an_abstract_unix_socket(serve, pier, abstract_url):
    server = serve("--handler", "echo", urls=[abstract_url])
    assert pier("connect", server.url, stdin=b"hello").out == b"hello"


# -- options


def test_crlf_sends_line_ends_as_crlf(pier, peer):
    got = []
    result = pier(
        "connect", "--crlf", peer(lambda c: got.append(c.read_to_end())).url, stdin=b"a\n\nb\nc"
    )
    assert result.rc == 0
    assert got == [b"a\r\n\r\nb\r\nc"]


def test_wait_bounds_the_rest_after_the_end_of_input(start, peer):
    over = threading.Event()

    def script(client):
        assert client.read_to_end() == b"question"
        client.send("part")
        assert over.wait(2 * WAIT)  # this side does not close: the command has to end by itself

    process = start("connect", "--wait", "500ms", peer(script).url, stdin=subprocess.PIPE)
    process.proc.stdin.write(b"question")
    process.proc.stdin.close()
    try:
        assert process.wait() in (0, 6)
        assert process.out.data == b"part"
    finally:
        over.set()


def test_wait_does_not_run_before_the_end_of_input(start, peer):
    def script(client):
        client.expect("1")
        assert not client.has_input(1.0)  # three times the wait
        client.send("late")
        client.expect_end()

    process = start("connect", peer(script).url, "--wait", "300ms", stdin=subprocess.PIPE)
    process.proc.stdin.write(b"1")
    process.proc.stdin.flush()
    process.out.wait_for(lambda data: data == b"late", "what came after a pause longer than --wait")
    process.proc.stdin.close()
    assert process.wait() == 0


# -- failures


def test_a_refused_connection_is_exit_4_and_says_so(pier):
    with free_port_held() as closed:
        url = "tcp://127.0.0.1:%d" % closed.getsockname()[1]
        result = pier("connect", url)
    assert (result.rc, result.out) == (4, b"")
    assert result.err.splitlines() == [f"pier: dial {url}: connection refused"]


def test_a_name_is_refused_with_the_name_as_given(pier):
    with free_port_held() as closed:
        url = "tcp://localhost:%d" % closed.getsockname()[1]
        result = pier("connect", url)
    assert result.rc == 4
    assert result.err.splitlines() == [f"pier: dial {url}: connection refused"]


def test_a_unix_socket_that_is_not_there_is_exit_4(pier, unix_url):
    result = pier("connect", unix_url)
    assert result.rc == 4
    assert result.err.splitlines() == [f"pier: dial {unix_url}: no such file or directory"]


def test_an_unknown_name_is_exit_3(pier):
    result = pier("connect", "tcp://no-such-name.invalid:1", timeout=60)
    assert result.rc == 3
    assert "no-such-name.invalid" in result.err


@pytest.mark.parametrize(
    "args", [[], ["nonsense"], ["tcp://127.0.0.1"], ["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"]]
)
def test_anything_but_one_good_url_is_a_usage_error(pier, args):
    result = pier("connect", *args)
    assert result.rc == 2 and result.err.strip()


def test_a_reset_is_told_and_exit_1(pier, peer):
    def script(client):
        client.expect("hello")
        client.reset()

    result = pier("connect", peer(script).url, stdin=b"hello")
    assert result.rc == 1
    assert "connection reset by peer" in result.err


def test_sigint_is_130(start, peer):
    arrived = threading.Event()

    def script(client):
        client.expect("hello")
        arrived.set()
        client.drain()

    process = start("connect", peer(script).url, stdin=subprocess.PIPE)
    process.proc.stdin.write(b"hello")
    process.proc.stdin.flush()
    assert arrived.wait(WAIT)
    process.signal(signal.SIGINT)
    assert process.wait() == 130
