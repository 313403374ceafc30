# SPDX-License-Identifier: MIT
"""What becomes of the processes of `--model processes` and `--model prefork` when one is killed."""

import os
import signal

import pytest

from pierlib import process_gone, refused, round_trip, wait_until

pytestmark = pytest.mark.models("processes", "prefork")


def others(server):
    return server.processes() - {server.pid}


def test_a_killed_process_is_logged_and_costs_its_clients_only(serve):
    server = serve("--workers", "1")
    victim = server.connect()
    round_trip(victim)
    (pid,) = others(server)
    os.kill(pid, signal.SIGABRT)
    victim.drain()
    server.wait_line(r"(connection failed|a worker died).*killed by SIGABRT")
    server.assert_serves()


def test_all_processes_end_with_the_first(serve):
    server = serve()
    client = server.connect()
    round_trip(client)
    pids = others(server)
    server.signal(signal.SIGKILL)
    server.wait()
    client.drain()
    wait_until(lambda: all(map(process_gone, pids)), "the other processes have ended")
    assert refused(server.url)


def test_an_interrupt_from_the_terminal_reaches_all_and_stops_in_peace(serve):
    server = serve(start_new_session=True)
    server.freeze()
    queued = [server.connect() for _ in range(5)]
    for number, client in enumerate(queued):
        client.send(f"queued {number}")
    os.killpg(server.pid, signal.SIGINT)
    server.signalled = True
    server.thaw()
    for number, client in enumerate(queued):
        client.expect(f"已收到: queued {number}")
        client.expect_end()
    assert server.wait() == 0


def test_a_stopped_server_leaves_no_process_behind(serve):
    server = serve()
    clients = [server.connect() for _ in range(5)]
    for client in clients:
        round_trip(client)
    pids = others(server)
    assert pids and server.stop() == 0
    assert all(map(process_gone, pids))
