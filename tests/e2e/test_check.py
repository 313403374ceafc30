# SPDX-License-Identifier: MIT
"""`pier check`: what it finds out about servers of every kind, again and again, and how it fails."""

import contextlib
import datetime
import http.server
import json
import os
import pty
import socket
import ssl
import subprocess
import threading

import pytest

from pierlib import WAIT, free_port_held


class Quiet(http.server.BaseHTTPRequestHandler):
    """200 for all but /gone and /broken; it keeps what it was asked."""

    seen = []

    def do_GET(self):
        self.seen.append((self.path, self.headers["Host"]))
        self.send_response({"/gone": 410, "/broken": 500}.get(self.path, 200))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def http_server(context=None):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of its own for localhost, good for 30 days, and its key: their paths."""
    folder = tmp_path_factory.mktemp("check")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=WAIT)
    return cert, key


@pytest.fixture
def https(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with http_server(context) as port:
        yield port


def objects(result):
    return [json.loads(line) for line in result.out.splitlines()]


def check(pier, *args, **more):
    """The exit code and the looks."""
    result = pier("check", "--json", *args, **more)
    return result.rc, objects(result)


def test_check_of_tcp_tells_the_times_of_resolving_and_connecting(pier, serve):
    server = serve("--handler", "echo")
    rc, (look,) = check(pier, server.endpoints[0].url)
    assert rc == 0 and look["ok"]
    assert look["connect_ms"] > 0 and look["resolve_ms"] >= 0
    assert look["total_ms"] >= look["connect_ms"]
    assert look["rtt_us"] >= 0 and look["retransmits"] == 0
    assert "first_byte_ms" not in look
    datetime.datetime.fromisoformat(look["time"].replace("Z", "+00:00"))


def test_check_with_send_waits_for_the_reply(pier, serve):
    server = serve("--handler", "echo")
    rc, (look,) = check(pier, "--send", "hello", server.endpoints[0].url)
    assert rc == 0 and look["first_byte_ms"] > 0


def test_check_of_udp_needs_an_answer(pier, serve):
    server = serve("--handler", "echo", urls=["udp://127.0.0.1:0"])
    rc, (look,) = check(pier, server.endpoints[0].url)
    assert rc == 0 and look["first_byte_ms"] > 0 and "connect_ms" not in look


def test_check_of_silent_udp_ends_with_its_timeout(pier):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        rc, (look,) = check(pier, "--timeout", "200ms", f"udp://127.0.0.1:{deaf.getsockname()[1]}")
        assert rc == 6 and not look["ok"] and look["total_ms"] >= 200


def test_check_of_http_asks_for_the_path_and_tells_the_status(pier):
    Quiet.seen.clear()
    with http_server() as port:
        rc, (look,) = check(pier, f"http://localhost:{port}/a/b?c=d")
        assert rc == 0 and look["status"] == 200 and look["first_byte_ms"] > 0
        assert Quiet.seen == [("/a/b?c=d", f"localhost:{port}")]


@pytest.mark.parametrize("path,status", [("/gone", 410), ("/broken", 500)])
def test_check_of_http_fails_with_the_status(pier, path, status):
    with http_server() as port:
        rc, (look,) = check(pier, f"http://127.0.0.1:{port}{path}")
        assert rc == 7 and look["status"] == status and look["error"] == f"status {status}"


def test_check_of_https_tells_the_days_of_the_certificate(pier, https, certificate):
    rc, (look,) = check(pier, "--ca", certificate[0], f"https://localhost:{https}")
    assert rc == 0 and look["status"] == 200 and look["tls_ms"] > 0
    assert look["certificate_days"] in (29, 30)
    assert look["rtt_us"] >= 0


def test_check_fails_before_a_certificate_ends(pier, https, certificate):
    rc, (look,) = check(pier, "--min-days", "31", "--ca", certificate[0], f"https://localhost:{https}")
    assert rc == 5 and "days more" in look["error"]
    assert check(pier, "--min-days", "10", "--ca", certificate[0], f"https://localhost:{https}")[0] == 0


def test_check_trusts_nobody_by_itself(pier, https):
    rc, (look,) = check(pier, f"https://localhost:{https}")
    assert rc == 5 and not look["ok"] and "certificate" in look["error"]


def test_check_looks_at_all_urls_and_fails_as_the_first_that_fails(pier, serve):
    server = serve("--handler", "echo")
    with free_port_held() as held:
        urls = [server.endpoints[0].url, "tcp://nosuch.invalid:1",
                f"tcp://127.0.0.1:{held.getsockname()[1]}"]
        rc, looks = check(pier, *urls)
        assert [look["ok"] for look in looks] == [True, False, False]
        assert [look["url"] for look in looks] == urls
        assert rc == 3


def test_check_of_a_server_that_says_nothing_of_http(pier, serve):
    server = serve("--handler", "echo")
    rc, (look,) = check(pier, server.endpoints[0].url.replace("tcp:", "http:"))
    assert rc != 0 and "no HTTP/1 response" in look["error"]


def test_check_again_and_again(pier, serve):
    server = serve("--handler", "echo")
    result = pier("check", "--count", "4", "--every", "20ms", server.endpoints[0].url)
    assert result.rc == 0
    assert len(result.out.splitlines()) == 4
    assert "4 looks, 0 failed, total " in result.err


def test_check_draws_a_sparkline_on_a_terminal(pier_bin, base_env, serve):
    server = serve("--handler", "echo")
    master, slave = pty.openpty()
    with subprocess.Popen([pier_bin, "check", "--count", "3", "--every", "10ms",
                           server.endpoints[0].url], env=base_env, stdout=slave) as process:
        os.close(slave)
        out = b""
        with contextlib.suppress(OSError):
            while piece := os.read(master, 4096):
                out += piece
        assert process.wait(WAIT) == 0
    os.close(master)
    lines = out.decode().splitlines()
    assert len(lines) == 3
    assert sum(bar in "▁▂▃▄▅▆▇█" for bar in lines[2].rpartition("  ")[2]) == 3


def test_check_asks_for_a_path_of_up_to_2047_bytes(pier):
    with http_server() as port:
        assert pier("check", f"http://127.0.0.1:{port}?{'q' * 2045}").rc == 0
        assert Quiet.seen[-1][0] == "/?" + "q" * 2045
        assert pier("check", f"http://127.0.0.1:{port}?{'q' * 2046}").rc == 2


@pytest.mark.parametrize("url", ["tcp://127.0.0.1", "ftp://127.0.0.1:21", "tcp://h:1/path", "x",
                                 "http://127.0.0.1:0/", "http://h:70000/"])
def test_check_refuses_what_is_no_url(pier, url):
    result = pier("check", url)
    assert (result.rc, result.out) == (2, b"")
    assert result.err.startswith("pier: ")
