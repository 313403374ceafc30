# SPDX-License-Identifier: MIT
"""`pier serve http://…` and the HTTP examples, against clients that people use: curl, wget, Python,
node, Go, wrk and h2load. A client that is not installed skips its test."""

import asyncio
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from pierlib import WAIT, Process, check_report, run, wait_until

LISTENING = re.compile(r"listening\D.*?(https?://127\.0\.0\.1:\d+)")
PAGE = b"<html><body><h1>Hello, world!</h1></body></html>"


@pytest.fixture
def start(base_env):
    """start(*command) → the running server, its .url and .port read from what it says."""
    started = []

    def begin(*command):
        server = Process([*command], base_env)
        started.append(server)
        server.url = wait_until(lambda: LISTENING.search(server.stderr()), "it listens")[1]
        server.port = int(server.url.rpartition(":")[2])
        return server

    yield begin
    for server in started:
        if server.running():
            server.signal(signal.SIGTERM)
            server.wait()
        check_report(server.stderr())


@pytest.fixture
def example(start, pier_bin):
    folder = pathlib.Path(pier_bin).parents[1] / "examples"
    return lambda name: start(folder / name, "http://127.0.0.1:0")


@pytest.fixture
def hello(start, pier_bin, model):
    return start(pier_bin, "serve", "http://127.0.0.1:0", "--reply", "Hello, World!\n",
                 "--model", model.name, "--workers", "2")


def tool(name):
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


def output(*command, **options):
    result = subprocess.run([str(each) for each in command], capture_output=True, timeout=WAIT * 3,
                            check=False, **options)
    assert result.returncode == 0, result.stderr.decode(errors="replace")
    return result.stdout


def ask(server, *requests):
    """Sends raw bytes, ends the output and returns all that comes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT) as s:
        s.sendall(b"".join(requests))
        s.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: s.recv(65536), b""))


# ---- the verb ----

def test_every_model_answers_again_and_again(hello):
    connection = http.client.HTTPConnection("127.0.0.1", hello.port, timeout=WAIT)
    for number in range(5):
        connection.request("GET", f"/{number}")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"Hello, World!\n")
    connection.close()


def test_a_status_page_is_the_default(start, pier_bin):
    server = start(pier_bin, "serve", "http://127.0.0.1:0")
    with urllib.request.urlopen(server.url, timeout=WAIT) as response:
        assert response.read().startswith(b"pier ")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(server.url + "/other", timeout=WAIT)
    assert error.value.code == 404


def test_what_reply_says_of_the_message_is_the_body(start, pier_bin):
    server = start(pier_bin, "serve", "http://127.0.0.1:0", "--reply", "you said %m")
    assert ask(server, b"POST /x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc").endswith(b"you said abc")


@pytest.mark.parametrize("option", [["--handler", "echo"], ["--exec", "cat"],
                                    ["--reply", "x", "--lines"]])
def test_conversations_are_not_for_http(pier_bin, base_env, option):
    result = run([pier_bin, "serve", "http://127.0.0.1:0", *option], base_env)
    assert result.rc == 2
    assert "not for HTTP" in result.err


def test_verbose_shows_each_request(start, pier_bin):
    server = start(pier_bin, "serve", "-v", "http://127.0.0.1:0")
    ask(server, b"GET /nothing?x HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: "target=/nothing?x status=404" in server.stderr(), "the request is logged")


# ---- the examples ----

def test_hello_is_the_page_to_the_byte(example):
    server = example("http_hello")
    with urllib.request.urlopen(server.url, timeout=WAIT) as response:
        assert response.headers["Content-Type"] == "text/html"
        assert response.read() == PAGE


def test_echo_sends_the_body_back(example):
    server = example("http_echo")
    body = bytes(range(256)) * 1000
    request = urllib.request.Request(server.url + "/echo", body, {"Content-Type": "x/y"})
    with urllib.request.urlopen(request, timeout=WAIT) as response:
        assert (response.headers["Content-Type"], response.read()) == ("x/y", body)
    assert ask(server, b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 404 ")
    assert ask(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 200 ")


# ---- clients ----

def test_curl_gets_posts_waits_for_100_and_asks_for_the_head(example):
    server = example("http_echo")
    curl = [tool("curl"), "-sS", "--max-time", str(WAIT)]
    assert output(*curl, server.url) == b"POST /echo\n"
    assert b"Content-Length: 11" in output(*curl, "-I", server.url)
    big = b"x" * 500000
    assert output(*curl, "-H", "Expect: 100-continue", "--data-binary", "@-", server.url + "/echo",
                  input=big) == big
    assert output(*curl, "-H", "Transfer-Encoding: chunked", "--data-binary", "@-",
                  server.url + "/echo", input=big) == big
    assert output(*curl, "-o", os.devnull, "-w", "%{http_code} %{num_connects}\n", server.url,
                  "-o", os.devnull, server.url) == b"200 1\n200 0\n"
    too_much = output(*curl, "-o", os.devnull, "-w", "%{http_code}", "--data-binary", "@-",
                      server.url + "/echo", input=b"x" * (2 << 20))
    assert too_much == b"413"


def test_wget_fetches_the_page(example):
    assert output(tool("wget"), "-qO-", "--timeout", str(WAIT), example("http_hello").url) == PAGE


def test_python_asyncio_talks_http(example):
    server = example("http_hello")

    async def talk():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(PAGE)) == PAGE
        writer.close()
        await writer.wait_closed()

    asyncio.run(asyncio.wait_for(talk(), WAIT))


NODE = """
const http = require('http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
let left = 3, ports = new Set();
function next() {
  if (!left--) { console.log(JSON.stringify({ ports: ports.size })); agent.destroy(); return; }
  const req = http.request(process.argv[1] + '/echo', { method: 'POST', agent }, res => {
    let got = ''; ports.add(res.socket.localPort);
    res.on('data', d => got += d);
    res.on('end', () => { if (got !== 'abcdef') throw new Error(got); setImmediate(next); });
  });
  req.write('abc'); req.end('def');
}
next();
"""


def test_node_streams_over_one_connection(example):
    server = example("http_echo")
    assert json.loads(output(tool("node"), "-e", NODE, server.url)) == {"ports": 1}


GO = """
package main
import ("fmt"; "io"; "net/http"; "os"; "strings")
func main() {
	for i := 0; i < 3; i++ {
		res, err := http.Post(os.Args[1]+"/echo", "text/plain", strings.NewReader("abcdef"))
		if err != nil { panic(err) }
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		fmt.Println(res.StatusCode, string(body), res.Header.Get("Content-Type"))
	}
}
"""


@pytest.mark.slow
def test_go_posts(example, tmp_path):
    go = tool("go")
    (tmp_path / "main.go").write_text(GO)
    env = {**os.environ, "GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off", "GOFLAGS": ""}
    output(go, "build", "-o", tmp_path / "main", tmp_path / "main.go", env=env)
    assert output(tmp_path / "main", example("http_echo").url) == b"200 abcdef text/plain\n" * 3


@pytest.mark.slow
def test_wrk_sees_no_error(example):
    server = example("http_hello")
    said = output(tool("wrk"), "-t1", "-c16", "-d1s", server.url).decode()
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    assert int(re.search(r"(\d+) requests in", said)[1]) > 100


@pytest.mark.slow
def test_h2load_sees_no_error(example):
    server = example("http_hello")
    said = output(tool("h2load"), "--h1", "-n2000", "-c8", "-m4", server.url).decode()
    assert re.search(r"2000 succeeded, 0 failed, 0 errored", said), said


# ---- over TLS ----

@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that trusts itself, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    output(tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
           "-nodes", "-days", "2", "-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1",
           "-keyout", key, "-out", cert)
    return cert, key


def test_https_is_the_same_over_tls(start, pier_bin, model, certificate):
    cert, key = certificate
    server = start(pier_bin, "serve", "https://127.0.0.1:0", "--reply", "you said %m", "--cert",
                   cert, "--key", key, "--model", model.name, "--workers", "1")
    curl = [tool("curl"), "-sS", "--max-time", str(WAIT), "--cacert", cert, "--http1.1"]
    said = output(*curl, "-w", " %{num_connects}\n", "-d", "a", server.url, "-d", "a", server.url)
    assert said == b"you said a&a 1\nyou said a&a 0\n"


# ---- the end ----

def test_a_stop_closes_idle_connections_at_once(hello):
    with socket.create_connection(("127.0.0.1", hello.port), timeout=WAIT) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        got = b""
        while not got.endswith(b"Hello, World!\n") and b"0\r\n\r\n" not in got:
            got += s.recv(4096)
        hello.signal(signal.SIGTERM)
        assert s.recv(4096) == b""
    assert hello.wait() == 0
