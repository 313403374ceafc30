# SPDX-License-Identifier: MIT
"""`--lines`: a message is a line, however the network cut it; so is a reply; lines have a limit."""

import pytest

from pierlib import chat_room

MIB = 1 << 20


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_lines_removes_the_line_end_and_replies_with_one_newline(serve, ending):
    client = serve("--lines").connect()
    for text in "hello", "你好", "a b  ", "x" * 70_000:
        client.send(text + ending)
        client.expect(f"已收到: {text}\n")


def test_lines_takes_an_empty_line_for_a_message(serve):
    assert serve("--lines").exchange(b"\n\r\n\n") == "已收到: \n".encode() * 3


def test_lines_answers_several_lines_of_one_segment_in_order(serve):
    got = serve("--lines").exchange(b"".join(b"line %d\n" % n for n in range(1000)))
    assert got == "".join(f"已收到: line {n}\n" for n in range(1000)).encode()


def test_lines_joins_a_line_that_comes_in_pieces(serve):
    client = serve("--lines").connect()
    for text in "hello", "你好":
        for byte in text.encode() + b"\r\n":
            client.send(bytes([byte]))
        client.expect(f"已收到: {text}\n")
    client.send("one\ntwo, be")  # the rest of a segment waits for its own end
    client.expect("已收到: one\n")
    client.send("gun\n")
    client.expect("已收到: two, begun\n")


def test_lines_keeps_carriage_returns_inside_a_line(serve):
    assert serve("--lines").exchange(b"a\rb\n") == "已收到: a\rb\n".encode()


def test_lines_passes_invalid_utf8_and_nul_through(serve):
    assert serve("--lines").exchange(b"\xff\0\xe5\n") == "已收到: ".encode() + b"\xff\0\xe5\n"


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_lines_knows_the_commands(serve, ending):
    client = serve("--lines").connect()
    client.send("TIME" + ending)
    assert client.recv_line().decode().startswith("当前时间: ")
    client.send("Exit" + ending)
    assert client.read_to_end() == "再见!\n".encode()


def test_lines_apply_to_hello(serve):
    client = serve("--lines", "--handler", "hello").connect()
    client.expect("Welcome!")
    client.send("Bob\r\n")
    assert client.recv_matching(rb"\n?Hello, Bob!\n")
    client.send("exit\r\n")
    client.expect_end()


def test_lines_apply_to_reply(serve):
    assert serve("--lines", "--reply", "<%m>").exchange(b"a\r\n\nb\n") == b"<a>\n<>\n<b>\n"
    assert serve("--lines", "--reply", "<%m>", "--once").exchange(b"a\n") == b"<a>\n"


def test_lines_apply_to_chat(serve):
    alice, bob = chat_room(serve("--lines", "--handler", "chat"), 2)
    alice.send("be")
    alice.send("gun\nand ended\r\n")
    bob.expect(f"[{alice.address}] begun\n[{alice.address}] and ended\n")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_line_of_just_the_limit_passes(serve, ending):
    client = serve("--lines", "--max-line", "16").connect()
    for _ in range(2):
        client.send("x" * 16 + ending)
        client.expect("已收到: " + "x" * 16 + "\n")


@pytest.mark.parametrize(
    "sent", [b"x" * 17 + b"\n", b"x" * 100, b"x" * 500_000], ids=["ended", "begun", "long"]
)
def test_a_line_over_the_limit_is_told_and_closes(serve, sent):
    server = serve("--lines", "--max-line", "16")
    client = server.connect()
    client.send("fine\n")
    client.expect("已收到: fine\n")
    try:
        client.send(sent)
    except OSError:  # closed under our hands: what was told is still there to read
        pass
    told, _ = client.drain()
    assert told.strip() and b"xxx" not in told
    other = server.connect()
    other.send("ok\n")
    other.expect("已收到: ok\n")


def test_the_line_limit_is_1_mib(serve):
    server = serve("--lines", "--reply", "ok")
    fits, over = server.connect(), server.connect()
    fits.send(b"x" * MIB + b"\n")
    fits.expect("ok\n")
    try:
        over.send(b"x" * (MIB + 1) + b"\n")
    except OSError:
        pass
    told, _ = over.drain()
    assert told.strip() and told != b"ok\n"


@pytest.mark.parametrize("value", ["0", "-1", "abc", "", "9999999999999999999999"])
@pytest.mark.models("tasks")
def test_a_line_limit_that_is_no_size_is_a_usage_error(pier, model, value):
    result = pier("serve", "--lines", "--max-line", value, "tcp://127.0.0.1:0")
    assert result.rc == 2 and "--max-line" in result.err
