# SPDX-License-Identifier: MIT
"""Broadcast and multicast between hosts: network namespaces on a bridge that the test makes.

Skipped where that is not permitted. The bridge is in a namespace of its own, so the machine's
network is left alone; everything goes when its last process and name have gone.
"""

import os
import subprocess

import pytest

from pierlib import WAIT, Process

HOSTS = 3


def ip(*args, check=True):
    return subprocess.run(["ip", *args], check=check, capture_output=True, text=True, timeout=WAIT)


class Net:
    """Hosts h0 to h2, 10.77.0.1 to .3/24 and fd77::1 to ::3, joined by a bridge."""

    def __init__(self):
        self.name = f"pier{os.getpid()}"
        self.names = []

    def add(self, part):
        name = f"{self.name}-{part}"
        ip("netns", "add", name)
        self.names.append(name)
        return name

    def open(self):
        hub = self.add("hub")
        ip("-n", hub, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        ip("-n", hub, "link", "set", "br0", "up")
        for i in range(HOSTS):
            host = self.add(f"h{i}")
            ip("-n", hub, "link", "add", f"p{i}", "type", "veth", "peer", "name", "eth0", "netns",
               host)
            ip("-n", hub, "link", "set", f"p{i}", "master", "br0", "up")
            for link in ("lo", "eth0"):
                ip("-n", host, "link", "set", link, "up")
            ip("-n", host, "addr", "add", f"10.77.0.{i + 1}/24", "brd", "+", "dev", "eth0")
            ip("-n", host, "addr", "add", f"fd77::{i + 1}/64", "dev", "eth0", "nodad")
            ip("-n", host, "route", "add", "default", "via", "10.77.0.1", check=False)
            ip("-n", host, "route", "add", "default", "dev", "eth0", check=False)

    def close(self):
        for name in self.names:
            ip("netns", "del", name, check=False)

    def on(self, host):
        return ["ip", "netns", "exec", f"{self.name}-h{host}"]


@pytest.fixture(scope="module")
def net():
    made = Net()
    try:
        made.open()
    except (OSError, subprocess.CalledProcessError) as error:
        made.close()
        pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', None) or error}")
    yield made
    made.close()


@pytest.fixture
def receiver(net, start):
    """receiver(host, port) → a `pier serve --handler receiver` on that host."""

    def begin(host, port=9999):
        process = start(
            "serve", f"udp://0.0.0.0:{port}", "--handler", "receiver", wrapper=net.on(host)
        )
        process.wait_line("listening on")
        return process

    return begin


def heard(process, text):
    process.out.wait_for(lambda data: text.encode() in data, f"{text!r} on stdout")


@pytest.mark.parametrize("address", ["255.255.255.255", "10.77.0.255"])
def test_every_host_of_the_network_hears_a_broadcast(net, receiver, pier, address):
    receivers = [receiver(host) for host in range(HOSTS)]
    result = pier("broadcast", "--address", address, "大家好", wrapper=net.on(0))
    assert (result.rc, result.err) == (0, "")
    for process in receivers[1:]:
        heard(process, "收到来自 10.77.0.1:")
        heard(process, "的消息: 大家好\n")


def test_the_default_broadcast_reaches_port_9999_everywhere(net, receiver, pier):
    other = receiver(1)
    assert pier("broadcast", "hello", wrapper=net.on(2)).rc == 0
    heard(other, "的消息: hello\n")


def test_a_broadcast_send_prints_who_answers_first(net, receiver, pier):
    receiver(1)
    result = pier("send", "--broadcast", "udp://10.77.0.255:9999", "hello", wrapper=net.on(0))
    assert (result.rc, result.out) == (0, b"Hello from UDP Receiver!\n")


def test_a_server_on_every_address_answers_from_the_one_that_was_asked(net, start, pier):
    ip("-n", f"{net.name}-h1", "addr", "add", "10.77.0.99/24", "dev", "eth0", check=False)
    server = start("serve", "udp://0.0.0.0:9999", "--handler", "echo", wrapper=net.on(1))
    server.wait_line("listening on")
    result = pier("send", "udp://10.77.0.99:9999", "from where", wrapper=net.on(0))
    assert (result.rc, result.out) == (0, b"from where\n")


# -- groups: programs that use the library


MEMBER = r"""
#include <pier/pier.h>
#include <stdio.h>
#include <string.h>

/* member URL GROUP SOURCE|- : prints "ready", then what comes with its interface, until "end". */
int main(int argc, char **argv)
{
    struct pier_udp *u = pier_udp_open(argv[1], &(struct pier_udp_opts){
        .packet_info = true, .receive_ttl = true, .reuseaddr = true });
    const char *source = strcmp(argv[3], "-") == 0 ? NULL : argv[3];
    if (pier_udp_join(u, argv[2], "eth0", source) < 0)
        return pier_fail("member");
    puts("ready");
    fflush(stdout);
    for (;;) {
        char buf[100], from[PIER_ADDR_TEXT], to[PIER_ADDR_TEXT];
        struct pier_datagram d = { .bytes = buf, .cap = sizeof buf };
        if (pier_udp_recv(u, &d, 1, pier_after(60 * PIER_SECOND)) < 0)
            return pier_fail("member");
        printf("%.*s from %s to %s ttl %d\n", (int)d.len, buf,
               pier_addr_text(&d.peer, from, sizeof from), pier_addr_text(&d.to, to, sizeof to),
               d.ttl);
        fflush(stdout);
        if (d.len == 3 && memcmp(buf, "end", 3) == 0)
            break;
    }
    pier_udp_close(u); /* what nobody points to any more at the exit would be a leak */
    return 0;
}
"""

SENDER = r"""
#include <pier/pier.h>
#include <stdlib.h>
#include <string.h>

/* sender BIND TO TTL LOOP TEXT... : through eth0. */
int main(int argc, char **argv)
{
    struct pier_udp *u = pier_udp_open(argv[1], &(struct pier_udp_opts){
        .interface = "eth0", .multicast_ttl = atoi(argv[3]), .broadcast = true,
        .no_multicast_loop = argv[4][0] == '0' });
    struct pier_addr to;
    int rc = pier_addr_parse(&to, argv[2]);
    for (int i = 5; rc >= 0 && i < argc; i++) {
        struct pier_datagram d = { .bytes = argv[i], .len = strlen(argv[i]), .peer = to };
        rc = pier_udp_send(u, &d, 1);
    }
    int code = rc < 0 ? pier_fail("sender") : 0;
    pier_udp_close(u); /* what nobody points to any more at the exit would be a leak */
    return code;
}
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory, pier_bin):
    """The two programs above, built with the library that the command was built with."""
    build = os.path.dirname(os.path.dirname(pier_bin))
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    folder = tmp_path_factory.mktemp("groups")
    paths = {}
    for name, text in (("member", MEMBER), ("sender", SENDER)):
        source = folder / f"{name}.c"
        source.write_text(text)
        sanitize = "-fsanitize=address,undefined" if "asan" in build else "-O1"
        done = subprocess.run(
            ["gcc", "-std=gnu11", sanitize, f"-I{root}/include", source, "-o", folder / name,
             f"{build}/libpier_internal.a", "-pthread", "-luring"],
            capture_output=True, text=True, check=False,
        )
        if done.returncode:
            pytest.skip(f"cannot build with {build}: {done.stderr[:300]}")
        paths[name] = str(folder / name)
    return paths


@pytest.fixture
def group(net, programs, base_env):
    """group.member(host, url, group, source), group.send(host, bind, to, *texts)."""

    class Group:
        started = []

        def member(self, host, url, name, source="-"):
            process = Process([*net.on(host), programs["member"], url, name, source], base_env)
            self.started.append(process)
            process.out.wait_for(lambda data: data.startswith(b"ready"), "the member is ready")
            return process

        def send(self, host, bind, to, *texts, ttl=1, loop=1):
            argv = [*net.on(host), programs["sender"], bind, to, str(ttl), str(loop), *texts]
            subprocess.run(argv, check=True, timeout=WAIT, env=base_env)

    made = Group()
    yield made
    for process in made.started:
        process.kill()


def test_members_of_an_ipv4_group_hear_it_and_others_do_not(group):
    members = [group.member(h, "udp://0.0.0.0:7000", "239.77.0.1") for h in (0, 1)]
    stranger = group.member(2, "udp://0.0.0.0:7000", "239.77.0.2")
    group.send(0, "udp://10.77.0.1:0", "239.77.0.1:7000", "hello", "end", ttl=5)
    for member in members:
        heard(member, "hello from 10.77.0.1:")
        heard(member, " to 239.77.0.1:0 ttl 5\n")
        assert member.wait() == 0
    group.send(0, "udp://10.77.0.1:0", "239.77.0.2:7000", "end")
    assert stranger.wait() == 0
    assert b"hello" not in stranger.out.data


def test_members_of_an_ipv6_group_hear_it(group):
    members = [group.member(h, "udp://[::]:7000", "ff05::77") for h in (0, 1, 2)]
    group.send(0, "udp://[fd77::1]:0", "[ff05::77]:7000", "six", "end")
    for member in members:
        heard(member, "six from [fd77::1]:")
        assert member.wait() == 0


def test_a_member_for_one_source_hears_that_one_only(group):
    members = [
        group.member(2, "udp://0.0.0.0:7000", "232.77.0.1", "10.77.0.2"),
        group.member(2, "udp://[::]:7000", "ff35::77", "fd77::2"),
    ]
    group.send(0, "udp://10.77.0.1:0", "232.77.0.1:7000", "wrong")
    group.send(0, "udp://[fd77::1]:0", "[ff35::77]:7000", "wrong")
    group.send(1, "udp://10.77.0.2:0", "232.77.0.1:7000", "right", "end")
    group.send(1, "udp://[fd77::2]:0", "[ff35::77]:7000", "right", "end")
    for member in members:
        heard(member, "right from ")
        assert member.wait() == 0
        assert b"wrong" not in member.out.data


def test_without_loop_the_own_host_hears_nothing(group):
    own, other = [group.member(h, "udp://0.0.0.0:7000", "239.77.0.3") for h in (0, 1)]
    group.send(0, "udp://10.77.0.1:0", "239.77.0.3:7000", "away", "end", loop=0)
    assert other.wait() == 0
    group.send(0, "udp://10.77.0.1:0", "239.77.0.3:7000", "end", loop=1)
    assert own.wait() == 0
    assert b"away" not in own.out.data and b"away" in other.out.data


def test_limited_broadcast_leaves_through_the_interface_that_is_named(net, group):
    ip("-n", f"{net.name}-h1", "link", "add", "dummy0", "type", "dummy", check=False)
    member = group.member(0, "udp://0.0.0.0:7001", "239.77.0.4")
    group.send(1, "udp://10.77.0.2:0", "255.255.255.255:7001", "all", "end")
    heard(member, "all from 10.77.0.2:")
    heard(member, " to 255.255.255.255:0 ")
    assert member.wait() == 0

