# SPDX-License-Identifier: MIT
"""`pier scan` on loopback: ports that accept, refuse or stay silent, limits, and what is printed."""

import contextlib
import json
import socket
import time

import pytest


@contextlib.contextmanager
def ports(opened=1, closed=1):
    """Ports of 127.0.0.1 that listen, and ports that are held by a socket which does not."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(opened + closed)]
        for s in held:
            s.bind(("127.0.0.1", 0))
        for s in held[:opened]:
            s.listen()
        numbers = [s.getsockname()[1] for s in held]
        yield numbers[:opened], numbers[opened:]


@contextlib.contextmanager
def silent_port():
    """A port whose backlog is full, so that the kernel drops what asks for a connection."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(8):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def comma(numbers):
    return ",".join(map(str, numbers))


def lines(result):
    return result.out.decode().splitlines()


def test_scan_prints_open_ports_in_their_order(pier):
    with ports(3, 3) as (opened, closed):
        result = pier("scan", "127.0.0.1", comma(reversed(opened + closed)))
        assert result.rc == 0
        assert [line.split()[0] for line in lines(result)] == [f"{n}/tcp" for n in sorted(opened)]
        assert "127.0.0.1 (127.0.0.1): 3 open, 3 closed, 0 silent; 6 ports in" in result.err


def test_scan_all_tells_what_each_port_is(pier):
    with ports(1, 1) as (opened, closed), silent_port() as silent:
        result = pier("scan", "--all", "--json", "--timeout", "200ms", "127.0.0.1",
                      comma(opened + closed + [silent]))
        found = {entry["port"]: entry["state"] for entry in map(json.loads, lines(result))}
        assert found == {opened[0]: "open", closed[0]: "closed", silent: "silent"}
        assert result.rc == 0


def test_scan_of_a_silent_port_ends_with_its_timeout(pier):
    with silent_port() as silent:
        begin = time.monotonic()
        result = pier("scan", "--timeout", "300ms", "127.0.0.1", str(silent))
        assert (result.rc, result.out) == (6, b"")
        assert 0.3 <= time.monotonic() - begin


def test_scan_of_closed_ports_fails(pier):
    with ports(0, 2) as (_, closed):
        result = pier("scan", "127.0.0.1", comma(closed))
        assert (result.rc, result.out) == (4, b"")


def test_scan_of_a_range_asks_each_port_once(pier):
    with ports(1, 0) as (opened, _):
        first, last = max(1, opened[0] - 20), min(65535, opened[0] + 20)
        result = pier("scan", "localhost", f"{first}-{last},{opened[0]}")
        assert f"{opened[0]}/tcp" in [line.split()[0] for line in lines(result)]
        assert f" {last - first + 1} ports in" in result.err


def test_scan_finds_every_open_port_with_few_descriptors(pier):
    with ports(40, 0) as (opened, _):
        result = pier("scan", "--rate", "100000", "127.0.0.1", comma(opened),
                      wrapper=["sh", "-c", 'ulimit -n 16; exec "$@"', "sh"])
        assert (result.rc, len(lines(result))) == (0, 40), result.err


def test_scan_begins_no_more_connections_than_its_rate(pier):
    with ports(21, 0) as (opened, _):
        begin = time.monotonic()
        assert pier("scan", "--rate", "40", "127.0.0.1", comma(opened)).rc == 0
        assert time.monotonic() - begin >= 0.5  # the first begins at once, the last 20/40 s later


def test_scan_knows_services_by_name(pier):
    result = pier("scan", "--all", "127.0.0.1", "ssh")
    assert lines(result)[0] in ("22/tcp open ssh", "22/tcp closed ssh")


@pytest.mark.parametrize("text", ["0", "", "1,", "70000", "9-3", "1-", "-5", "1-2-3", "80 81"])
def test_scan_refuses_what_are_no_ports(pier, text):
    result = pier("scan", "127.0.0.1", text)
    assert (result.rc, result.out) in ((2, b""), (3, b"")), text
    assert result.err.startswith("pier: ")


def test_scan_of_an_unknown_name_fails(pier):
    result = pier("scan", "nosuch.invalid", "80")
    assert (result.rc, result.out) == (3, b"")
    assert "nosuch.invalid" in result.err
