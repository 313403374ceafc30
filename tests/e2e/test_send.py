# SPDX-License-Identifier: MIT
"""`pier send URL MESSAGE…`: one connection; a message, its reply on a line, the next message."""

import contextlib
import signal
import socket
import threading

import pytest

from pierlib import SCALE, WAIT, free_port_held, refused


def answers(**replies):
    """A peer's script: takes exactly these messages, one at a time, and gives these replies."""

    def script(client):
        for message, reply in replies.items():
            client.expect(message)
            client.send(reply)
        client.expect_end()

    return script


@contextlib.contextmanager
def deaf_address():
    """An address that neither accepts nor refuses: its backlog is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(16):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield "tcp://127.0.0.1:%d" % listener.getsockname()[1]


# -- messages and replies


def test_send_prints_each_reply_on_a_line(pier, peer):
    result = pier("send", peer(answers(one="1", two="22", three="333")).url, "one", "two", "three")
    assert (result.rc, result.out, result.err) == (0, b"1\n22\n333\n", "")


def test_send_adds_a_newline_only_where_a_reply_lacks_one(pier, peer):
    result = pier(
        "send", peer(answers(a="1\n", b="2", c="3\r\n", d="4\n5")).url, "a", "b", "c", "d"
    )
    assert (result.rc, result.out) == (0, b"1\n2\n3\r\n4\n5\n")


def test_send_sends_messages_as_they_are(pier, peer):
    message = "你好 \n\t%m"
    assert pier("send", peer(answers(**{message: "ok"})).url, message).rc == 0


def test_send_prints_replies_as_they_are(pier, peer):
    result = pier("send", peer(answers(x=b"\xff\0\xfe")).url, "x")
    assert (result.rc, result.out) == (0, b"\xff\0\xfe\n")


def test_send_waits_for_each_reply_before_the_next_message(pier, peer):
    def script(client):
        client.expect("one")
        assert not client.has_input(0.3)
        client.send("1")
        client.expect("two")
        client.send("2")

    assert pier("send", peer(script).url, "one", "two").out == b"1\n2\n"


def test_send_reads_a_greeting_first(pier, peer):
    def script(client):
        assert not client.has_input(0.3)  # the client waits for the greeting
        client.send("Welcome!")
        client.expect("one")
        client.send("1")
        client.expect_end()

    result = pier("send", "--greeting", peer(script).url, "one")
    assert (result.rc, result.out) == (0, b"Welcome!\n1\n")


def test_send_reaches_a_unix_socket(pier, peer, tmp_path):
    assert pier("send", peer(answers(one="1"), path=tmp_path / "p").url, "one").out == b"1\n"


def test_send_to_an_empty_host_dials_localhost(pier, peer):
    port = peer(answers(one="1")).port
    assert pier("send", f"tcp://:{port}", "one").out == b"1\n"


def test_send_finds_the_one_address_of_a_name_that_answers(pier, peer):
    port = peer(answers(one="1")).port  # listens on 127.0.0.1 only
    assert pier("send", f"tcp://localhost:{port}", "one").out == b"1\n"


# -- with serve


@pytest.mark.models("tasks", "threads")
def test_send_talks_to_message(serve, pier):
    result = pier("send", serve().url, "你好", "EXIT")
    assert (result.rc, result.out) == (0, "已收到: 你好\n再见!\n".encode())


@pytest.mark.models("tasks", "threads")
def test_send_talks_to_hello(serve, pier):
    result = pier("send", "--greeting", serve("--handler", "hello").url, "Bob", "exit")
    assert (result.rc, result.out, result.err) == (0, b"Welcome!\nHello, Bob!\n", "")


# -- the peer closes


def test_a_peer_that_closes_after_the_last_message_is_fine(pier, peer):
    def script(client):
        client.expect("one")
        client.send("1")
        client.expect("bye")

    result = pier("send", peer(script).url, "one", "bye")
    assert (result.rc, result.out, result.err) == (0, b"1\n", "")


def test_a_peer_that_closes_before_the_last_message_is_exit_1_and_told(pier, peer):
    def script(client):
        client.expect("one")
        client.send("1")
        client.expect("two")

    result = pier("send", peer(script).url, "one", "two", "three")
    assert (result.rc, result.out) == (1, b"1\n")
    (line,) = result.err.splitlines()
    assert line.startswith("pier")


# -- failures


@pytest.mark.parametrize("timeout", ["300ms", "1s", "1"])
def test_a_reply_that_does_not_come_in_time_is_exit_6(pier, peer, timeout):
    def script(client):
        client.expect("one")
        client.drain()

    result = pier("send", "--timeout", timeout, peer(script).url, "one")
    assert (result.rc, result.out) == (6, b"")
    assert "timed out" in result.err
    seconds = 0.3 if timeout == "300ms" else 1
    assert seconds - 0.05 < result.elapsed < seconds + 2 * SCALE


def test_a_greeting_that_does_not_come_in_time_is_exit_6(pier, peer):
    result = pier(
        "send", "--greeting", "--timeout", "300ms", peer(lambda client: client.drain()).url, "one"
    )
    assert result.rc == 6 and "timed out" in result.err


def test_a_dial_that_takes_too_long_is_exit_6(pier):
    with deaf_address() as url:
        result = pier("send", "--timeout", "300ms", url, "one")
    assert (result.rc, result.out) == (6, b"")
    assert result.err.splitlines() == [f"pier: dial {url}: timed out"]
    assert 0.25 < result.elapsed < 2 * SCALE


def test_the_time_out_bounds_each_reply_not_all_of_them(pier, peer):
    def script(client):
        for message in "one", "two", "three", "four":
            client.expect(message)
            assert not client.has_input(
                0.4
            )  # a pause shorter than the time-out; four of them are longer
            client.send("ok")
        client.expect_end()

    result = pier("send", "--timeout", "1200ms", peer(script).url, "one", "two", "three", "four")
    assert (result.rc, result.out) == (0, b"ok\n" * 4)


@pytest.mark.slow
def test_the_time_out_is_5_seconds(pier, peer):
    result = pier("send", peer(lambda client: client.drain()).url, "one", timeout=3 * WAIT)
    assert result.rc == 6 and 4.9 < result.elapsed < 5 + 2 * SCALE


def test_a_refused_connection_is_exit_4_and_says_so(pier):
    with free_port_held() as closed:
        url = "tcp://127.0.0.1:%d" % closed.getsockname()[1]
        result = pier("send", url, "one")
    assert (result.rc, result.out) == (4, b"")
    assert result.err.splitlines() == [f"pier: dial {url}: connection refused"]


def test_port_1_is_refused_with_the_documented_text(pier):
    if not refused("tcp://127.0.0.1:1"):
        pytest.skip("something listens on port 1 of this machine")
    result = pier("send", "tcp://127.0.0.1:1", "x")
    assert result.rc == 4
    assert result.err == "pier: dial tcp://127.0.0.1:1: connection refused\n"


def test_an_unknown_name_is_exit_3(pier):
    result = pier("send", "tcp://no-such-name.invalid:1", "x", timeout=60)
    assert result.rc == 3
    assert "no-such-name.invalid" in result.err


@pytest.mark.parametrize(
    "args", [[], ["tcp://127.0.0.1:1"], ["nonsense", "x"], ["tcp://127.0.0.1", "x"]]
)
def test_a_url_and_a_message_are_required(pier, args):
    result = pier("send", *args)
    assert result.rc == 2 and result.err.strip()


def test_sigint_is_130(start, peer):
    arrived = threading.Event()

    def script(client):
        client.expect("one")
        arrived.set()
        client.drain()

    process = start("send", "--timeout", "1h", peer(script).url, "one")
    assert arrived.wait(WAIT)
    process.signal(signal.SIGINT)
    assert process.wait() == 130
