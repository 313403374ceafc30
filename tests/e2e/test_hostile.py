# SPDX-License-Identifier: MIT
"""Clients that are many, strange, slow or rude: others are served, nothing grows, nothing stays."""

import os
import re
import resource
import time

import pytest

from pierlib import SCALE, WAIT, Client, in_parallel, round_trip

MIB = 1 << 20

# -- many


def test_2000_parallel_clients_are_served(serve):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2500:
        pytest.skip("the hard descriptor limit is below 2,500")
    server = serve()
    clients = [server.connect() for _ in range(2000)]
    for turn in range(2):
        for number, client in enumerate(clients):
            client.send(f"{turn}.{number}")
        for number, client in enumerate(clients):
            client.expect(f"已收到: {turn}.{number}")
    for client in clients:
        client.half_close()
    for client in clients:
        client.expect_end()


def test_many_clients_that_come_and_go_leave_no_descriptor_behind(serve):
    server = serve()
    server.assert_serves()
    before = server.descriptors()
    in_parallel(4, lambda _: [server.exchange(b"hi") for _ in range(100)])
    server.wait_descriptors(before)


# -- strange


def test_one_byte_segments_are_echoed(serve):
    client = serve("--handler", "echo").connect()
    sent = os.urandom(3000)
    for byte in sent:
        client.send(bytes([byte]))
    client.expect(sent)


@pytest.mark.parametrize("handler", ["message", "echo", "hello", "discard"])
def test_half_close_still_gets_every_reply(serve, handler):
    server = serve("--handler", handler)
    expected = {"message": "已收到: hi", "echo": "hi", "hello": "Welcome!Hello, hi!", "discard": ""}[
        handler
    ]
    for _ in range(20):
        assert server.exchange(b"hi") == expected.encode()


def test_half_close_without_a_word_ends_the_connection(serve):
    server = serve("--handler", "echo")
    for _ in range(20):
        assert server.exchange(b"") == b""


# -- rude


@pytest.mark.parametrize("handler", ["message", "echo", "hello", "chat", "discard", "time"])
def test_resets_in_mid_stream_harm_nobody_else(serve, handler):
    server = serve("--handler", handler, urls=["tcp://127.0.0.1:0", "tcp://127.0.0.1:0"])
    for _ in range(4):
        server.exchange(b"")  # descriptors that the server opens for itself are open from here on
    server.wait_served(0)
    bystander = server.connect()
    if handler == "echo":
        bystander.send("x")
        bystander.expect("x")
    server.wait_served(0 if handler == "time" else 1)
    before = server.descriptors()
    for count in range(50):
        client = server.connect(rcvbuf=4096)
        client.sock.setblocking(False)
        try:
            for _ in range(count % 25):  # from nothing to more than the buffers hold
                client.sock.send(b"x" * 65536)
        except BlockingIOError:
            pass
        except (ConnectionResetError, BrokenPipeError):
            assert handler == "time"
        client.reset()
    server.wait_descriptors(before)
    if handler == "echo":
        bystander.send("y")
        bystander.expect("y")


def test_a_storm_of_connections_and_resets_is_weathered(serve):
    server = serve()
    server.assert_serves()
    before = server.descriptors()

    def storm(number):
        for count in range(400):
            client = Client.to(server.url)
            if (count + number) % 3 == 0:
                client.send("hi")
            if count % 2:
                client.reset()
            else:
                client.close()

    in_parallel(4, storm)
    server.assert_serves()
    server.wait_descriptors(before)
    assert server.running()


# -- slow


def test_peers_that_never_read_do_not_grow_the_server(serve):
    server = serve("--handler", "echo")
    other = server.connect()
    clients = [server.connect(rcvbuf=4096, sndbuf=65536) for _ in range(3)]
    for client in [other, *clients]:  # from here on each has its process, where there are some
        client.send("before")
        client.expect("before")
    before = server.rss()
    for client in clients:
        client.stuff()
    assert server.rss() - before < 32 * MIB
    other.send("after")
    other.expect("after")


def test_a_peer_that_reads_late_gets_everything(serve):
    client = serve("--handler", "echo").connect(rcvbuf=4096)
    sent = client.stuff()
    client.half_close()
    assert client.read_to_end() == b"x" * sent


@pytest.mark.slow
def test_a_peer_that_never_reads_is_dropped_by_the_write_time_out(serve):
    server = serve("-v", "--handler", "echo")
    client = server.connect(rcvbuf=4096)
    begin = time.monotonic()
    client.stuff()
    mark = server.mark()
    server.wait_line(
        r"timed out", mark, timeout=30 + WAIT
    )  # 30 s without progress, and the log says why it ended
    assert time.monotonic() - begin > 25
    client.drain()


def test_a_peer_that_never_writes_is_closed_by_the_idle_time_out(serve):
    server = serve("-v", "--idle-timeout", "300ms")
    for words in [], ["hi"]:
        client = server.connect()
        for word in words:
            round_trip(client, word)
        begin = time.monotonic()
        client.drain()
        assert 0.2 < time.monotonic() - begin < 2 * SCALE
        server.wait_line(rf"{re.escape(client.address)}.*(timed out|time-?out|idle)")


def test_a_client_that_goes_on_talking_outlives_the_idle_time_out(serve):
    client = serve("--idle-timeout", f"{SCALE}s").connect()
    begin = time.monotonic()
    while time.monotonic() - begin < 1.5 * SCALE:
        round_trip(client)
        assert not client.has_input(0.2)


def test_without_idle_time_out_a_quiet_client_stays(serve):
    client = serve().connect()
    round_trip(client)
    assert not client.has_input(1.5)
    round_trip(client)
