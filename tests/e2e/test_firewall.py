# SPDX-License-Identifier: MIT
"""--allow, --deny, --rate, --max-per-ip: who is let in, in every model. All of 127.0.0.0/8 is this
machine, so a client has as many addresses as a test needs."""

import contextlib
import os
import re
import signal
import socket
import threading
import time

import pytest

from pierlib import WAIT, Client, ipv6_missing, parse_url, round_trip, wait_until

IP_BIND_ADDRESS_NO_PORT = 24  # the port is chosen by connect(2), which has more of them


def connect(server, source="127.0.0.1", url=None):
    """A client that comes from that address, served or not."""
    family, address = parse_url(url or server.url)
    sock = socket.socket(family)
    sock.settimeout(WAIT)
    if family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
    try:
        sock.connect(address)
        client = Client(sock)
    except OSError:
        sock.close()
        raise
    server.clients.append(client)
    return client


def enter(server, source="127.0.0.1", url=None):
    """A client that is served, or None when it was turned away, by a reset and without a byte."""
    try:
        client = connect(server, source, url)
        client.send("ping")
        client.expect("已收到: ping")
    except (ConnectionResetError, BrokenPipeError):
        return None
    return client


def leave(server, client):
    client.half_close()
    client.expect_end()
    client.close()


def replace(path, text):
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.rename(fresh, path)


# -- lists


def test_the_longest_prefix_decides_who_is_served(serve):
    server = serve("--allow", "127.0.0.0/8", "--deny", "127.2.0.0/16", "--allow", "127.2.3.0/24")
    assert enter(server, "127.0.0.1")
    assert not enter(server, "127.2.0.1")
    assert enter(server, "127.2.3.4")
    server.wait_line(r"connections refused.*denied=1")


def test_who_is_in_no_list_is_served_unless_there_is_an_allow(serve):
    server = serve("--deny", "127.0.0.2")
    assert enter(server, "127.0.0.1")
    assert not enter(server, "127.0.0.2")
    other = serve("--allow", "127.0.0.2")
    assert not enter(other, "127.0.0.1")
    assert enter(other, "127.0.0.2")


def test_both_families_are_asked_for(serve):
    if ipv6_missing():
        pytest.skip(ipv6_missing())
    server = serve("--deny", "::1", "--deny", "127.0.0.2", urls=["tcp://:0"], lines=2)
    port = server.port
    assert not enter(server, "::1", f"tcp://[::1]:{port}")
    assert enter(server, "127.0.0.1", f"tcp://127.0.0.1:{port}")
    assert not enter(server, "127.0.0.2", f"tcp://127.0.0.1:{port}")


def test_unix_sockets_let_everybody_in(serve, unix_url):
    server = serve("--allow", "10.0.0.0/8", urls=[unix_url])
    server.assert_serves()


def test_peers_of_datagrams_are_asked_for(serve):
    server = serve("--deny", "127.0.0.2", urls=["udp://127.0.0.1:0"])
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with socket.socket(type=socket.SOCK_DGRAM) as refused:
        refused.bind(("127.0.0.2", 0))
        refused.sendto(b"ping", address)
        server.wait_line(r"connections refused.*denied=1")
        with socket.socket(type=socket.SOCK_DGRAM) as served:
            served.settimeout(WAIT)
            served.sendto(b"ping", address)
            assert served.recv(100) == "已收到: ping".encode()
        refused.setblocking(False)
        with pytest.raises(BlockingIOError):
            refused.recv(100)


def test_a_file_that_is_replaced_is_read_again(serve, tmp_path):
    deny = tmp_path / "deny.txt"
    deny.write_text("# nobody yet\n")
    server = serve("--deny", str(deny))
    stays = enter(server, "127.0.0.2")
    assert stays
    replace(deny, "127.0.0.2\n")
    wait_until(lambda: not enter(server, "127.0.0.2"), "127.0.0.2 is refused")
    server.wait_line(r"firewall reloaded.*networks=1")
    round_trip(stays)  # who is in stays in
    assert enter(server, "127.0.0.1")
    replace(deny, "")
    wait_until(lambda: enter(server, "127.0.0.2"), "127.0.0.2 is let in again")


def test_a_file_that_cannot_be_read_again_leaves_the_old_list(serve, tmp_path):
    deny = tmp_path / "deny.txt"
    deny.write_text("127.0.0.2\n")
    server = serve("--deny", str(deny))
    replace(deny, "# new\n127.0.0.3\n  127.0.0.256\n")
    server.wait_line(r"not reloaded, the old lists stay.*deny\.txt:3:3: not an IPv4 or IPv6 address")
    assert not enter(server, "127.0.0.2")
    assert enter(server, "127.0.0.3")
    deny.unlink()
    server.wait_line(r"not reloaded.*deny\.txt: no such file")
    assert not enter(server, "127.0.0.2")
    replace(deny, "127.0.0.3\n")
    wait_until(lambda: not enter(server, "127.0.0.3"), "the next good file counts")
    wait_until(lambda: enter(server, "127.0.0.2"), "and does so in every process")


def test_lists_are_reloaded_under_load(serve, tmp_path):
    deny = tmp_path / "deny.txt"
    deny.write_text("127.0.0.9\n")
    server = serve("--deny", str(deny))
    ended, failures = threading.Event(), []

    def come_and_go():
        while not ended.is_set():
            try:
                client = connect(server)
                round_trip(client)
                client.reset()  # leaves no port behind
                time.sleep(0.002)  # other tests want some of the machine, too
            except (OSError, AssertionError) as failure:
                failures.append(failure)

    load = [threading.Thread(target=come_and_go) for _ in range(2)]
    for thread in load:
        thread.start()
    try:
        for number in range(2):
            mark = server.mark()
            many = "".join(f"10.{i >> 8 & 255}.{i & 255}.0/24\n" for i in range(20000))
            replace(deny, many + "127.0.0.9\n" * (number + 1))
            server.wait_line("firewall reloaded", mark)
    finally:
        ended.set()
        for thread in load:
            thread.join(WAIT)
    assert not failures


# -- limits


def enter_all(server, count, source="127.0.0.1"):
    """So many clients that are in at the same time; who has left may be counted for a moment."""
    clients = []

    def more():
        clients.extend(filter(None, [enter(server, source)]))
        return len(clients) == count

    wait_until(more, f"{count} clients from {source} are served at once")
    return clients


def test_an_address_has_so_many_connections_and_no_more(serve):
    server = serve("--max-per-ip", "2")
    for _ in range(3):
        clients = enter_all(server, 2)
        assert not enter(server)
        other = enter(server, "127.0.0.2")
        assert other
        for client in [*clients, other]:
            leave(server, client)
    server.wait_line(r"connections refused.*too_many=")


@pytest.mark.models("tasks", "threads", "prefork", "processes")
def test_peers_of_datagrams_are_counted(serve):
    server = serve("--max-per-ip", "1", "--idle-timeout", "1h", urls=["udp://127.0.0.1:0"])
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with socket.socket(type=socket.SOCK_DGRAM) as first, socket.socket(
        type=socket.SOCK_DGRAM
    ) as second:
        for sock in first, second:
            sock.settimeout(WAIT)
        first.sendto(b"one", address)
        assert first.recv(100) == "已收到: one".encode()
        second.sendto(b"two", address)
        server.wait_line(r"connections refused.*too_many=1")
        first.sendto(b"three", address)
        assert first.recv(100) == "已收到: three".encode()


@pytest.mark.models("prefork", "processes")
def test_a_process_that_is_killed_leaves_no_count(serve):
    server = serve("--max-per-ip", "3", "--workers", "2")
    for _ in range(2):
        clients = enter_all(server, 3)
        assert not enter(server)
        for pid in server.processes() - {server.pid}:
            os.kill(pid, signal.SIGKILL)
        for client in clients:
            client.drain()
    leave(server, enter_all(server, 3)[0])


def test_an_address_that_comes_too_fast_is_refused_for_a_moment(serve):
    server = serve("--rate", "60/m", "--burst", "5")
    begin = time.monotonic()
    let_in = sum(bool(enter(server)) for _ in range(20))
    assert 5 <= let_in <= 5 + (time.monotonic() - begin) + 1
    assert enter(server, "127.0.0.2")
    server.wait_line(r"connections refused.*too_fast=")
    wait_until(lambda: enter(server), "a second later one more is let in")


def test_an_address_that_comes_too_fast_can_be_banned(serve):
    server = serve("--rate", "20/s", "--burst", "3", "--ban", "1h")
    wait_until(lambda: not enter_fast(server), "it comes too fast")
    time.sleep(0.2)  # in which the rate alone would forgive it
    assert not enter(server)
    assert enter(server, "127.0.0.2")
    assert server.stop() == 0
    assert re.search(r"banned=[1-9]", server.stderr())  # what is left is said at the end


def enter_fast(server):
    """Whether ten at the same moment are all let in."""
    try:
        clients = [connect(server) for _ in range(10)]
    except ConnectionResetError:
        return False
    for client in clients:
        with contextlib.suppress(OSError):
            client.half_close()
    return all(client.drain()[1] == "end" for client in clients)


# -- storms


def test_a_storm_of_the_refused_is_logged_once_a_second_and_hurts_nobody(serve):
    server = serve("--deny", "127.0.0.2", "--handler", "message")
    good, ended = connect(server), threading.Event()
    round_trip(good)

    def storm():
        while not ended.is_set():
            with contextlib.suppress(OSError):
                connect(server, "127.0.0.2").reset()
            time.sleep(0.001)

    before, begin = server.descriptors(), time.monotonic()
    load = [threading.Thread(target=storm) for _ in range(3)]
    for thread in load:
        thread.start()
    try:
        while time.monotonic() - begin < 1.5:
            round_trip(good)
    finally:
        ended.set()
        for thread in load:
            thread.join(WAIT)
    lines = [line for line in server.lines() if "connections refused" in line]
    assert 1 <= len(lines) <= time.monotonic() - begin + 1
    server.wait_descriptors(before)
    assert server.stop() == 0
    said = sum(int(n) for n in re.findall(r"denied=(\d+)", server.stderr()))
    assert said > 50, "what was refused last is said at the end"


# -- a million


@pytest.mark.models("tasks")
def test_a_million_networks_are_read_in_time_and_memory(serve, tmp_path):
    deny = tmp_path / "deny.txt"
    deny.write_text(
        "".join(f"10.{i >> 15 & 255}.{i >> 7 & 255}.{(i & 127) * 2}\n" for i in range(1000000))
        + "127.0.0.2\n"
    )
    server = serve("--deny", str(deny))
    assert not enter(server, "127.0.0.2")
    assert enter(server)
    if not os.environ.get("PIER_TEST_SLOW"):
        assert server.rss() < 200 << 20


# -- usage


@pytest.mark.models("tasks")
@pytest.mark.parametrize(
    "args, code, words",
    [
        (["--rate", "fast"], 2, "--rate: 'fast' is not a rate"),
        (["--rate", "0/s"], 2, "too small"),
        (["--rate", "10/d"], 2, "not a rate"),
        (["--burst", "3"], 2, "--burst needs --rate"),
        (["--ban", "3s"], 2, "--ban needs --rate"),
        (["--max-per-ip", "0"], 2, "--max-per-ip"),
        (["--deny", "10.0.0.0/33"], 1, '"10.0.0.0/33": not the length of a prefix, 0 to 32'),
        (["--allow", "10.0.0.256"], 1, '"10.0.0.256": not an IPv4 or IPv6 address'),
        (["--deny", "/nowhere/deny.txt"], 1, "/nowhere/deny.txt: no such file"),
        (["--deny", "/dev/null"], 1, "/dev/null: not a regular file"),
    ],
)
def test_what_cannot_be_a_firewall_is_said(pier, model, args, code, words):
    result = pier("serve", "tcp://127.0.0.1:0", *args)
    assert result.rc == code
    assert words in result.err
