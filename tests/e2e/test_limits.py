# SPDX-License-Identifier: MIT
"""--max-conns and descriptors, reached: those who wait are served later, and nothing spins."""

import contextlib
import socket
import time

import pytest

from pierlib import round_trip, wait_until


def answered(client):
    if not client.has_input():
        return False
    assert client.sock.recv(1, socket.MSG_PEEK), "a client that should have waited was turned away"
    return True


def served_in_turn(pending, text):
    """Each of {number: client} is answered, and leaves, which lets the next one in."""
    while pending:

        def turn():
            return [number for number, client in pending.items() if answered(client)]

        for number in wait_until(turn, f"one of {len(pending)} waiting clients is served"):
            client = pending.pop(number)
            client.expect(f"已收到: {text} {number}")
            client.close()


def cpu_share(server, seconds=1.0):
    """The part of one core that the server uses now. (The sleep is the measurement.)"""
    cpu, begin = server.cpu(), time.monotonic()
    time.sleep(seconds)
    return (server.cpu() - cpu) / (time.monotonic() - begin)


# -- --max-conns


@pytest.mark.parametrize("workers", ["1", "2"])
def test_beyond_max_conns_clients_wait_and_are_served_later(serve, workers):
    server = serve("--max-conns", "2", "--workers", workers)
    first, second = server.connect(), server.connect()
    round_trip(first)
    round_trip(second)
    waiting = [server.connect() for _ in range(4)]
    for number, client in enumerate(waiting):
        client.send(f"waiting {number}")
    for _ in range(50):
        round_trip(first)
        round_trip(second)
    assert not any(client.has_input(0.1) for client in waiting)
    first.close()
    served_in_turn(dict(enumerate(waiting)), "waiting")
    round_trip(second)


def test_reaching_max_conns_is_logged_at_most_once_a_second(serve):
    server = serve("--max-conns", "1")
    begin = time.monotonic()
    holder = server.connect()
    round_trip(holder)
    waiting = []
    for _ in range(20):
        waiting.append(server.connect())
        round_trip(holder)
    wait_until(server.extra_lines, "the limit is said to be reached")
    for client in [
        holder,
        *waiting,
    ]:  # each end lets the next one in, and the limit is reached again
        client.close()
    server.assert_serves()
    said = server.extra_lines()
    assert len(said) <= time.monotonic() - begin + 1, said


def test_below_max_conns_nothing_is_said(serve):
    server = serve("--max-conns", "20")  # two rounds at once, should the first one end late
    for _ in range(2):
        clients = [server.connect() for _ in range(9)]
        for client in clients:
            round_trip(client)
        for client in clients:
            client.half_close()
            client.expect_end()
    server.stop()
    assert server.extra_lines() == []


def test_waiting_beyond_max_conns_does_not_spin(serve):
    server = serve("--max-conns", "1")
    holder = server.connect()
    round_trip(holder)
    waiting = [server.connect() for _ in range(10)]
    for number, client in enumerate(waiting):
        client.send(f"waiting {number}")
    assert cpu_share(server) < 0.3
    holder.close()
    served_in_turn(dict(enumerate(waiting)), "waiting")


@pytest.mark.parametrize("value", ["-1", "abc", ""])
@pytest.mark.models("tasks")
def test_max_conns_that_is_no_number_is_a_usage_error(pier, model, value):
    result = pier("serve", "--max-conns", value, "tcp://127.0.0.1:0")
    assert result.rc == 2 and "--max-conns" in result.err


# -- descriptors


@pytest.mark.parametrize("soft, hard", [(64, 64), (32, 64)], ids=["hard", "soft-raised-to-hard"])
def test_descriptor_exhaustion_is_survived_without_spinning(serve, soft, hard):
    server = serve("--workers", "1", wrapper=["prlimit", f"--nofile={soft}:{hard}"])
    clients = [server.connect() for _ in range(150)]
    for number, client in enumerate(clients):
        client.send(f"client {number}")
    wait_until(lambda: sum(map(answered, clients)) >= 20, "the first clients are answered")
    server.wait_line("too many open files")
    assert cpu_share(server) < 0.3
    served = [client for client in clients if answered(client)]
    assert len(served) < hard
    assert len(server.extra_lines()) < 50, "the log is flooded"
    served_in_turn(dict(enumerate(clients)), "client")
    server.assert_serves()


def test_descriptors_that_come_back_end_the_exhaustion_by_themselves(serve):
    server = serve("--workers", "1", wrapper=["prlimit", "--nofile=64:64"])
    for _ in range(3):
        clients = [server.connect() for _ in range(100)]
        wait_until(lambda: server.extra_lines(), "the exhaustion is said")
        for client in clients:
            client.reset()
        wait_until(lambda: server.descriptors() < 40, "the descriptors came back")
        server.assert_serves()


def test_exec_without_descriptors_fails_for_that_client_only(serve):
    server = serve("--exec", "cat", "--workers", "1", wrapper=["prlimit", "--nofile=48:48"])
    clients = [server.connect() for _ in range(60)]
    for client in clients:
        client.send("x")
    wait_until(
        lambda: any(client.has_input() for client in clients), "the first clients are answered"
    )
    for client in clients:
        client.close()

    def served():
        with server.connect() as client:
            with contextlib.suppress(OSError):  # turned away already: the next one may have luck
                client.send("again")
                client.half_close()
            return client.drain()[0] == b"again"

    wait_until(served, "a new client gets its command")
    wait_until(lambda: not server.children(), "all commands are gone")
