# SPDX-License-Identifier: MIT
"""--proxy-from: the PROXY protocol, in every model. This machine's loopback is the proxy."""

import contextlib
import re
import socket
import ssl
import struct
import subprocess

import pytest

from pierlib import WAIT, Client, wait_until

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TRUST = ("--proxy-from", "127.0.0.1")


def text(source="192.0.2.7", port=56324):
    return f"PROXY TCP4 {source} 198.51.100.1 {port} 443\r\n".encode()


def block(source="2001:db8::7", port=56324, extra=b""):
    ips = b"".join(socket.inet_pton(socket.AF_INET6, ip) for ip in (source, "::1"))
    rest = ips + struct.pack("!HH", port, 443) + extra
    return SIGNATURE + b"\x21\x21" + struct.pack("!H", len(rest)) + rest


LOCAL = SIGNATURE + b"\x20\0\0\0"


def connect(server, source="127.0.0.1"):
    sock = socket.socket()
    sock.settimeout(WAIT)
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
    client = Client(sock)
    server.clients.append(client)
    return client


def enter(server, header, source="127.0.0.1"):
    """A client that is served, or None when it was turned away."""
    try:
        client = connect(server, source)
        client.send(header + b"ping")
        client.expect("已收到: ping")
    except (ConnectionResetError, BrokenPipeError):
        return None
    return client


@pytest.mark.parametrize(
    "header, peer",
    [
        (text(), r"192\.0\.2\.7:56324"),
        (block(), r"\[2001:db8::7\]:56324"),
        (block(extra=b"\x04\x01\x00" + b"x" * 256), r"\[2001:db8::7\]:56324"),
    ],
    ids=["text", "block", "extra"],
)
def test_the_header_says_who_the_client_is(serve, header, peer):
    server = serve("-v", *TRUST)
    assert enter(server, header)
    server.wait_line(peer)


def test_a_header_may_come_byte_by_byte(serve):
    server = serve("-v", *TRUST)
    for header in text(), block():
        client = connect(server)
        for byte in header:
            client.send(bytes([byte]))
        client.send("ping")
        client.expect("已收到: ping")


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"], ids=["local", "unknown"])
def test_a_proxy_s_own_connection_is_its_own(serve, header):
    server = serve("-v", *TRUST)
    client = enter(server, header)
    assert client
    server.wait_line(re.escape(client.address))


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 one two 3 4\r\n"])
def test_what_is_no_header_is_not_served(serve, sent):
    server = serve(*TRUST)
    client = connect(server)
    client.send(sent)
    with contextlib.suppress(OSError):  # it may have been reset already
        client.half_close()
    assert client.drain()[0] == b""
    server.wait_line("connection failed.*PROXY")
    assert enter(server, text())


def test_a_proxy_that_leaves_before_its_header_ends_is_no_failure(serve):
    server = serve(*TRUST)
    for sent in b"", b"P", text()[:20], block()[:30]:
        client = connect(server)
        client.send(sent)
        client.half_close()
        client.expect_end()
    assert enter(server, text())
    assert server.extra_lines() == []


def test_who_is_not_trusted_cannot_say_who_he_is(serve):
    server = serve("-v", *TRUST)
    client = connect(server, "127.0.0.2")
    client.send(text())
    client.expect("已收到: " + text().decode())
    server.wait_line(re.escape(client.address))
    assert not re.search("192.0.2.7:", server.stderr().replace("PROXY TCP4 192.0.2.7", ""))


def test_lists_are_asked_about_proxy_and_client(serve):
    server = serve("--proxy-from", "127.0.0.0/8", "--deny", "192.0.2.7", "--deny", "127.0.0.9")
    assert enter(server, text("192.0.2.8"))
    assert not enter(server, text("192.0.2.7"))
    assert not enter(server, text("192.0.2.8"), "127.0.0.9")
    server.wait_line(r"connections refused.*denied=1")


def test_rates_are_those_of_the_clients(serve):
    server = serve(*TRUST, "--rate", "1/h", "--burst", "1")
    for number in range(5):
        assert enter(server, text(f"192.0.2.{number}"))
    assert not enter(server, text("192.0.2.1"))


@pytest.mark.models("tasks", "threads", "prefork")
def test_connections_are_counted_for_the_clients(serve):
    server = serve(*TRUST, "--max-per-ip", "2")
    first = enter(server, text("192.0.2.1"))
    assert first
    assert enter(server, text("192.0.2.1"))
    assert not enter(server, text("192.0.2.1"))
    assert enter(server, text("192.0.2.2"))
    first.half_close()
    first.expect_end()
    wait_until(lambda: enter(server, text("192.0.2.1")), "a place is free again")


@pytest.mark.models("tasks", "threads", "prefork")  # else its own process alone knows the client
def test_http_behind_a_proxy_is_counted_for_its_clients(serve):
    server = serve(*TRUST, "--max-per-ip", "1", urls=["http://127.0.0.1:0"])

    def ask(client, header=b""):
        client.send(header + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        got = client.sock.recv(65536)
        assert got.startswith(b"HTTP/1.1 ")
        return client

    def try_to_ask(ip):
        try:
            return ask(connect(server), text(ip))
        except (ConnectionResetError, BrokenPipeError):
            return None

    first = try_to_ask("192.0.2.1")
    assert first
    ask(first)  # it has been idle in between, and is still the same client's
    assert not try_to_ask("192.0.2.1")
    assert try_to_ask("192.0.2.2")
    first.close()
    wait_until(lambda: try_to_ask("192.0.2.1"), "an idle client that has left is counted out")


@pytest.mark.parametrize("header", [text(), block()], ids=["text", "block"])
def test_tls_follows_the_header(serve, tmp_path, header):
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=localhost", "-days", "1"],
        check=True,
        capture_output=True,
    )
    server = serve("-v", *TRUST, "--cert", cert, "--key", key, urls=["tls://127.0.0.1:0"])
    client = connect(server)
    client.send(header)
    context = ssl.create_default_context(cafile=cert)
    with context.wrap_socket(client.sock, server_hostname="localhost") as secure:
        secure.sendall(b"ping")
        assert secure.recv(100) == "已收到: ping".encode()
        secure.unwrap()
    server.wait_line(":56324")


@pytest.mark.models("tasks")
def test_what_is_no_network_of_proxies_is_said(pier, model):
    result = pier("serve", "tcp://127.0.0.1:0", "--proxy-from", "10.0.0.0/99")
    assert result.rc == 1
    assert 'proxy_from: "10.0.0.0/99": not the length of a prefix' in result.err
