# SPDX-License-Identifier: MIT
"""Service managers: sockets handed over (LISTEN_FDS) and notifications (NOTIFY_SOCKET)."""

import contextlib
import fcntl
import os
import signal
import socket
import time

import pytest

from pierlib import WAIT, Client, round_trip

LOCAL = "tcp://127.0.0.1:0"


@contextlib.contextmanager
def handed_over(*sockets, pid="$$"):
    """Options that start a server with these sockets as descriptors 3, 4, …, as systemd does."""
    numbers = [fcntl.fcntl(sock, fcntl.F_DUPFD, 100) for sock in sockets]  # clear of 3, 4, …
    moves = " ".join(f"{3 + i}<&{number} {number}<&-" for i, number in enumerate(numbers))
    script = f'exec {moves}; export LISTEN_PID={pid} LISTEN_FDS={len(sockets)}; exec "$@"'
    try:
        yield {"wrapper": ["bash", "-c", script, "bash"], "pass_fds": numbers}
    finally:
        for number in numbers:
            os.close(number)


@pytest.fixture
def tcp_listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def url_of(listener):
    return "tcp://127.0.0.1:%d" % listener.getsockname()[1]


def test_a_handed_over_socket_replaces_the_default_url(serve, tcp_listener):
    early = Client.to(
        url_of(tcp_listener)
    )  # before the server exists: it is the very same socket that is served
    with handed_over(tcp_listener) as options:
        server = serve(urls=[], lines=1, **options)
    assert [endpoint.url for endpoint in server.endpoints] == [url_of(tcp_listener)]
    round_trip(early)
    server.assert_serves()
    early.close()


def test_several_sockets_are_handed_over(serve, tcp_listener, unix_url):
    with socket.socket(socket.AF_UNIX) as unix_listener:
        unix_listener.bind(unix_url[len("unix://") :])
        unix_listener.listen()
        with handed_over(tcp_listener, unix_listener) as options:
            server = serve(urls=[], lines=2, **options)
    assert {endpoint.url for endpoint in server.endpoints} == {url_of(tcp_listener), unix_url}
    for endpoint in server.endpoints:
        round_trip(server.connect(endpoint.url))


def test_given_urls_are_matched_by_address_and_the_rest_opened(serve, tcp_listener, unix_url):
    early = Client.to(url_of(tcp_listener))
    with handed_over(tcp_listener) as options:
        server = serve(urls=[unix_url, url_of(tcp_listener)], **options)
    assert {endpoint.url for endpoint in server.endpoints} == {url_of(tcp_listener), unix_url}
    round_trip(early)
    for endpoint in server.endpoints:
        round_trip(server.connect(endpoint.url))
    early.close()


def test_sockets_meant_for_another_process_are_left_alone(serve, tcp_listener):
    with handed_over(tcp_listener, pid="1") as options:
        server = serve(**options)
    assert server.url != url_of(tcp_listener)
    with handed_over(tcp_listener, pid="1") as options:
        other = serve(urls=[url_of(tcp_listener)], lines=0, **options)
    assert other.wait() == 1
    assert f"pier: listen {url_of(tcp_listener)}: address already in use" in other.lines()


def test_handed_over_sockets_serve_a_queue_of_clients_after_a_stop(serve, tcp_listener):
    """What the old server did not accept, the next one does: the socket lives on."""
    with handed_over(tcp_listener) as options:
        first = serve(urls=[], lines=1, **options)
        first.assert_serves()
        assert first.stop() == 0
    waiting = Client.to(url_of(tcp_listener))
    waiting.send("hello")
    with handed_over(tcp_listener) as options:
        serve(urls=[], lines=1, **options)
    waiting.expect("已收到: hello")
    waiting.close()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_service_manager_is_told_ready_and_stopping(serve, tmp_path, kind):
    name = (
        str(tmp_path / "notify")
        if kind == "path"
        else f"@pier-e2e-notify-{os.getpid()}-{time.monotonic_ns()}"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0") if kind == "abstract" else name)
        manager.settimeout(WAIT)

        def told():
            return manager.recv(4096).decode().splitlines()

        server = serve(env={"NOTIFY_SOCKET": name})
        assert "READY=1" in told()
        server.assert_serves()
        server.signal(signal.SIGTERM)
        assert "STOPPING=1" in told()
        assert server.wait() == 0


def test_a_service_manager_that_is_gone_does_no_harm(serve, tmp_path):
    server = serve(env={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    server.assert_serves()
    assert server.stop() == 0
