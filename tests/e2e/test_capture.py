# SPDX-License-Identifier: MIT
"""Captures as tshark reads them: whole, with right checksums, TLS decrypted without a key file.

A C test (net_capture) reads the blocks themselves; here somebody else's program does.
"""

import os
import shutil
import socket
import stat
import struct
import subprocess

import pytest

from pierlib import WAIT
from test_tls import certs, pair  # noqa: F401

URLS = {"tls": "tls://127.0.0.1:0", "udp": "udp://127.0.0.1:0"}
CHECKED = ("-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
           "-o", "udp.check_checksum:TRUE", "-o", "tcp.desegment_tcp_streams:TRUE")  # fmt: skip
WRONG = 'ip.checksum.status == "Bad" || tcp.checksum.status == "Bad" || udp.checksum.status == "Bad"'


def tshark(path, *args):
    program = shutil.which("tshark") or pytest.skip("no tshark on this machine")
    env = {key: value for key, value in os.environ.items() if key != "SSLKEYLOGFILE"}
    done = subprocess.run([program, "-r", path, *CHECKED, *args], check=True, capture_output=True,
                          timeout=WAIT * 3, env={**env, "HOME": str(path.parent)})  # fmt: skip
    return done.stdout.decode()


def column(path, shown, field):
    return tshark(path, "-Y", shown, "-T", "fields", "-e", field).split()


def assert_sound(path):
    """All of it is read, checksums are right, and no segment is missing, repeated or unasked."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert tshark(path, "-Y", f"_ws.malformed || tcp.analysis.flags || {WRONG}") == ""


def streams(path, protocol="tcp"):
    """Of each connection what each end has sent, by the port it came from."""
    names = (f"{protocol}.stream", f"{protocol}.srcport", f"{protocol}.payload")
    sent = []
    for line in tshark(path, "-T", "fields", *(f"-e{name}" for name in names)).splitlines():
        stream, port, payload = line.split("\t")
        if int(stream) == len(sent):
            sent.append({})
        ends = sent[int(stream)]
        ends[int(port)] = ends.get(int(port), b"") + bytes.fromhex(payload)
    return sent


def decrypted(path):
    """The same within TLS: the plaintext of both ways, by who is the client."""
    said = {True: b"", False: b""}
    follow = tshark(path, "-q", "-z", "follow,tls,raw,0")
    for line in follow.splitlines():
        digits = line.strip()
        if digits and set(digits) <= set("0123456789abcdef"):
            said[not line.startswith("\t")] += bytes.fromhex(digits)
    return said[True], said[False]


def test_a_client_s_capture_has_both_ways(serve, pier, tmp_path):
    server = serve("--handler", "echo")
    path, data = tmp_path / "c.pcapng", os.urandom(200_000)
    assert pier("connect", server.url, "--capture", str(path), stdin=data).out == data
    assert_sound(path)
    (sent,) = streams(path)
    assert sent.pop(server.port) == data
    assert list(sent.values()) == [data]
    flags = column(path, "tcp.len == 0", "tcp.flags.str")
    assert [text.strip("·") for text in flags] == ["S", "A··S", "A", "A···F", "A···F"]


def test_a_server_s_capture_has_all_clients(serve, pier, tmp_path):
    path = tmp_path / "s.pcapng"
    server = serve("--handler", "echo", "--capture", str(path))
    texts = [f"client {i}".encode() for i in range(5)]
    for text in texts:
        assert pier("connect", server.url, stdin=text).out == text
    server.stop()
    assert_sound(path)
    assert [list(sent.values()) for sent in streams(path)] == [[text, text] for text in texts]


def test_a_server_s_capture_of_datagrams(serve, tmp_path):
    path = tmp_path / "s.pcapng"
    server = serve("--handler", "echo", "--capture", str(path), urls=(URLS["udp"],))
    port = int(server.url.rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(WAIT)
        client.connect(("127.0.0.1", port))
        own = client.getsockname()[1]
        for text in (b"one", b"two and a half"):
            client.send(text)
            assert client.recv(100) == text
    server.stop()
    assert_sound(path)
    assert streams(path, "udp") == [{own: b"onetwo and a half", port: b"onetwo and a half"}]


@pytest.mark.models("tasks")
def test_messages_that_are_sent_are_captured(serve, pier, tmp_path):
    server, path = serve("--handler", "echo"), tmp_path / "c.pcapng"
    assert pier("send", server.url, "one", "two", "--capture", str(path)).rc == 0
    assert [list(sent.values()) for sent in streams(path)] == [[b"onetwo", b"onetwo"]]


# -- TLS


def test_tls_is_decrypted_by_a_client_s_capture(serve, pier, certs, tmp_path):
    server = serve("--handler", "echo", *map(str, pair(certs)), urls=(URLS["tls"],))
    path, data = tmp_path / "c.pcapng", os.urandom(50_000)
    args = ("--ca", str(certs / "ca.pem"), "--servername", "localhost", "--capture", str(path))
    assert pier("connect", server.url, *args, stdin=data).out == data
    assert_sound(path)
    assert decrypted(path) == (data, data)
    finished = column(path, "tls.handshake.type == 20", "tls.record.version")  # encrypted itself
    assert len(finished) == 2


def test_tls_is_decrypted_by_a_server_s_capture(serve, pier, certs, tmp_path):
    path = tmp_path / "s.pcapng"
    server = serve("--handler", "echo", "--capture", str(path), *map(str, pair(certs)),
                   urls=(URLS["tls"],))  # fmt: skip
    data = os.urandom(50_000)
    args = ("--ca", str(certs / "ca.pem"), "--servername", "localhost")
    assert pier("connect", server.url, *args, stdin=data).out == data
    server.stop()
    assert_sound(path)
    assert decrypted(path) == (data, data)


@pytest.mark.models("tasks")
def test_without_its_secrets_a_capture_stays_encrypted(serve, pier, certs, tmp_path):
    """What the tests above see is not what tshark would have seen anyway."""
    server = serve("--handler", "echo", *map(str, pair(certs)), urls=(URLS["tls"],))
    path, bare = tmp_path / "c.pcapng", tmp_path / "bare.pcapng"
    args = ("--ca", str(certs / "ca.pem"), "--servername", "localhost", "--capture", str(path))
    assert pier("connect", server.url, *args, stdin=b"secret").out == b"secret"
    blocks, at, secrets = path.read_bytes(), 0, 0
    with bare.open("wb") as out:
        while at < len(blocks):
            kind, size = struct.unpack_from("=II", blocks, at)
            secrets += kind == 10
            out.write(b"" if kind == 10 else blocks[at : at + size])
            at += size
    assert secrets == 5
    assert decrypted(bare) == (b"", b"")


# -- files


@pytest.mark.models("tasks")
def test_a_file_that_is_no_capture_is_left_alone(serve, pier, tmp_path):
    server = serve("--handler", "echo")
    path = tmp_path / "thesis.txt"
    path.write_text("all of it")
    result = pier("connect", server.url, "--capture", str(path))
    assert result.rc == 1 and "no capture of Pier's" in result.err
    result = pier("serve", "--capture", str(path))
    assert result.rc == 1 and "no capture of Pier's" in result.err
    assert path.read_text() == "all of it"


@pytest.mark.models("tasks")
def test_a_capture_replaces_an_earlier_one_but_not_one_that_goes_on(serve, pier, tmp_path):
    path, other = tmp_path / "c.pcapng", tmp_path / "s.pcapng"
    server = serve("--handler", "echo", "--capture", str(other))
    for text in (b"a longer text than the other one", b"short"):
        assert pier("connect", server.url, "--capture", str(path), stdin=text).out == text
        assert [list(sent.values()) for sent in streams(path)] == [[text, text]]
    result = pier("connect", server.url, "--capture", str(other))
    assert result.rc == 1 and "another one writes there" in result.err


def test_a_full_disk_ends_the_capture_and_nothing_else(serve, pier, tmp_path):
    path = tmp_path / "s.pcapng"
    limit = ("sh", "-c", 'trap "" XFSZ; ulimit -f 64; exec "$@"', "sh")
    server = serve("--handler", "echo", "--capture", str(path), wrapper=limit)
    data = os.urandom(300_000)
    for _ in range(2):
        assert pier("connect", server.url, stdin=data).out == data
    server.stop()
    assert path.stat().st_size <= 64 * 1024
    assert server.stderr().count("the capture has ended") == 1
