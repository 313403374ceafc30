# SPDX-License-Identifier: MIT
"""The examples with TLS and their counterparts in Python: each client with each server."""

import re
import subprocess

import pytest

from pierlib import WAIT, Process, wait_until
from test_examples import LANGUAGES, base_env, finish, program  # noqa: F401


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """A certificate that vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("pair")
    cert, key = folder / "cert.pem", folder / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", str(key), "-out", str(cert), "-days", "10", "-subj",
            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True, timeout=WAIT)
    return str(cert), str(key)


@pytest.fixture
def tls_server(program, base_env, pair):  # noqa: F811
    started = []

    def start(language):
        argv = [*program(language, "tls_server"), *pair, "tls://127.0.0.1:0"]
        server = Process(argv, base_env)
        started.append(server)
        line = wait_until(
            lambda: re.search(r"listening.*?(tls://127\.0\.0\.1:\d+)", server.stderr()), "it listens"
        )
        return line[1]

    yield start
    for server in started:
        server.kill()


@pytest.mark.parametrize("theirs", LANGUAGES)
@pytest.mark.parametrize("ours", LANGUAGES)
def test_tls_client_and_server_understand_each_other(tls_server, finish, pair, ours, theirs):  # noqa: F811
    if (ours, theirs) == ("python", "python"):
        pytest.skip("neither is Pier's")
    result = finish(theirs, "tls_client", tls_server(ours), pair[0])
    assert (result.rc, result.out, result.err) == (0, b"Hello, World!\n", "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_tls_client_does_not_believe_everybody(tls_server, finish, language):  # noqa: F811
    result = finish(language, "tls_client", tls_server("c"))
    assert (result.rc, result.out) == (5, b"")
    assert re.search("self.signed certificate", result.err)
