# SPDX-License-Identifier: MIT
"""The handlers `message`, `hello`, `echo`, `discard`, `time` and `--reply`, byte by byte.

`chat`, `--exec`, `--lines` and the cutting of UTF-8 have files of their own.
"""

import datetime
import os
import re
import time

import pytest

from pierlib import SCALE, round_trip

PREFIX = "已收到: ".encode()
TICK = datetime.timedelta(seconds=2)  # whole seconds, from a clock that may be a tick behind ours


# -- message


def test_message_is_the_default_handler(serve):
    server = serve()
    assert server.endpoints[0].handler == "message"
    round_trip(server.connect(), "hello")


@pytest.mark.parametrize(
    "sent", ["a", "hello world", "你好，世界", "😀", " exit", "exit now", "times", "100% %m %s\\n"]
)
def test_message_repeats_each_message(serve, sent):
    client = serve().connect()
    for _ in range(3):
        round_trip(client, sent)
    client.send("exit")
    assert client.read_to_end() == "再见!".encode()


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n", "\r"])
def test_message_repeats_line_ends_unchanged(serve, ending):
    assert serve().exchange(f"hi{ending}".encode()) == ("已收到: hi" + ending).encode()


def test_message_may_contain_nul_bytes(serve):
    assert serve().exchange(b"a\0b\0") == PREFIX + b"a\0b\0"


@pytest.mark.parametrize("word", ["exit", "EXIT", "Exit", "exit\n", "eXiT\r\n", "exit\r"])
def test_message_exit_says_goodbye_and_closes(serve, word):
    client = serve().connect()
    round_trip(client)
    client.send(word)
    assert client.read_to_end() == "再见!".encode()


@pytest.mark.parametrize("word", ["time", "TIME", "Time\n", "time\r\n"])
def test_message_time_is_the_local_time(serve, word):
    client = serve(env={"TZ": "XYZ-5:30"}).connect()
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    before = datetime.datetime.now(zone) - TICK
    client.send(word)
    text = client.recv_exactly(len("当前时间: 2026-01-01 00:00:00".encode())).decode()
    assert re.fullmatch(r"当前时间: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text)
    said = datetime.datetime.fromisoformat(text.partition(": ")[2]).replace(tzinfo=zone)
    assert before <= said <= datetime.datetime.now(zone)
    round_trip(client)


def test_message_says_nothing_to_a_client_that_says_nothing(serve):
    assert serve().exchange(b"") == b""


def test_message_reads_at_most_64_kib_at_a_time_and_loses_nothing(serve):
    sent = os.urandom(100_000).hex().encode()
    pieces = serve().exchange(sent).split(PREFIX)
    assert pieces[0] == b"" and b"".join(pieces) == sent
    assert max(map(len, pieces)) <= 65536


def test_message_serves_clients_side_by_side(serve):
    server = serve()
    clients = [server.connect() for _ in range(20)]
    for order in clients, clients[::-1]:
        for number, client in enumerate(order):
            round_trip(client, f"client {number}")


def test_stdout_stays_empty(serve):
    server = serve()
    round_trip(server.connect())
    server.stop()
    assert server.out.data == b""


# -- hello


def test_hello_welcomes_on_connect(serve):
    serve("--handler", "hello").connect().expect("Welcome!")


def test_hello_greets_each_message(serve):
    client = serve("--handler", "hello").connect()
    client.expect("Welcome!")
    for name in "Bob", "世界", "100%":
        client.send(name)
        client.expect(f"Hello, {name}!")
    client.send("Eve\r\n")
    client.expect("Hello, Eve\r\n!")


@pytest.mark.parametrize("word", ["exit", "exit\n", "exit\r\n"])
def test_hello_exit_closes_without_a_reply(serve, word):
    client = serve("--handler", "hello").connect()
    client.expect("Welcome!")
    client.send(word)
    client.expect_end()


def test_hello_replies_without_delay(serve):
    client = serve("--handler", "hello").connect()
    client.sock.setsockopt(
        6, 1, 0
    )  # TCP_NODELAY off, as simple clients are: a reply in two writes would cost 40 ms
    client.expect("Welcome!")
    begin = time.monotonic()
    for _ in range(100):
        client.send("x")
        client.expect("Hello, x!")
    assert time.monotonic() - begin < 2 * SCALE


# -- echo and discard


def test_echo_is_a_byte_stream(serve):
    sent = os.urandom(4_000_000)
    assert serve("--handler", "echo").exchange(sent) == sent


@pytest.mark.parametrize("word", ["exit", "time\n"])
def test_echo_knows_no_commands(serve, word):
    client = serve("--handler", "echo").connect()
    for _ in range(2):
        client.send(word)
        client.expect(word)


def test_discard_reads_everything_and_says_nothing(serve):
    assert serve("--handler", "discard").exchange(b"x" * 20_000_000) == b""


# -- time


def test_time_is_one_rfc_3339_line(serve):
    server = serve("--handler", "time", env={"TZ": "XYZ-8"})
    before = datetime.datetime.now(datetime.timezone.utc) - TICK
    line = server.connect().read_to_end().decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\n", line)
    said = datetime.datetime.fromisoformat(line.strip().replace("Z", "+00:00"))
    assert before <= said <= datetime.datetime.now(datetime.timezone.utc)


# -- reply


@pytest.mark.parametrize(
    "template, reply",
    [
        ("OK", "OK"),
        ("got %m", "got hi"),
        ("%m", "hi"),
        ("<%m|%m>", "<hi|hi>"),
        ("100%%", "100%"),
        ("%%m %m", "%m hi"),
        ("%%%m", "%hi"),
        ("你说 %m。", "你说 hi。"),
    ],
)
def test_reply_replaces_percent_m_and_percent_percent(serve, template, reply):
    client = serve("--reply", template).connect()
    for _ in range(2):
        client.send("hi")
        client.expect(reply)
    client.half_close()
    client.expect_end()


def test_reply_does_not_read_its_message_as_a_template(serve):
    assert serve("--reply", "[%m]").exchange(b"%m %% %s %n") == b"[%m %% %s %n]"


def test_reply_repeats_line_ends_and_appends_nothing(serve):
    assert serve("--reply", "<%m>").exchange(b"hi\r\n") == b"<hi\r\n>"


def test_once_closes_after_the_first_reply(serve):
    server = serve("--reply", "%m!", "--once")
    for _ in range(2):
        client = server.connect()
        client.send("hi")
        assert client.read_to_end() == b"hi!"
