# SPDX-License-Identifier: MIT
"""What `serve` logs of clients: nothing, with -v who and what, with -vv the bytes; never raw."""

import os
import pty
import re

import pytest

from pierlib import Reader, round_trip


def test_without_v_clients_leave_no_trace(serve):
    server = serve()
    server.exchange(b"hello")
    round_trip(server.connect())
    server.stop()
    assert server.extra_lines() == []


@pytest.mark.parametrize("verbose", ["-v", "-vv"])
def test_v_logs_connect_message_and_disconnect_with_the_peer(serve, verbose):
    server = serve(verbose)
    client = server.connect()
    peer = re.escape(client.address)
    server.wait_line(peer)
    mark = server.mark()
    round_trip(client, "some text")
    line = server.wait_line(rf"{peer}.*some text", mark)
    assert re.search(r"\b9\b", line), f"no length in {line!r}"
    mark = server.mark()
    client.half_close()
    client.expect_end()
    server.wait_line(peer, mark)


def test_v_logs_each_message(serve):
    server = serve("-v")
    client = server.connect()
    for number in range(5):
        mark = server.mark()
        round_trip(client, f"text {number}")
        server.wait_line(rf"{re.escape(client.address)}.*text {number}", mark)


def test_v_names_unix_clients_unix(serve, unix_url):
    server = serve("-v", urls=[unix_url])
    round_trip(server.connect(), "some text")
    server.wait_line(r"\bunix\b.*some text")


def test_v_gives_the_reason_of_a_disconnect(serve):
    server = serve("-v")
    client = server.connect()
    round_trip(client)
    mark = server.mark()
    client.reset()
    server.wait_line(rf"{re.escape(client.address)}.*reset", mark)


def test_v_shows_no_hex_dump_and_vv_does(serve):
    dump = rb"68 ?65 ?6c ?6c ?6f"  # hello
    for verbose, expected in ("-v", False), ("-vv", True):
        server = serve(verbose)
        server.exchange(b"hello")
        server.stop()
        assert bool(re.search(dump, server.log.data, re.I)) == expected


HOSTILE = b"start\x1b[31mred\x07\x9b\xff\xfe\r\nlistening on nothing\n\x00\x7f\xc2\x9b2Jend"


@pytest.mark.parametrize("verbose", ["-v", "-vv"])
def test_messages_are_logged_escaped_never_raw(serve, verbose):
    server = serve(verbose)
    assert server.exchange(HOSTILE) == "已收到: ".encode() + HOSTILE
    server.stop()
    data = server.log.data
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", data), data
    text = data.decode()  # valid UTF-8
    assert not re.search("[\x80-\x9f]", text)
    assert [line for line in server.lines() if line.startswith("listening on nothing")] == []
    assert re.search(r"start.*red.*end", text)  # one line


def test_a_terminal_gets_no_raw_bytes_either(serve):
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        server = serve("-v", stderr=theirs, env={"NO_COLOR": "1", "TERM": "xterm"}, lines=0)
        os.close(theirs)
        server.log = Reader(screen)
        server.wait_line("listening on")
        server.endpoints = [
            type("Endpoint", (), {"url": re.search(r"tcp://\S+", server.stderr()).group()})
        ]
        server.exchange(HOSTILE)
        server.wait_line("start.*red.*end")
        assert server.stop() == 0
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", server.log.data)


def test_a_begun_log_line_is_never_torn(serve):
    server = serve("-v")
    clients = [server.connect() for _ in range(20)]
    for number in range(50):
        for client in clients:
            client.send(f"<{number:04}>")
        for client in clients:
            client.expect(f"已收到: <{number:04}>")
    server.stop()
    for line in server.lines():
        assert (
            len(re.findall(r"<\d{4}>", line)) <= 1
            and len(re.findall(r"127\.0\.0\.1:\d+", line)) <= 2
        ), line
