# SPDX-License-Identifier: MIT
"""The raw requests of tests/data/http_battery.txt against the server: each refusal has its status,
and the connection ends behind it; what is understood is answered."""

import collections
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from pierlib import SCALE, WAIT, Process, check_report, wait_until

BATTERY = pathlib.Path(__file__).resolve().parents[1] / "data/http_battery.txt"
LISTENING = re.compile(r"listening\D.*?(http://127\.0\.0\.1:\d+)")
ANSWER = re.compile(rb"(?:HTTP/1.1 1\d\d.*?\r\n\r\n)*HTTP/1.\d (\d\d\d)", re.S)
REFUSALS = {400, 413, 414, 417, 431, 505}
LETTERS = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}

Request = collections.namedtuple("Request", "expected section text bytes")


def closing(text, start):
    depth = 1
    while depth:
        depth += {"{": 1, "}": -1}.get(text[start], 0)
        start += 1
    return start


def unescape(text):
    """The bytes of a request in the battery's notation."""
    out, at = bytearray(), 0
    while at < len(text):
        if text[at] != "\\":
            out += text[at].encode("latin-1")
            at += 1
        elif text[at + 1] == "x":
            out.append(int(text[at + 2:at + 4], 16))
            at += 4
        elif text[at + 1] == "{":
            end = closing(text, at + 2)
            count, _, piece = text[at + 2:end - 1].partition(":")
            out += unescape(piece) * int(count)
            at = end
        else:
            out += LETTERS[text[at + 1]]
            at += 2
    return bytes(out)


def battery():
    requests = []
    for line in BATTERY.read_text().splitlines():
        if line and not line.startswith("#"):
            expected, section, text = line[:4].strip(), line[5:18].strip(), line[19:]
            requests.append(Request(expected, section, text, unescape(text)))
    return requests


def ask(port, request):
    """(status, whether the connection ends) of the first final answer; status 0: none."""
    with socket.create_connection(("127.0.0.1", port), WAIT) as s:
        received = b""
        try:
            s.sendall(request)
            while not (head := ANSWER.match(received)):
                data = s.recv(65536)
                if not data:
                    return 0, True
                received += data
            status = int(head[1])
            if status in REFUSALS | {501}:
                while s.recv(65536):
                    pass
            return status, True
        except TimeoutError:
            return (int(head[1]) if received and head else 0), False
        except ConnectionError:
            return (int(head[1]) if received and head else 0), True


@pytest.fixture
def port(pier_bin, base_env):
    program = pathlib.Path(pier_bin).parents[1] / "examples/http_echo"
    server = Process([program, "http://127.0.0.1:0"], base_env)
    url = wait_until(lambda: LISTENING.search(server.stderr()), "it listens")[1]
    yield int(url.rpartition(":")[2])
    server.signal(signal.SIGTERM)
    server.wait()
    check_report(server.stderr())


def test_the_server_gives_every_request_of_the_battery_its_verdict(port):
    wrong = []
    for request in battery():
        body_is_read = request.bytes.replace(b"POST / ", b"POST /echo ", 1)
        status, ends = ask(port, body_is_read)
        if request.expected == "ok":
            right = status and status not in REFUSALS
        else:
            right = status == int(request.expected) and ends
        if not right:
            wrong.append(f"{request.text[:200]}: {status}, not {request.expected}"
                         f"{'' if ends else ', and stays open'}")
    assert not wrong, "\n".join(wrong)


def test_changed_requests_are_seen_alike_by_other_servers(pier_bin, base_env):
    """A few seconds of fuzz/http_peers.py, from the seed PIER_FUZZ_SEED (default 1) on."""
    if not shutil.which("node") and not shutil.which("go"):
        pytest.skip("neither node nor go is installed")
    program = pathlib.Path(__file__).resolve().parents[2] / "fuzz/http_peers.py"
    env = dict(base_env, PIER_BUILD=str(pathlib.Path(pier_bin).parents[1]))
    seed = os.environ.get("PIER_FUZZ_SEED", "1")
    done = subprocess.run([sys.executable, program, "fuzz", "4", seed], env=env, timeout=60 * SCALE,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
