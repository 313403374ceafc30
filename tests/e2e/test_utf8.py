# SPDX-License-Identifier: MIT
"""Characters cut between two segments: the cut bytes wait, for at most 200 ms; streams never do."""

import time

import pytest

from pierlib import SCALE, chat_room, wait_until

PREFIX = "已收到: ".encode()
HOLD = 0.2  # seconds that cut bytes may be held
CUT = "好".encode()


def quickest(client, sent, expected, rounds=10):
    """The best of several replies in seconds: a server that holds is never below its hold."""
    best = HOLD
    for _ in range(rounds):
        begin = time.monotonic()
        client.send(sent)
        client.expect(expected)
        best = min(best, time.monotonic() - begin)
    return best


def send_apart(client, pieces):
    """Sends the pieces with pauses in which a server that does not wait would take them for
    messages. False when this machine was too slow to do so well within the hold."""
    begin = time.monotonic()
    for piece in pieces:
        client.send(piece)
        time.sleep(0.01)  # the stimulus itself, nothing is synchronised by it
    return time.monotonic() - begin < HOLD / 2


def test_a_character_cut_with_a_pause_makes_two_messages(serve):
    client = serve().connect()
    for cut in 1, 2:
        client.send("你".encode() + CUT[:cut])
        client.expect("已收到: 你")  # the pause: the first part has been answered
        client.send(CUT[cut:])
        client.expect("已收到: 好")


@pytest.mark.parametrize("text", ["é", "好", "😀"])
def test_a_cut_character_waits_for_its_rest(serve, text):
    server = serve()
    whole = text.encode()
    for cut in range(1, len(whole)):

        def in_one_piece():
            with server.connect() as client:
                client.send("ready")
                client.expect("已收到: ready")
                in_time = send_apart(client, [whole[:cut], whole[cut:]])
                client.half_close()
                return client.read_to_end() if in_time else None

        assert wait_until(in_one_piece, "both parts sent within 100 ms") == PREFIX + whole


@pytest.mark.parametrize("cut", [b"\xc3", b"\xe5", b"\xe5\xa5", b"\xf0", b"\xf0\x9f\x98"])
def test_cut_bytes_alone_are_passed_on_after_200_ms_at_most(serve, cut):
    client = serve().connect()
    client.send("ready")
    client.expect("已收到: ready")
    begin = time.monotonic()
    client.send(cut)
    client.expect(PREFIX + cut)
    assert time.monotonic() - begin < HOLD + 0.5 * SCALE


def test_cut_bytes_are_passed_on_at_the_end_of_input(serve):
    assert serve().exchange(b"\xe5\xa5") == PREFIX + b"\xe5\xa5"
    assert serve().exchange("你".encode() + b"\xe5") == "已收到: 你已收到: ".encode() + b"\xe5"


def test_only_the_cut_bytes_wait(serve):
    client = serve().connect()
    begin = time.monotonic()
    client.send(b"a" * 1000 + b"\xe5")
    client.expect(PREFIX + b"a" * 1000)
    client.expect(PREFIX + b"\xe5")
    assert time.monotonic() - begin < HOLD + 0.5 * SCALE


def test_whole_characters_do_not_wait(serve):
    assert quickest(serve().connect(), "好", "已收到: 好") < HOLD / 2


@pytest.mark.parametrize(
    "wrong",
    [b"\xff", b"\x80", b"\xbd\xa0", b"\xe5A", b"\xc0", b"\xf5", b"a\xff"],
    ids=lambda wrong: wrong.hex(),
)
def test_invalid_utf8_passes_through_without_waiting(serve, wrong):
    assert quickest(serve().connect(), wrong, PREFIX + wrong) < HOLD / 2


def test_long_text_is_cut_between_characters_only(serve):
    sent = "你好😀é" * 20_000
    pieces = serve().exchange(sent.encode()).split(PREFIX)
    assert b"".join(pieces).decode() == sent
    for piece in pieces:
        piece.decode()  # each message is valid by itself


def test_text_in_single_bytes_is_cut_between_characters_only(serve):
    server, sent = serve(), "你好，世界😀"

    def in_single_bytes():
        with server.connect() as client:
            for character in sent:
                if not send_apart(client, [bytes([byte]) for byte in character.encode()]):
                    return None
            client.half_close()
            return client.read_to_end()

    pieces = wait_until(in_single_bytes, "each character sent within 100 ms").split(PREFIX)
    assert b"".join(pieces).decode() == sent
    for piece in pieces:
        piece.decode()


def test_reply_and_hello_wait_for_the_rest_too(serve):
    client = serve("--reply", "<%m>").connect()
    client.send("你".encode() + CUT[:1])
    client.expect("<你>")
    client.send(CUT[1:])
    client.expect("<好>")
    client = serve("--handler", "hello").connect()
    client.expect("Welcome!")
    client.send("你".encode() + CUT[:1])
    client.expect("Hello, 你!")
    client.send(CUT[1:])
    client.expect("Hello, 好!")


def test_chat_waits_for_the_rest_too(serve):
    alice, bob = chat_room(serve("--handler", "chat"), 2)
    alice.send("你".encode() + CUT[:2])
    bob.expect(f"[{alice.address}] 你\n")
    alice.send(CUT[2:])
    bob.expect(f"[{alice.address}] 好\n")


@pytest.mark.parametrize("args", [("--handler", "echo"), ("--exec", "cat")], ids=["echo", "exec"])
def test_byte_streams_never_hold(serve, args):
    client = serve(*args).connect()
    client.send("ready")
    client.expect("ready")
    assert quickest(client, CUT[:2], CUT[:2]) < HOLD / 2
