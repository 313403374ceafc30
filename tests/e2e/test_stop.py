# SPDX-License-Identifier: MIT
"""The first SIGINT or SIGTERM loses nothing and waits for nobody idle, the second ends at once.

"No reply lost" has two exact forms here. What had arrived before the signal is answered: the server
is frozen while requests arrive, on connections that it knows and in its backlog, and thawed with
the signal pending. And what the server read is answered, under a load that is not frozen: its own
log (-v) says what it read; a client whose request crosses with the server's end may see no reply,
but never part of one.
"""

import os
import re
import signal
import threading
import time

import pytest

from pierlib import (
    WAIT,
    Client,
    chat_room,
    in_parallel,
    process_gone,
    refused,
    round_trip,
    send_each,
    wait_listener_closed,
    wait_until,
)

GRACE = 10  # seconds, the default; a stop that nobody holds ends well before


# -- exit status and idle clients


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_with_status_0(serve, number):
    server = serve()
    server.assert_serves()
    assert server.stop(number) == 0
    assert refused(server.url)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_right_after_the_listening_line_stops_with_status_0(serve, number):
    for _ in range(10):
        assert serve().stop(number) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--handler", "echo"),
        ("--handler", "discard"),
        ("--handler", "hello"),
        ("--lines",),
        ("--reply", "<%m>"),
    ],
    ids=lambda args: "-".join(args) or "message",
)
def test_idle_clients_do_not_hold_a_stop(serve, args, number):
    server = serve(*args)
    clients = [server.connect() for _ in range(20)]
    for client in clients[10:]:  # ten have just connected, ten have talked
        client.send("hi\n")
        if "discard" not in args:
            client.recv_exactly(1)
    begin = time.monotonic()
    assert server.stop(number) == 0
    assert time.monotonic() - begin < GRACE - 2
    for client in clients:
        assert client.drain()[1] == "end"


def test_idle_chat_clients_do_not_hold_a_stop(serve):
    server = serve("--handler", "chat")
    members = chat_room(server, 5)
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < GRACE - 2
    for member in members:
        member.expect_end()


def test_a_begun_line_does_not_hold_a_stop(serve):
    server = serve("--lines")
    client = server.connect()
    client.send("whole\nhalf a li")
    client.expect("已收到: whole\n")
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < GRACE - 2
    client.drain()


def test_all_urls_stop(serve, unix_url):
    server = serve(urls=["tcp://127.0.0.1:0", unix_url])
    clients = [server.connect(endpoint.url) for endpoint in server.endpoints]
    for client in clients:
        round_trip(client)
    assert server.stop() == 0
    for client in clients:
        client.expect_end()
    for endpoint in server.endpoints:
        assert refused(endpoint.url)


# -- no reply lost


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_every_request_that_had_arrived_is_answered(serve, workers, number):
    server = serve("--workers", workers)
    known = [server.connect() for _ in range(40)]
    for client in known:
        round_trip(client)
    server.freeze()
    queued = [
        server.connect() for _ in range(20)
    ]  # the kernel connects them, the server has yet to accept
    send_each(known + queued, lambda number: f"request {number}")
    server.signal(number)
    server.thaw()
    for count, client in enumerate(known + queued):
        client.expect(f"已收到: request {count}")
        client.expect_end()
    assert server.wait() == 0


def test_every_line_that_had_arrived_is_answered(serve):
    server = serve("--lines")
    known = [server.connect() for _ in range(10)]
    for client in known:
        client.send("hi\n")
        client.expect("已收到: hi\n")
    server.freeze()
    queued = [server.connect() for _ in range(10)]
    send_each(known + queued, lambda _: "".join(f"line {count}\n" for count in range(100)))
    server.signal(signal.SIGTERM)
    server.thaw()
    for client in known + queued:
        client.expect("".join(f"已收到: line {count}\n" for count in range(100)))
        client.expect_end()
    assert server.wait() == 0


def test_every_byte_that_had_arrived_is_echoed(serve):
    server = serve("--handler", "echo")
    client = server.connect()
    client.send("x")
    client.expect("x")
    sent = os.urandom(50_000)  # fits the server's receive buffer, so that all of it can arrive
    server.freeze()
    send_each([client], lambda _: sent)
    server.signal(signal.SIGTERM)
    server.thaw()
    assert client.read_to_end() == sent
    assert server.wait() == 0


def test_a_client_in_the_backlog_is_still_served(serve):
    server = serve("--max-conns", "1")
    holder = server.connect()
    round_trip(holder)
    queued = [server.connect() for _ in range(5)]  # beyond --max-conns: they wait in the backlog
    send_each(queued, lambda number: f"queued {number}")
    assert server.stop() == 0
    holder.expect_end()
    for count, client in enumerate(queued):
        client.expect(f"已收到: queued {count}")
        client.expect_end()


@pytest.mark.parametrize("fresh", [True, False], ids=["connection-per-request", "kept-alive"])
@pytest.mark.parametrize("seed", range(3))
def test_sigterm_under_load_loses_no_reply_to_a_request_that_was_read(serve, fresh, seed):
    server = serve("-v")
    answered, enough = [set() for _ in range(8)], threading.Semaphore(0)

    def load(number):
        client = None
        for count in range(1_000_000):
            token = f"token-{number}-{count}-"
            try:
                client = client or Client.to(server.url)
                client.send(token)
            except ConnectionError:
                return  # refused, or closed before the request: nothing was promised
            want, got = f"已收到: {token}".encode(), b""
            while got != want:
                try:
                    piece = client.sock.recv(len(want) - len(got))
                except ConnectionResetError:
                    piece = b""
                if not piece:
                    assert got == b"", f"part of a reply: {got!r}"
                    return
                got += piece
            answered[number].add(token)
            enough.release()
            if fresh:
                client.close()
                client = None

    def stop():
        for _ in range(200 + 37 * seed):
            assert enough.acquire(timeout=WAIT)
        assert server.stop() == 0

    in_parallel(9, lambda i: stop() if i == 8 else load(i))
    read = set(re.findall(r"token-\d+-\d+-", server.stderr()))
    assert len(read) >= 200
    lost = read - set().union(*answered)
    assert not lost, f"read and never answered: {sorted(lost)}"


# -- handlers in progress


def in_progress(serve, tmp_path, command='read word <"$FIFO"; echo "done $word"'):
    """A server with a handler at work until finish(): (server, client, pid, finish)."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    server = serve("--exec", "echo $$; " + command, env={"FIFO": str(fifo)})
    client = server.connect()
    pid = int(client.recv_line())

    def finish():
        wait_until(lambda: write_fifo(fifo), "the command reads its fifo")

    return server, client, pid, finish


def write_fifo(fifo):
    try:
        with open(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK), "wb") as file:
            file.write(b"well\n")
    except OSError:  # ENXIO: nobody reads yet
        return False
    return True


def test_a_handler_in_progress_finishes(serve, tmp_path):
    server, client, _, finish = in_progress(serve, tmp_path)
    server.signal(signal.SIGTERM)
    wait_listener_closed(server)
    finish()
    assert client.read_to_end() == b"done well\n"
    assert server.wait() == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once_with_130(serve, tmp_path, first, second):
    server, client, pid, _ = in_progress(serve, tmp_path)
    server.signal(first)
    wait_listener_closed(server)
    assert server.running()
    begin = time.monotonic()
    server.signal(second)
    server.proc.wait(WAIT)
    assert time.monotonic() - begin < GRACE / 2
    if not process_gone(pid):  # the orphan holds the pipes; ending it is not the point here
        os.kill(pid, signal.SIGKILL)
    assert server.wait() == 130
    client.drain()


def test_a_slow_reader_still_gets_its_reply_during_a_stop(serve):
    server = serve("--handler", "echo")
    client = server.connect(rcvbuf=65536)
    client.stuff()  # now the handler is stuck in a write
    server.signal(signal.SIGTERM)
    wait_listener_closed(server)
    assert server.running()
    data, _ = client.drain()
    assert data == b"x" * len(data) and len(data) > 65536
    assert server.wait() == 0


@pytest.mark.slow
def test_a_handler_that_never_finishes_is_cancelled_after_the_grace(serve):
    server = serve("--handler", "echo")
    client = server.connect(rcvbuf=4096)
    client.stuff()
    begin = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait(timeout=3 * GRACE + WAIT) == 0
    assert GRACE - 1 < time.monotonic() - begin < GRACE + WAIT
    client.drain()


# -- the task dump


@pytest.mark.models("tasks")
def test_sigusr1_dumps_tasks_and_what_they_wait_for(serve):
    server = serve()
    client = server.connect()
    round_trip(client)
    for _ in range(2):
        mark = server.mark()
        server.signal(signal.SIGUSR1)
        server.wait_line("read|recv", mark)  # what the client's task waits for
        round_trip(client, "still here")


@pytest.mark.models("threads")
def test_sigusr1_does_no_harm_to_threads(serve):
    server = serve()
    client = server.connect()
    for _ in range(3):
        server.signal(signal.SIGUSR1)
        round_trip(client)
