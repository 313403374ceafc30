# SPDX-License-Identifier: MIT
"""`--exec CMD`: a child for each connection, its stdin and stdout, and no process left over."""

import os
import signal

import pytest

from pierlib import process_gone, wait_listener_closed, wait_until

PRINT_PID = "echo $$; exec "  # the command that follows is the process whose number the client gets


def no_children(server):
    wait_until(lambda: not server.children(), "the server has no children, zombies included")


def test_exec_connects_the_client_to_the_command(serve):
    client = serve("--exec", "cat").connect()
    for text in "hello", "你好\r\n", "exit":
        client.send(text)
        client.expect(text)
    client.half_close()
    client.expect_end()


def test_exec_passes_bulk_data_both_ways(serve):
    sent = os.urandom(4_000_000)
    assert serve("--exec", "cat").exchange(sent) == sent


def test_exec_half_close_reaches_the_command(serve):
    server = serve("--exec", "tr a-z A-Z")
    for text in b"hello", b"", b"a" * 100_000:
        assert server.exchange(text) == text.upper()
    no_children(server)


def test_exec_is_run_by_sh(serve):
    assert serve("--exec", 'x=$((6*7)); echo "$x" | tr 4 5; wc -c').exchange(b"abc").split() == [
        b"52",
        b"3",
    ]


def test_exec_closes_when_the_command_ends(serve):
    server = serve("--exec", "echo bye")
    client = server.connect()
    assert client.read_to_end() == b"bye\n"
    no_children(server)


@pytest.mark.parametrize("command", ["exit 3", "kill -9 $$", "/no/such/command"])
def test_exec_survives_a_command_that_fails(serve, command):
    server = serve("--exec", command)
    for _ in range(3):
        data, _ = server.connect().drain()
        assert data == b""
    no_children(server)


def test_exec_serves_clients_side_by_side(serve):
    server = serve("--exec", "cat")
    clients = [server.connect() for _ in range(10)]
    for number, client in enumerate(clients):
        client.send(f"client {number}")
    for number, client in enumerate(clients):
        client.expect(f"client {number}")
    assert len(server.children()) == 10
    for client in clients:
        client.close()
    no_children(server)


def test_exec_command_ends_when_its_client_leaves(serve):
    server = serve("--exec", PRINT_PID + "cat")
    client = server.connect()
    pid = int(client.recv_line())
    client.close()
    wait_until(lambda: process_gone(pid), "the command has ended")
    no_children(server)


def test_exec_command_that_ignores_its_input_is_killed_when_the_client_is_reset(serve):
    server = serve("--exec", PRINT_PID + "sleep 600")
    client = server.connect()
    pid = int(client.recv_line())
    client.reset()
    wait_until(lambda: process_gone(pid), "the command has ended")
    no_children(server)


def test_exec_command_that_only_writes_is_killed_when_the_client_leaves(serve):
    server = serve("--exec", PRINT_PID + "yes")
    client = server.connect()
    pid = int(client.recv_line())
    client.close()
    wait_until(lambda: process_gone(pid), "the command has ended")
    no_children(server)


def test_exec_leaves_no_zombies_and_no_descriptors(serve):
    server = serve("--exec", "cat")
    server.exchange(b"warm up")
    no_children(server)
    before = server.descriptors()
    for number in range(50):
        assert server.exchange(b"%d" % number) == b"%d" % number
    no_children(server)
    server.wait_descriptors(before)


def test_exec_command_inherits_only_stdin_stdout_and_stderr(serve):
    server = serve("--exec", "read go; ls /proc/$$/fd")
    clients = [
        server.connect() for _ in range(3)
    ]  # each other's connections would be inherited first
    for client in clients:
        client.send("go\n")
    for client in clients:
        assert client.read_to_end().split() == [b"0", b"1", b"2"]


def test_exec_command_starts_with_the_usual_signals(serve):
    report = serve("--exec", "grep -E '^Sig(Blk|Ign)' /proc/self/status").exchange(b"")
    masks = {
        name: int(mask, 16) for name, mask in (line.split(b":") for line in report.splitlines())
    }
    assert masks[b"SigBlk"] == 0
    assert not masks[b"SigIgn"] & 1 << signal.SIGPIPE - 1


def test_exec_idle_command_does_not_hold_a_stop(serve):
    server = serve("--exec", PRINT_PID + "cat")
    clients = [server.connect() for _ in range(3)]
    pids = [int(client.recv_line()) for client in clients]
    assert server.stop(timeout=8) == 0  # below the grace of 10 s
    for client in clients:
        client.expect_end()
    for pid in pids:
        wait_until(lambda: process_gone(pid), "the command has ended")


@pytest.mark.slow
def test_exec_stubborn_command_is_killed_after_the_grace(serve):
    server = serve("--exec", PRINT_PID + "sleep 600")
    client = server.connect()
    pid = int(client.recv_line())
    server.signal(signal.SIGTERM)
    wait_listener_closed(server)
    assert server.wait(timeout=60) == 0
    wait_until(lambda: process_gone(pid), "the command has ended")
    client.drain()
