# SPDX-License-Identifier: MIT
"""`pier resolve` by name servers: dnsmasq on loopback, and ports where nobody says a word."""

import contextlib
import json
import re
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

from pierlib import SCALE, WAIT

ZONE = [
    "--host-record=a.test,192.0.2.1,2001:db8::1",
    "--host-record=four.test,192.0.2.4",
    "--address=/many.test/192.0.2.77",
    "--cname=one.test,two.test", "--cname=two.test,three.test", "--cname=three.test,a.test",
    "--mx-host=mail.test,slow.test,20", "--mx-host=mail.test,quick.test,5",
    "--srv-host=_chat._tcp.test,a.test,5222,10,60",
    "--srv-host=_chat._tcp.test,four.test,5223,5,0",
    "--txt-record=text.test,hello,wörld",
    "--caa-record=a.test,128,issue,ca.test", "--caa-record=escape.test,0,is\x1b[2J,ca.test",
    "--ptr-record=7.2.0.192.in-addr.arpa,seven.test",
    "--address=/xn--bcher-kva.test/192.0.2.8",
    *(f"--txt-record=big.test,{'%02d' % i}{'x' * 98}" for i in range(30)),
]


@contextlib.contextmanager
def silence():
    """The port of a socket that takes queries and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as quiet:
        quiet.bind(("127.0.0.1", 0))
        yield quiet.getsockname()[1]


def free_port():
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", tcp.getsockname()[1]))
        return tcp.getsockname()[1]


def answers(port):
    """Whether somebody takes connections there: dnsmasq does once it also takes datagrams."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_dnsmasq(program, options):
    """(process, port): the port may be taken by somebody else meanwhile, so there are a few tries."""
    for _ in range(5):
        port = free_port()
        process = subprocess.Popen(
            [program, "--keep-in-foreground", f"--port={port}", "--conf-file=/dev/null",
             "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces",
             "--user=", "--group=", "--pid-file=", "--log-facility=-", "--local=/test/",
             "--local-ttl=60", *options], stderr=subprocess.PIPE)
        end = time.monotonic() + WAIT
        while process.poll() is None and time.monotonic() < end:
            if answers(port):
                return process, port
            time.sleep(0.01)
        process.kill()
        said = process.communicate()[1]
    raise AssertionError(f"dnsmasq does not start: {said}")


@pytest.fixture(scope="module")
def server():
    program = shutil.which("dnsmasq") or shutil.which("dnsmasq", path="/usr/sbin")
    if not program:
        pytest.skip("no dnsmasq")
    with silence() as quiet:
        process, port = start_dnsmasq(program, [*ZONE, f"--server=/silent.test/127.0.0.1#{quiet}"])
        yield f"127.0.0.1:{port}"
        process.kill()
        process.communicate()


@pytest.fixture
def ask(pier, server):
    """ask(*args) → Result of pier resolve by that server."""
    return lambda *args, **options: pier("resolve", "--server", server, *args, **options)


def lines(result):
    assert (result.rc, result.err) == (0, "")
    return result.out.decode().splitlines()


def test_addresses_of_both_families(ask):
    assert sorted(lines(ask("a.test"))) == ["192.0.2.1", "2001:db8::1"]
    assert lines(ask("-4", "A.TEST.")) == ["192.0.2.1"]
    assert lines(ask("four.test")) == ["192.0.2.4"]


def test_a_chain_of_aliases(ask):
    assert lines(ask("-4", "one.test")) == ["192.0.2.1"]
    assert lines(ask("--type", "CNAME", "one.test")) == ["two.test"]


def test_records_of_each_type(ask):
    assert lines(ask("--type", "A", "a.test")) == ["192.0.2.1"]
    assert lines(ask("--type", "aaaa", "a.test")) == ["2001:db8::1"]
    assert lines(ask("--type", "MX", "mail.test")) == ["5 quick.test", "20 slow.test"]
    assert lines(ask("--type", "SRV", "_chat._tcp.test")) == [
        "5 0 5223 four.test", "10 60 5222 a.test"]
    assert lines(ask("--type", "TXT", "text.test")) == ["hellowörld"]
    assert lines(ask("--type", "CAA", "a.test")) == ["128 issue ca.test"]
    assert lines(ask("--type", "PTR", "192.0.2.7")) == ["seven.test"]
    assert lines(ask("--reverse", "192.0.2.7")) == ["seven.test"]


def test_a_record_cannot_command_the_terminal(ask):
    assert lines(ask("--type", "CAA", "escape.test")) == [r"0 is\x1b[2J ca.test"]


def test_records_as_json(ask):
    shown = json.loads(ask("--json", "--type", "MX", "mail.test").out)
    assert shown == {"name": "mail.test", "type": "MX", "records": [
        {"ttl": 60, "priority": 5, "text": "quick.test"},
        {"ttl": 60, "priority": 20, "text": "slow.test"}]}


@contextlib.contextmanager
def one_reply(kind, data):
    """Its address: a name server that answers one datagram, with a record of that kind."""
    def reply():
        query, peer = server.recvfrom(512)
        question = query[12:query.index(0, 12) + 5]
        head = query[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 0)
        record = struct.pack(">HHHIH", 0xc00c, kind, 1, 60, len(data)) + data
        server.sendto(head + question + record, peer)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(WAIT)
        thread = threading.Thread(target=reply)
        thread.start()
        yield "127.0.0.1:%d" % server.getsockname()[1]
        thread.join()


def test_json_has_all_bytes_of_a_record(pier):
    with one_reply(16, b"\5ab\0cd") as server:
        result = pier("resolve", "--json", "--type", "TXT", "--server", server, "x.test")
    assert json.loads(result.out)["records"] == [{"ttl": 60, "text": "ab\0cd"}]


def test_international_names(ask):
    assert lines(ask("-4", "bücher.test", "BÜCHER.test")) == [
        "bücher.test 192.0.2.8", "BÜCHER.test 192.0.2.8"]


@pytest.mark.parametrize("args, why", [
    (["nosuch.test"], "resolve nosuch.test: unknown name"),
    (["-6", "four.test"], "resolve four.test: no IPv6 address"),
    (["--type", "MX", "a.test"], "resolve MX of a.test: no MX record"),
    (["--type", "MX", "nosuch.test"], "resolve MX of nosuch.test: unknown name"),
    (["-4", "outside.example"], "resolve outside.example: the name server refuses (REFUSED)"),
])
def test_what_is_not_there_exits_3(ask, args, why):
    result = ask(*args)
    assert (result.rc, result.out, result.err) == (3, b"", f"pier: {why}\n")


def test_a_silent_server_is_not_waited_for(ask, pier):
    result = ask("--timeout", "300ms", "-4", "silent.test", "four.test")
    assert (result.rc, result.out) == (6, b"four.test 192.0.2.4\n")
    assert result.err == "pier: resolve silent.test: timed out\n"
    result = pier("resolve", "--server", f"127.0.0.1:{free_port()}", "a.test")
    assert (result.rc, result.err) == (
        3, "pier: resolve a.test: no name server can be reached\n")


def test_the_next_server_answers_for_a_silent_one(pier, server):
    with silence() as quiet:
        result = pier("resolve", "-4", "--server", f"127.0.0.1:{quiet},{server}", "a.test",
                      env={"RES_OPTIONS": "timeout:1 attempts:1"})
    assert lines(result) == ["192.0.2.1"]
    assert result.elapsed >= 0.9


def test_a_truncated_reply_comes_by_tcp(ask):
    result = ask("--trace", "--type", "TXT", "big.test")
    assert result.rc == 0
    assert sorted(line[:2] for line in result.out.decode().splitlines()) == [
        "%02d" % i for i in range(30)]
    assert "truncated" in result.err and "(TCP)" in result.err


def test_trace_tells_steps_and_times(ask, server):
    result = ask("--trace", "-4", "a.test")
    steps = re.findall(r"^pier: a.test: +(\d+\.\d{3}) ms  (.*)$", result.err, re.M)
    assert [text for _, text in steps][-2:] == [
        f"ask {server} for A of a.test", f"{server}: NOERROR, answers: 1"]
    times = [float(when) for when, _ in steps]
    assert times == sorted(times)
    shown = json.loads(ask("--trace", "--json", "-4", "a.test").out)
    assert shown["trace"][-1]["step"] == f"{server}: NOERROR, answers: 1"


def test_search_list_and_ndots(ask):
    env = {"LOCALDOMAIN": "nowhere.test test", "RES_OPTIONS": "ndots:2"}
    assert lines(ask("-4", "a", env=env)) == ["192.0.2.1"]
    assert lines(ask("-4", "x.many", env=env)) == ["192.0.2.77"]
    assert ask("-4", "a.", env=env).rc == 3


def test_ten_thousand_names_at_once(ask):
    names = [f"n{i}.many.test" for i in range(10_000)]
    result = ask("-4", "--timeout", "50s", *names, timeout=60 * SCALE)
    assert lines(result) == [f"{name} 192.0.2.77" for name in names]


@pytest.mark.parametrize("args, why", [
    (["--type", "XYZ", "a"], "not one of A, AAAA"),
    (["--type", "A", "-4", "a"], "excludes"),
])
def test_wrong_options_are_refused(pier, args, why):
    result = pier("resolve", *args)
    assert result.rc == 2 and why in result.err


def test_a_server_that_is_no_address_is_told(pier):
    result = pier("resolve", "--server", "ns.test", "a.test")
    assert result.rc == 1
    assert result.err == ("pier: resolve a.test: servers are IP addresses, as "
                          "\"192.0.2.1,[::1]:5353\"\n")
