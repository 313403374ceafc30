# SPDX-License-Identifier: MIT
"""`pier get`, `head`, `post`, `put`, `patch`, `delete` against http.server, nginx and node: the
grammar of items, where output goes, exit codes, downloads, proxies, https."""

import gzip
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading

import pytest

from pierlib import WAIT, check_report, run, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON = ROOT / "tests/e2e/python"


class Handler(http.server.BaseHTTPRequestHandler):
    """Says as JSON what it was asked; under /file/ the server's bytes, with ranges."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def reply(self, status, data, **fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", len(data))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def file(self):
        data, begin = self.server.data, 0
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            begin = int(wanted[1])
            if begin >= len(data):
                return self.reply(416, b"", Content_Range=f"bytes */{len(data)}")
            return self.reply(206, data[begin:],
                              Content_Range=f"bytes {begin}-{len(data) - 1}/{len(data)}")
        return self.reply(200, data, Content_Type="application/octet-stream")

    def do_GET(self):
        body = self.body()
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        path = self.path.split("?")[0]
        if path.startswith("/file/"):
            self.file()
        elif path.startswith("/status/"):
            self.reply(int(path[8:]), b"status\n")
        elif path.startswith("/to/"):
            self.reply(302, b"", Location=path[3:])
        elif path == "/away":
            self.reply(302, b"", Location=self.path.split("?", 1)[1])
        elif path == "/gzip":
            self.reply(200, gzip.compress(b"unpacked\n"), Content_Encoding="gzip")
        elif path == "/close":
            self.close_connection = True
        elif path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"the beginning")
            self.close_connection = True
        elif path == "/silent":
            self.server.release.wait(WAIT)
            self.close_connection = True
        else:
            self.reply(200, b"ok\n", Content_Type="text/plain", X_Method=self.command)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def do_CONNECT(self):
        """As a proxy."""
        self.server.seen.append((self.command, self.path, dict(self.headers), b""))
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=WAIT) as far:
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            forth = threading.Thread(target=pump, args=(self.connection, far))
            forth.start()
            pump(far, self.connection)
            forth.join()


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Web(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, context=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.data, self.release = [], b"", threading.Event()
        scheme = "https" if context else "http"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"{scheme}://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # a client that refuses our certificate

    def end(self):
        self.release.set()
        self.shutdown()
        self.server_close()


@pytest.fixture
def base_env(base_env):
    """Without the proxies of whoever runs the tests."""
    return {name: value for name, value in base_env.items() if not name.lower().endswith("_proxy")}


@pytest.fixture
def web():
    server = Web()
    yield server
    server.end()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cert")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-days", "2"], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def secure_web(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = Web(context)
    yield server
    server.end()


# -- what is sent


def test_get_sends_query_and_fields(pier, web):
    result = pier("get", f"{web.url}/p?a=1", "b==x y&z", "X-One:1", "user-agent:me", "Accept:")
    assert (result.rc, result.out, result.err) == (0, b"ok\n", "")
    method, path, fields, body = web.seen[0]
    assert (method, path, body) == ("GET", "/p?a=1&b=x%20y%26z", b"")
    assert (fields["X-One"], fields["user-agent"]) == ("1", "me")
    assert "Accept" not in fields and "User-Agent" not in fields


def test_post_sends_json(pier, web, tmp_path):
    (tmp_path / "text").write_text("a\nb")
    (tmp_path / "data").write_text('{"x": [1, null]}')
    result = pier("post", web.url, "name=Ann", "age:=42", "tags:=[1, true]", "q\\=r=\"é\"",
                  f"text=@{tmp_path}/text", f"data:=@{tmp_path}/data")
    assert result.rc == 0
    method, _, fields, body = web.seen[0]
    assert method == "POST" and fields["Content-Type"] == "application/json"
    assert fields["Accept"] == "application/json, */*;q=0.5"
    assert json.loads(body) == {"name": "Ann", "age": 42, "tags": [1, True], "q=r": '"é"',
                                "text": "a\nb", "data": {"x": [1, None]}}


def test_post_sends_forms(pier, web):
    assert pier("post", "-f", web.url, "name=A & B", "x=é").rc == 0
    _, _, fields, body = web.seen[0]
    assert fields["Content-Type"] == "application/x-www-form-urlencoded"
    assert body == b"name=A+%26+B&x=%C3%A9"


def test_put_sends_a_file_as_it_is(pier, web, tmp_path):
    data = os.urandom(200000)
    (tmp_path / "a.png").write_bytes(data)
    assert pier("put", web.url, f"@{tmp_path}/a.png").rc == 0
    assert pier("put", web.url, "@-", stdin=data).rc == 0
    assert [seen[3] for seen in web.seen] == [data, data]
    assert web.seen[0][2]["Content-Type"] == "image/png"
    assert web.seen[1][2]["Transfer-Encoding"] == "chunked"


@pytest.mark.parametrize("verb", ["get", "head", "post", "put", "patch", "delete"])
def test_each_verb_is_its_method(pier, web, verb):
    result = pier(verb, web.url)
    assert result.rc == 0 and web.seen[0][0] == verb.upper()
    assert result.out.startswith(b"HTTP/1.1 200 OK\r\n" if verb == "head" else b"ok\n")


def test_urls_may_be_short(pier, web):
    assert pier("get", f":{web.server_port}/x").rc == 0
    assert pier("get", f"127.0.0.1:{web.server_port}/y#z").rc == 0
    assert [(seen[1], seen[2]["Host"]) for seen in web.seen] == [
        ("/x", f"localhost:{web.server_port}"), ("/y", f"127.0.0.1:{web.server_port}")]


def test_credentials_are_sent_and_never_shown(pier, web):
    pier("get", "-u", "me:a:b", web.url)
    pier("get", "--bearer", "tok", web.url)
    assert [seen[2]["Authorization"] for seen in web.seen] == ["Basic bWU6YTpi", "Bearer tok"]
    result = pier("get", "http://me:secret@127.0.0.1:1/")
    assert result.rc == 4 and "secret" not in result.err


@pytest.mark.parametrize("args, words", [
    (["x"], "'x' is no item"),
    (["a:=[1"], "a:=: json: line 1"),
    (["@x", "a=b"], "has no other data"),
    (["@x", "@y"], "there is a body already"),
    (["-f", "a:=1"], "a form has no JSON values"),
    (["-O"], "there is no name at the end of the URL"),
    (["-O", "-o", "x"], "either -o or -O"),
    (["--resume"], "--resume needs -o FILE or -O"),
])
def test_wrong_command_lines_are_told(pier, args, words):
    result = pier("get", "http://127.0.0.1:1/", *args)
    assert result.rc == 2 and words in result.err and result.out == b""


# -- what is printed


def test_include_prints_the_head_first(pier, web):
    result = pier("get", "-i", web.url)
    head, _, body = result.out.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\nX-Method: GET" in head
    assert body == b"ok\n"


def test_head_prints_json(pier, web):
    said = json.loads(pier("head", "--json", web.url).out)
    assert (said["status"], said["reason"], said["version"]) == (200, "OK", "1.1")
    assert {"name": "X-Method", "value": "HEAD"} in said["fields"]


def test_a_status_is_a_failure_only_when_asked(pier, web):
    for status, rc in ((200, 0), (399, 0), (400, 7), (404, 7), (503, 7)):
        url = f"{web.url}/status/{status}"
        assert pier("get", url)[:2] == (0, b"status\n")
        result = pier("get", "--fail", url)
        assert result.rc == rc
        assert (f"{url}: {status}" in result.err) == (rc == 7)


def test_timing_tells_each_step(pier, web):
    result = pier("get", "--timing", web.url)
    steps = re.findall(r"^(\w[\w ]*\w) +([\d.]+) ms$", result.err, re.M)
    assert [name for name, _ in steps] == ["resolve", "connect", "first byte", "total"]
    times = [float(ms) for _, ms in steps]
    assert times == sorted(times) and result.out == b"ok\n"
    said = json.loads(pier("get", "--timing", "--json", web.url).err)
    assert list(said) == ["resolve_ms", "connect_ms", "first_byte_ms", "total_ms"]


def test_gzip_is_undone(pier, web):
    assert pier("get", f"{web.url}/gzip").out == b"unpacked\n"
    assert pier("get", "--no-gzip", f"{web.url}/gzip").out.startswith(b"\x1f\x8b")


def test_redirects_are_followed_as_far_as_allowed(pier, web):
    url = f"{web.url}/to/to/to/x"
    assert pier("get", url).out == b"ok\n"
    result = pier("get", "--redirects", "2", url)
    assert result.rc == 1 and "more than 2 redirects" in result.err
    assert pier("get", "--redirects", "0", "-i", url).out.startswith(b"HTTP/1.1 302")


@pytest.mark.parametrize("path, words", [("/close", "closed without a response"),
                                         ("/cut", "closed in the middle of the body")])
def test_broken_responses_are_failures(pier, web, path, words):
    result = pier("get", web.url + path)
    assert result.rc == 1 and words in result.err


def test_time_is_limited(pier, web):
    result = pier("get", "--timeout", "100ms", f"{web.url}/silent")
    assert result.rc == 6 and "timed out" in result.err


def test_no_connection_is_4_and_no_name_3(pier):
    assert pier("get", "http://127.0.0.1:1").rc == 4
    assert pier("get", "http://name.invalid", timeout=3 * WAIT).rc == 3


def test_an_output_that_is_closed_is_told(pier_bin, web, base_env):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([pier_bin, "get", web.url], stdout=full, stderr=subprocess.PIPE,
                              env=base_env, timeout=WAIT)
    assert done.returncode == 1 and b"no space left" in done.stderr.lower()


# -- files


def test_downloads_go_to_files(pier_bin, web, base_env, tmp_path):
    web.data = os.urandom(3 << 20)
    result = subprocess.run([pier_bin, "get", "-O", f"{web.url}/file/a%20b.bin?x"], cwd=tmp_path,
                            env=base_env, capture_output=True, timeout=WAIT)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert (tmp_path / "a b.bin").read_bytes() == web.data


@pytest.mark.parametrize("name", ["..", ".", "%2e%2e", "a%2fb", "%00x", ""])
def test_remote_names_stay_in_this_folder(pier_bin, web, base_env, tmp_path, name):
    (tmp_path / "in").mkdir()
    result = subprocess.run([pier_bin, "get", "-O", f"{web.url}/file/{name}"], cwd=tmp_path / "in",
                            env=base_env, capture_output=True, timeout=WAIT)
    assert result.returncode == 2
    assert list(tmp_path.rglob("*")) == [tmp_path / "in"]


def test_downloads_resume(pier, web, tmp_path):
    web.data = os.urandom(500000)
    path = tmp_path / "f"
    path.write_bytes(web.data[:123456])
    for _ in range(2):  # the second finds all of it
        assert pier("get", "--resume", "-o", str(path), f"{web.url}/file/x").rc == 0
        assert path.read_bytes() == web.data
    assert [seen[2].get("Range") for seen in web.seen] == ["bytes=123456-", "bytes=500000-"]
    path.write_bytes(web.data + b"more")
    result = pier("get", "--resume", "-o", str(path), f"{web.url}/file/x")
    assert result.rc == 1 and "no beginning" in result.err


def test_resume_begins_anew_where_the_server_does(pier, web, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"something else")
    assert pier("get", "--resume", "-o", str(path), f"{web.url}/x").rc == 0
    assert path.read_bytes() == b"ok\n"


def test_a_failed_download_leaves_the_file(pier, web, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    assert pier("get", "--fail", "-o", str(path), f"{web.url}/status/404").rc == 7
    assert path.read_bytes() == b"old"
    result = pier("get", "-o", str(tmp_path / "no/f"), web.url)
    assert result.rc == 1 and "no such file" in result.err


def test_size_is_limited(pier, web):
    web.data = bytes(100000)
    result = pier("get", "--max-size", "64k", f"{web.url}/file/x")
    assert result.rc == 1 and "more than 65536 bytes" in result.err


def test_a_terminal_sees_progress_and_no_bytes(pier_bin, web, base_env, tmp_path):
    web.data = bytes(300000)
    ours, theirs = os.openpty()
    try:
        command = [pier_bin, "get", f"{web.url}/file/x"]
        done = subprocess.run([*command, "-o", tmp_path / "f"], stderr=theirs, env=base_env,
                              timeout=WAIT)
        assert done.returncode == 0 and (tmp_path / "f").read_bytes() == web.data
        assert b"] 100 %  293.0 KiB of 293.0 KiB" in os.read(ours, 65536)
        done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env=base_env,
                              timeout=WAIT)
        assert done.returncode == 1 and b"give -o FILE" in done.stderr
    finally:
        os.close(ours)
        os.close(theirs)


# -- proxies and sockets


def test_proxies_are_used(pier, web):
    env = {"http_proxy": web.url.replace("://", "://me:pw@"), "no_proxy": "other.invalid"}
    assert pier("get", "http://one.invalid/x", env=env).out == b"ok\n"
    assert web.seen[0][1] == "http://one.invalid/x"
    assert web.seen[0][2]["Proxy-Authorization"] == "Basic bWU6cHc="
    assert pier("get", "http://other.invalid/", env=env, timeout=3 * WAIT).rc == 3
    assert pier("get", "--no-proxy", "http://one.invalid/", env=env, timeout=3 * WAIT).rc == 3
    assert pier("get", "--proxy", web.url, "http://two.invalid/").rc == 0


def test_https_goes_through_proxies(pier, web, secure_web, certificate):
    result = pier("get", "--ca", certificate[0], "--proxy", web.url, f"{secure_web.url}/x")
    assert (result.rc, result.out, result.err) == (0, b"ok\n", "")
    assert web.seen[0][:2] == ("CONNECT", secure_web.url.removeprefix("https://"))
    assert secure_web.seen[0][1] == "/x"


def test_https_verifies(pier, secure_web, certificate):
    result = pier("get", secure_web.url)
    assert result.rc == 5 and result.err.startswith("pier: tls: ")
    assert pier("get", "--ca", certificate[0], secure_web.url).out == b"ok\n"
    assert pier("get", "--insecure", secure_web.url).out == b"ok\n"
    result = pier("get", "--timing", "--ca", certificate[0], secure_web.url)
    assert re.search(r"^TLS +[\d.]+ ms$", result.err, re.M)


def test_https_never_leads_to_http(pier, secure_web, web, certificate):
    result = pier("get", "--ca", certificate[0], f"{secure_web.url}/away?{web.url}/x")
    assert (result.rc, web.seen) == (1, []) and "redirected from https to http://" in result.err
    result = pier("get", "--ca", certificate[0], f"{web.url}/away?{secure_web.url}/x")
    assert (result.rc, result.out) == (0, b"ok\n")


# -- real servers


NGINX = """
daemon off; master_process off; pid {dir}/pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off; gzip on; gzip_min_length 1; gzip_types text/plain; types {{ text/plain txt; }}
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  server {{ listen unix:{dir}/sock; root {dir}; location /old {{ return 301 /a.txt; }} }}
}}
"""


@pytest.mark.skipif(not shutil.which("nginx", path="/usr/sbin:/usr/bin"), reason="no nginx")
def test_nginx_is_understood(pier, tmp_path):
    text = b"a line\n" * 5000
    (tmp_path / "a.txt").write_bytes(text)
    (tmp_path / "conf").write_text(NGINX.format(dir=tmp_path))
    server = subprocess.Popen(["/usr/sbin/nginx", "-c", tmp_path / "conf"],
                              stderr=subprocess.DEVNULL)
    try:
        wait_until((tmp_path / "sock").exists, "nginx listens")
        via = ["--unix", str(tmp_path / "sock")]
        for args in ([], ["--no-gzip"]):
            assert pier("get", *via, *args, "http://any/old").out == text
        part = tmp_path / "part"
        part.write_bytes(text[:1000])
        assert pier("get", *via, "--resume", "-o", str(part), "http://any/a.txt").rc == 0
        assert part.read_bytes() == text
        assert pier("get", *via, "--fail", "http://any/none").rc == 7
        assert pier("head", *via, "http://any/a.txt").out.startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        server.terminate()
        server.wait(WAIT)


NODE = """
const http = require('http');
const server = http.createServer((req, res) => {
  if (req.url === '/echo') { req.pipe(res); return; }
  res.writeHead(200, {'Trailer': 'X-T'});
  let n = 0;
  const timer = setInterval(() => {
    res.write('piece ' + n + '\\n');
    if (++n === 5) { clearInterval(timer); res.addTrailers({'X-T': 'end'}); res.end(); }
  }, 1);
});
server.listen(process.argv[1]);
"""


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_node_is_understood(pier, tmp_path):
    sock = tmp_path / "sock"
    server = subprocess.Popen(["node", "-e", NODE, str(sock)], stderr=subprocess.DEVNULL)
    try:
        wait_until(sock.exists, "node listens")
        result = pier("get", "--unix", str(sock), "http://any/")
        assert result.out == b"".join(b"piece %d\n" % i for i in range(5))
        data = os.urandom(100000)
        result = pier("post", "--unix", str(sock), "http://any/echo", "@-", stdin=data)
        assert result.out == data
    finally:
        server.terminate()
        server.wait(WAIT)


# -- the example


@pytest.mark.parametrize("language", ["c", "python"])
def test_http_get_prints_status_type_and_body(pier_bin, base_env, web, language):
    program = [pathlib.Path(pier_bin).parents[1] / "examples/http_get"] if language == "c" \
        else [sys.executable, PYTHON / "http_get.py"]
    env = {**base_env, "ASAN_OPTIONS": "detect_leaks=0"}
    result = run([*program, f"{web.url}/x"], env, timeout=WAIT)
    assert (result.rc, result.out) == (0, b"200 text/plain\n\nok\n")
    check_report(result.err)
    assert run([*program, f"{web.url}/status/404"], env, timeout=WAIT).rc == 1
    assert run([*program, "http://127.0.0.1:1/"], env, timeout=WAIT).rc == 4
    assert run([*program], env, timeout=WAIT).rc == 2
