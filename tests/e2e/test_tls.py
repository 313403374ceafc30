# SPDX-License-Identifier: MIT
"""TLS from outside: every model, the clients and servers that people have, reloads, bad input.

Certificates are made once by openssl(1): a CA, a server's for localhost and 127.0.0.1, a client's.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from pierlib import WAIT, wait_until

TLS_URL = ("tls://127.0.0.1:0",)
NAMES = "DNS:localhost,IP:127.0.0.1"


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, timeout=WAIT)


def make_leaf(folder, name, names=None):
    """name.pem and name-key.pem, signed by the folder's CA."""
    key, request, cert = (folder / f"{name}{end}" for end in ("-key.pem", ".csr", ".pem.new"))
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            key, "-out", request, "-subj", f"/CN={name}")  # fmt: skip
    extensions = []
    if names:
        (folder / "extensions").write_text(f"subjectAltName={names}\n")
        extensions = ["-extfile", folder / "extensions"]
    openssl("x509", "-req", "-in", request, "-CA", folder / "ca.pem", "-CAkey",
            folder / "ca-key.pem", "-CAcreateserial", "-days", 10, "-out", cert,
            *extensions)  # fmt: skip
    cert.rename(folder / f"{name}.pem")


@pytest.fixture(scope="session")
def certs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certs")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", folder / "ca-key.pem", "-out", folder / "ca.pem", "-days", 10, "-subj",
            "/CN=Test CA")  # fmt: skip
    make_leaf(folder, "server", NAMES)
    make_leaf(folder, "client")
    return folder


def pair(folder, name="server"):
    return ["--cert", folder / f"{name}.pem", "--key", folder / f"{name}-key.pem"]


def texts(args):
    return [str(arg) for arg in args]


@pytest.fixture
def serve_tls(serve, certs):
    def start(*args, cert=None, **options):
        return serve(*texts(cert or pair(certs)), *texts(args), urls=TLS_URL, **options)

    return start


def tool(name):
    return shutil.which(name) or pytest.skip(f"no {name} on this machine")


def context_for(certs, **options):
    context = ssl.create_default_context(cafile=certs / "ca.pem")
    for name, value in options.items():
        setattr(context, name, value)
    return context


@contextlib.contextmanager
def tls_client(server, certs, context=None, session=None):
    with socket.create_connection(("127.0.0.1", server.port), WAIT) as plain:
        context = context or context_for(certs)
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as client:
            yield client


def expect_echo(client, data=b"hello"):
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = client.recv(len(data))
        assert piece, f"the end after {got!r}"
        got += piece
    assert got == data


def assert_serves(server, certs):
    with tls_client(server, certs) as client:
        expect_echo(client)


# -- every model


def test_every_model_speaks_tls(serve_tls, certs):
    server = serve_tls("--handler", "echo")
    for _ in range(3):
        with tls_client(server, certs) as client:
            assert client.version() == "TLSv1.3"
            expect_echo(client)
            expect_echo(client, os.urandom(300_000))
            client.unwrap()  # raises where the server does not say close_notify


def test_tls_1_2_is_served_as_well(serve_tls, certs):
    server = serve_tls("--handler", "echo")
    context = context_for(certs, maximum_version=ssl.TLSVersion.TLSv1_2)
    with tls_client(server, certs, context) as client:
        assert client.version() == "TLSv1.2"
        assert re.match(r"ECDHE-ECDSA-", client.cipher()[0])
        expect_echo(client)


def test_sessions_are_resumed_by_any_worker(serve_tls, certs):
    server = serve_tls("--handler", "echo")
    context, session, reused = context_for(certs), None, []
    for _ in range(6):
        with tls_client(server, certs, context, session) as client:
            expect_echo(client)
            reused.append(client.session_reused)
            session = client.session
            client.unwrap()
    assert reused == [False] + [True] * 5


def test_a_client_certificate_can_be_required(serve_tls, certs, pier):
    server = serve_tls("--client-ca", certs / "ca.pem")
    url, ca = server.url, ["--ca", str(certs / "ca.pem")]
    done = pier("send", url, "hi", *ca, *texts(pair(certs, "client")))
    assert (done.rc, done.out) == (0, "已收到: hi\n".encode())
    done = pier("send", url, "hi", *ca)
    assert done.rc == 5
    assert "it requires a certificate of ours, and we have none" in done.err
    server.log.wait_for(lambda log: b"the client has no certificate" in log, "a line about it")


@pytest.mark.parametrize("by_signal", [True, False], ids=["sighup", "change"])
def test_certificates_are_reloaded(serve_tls, certs, tmp_path, by_signal):
    for name in ("ca.pem", "ca-key.pem"):
        shutil.copy(certs / name, tmp_path)
    make_leaf(tmp_path, "live", NAMES)
    server = serve_tls("--handler", "echo", cert=pair(tmp_path, "live"))

    def subject():
        with tls_client(server, certs) as client:
            expect_echo(client)
            return client.getpeercert()["subject"][0][0][1]

    with tls_client(server, certs) as old:
        expect_echo(old)
        assert subject() == "live"
        make_leaf(tmp_path, "new", NAMES)
        for end in ("-key.pem", ".pem"):
            (tmp_path / f"new{end}").rename(tmp_path / f"live{end}")
        if by_signal:
            server.signal(signal.SIGHUP)
        wait_until(lambda: subject() == "new", "the new certificate")
        (tmp_path / "live.pem").write_text("nonsense\n")
        if by_signal:
            server.signal(signal.SIGHUP)
        wait_until(
            lambda: subject() == "new" and "the old one stays" in server.stderr(),
            "a line about the bad certificate",
        )
        expect_echo(old)


# -- bad input


@pytest.mark.models("tasks", "processes")
def test_plain_http_is_known_and_logged(serve_tls, certs):
    server = serve_tls("--handler", "echo")
    with server.connect() as client:
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.read_to_end() == b"\x15\x03\x01\x00\x02\x02\x0a"
    server.log.wait_for(lambda log: b"the client speaks plain HTTP here, not TLS" in log, "a line")
    assert_serves(server, certs)


@pytest.mark.models("tasks", "threads", "prefork")
def test_clients_that_stop_after_the_hello_keep_nobody_out(serve_tls, certs):
    server = serve_tls("--handler", "echo")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context_for(certs).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    stopped = [server.connect() for _ in range(200)]
    for each in stopped:
        each.send(hello)
    assert_serves(server, certs)


@pytest.mark.models("tasks")
def test_a_cut_connection_is_no_end(pier, peer, certs):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs / "server.pem", certs / "server-key.pem")

    def cut(client):
        with context.wrap_socket(client.sock, server_side=True) as server:
            server.sendall(b"half of ")
            assert server.recv(1) == b""  # else the close would be a reset

    server = peer(cut)
    url = server.url.replace("tcp://", "tls://")
    done = pier("connect", url, "--ca", str(certs / "ca.pem"), "--wait", "5s")
    assert (done.rc, done.out) == (5, b"half of ")
    assert "the connection ended without close_notify: it may have been cut" in done.err


# -- whom our client believes


@pytest.mark.models("tasks")
def test_our_client_says_what_is_wrong(serve_tls, certs, pier):
    server = serve_tls()
    url = server.url
    done = pier("send", url, "hi")
    assert done.rc == 5
    assert done.err == (
        f"pier: tls: 127.0.0.1:{server.port}: certificate of an unknown authority, "
        '"Test CA" (give --ca FILE to trust it)\n'
    )
    ca = ["--ca", str(certs / "ca.pem")]
    done = pier("send", url, "hi", *ca, "--servername", "www.example")
    assert done.rc == 5
    assert "name mismatch: certificate is for localhost, 127.0.0.1" in done.err
    assert pier("send", url, "hi", *ca).out == "已收到: hi\n".encode()
    done = pier("send", url, "hi", "--insecure")
    assert done.rc == 0 and "certificate is not verified" in done.err
    done = pier("send", url, "hi", "--key", "x.pem")
    assert done.rc == 2 and "--key needs --cert" in done.err


def test_secrets_are_written_where_asked(pier, serve_tls, certs, tmp_path):
    server = serve_tls()
    path = tmp_path / "keys"
    env = {"SSLKEYLOGFILE": str(path)}
    assert pier("send", server.url, "hi", "--ca", str(certs / "ca.pem"), env=env).rc == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert re.search(r"^CLIENT_TRAFFIC_SECRET_0 \w{64} \w{64}$", path.read_text(), re.M)


# -- what people have: clients


def run_client(argv, sent, env=None):
    done = subprocess.run(
        texts(argv), input=sent, capture_output=True, timeout=WAIT, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.models("tasks")
def test_s_client_and_ncat_talk_to_us(serve_tls, certs):
    server = serve_tls("--lines")
    where = f"localhost:{server.port}"
    got = run_client([tool("openssl"), "s_client", "-quiet", "-verify_return_error",
                      "-CAfile", certs / "ca.pem", "-connect", where], b"hi\nexit\n")  # fmt: skip
    assert got == "已收到: hi\n再见!\n".encode()
    got = run_client([tool("ncat"), "--ssl-verify", "--ssl-trustfile", certs / "ca.pem",
                      "localhost", server.port], b"hi\nexit\n")  # fmt: skip
    assert got == "已收到: hi\n再见!\n".encode()


@pytest.mark.models("tasks")
def test_curl_gets_an_answer(serve_tls, certs):
    reply = r"read -r line; printf 'HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello'"
    server = serve_tls("--exec", reply)
    got = run_client([tool("curl"), "-sS", "--cacert", certs / "ca.pem",
                      f"https://localhost:{server.port}/"], b"")  # fmt: skip
    assert got == b"hello"


NODE = """
const tls = require("tls"), fs = require("fs");
const c = tls.connect({ host: "127.0.0.1", port: +process.argv[1], servername: "localhost",
                        ca: fs.readFileSync(process.argv[2]) }, () => c.write("hello"));
c.once("data", (data) => { process.stdout.write(data); c.end(); });
"""


@pytest.mark.models("tasks")
def test_node_talks_to_us(serve_tls, certs):
    server = serve_tls("--handler", "echo")
    argv = [tool("node"), "-e", NODE, server.port, certs / "ca.pem"]
    assert run_client(argv, b"") == b"hello"


GO = """
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	pem, err := os.ReadFile(os.Args[2])
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c, err := tls.Dial("tcp", "localhost:"+os.Args[1], &tls.Config{RootCAs: roots})
	check(err)
	_, err = c.Write([]byte("hello"))
	check(err)
	check(c.CloseWrite())
	got, err := io.ReadAll(c)
	check(err)
	fmt.Print(string(got))
}
"""


@pytest.mark.models("tasks")
def test_go_talks_to_us(serve_tls, certs, tmp_path):
    server = serve_tls("--handler", "echo")
    (tmp_path / "client.go").write_text(GO)
    env = {"GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off", "GOFLAGS": "-p=1"}
    built = subprocess.run([tool("go"), "build", "-o", "client", "client.go"], cwd=tmp_path,
                           env={**os.environ, **env}, capture_output=True, timeout=6 * WAIT)  # fmt: skip
    assert built.returncode == 0, built.stderr
    argv = [tmp_path / "client", server.port, certs / "ca.pem"]
    assert run_client(argv, b"") == b"hello"


# -- what people have: servers


@contextlib.contextmanager
def listening_server(argv, port):
    process = subprocess.Popen(texts(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)  # fmt: skip

    def accepts():
        assert process.poll() is None, process.stdout.read()
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), WAIT).close()
            return True

    try:
        wait_until(accepts, f"{argv[0]} listens")
        yield process
    finally:
        process.kill()
        process.communicate()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@pytest.mark.models("tasks")
def test_we_talk_to_s_server(pier, certs):
    port = free_port()
    argv = [tool("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-cert",
            certs / "server.pem", "-key", certs / "server-key.pem", "-rev"]  # fmt: skip
    with listening_server(argv, port):
        done = pier("send", f"tls://localhost:{port}", "abc\n", "--ca", str(certs / "ca.pem"))
    assert (done.rc, done.out) == (0, b"cba\n")


@pytest.mark.models("tasks")
def test_we_talk_to_python(pier, certs):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs / "server.pem", certs / "server-key.pem")
    context.set_alpn_protocols(["greeting"])
    chosen = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT)

        def answer():
            sock, _ = listener.accept()
            with sock, context.wrap_socket(sock, server_side=True) as server:
                chosen.append(server.selected_alpn_protocol())
                server.sendall(server.recv(100).upper())

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        url = f"tls://localhost:{listener.getsockname()[1]}"
        done = pier("send", url, "abc", "--ca", str(certs / "ca.pem"), "--alpn", "greeting")
        thread.join(WAIT)
    assert (done.rc, done.out, chosen) == (0, b"ABC\n", ["greeting"])


def test_we_know_a_server_that_speaks_plainly(pier, serve):
    server = serve("--handler", "time")
    done = pier("send", server.url.replace("tcp://", "tls://"), "x", "--insecure")
    assert done.rc == 5
    assert "the server does not speak TLS" in done.err
