#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Pier's HTTP server beside independent ones: node (llhttp), Go, Python, nginx and Apache, those
that are installed.

    fuzz/http_peers.py battery                who refuses what of tests/data/http_battery.txt
    fuzz/http_peers.py fuzz [SECONDS [SEED]]  changed requests, each with a second one behind it

`fuzz` fails when Pier takes both requests of an input that node and Go both refuse, or when Pier and
one of them take it and do not see the same bodies and the same number of requests: that is how
requests are smuggled. (node refuses a whole input for its last request's sake, Go the empty line
that RFC 9112, 2.2 allows, node methods that it does not know: what one alone refuses is no finding.)
PIER_BUILD is the build, default build/.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
sys.dont_write_bytecode = True

from test_http_battery import battery  # noqa: E402

BUILD = pathlib.Path(os.environ.get("PIER_BUILD", ROOT / "build")).resolve()
PEERS = ROOT / "fuzz/peers"
SECOND = b"GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
WAIT = 5
PATIENCE = 1
USAGE = b"POST /echo\n"  # of GET /; who routes how is not the question
# One closes behind CONNECT, or finds "close" where another sees none: that harms nobody.
EARLY_END = re.compile(rb"CONNECT |connection:", re.I)

NGINX = """daemon off; error_log stderr crit; pid {folder}/pid; worker_processes 1;
events {{ worker_connections 64; }}
http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{back}; }} }}
server {{ listen 127.0.0.1:{back}; location / {{ return 200 "ok"; }} }} }}
"""
APACHE = """ServerName a
Listen 127.0.0.1:{port}
PidFile {folder}/apache.pid
ErrorLog {folder}/apache.log
DocumentRoot {folder}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
User nobody
Group nogroup
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def wait_for(port, name):
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), WAIT):
            return port
        time.sleep(0.01)
    print(f"{name} does not listen", file=sys.stderr)
    return None


class Servers:
    """The servers that could be started: name → port."""

    def __init__(self, folder, names):
        self.folder, self.running, self.ports = folder, [], {}
        for name in names:
            port = getattr(self, name)()
            if port:
                self.ports[name] = port

    def run(self, *command):
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)
        self.running.append(process)
        return process

    def end(self):
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            process.wait()

    def pier(self):
        port = free_port()
        self.run(BUILD / "examples/http_echo", f"http://127.0.0.1:{port}")
        return wait_for(port, "pier")

    def node(self):
        return shutil.which("node") and \
            int(self.run("node", PEERS / "echo.js").stdout.readline())

    def go(self):
        if not shutil.which("go"):
            return None
        program = self.folder / "echo"
        if subprocess.run(["go", "build", "-o", program, PEERS / "echo.go"]).returncode:
            return None
        return int(self.run(program).stdout.readline())

    def python(self):
        return int(self.run(sys.executable, PEERS / "echo.py").stdout.readline())

    def nginx(self):
        if not shutil.which("nginx", path="/usr/sbin:/usr/bin"):
            return None
        port = free_port()
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self.folder, port=port, back=free_port()))
        self.run("/usr/sbin/nginx", "-p", self.folder, "-c", config)
        return wait_for(port, "nginx")

    def apache(self):
        if not os.access("/usr/sbin/apache2", os.X_OK):
            return None
        port = free_port()
        config = self.folder / "apache.conf"
        config.write_text(APACHE.format(folder=self.folder, port=port))
        self.run("/usr/sbin/apache2", "-D", "FOREGROUND", "-f", config)
        return wait_for(port, "apache")


def answers(data):
    """[(status, body)] of the responses in data, 1xx left out; what is cut counts with its part."""
    found = []
    while head := re.match(rb"HTTP/1.\d (\d\d\d).*?\r\n\r\n", data, re.S):
        data = data[head.end():]
        status = int(head[1])
        if status < 200:
            continue
        length = re.search(rb"\r\ncontent-length: *(\d+)", head[0], re.I)
        size = int(length[1]) if length else 0 if status in (204, 304) else len(data)
        found.append((status, data[:size]))
        data = data[size:]
    return found


def ask(port, data):
    """What a server answers until it closes or says nothing for a moment."""
    received = b""
    with contextlib.suppress(OSError), \
            socket.create_connection(("127.0.0.1", port), WAIT) as s:
        s.settimeout(PATIENCE)
        s.sendall(data)
        while piece := s.recv(65536):
            received += piece
    return answers(received)


def takes(found):
    """Whether the first request was understood."""
    return bool(found) and (found[0][0] < 400 or found[0][0] in (403, 404, 405))


def echoing(data):
    return data.replace(b"POST / ", b"POST /echo ", 1)


def show_battery(servers):
    requests = battery()
    laxer = {name: [] for name in servers.ports}
    stricter = {name: [] for name in servers.ports}
    tries = [(name, port, request) for name, port in servers.ports.items() for request in requests]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        results = pool.map(lambda one: takes(ask(one[1], echoing(one[2].bytes))), tries)
    for (name, _, request), taken in zip(tries, results):
        if taken and request.expected != "ok":
            laxer[name].append(request)
        elif not taken and request.expected == "ok":
            stricter[name].append(request)
    bad = sum(request.expected != "ok" for request in requests)
    print(f"{len(requests)} requests, {bad} of them to be refused")
    for name in servers.ports:
        print(f"{name}: takes {len(laxer[name])} of those, refuses {len(stricter[name])} others")
    for name in servers.ports:
        for word, several in (("takes", laxer[name]), ("refuses", stricter[name])):
            for request in several:
                print(f"{name} {word} {request.section} {request.text[:160]}")
    return 1 if laxer.get("pier") or stricter.get("pier") else 0


PIECES = [b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b",", b";", b"chunked", b"0", b"1", b"5",
          b"-", b"+", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"\x0b", b"\xff",
          b"0\r\n\r\n", b"5\r\nabcde\r\n", b"Host: a\r\n", b"HTTP/1.1", b"%00", b"=", b'"', b"x"]


def change(draw, data):
    data = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(data) + 1)
        kind = draw.randrange(4)
        if kind == 0:
            data[at:at] = draw.choice(PIECES)
        elif kind == 1:
            data[at:at + draw.randint(1, 4)] = b""
        elif kind == 2:
            data[at:at + 1] = bytes([draw.randrange(256)])
        else:
            end = at + draw.randint(1, 20)
            data[at:at] = data[at:end]
    return bytes(data)


# What Pier takes because the RFCs say so, and neither node nor Go does: white space in extensions
# (9112, 7.1.1), empty lines before requests (9112, 2.2) and other methods together with either.
RFC_SAYS = re.compile(rb"\r\n\r\n\r\n|^\r\n|[0-9a-f;=][ \t]+[;=\w\"]|\w[ \t]+[;=]|HTTP/1\.[2-9]|^(?!GET "
                      rb"|HEAD |POST |PUT |DELETE |OPTIONS |PATCH )")


def is_plain(first):
    """Whether the RFCs leave no room: also the second request's method must not have grown."""
    return not RFC_SAYS.search(first) and (first.endswith(b"\n") or b"ength:" in first)


def all_taken(found):
    return all(takes([answer]) for answer in found)


def bodies(found):
    return [body if status == 200 and body != USAGE else b"" for status, body in found]


def finding(servers, judges, first):
    """What is wrong with Pier's answers beside the others', in words, or None."""
    data = first + SECOND
    ours = ask(servers.ports["pier"], data)
    if len(ours) < 2 or not all_taken(ours):
        return None
    theirs = {name: ask(servers.ports[name], data) for name in judges}
    if is_plain(first) and not any(all_taken(found) for found in theirs.values()):
        return f"pier takes what all others refuse: {data!r}\n  {ours}\n  {theirs}"
    for name, found in theirs.items():
        if all_taken(found) and bodies(ours) != bodies(found):
            return f"pier and {name} see other requests: {data!r}\n  {ours}\n  {found}"
    return None


def fuzz(servers, seconds, seed):
    draw = random.Random(seed)
    requests = [echoing(r.bytes) for r in battery() if r.expected == "ok" and len(r.bytes) < 400]
    end, count, findings = time.monotonic() + seconds, 0, []
    judges = [name for name in ("node", "go") if name in servers.ports]
    while time.monotonic() < end and len(findings) < 20:
        first = change(draw, draw.choice(requests))
        if EARLY_END.search(first):
            continue
        count += 1
        found = finding(servers, judges, first)
        findings += [found] if found else []
    print(f"{count} requests, seed {seed}, beside {', '.join(judges)}: {len(findings)} findings")
    print("\n".join(findings))
    return 1 if findings else 0


def main(mode="battery", seconds="10", seed="1"):
    names = ("pier", "node", "go") if mode == "fuzz" else \
        ("pier", "node", "go", "python", "nginx", "apache")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # for servers that change their user
        servers = Servers(pathlib.Path(folder), names)
        try:
            return fuzz(servers, float(seconds), int(seed)) if mode == "fuzz" \
                else show_battery(servers)
        finally:
            servers.end()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
