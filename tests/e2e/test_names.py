# SPDX-License-Identifier: MIT
"""`pier resolve`, `pier ports` and their examples, against getent and Python's socket module, and
in a network of their own, where a name server answers what a test needs, or nothing at all."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import pytest

from pierlib import SCALE, WAIT, run

EXAMPLES = pathlib.Path(
    os.environ.get("PIER_BUILD_DIR", pathlib.Path(__file__).resolve().parents[2] / "build")
) / "examples"


@pytest.fixture
def example(base_env):
    """example(name, *args, wrapper=[…]) → Result of an example program."""

    def start(name, *args, wrapper=()):
        program = EXAMPLES / name
        if not program.exists():
            pytest.skip(f"{program} is not built")
        return run([*wrapper, program, *args], base_env)

    return start


def addresses(name, family=0):
    """What Python says, each once."""
    found = socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)
    return list(dict.fromkeys(sockaddr[0] for *_, sockaddr in found))


def lines(result):
    return result.out.decode().splitlines()


# -- a network of its own -------------------------------------------------------------------------

HOSTS = """127.0.0.1 localhost
192.0.2.10 both.test alias.test
2001:db8::10 both.test
192.0.2.11 four.test
2001:db8::12 six.test
"""

# A name server on 127.0.0.1 that knows host.test, and of silent.* says nothing; then the command.
NAME_SERVER = r"""
import socket, subprocess, sys, threading
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
ANSWERS = {1: socket.inet_aton("198.51.100.1"),
           28: socket.inet_pton(socket.AF_INET6, "2001:db8::99"),
           12: b"\4host\4test\0"}

def serve():
    while True:
        query, client = server.recvfrom(4096)
        end = query.index(b"\0", 12) + 5
        name, kind = query[12:end - 5].lower(), int.from_bytes(query[end - 4:end - 2], "big")
        if b"silent" in name:
            continue
        known = name == b"\4host\4test" or kind == 12 and name.startswith(b"\0011\003100\00251\003198\7")
        data = ANSWERS.get(kind, b"")
        record = b"\xc0\x0c" + query[end - 4:end] + bytes([0, 0, 0, 60, 0, len(data)]) + data
        head = query[:2] + (b"\x81\x80" if known else b"\x81\x83") + b"\0\1"
        head += bytes([0, 1 if known and data else 0, 0, 0, 0, 0])
        server.sendto(head + query[12:end] + (record if known and data else b""), client)

threading.Thread(target=serve, daemon=True).start()
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""

SCRIPT = """
ip link set lo up
for each in hosts resolv.conf nsswitch.conf; do
    touch "/etc/$each" 2>/dev/null || true
    mount --bind "$1/$each" "/etc/$each"
done
if [ -e "$1/services" ]; then mount --bind "$1/services" /etc/services; fi
shift
exec "$@"
"""


@pytest.fixture
def alone(tmp_path):
    """The wrapper of a command with its own hosts, network and name server."""
    flags = "-mn" if os.geteuid() == 0 else "-rmn"
    if not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("no unshare or ip command to make a network of its own")
    (tmp_path / "hosts").write_text(HOSTS)
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\nservices: files\n")
    wrapper = ["unshare", flags, "sh", "-ec", SCRIPT, "sh", str(tmp_path)]
    wrapper += [sys.executable, "-c", NAME_SERVER]
    tried = subprocess.run([*wrapper, "true"], capture_output=True, text=True, timeout=WAIT)
    if tried.returncode:
        pytest.skip(f"no network of its own here: {tried.stderr.strip()}")
    return wrapper


def getent(wrapper, *args):
    """The addresses of `getent ahosts`, each once."""
    done = subprocess.run([*wrapper, "getent", *args], capture_output=True, text=True, timeout=WAIT)
    return list(dict.fromkeys(line.split()[0] for line in done.stdout.splitlines()))


# -- pier resolve ---------------------------------------------------------------------------------


def test_resolve_of_localhost_is_loopback(pier):
    assert lines(pier("resolve", "localhost")) == ["::1", "127.0.0.1"]
    assert lines(pier("resolve", "-4", "localhost")) == ["127.0.0.1"]
    assert lines(pier("resolve", "localhost", "-6")) == ["::1"]


def test_resolve_of_this_host_is_what_python_says(pier):
    name = socket.gethostname()
    try:
        wanted = addresses(name)
    except socket.gaierror:
        pytest.skip("the host's own name does not resolve here")
    assert lines(pier("resolve", name)) == wanted


@pytest.mark.parametrize("name", ["both.test", "four.test", "six.test", "alias.test", "host.test"])
def test_resolve_says_what_getent_says(pier, alone, name):
    result = pier("resolve", name, wrapper=alone)
    assert (result.rc, result.err) == (0, "")
    assert lines(result) == getent(alone, "ahosts", name) != []


def test_resolve_takes_one_version_only(pier, alone):
    assert lines(pier("resolve", "-4", "both.test", wrapper=alone)) == ["192.0.2.10"]
    assert lines(pier("resolve", "-6", "host.test", wrapper=alone)) == ["2001:db8::99"]
    result = pier("resolve", "-6", "2001:db8::1", "192.0.2.1", wrapper=alone)
    assert (result.rc, lines(result)) == (3, ["2001:db8::1 2001:db8::1"])
    assert result.err == "pier: resolve 192.0.2.1: no IPv6 address\n"


def test_resolve_of_an_unknown_name_exits_3(pier, alone):
    result = pier("resolve", "no.such.name", wrapper=alone)
    assert (result.rc, result.out) == (3, b"")
    assert result.err == "pier: resolve no.such.name: unknown name\n"


def test_resolve_answers_all_that_it_can_in_order(pier, alone):
    names = ["four.test", "no.such.name", "host.test", "six.test", "nor.this"] * 6
    result = pier("resolve", "-4", *names, wrapper=alone)
    assert result.rc == 3
    assert lines(result) == ["four.test 192.0.2.11", "host.test 198.51.100.1"] * 6
    assert result.err.splitlines()[:1] == ["pier: resolve no.such.name: unknown name"]
    assert len(result.err.splitlines()) == 18


def test_resolve_json_is_an_object_a_line(pier, alone):
    result = pier("resolve", "--json", "six.test", "no.such.name", "127.0.0.1", wrapper=alone)
    assert result.rc == 3
    assert [json.loads(line) for line in lines(result)] == [
        {"name": "six.test", "addresses": ["2001:db8::12"]},
        {"name": "no.such.name", "addresses": [], "error": "unknown name"},
        {"name": "127.0.0.1", "addresses": ["127.0.0.1"]},
    ]


def test_resolve_reverse_gives_names(pier, alone):
    result = pier("resolve", "--reverse", "192.0.2.10", "2001:db8::12", "198.51.100.1",
                  wrapper=alone)
    assert (result.rc, result.err) == (0, "")
    assert lines(result) == ["192.0.2.10 both.test", "2001:db8::12 six.test",
                             "198.51.100.1 host.test"]
    result = pier("resolve", "--reverse", "203.0.113.9", wrapper=alone)
    assert (result.rc, result.err) == (3, "pier: reverse 203.0.113.9: no name\n")
    result = pier("resolve", "--reverse", "--json", "192.0.2.11", "203.0.113.9", wrapper=alone)
    assert [json.loads(line) for line in lines(result)] == [
        {"address": "192.0.2.11", "name": "four.test"},
        {"address": "203.0.113.9", "name": None, "error": "no name"},
    ]


# The resolver's own patience is 10 s for each.
SILENCE = {"RES_OPTIONS": "timeout:5 attempts:2"}


def test_resolve_does_not_wait_for_a_silent_name_server(pier, alone):
    result = pier("resolve", "--timeout", "300ms", "silent.test", wrapper=alone, env=SILENCE)
    assert (result.rc, result.out) == (6, b"")
    assert result.err == "pier: resolve silent.test: timed out\n"
    assert 0.3 <= result.elapsed < 8


@pytest.mark.slow
def test_resolve_waits_for_several_names_at_once(pier, alone):
    silent = [f"silent{i}.test" for i in range(6)]
    begin = time.monotonic()
    result = pier("resolve", "-4", "--timeout", "4s", *silent, "four.test", wrapper=alone,
                  env=SILENCE, timeout=6 * 4 * SCALE)
    assert time.monotonic() - begin < 6 * 4 / 2
    assert (result.rc, lines(result)) == (6, ["four.test 192.0.2.11"])
    assert result.err.count("timed out") == 6


def test_send_to_a_name_of_a_silent_server_times_out(pier, alone):
    result = pier("send", "--timeout", "300ms", "tcp://silent.test:80", "hello", wrapper=alone,
                  env=SILENCE)
    assert (result.rc, result.err) == (6, "pier: dial tcp://silent.test:80: timed out\n")


@pytest.mark.parametrize(
    "name, why",
    [
        ("x\u2488y.test", "no name by the rules of UTS 46"),
        ("127.1", "not an IPv4 address"),
        ("x" * 254, "longer than 253 bytes"),
    ],
)
def test_resolve_refuses_what_is_no_name(pier, name, why):
    result = pier("resolve", name)
    assert (result.rc, result.err) == (3, f"pier: resolve {name}: {why}\n")


def test_resolve_refuses_both_versions_and_no_name(pier):
    result = pier("resolve", "-4", "-6", "localhost")
    assert result.rc == 2 and "exclude each other" in result.err
    assert pier("resolve").rc == 2


@pytest.mark.parametrize("verb", [("resolve", "localhost"), ("ports", "ssh"), ("hash",)])
def test_an_output_that_cannot_be_written_is_told(pier_bin, base_env, verb):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([pier_bin, *verb], env=base_env, stdin=subprocess.DEVNULL,
                              stdout=full, stderr=subprocess.PIPE, text=True, timeout=WAIT)
    assert done.returncode == 1
    assert done.stderr == "pier: write standard output: no space left on device\n"


# -- pier ports -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name, port", [("http", 80), ("https", 443), ("ftp", 21), ("ssh", 22),
                                        ("smtp", 25), ("domain", 53)])
def test_ports_of_the_best_known(pier, name, port):
    assert f"{name} {port}/tcp" in lines(pier("ports", name))
    assert f"{name} {port}/tcp" in lines(pier("ports", str(port)))


def test_ports_are_what_python_says(pier):
    for name in "telnet", "snmp", "imaps", "ntp", "sip":
        wanted = []
        for protocol in "tcp", "udp":
            with contextlib.suppress(OSError):
                wanted.append(f"{name} {socket.getservbyname(name, protocol)}/{protocol}")
        if wanted:
            assert lines(pier("ports", name)) == wanted


def test_ports_come_from_the_systems_table_and_our_own(pier, alone, tmp_path):
    if not os.path.exists("/etc/services"):
        pytest.skip("there is no /etc/services to put another in the place of")
    (tmp_path / "services").write_text("ours 4711/udp our-alias\nhttp 8080/tcp\n")
    result = pier("ports", "ours", "our-alias", "4711", "http", "https", "DNS", wrapper=alone)
    assert (result.rc, result.err) == (0, "")
    assert lines(result) == ["ours 4711/udp", "our-alias 4711/udp", "ours 4711/udp",
                             "http 8080/tcp", "https 443/tcp", "https 443/udp", "DNS 53/tcp",
                             "DNS 53/udp"]
    (tmp_path / "services").write_text("")
    assert lines(pier("ports", "ftp", "ssh", wrapper=alone)) == ["ftp 21/tcp", "ssh 22/tcp"]


def test_ports_without_operands_lists_the_best_known(pier):
    result = pier("ports")
    assert result.rc == 0
    shown = lines(result)
    assert {"http 80/tcp", "https 443/tcp", "ftp 21/tcp", "ssh 22/tcp", "smtp 25/tcp",
            "domain 53/tcp", "domain 53/udp"} <= set(shown)
    assert len(shown) > 20


def test_ports_json_is_an_object_a_line(pier):
    shown = [json.loads(line) for line in lines(pier("ports", "--json", "domain"))]
    assert shown == [{"name": "domain", "port": 53, "protocol": "tcp"},
                     {"name": "domain", "port": 53, "protocol": "udp"}]


def test_ports_tells_what_is_unknown_and_goes_on(pier):
    result = pier("ports", "no\tsuch", "ssh", "4")
    assert (result.rc, lines(result)) == (3, ["ssh 22/tcp"])
    assert result.err == "pier: service no\\tsuch: unknown name\npier: port 4: unknown name\n"


@pytest.mark.parametrize("number", ["65536", "99999999999999999999"])
def test_ports_refuses_what_is_no_port(pier, number):
    result = pier("ports", number)
    assert result.rc == 2 and f"port {number}: at most 65535" in result.err


# -- the examples ---------------------------------------------------------------------------------


def test_ports_example_prints_the_six_and_what_is_asked(example):
    result = example("ports")
    assert (result.rc, result.err) == (0, "")
    assert lines(result) == ["HTTP: 80", "HTTPS: 443", "FTP: 21", "SSH: 22", "SMTP: 25", "DNS: 53"]
    result = example("ports", "telnet", "nosuch", "imaps")
    assert (result.rc, lines(result)) == (3, ["telnet: 23", "imaps: 993"])
    assert result.err == "ports: service nosuch: unknown\n"


def test_host_info_example_tells_name_and_addresses(example, alone):
    name = socket.gethostname()
    result = example("host_info", "four.test", wrapper=alone)
    assert lines(result)[0] == f"host name: {name}"
    assert lines(result)[-1] == "four.test: 192.0.2.11"
    result = example("host_info", "no.such.name", wrapper=alone)
    assert result.rc == 3
    assert result.err.splitlines()[-1] == "host_info: resolve no.such.name: unknown name"
