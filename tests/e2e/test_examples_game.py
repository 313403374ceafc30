# SPDX-License-Identifier: MIT
"""game_server and game_client of examples/ and their counterparts in Python: everybody hears where
everybody is, whoever they are and whatever is lost on the way."""

import collections
import os
import pty
import random
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import pytest

from pierlib import WAIT, Process, check_report, wait_until
from test_examples import LANGUAGES, base_env, finish, program  # noqa: F401

LISTENING = re.compile(r"^listening on udp://(127\.0\.0\.1):(\d+)$", re.M)
INPUT, STATE = struct.Struct("!8sIc"), struct.Struct("!IBB")
Line = collections.namedtuple("Line", "tick players own x y")


@pytest.fixture
def start(program, base_env):  # noqa: F811
    """start(language, name, *args) → the running program, with a pipe as its input."""
    started = []

    def begin(language, name, *args):
        process = Process([*program(language, name), *args], base_env, stdin=subprocess.PIPE)
        started.append(process)
        return process

    yield begin
    for process in started:
        check_report(process.stderr())
        process.kill()
        process.proc.stdin.close()


@pytest.fixture
def listen(start):
    """listen(language) → the running server, with its .address and .url."""
    def begin(language):
        server = start(language, "game_server", "udp://127.0.0.1:0")
        found = wait_until(lambda: LISTENING.search(server.stderr()), "game_server listens")
        server.address = found[1], int(found[2])
        server.url = "udp://%s:%d" % server.address
        return server

    return begin


class Walker:
    """A game_client; what it shows is in .lines()."""

    def __init__(self, process):
        self.process = process

    def press(self, keys):
        self.process.proc.stdin.write(keys.encode())
        self.process.proc.stdin.flush()

    def lines(self):
        whole = self.process.out.data.decode().rpartition("\n")[0]
        return [Line(*map(int, re.fullmatch(
            r"tick (\d+): (\d+) players, (\d+) at (\d+),(\d+)", line).groups()))
            for line in whole.splitlines()]

    def wait(self, test, what):
        return wait_until(lambda: next(filter(test, self.lines()), None), what)


@pytest.fixture
def walk(start):
    return lambda language, url, *args: Walker(start(language, "game_client", url, *args))


class Proxy:
    """Forwards datagrams between one client and a server, but for those that chance drops."""

    def __init__(self, server, share, seed):
        self.inside, self.outside = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
        self.outside.bind(("127.0.0.1", 0))
        self.inside.connect(server)
        self.url = "udp://127.0.0.1:%d" % self.outside.getsockname()[1]
        self.random, self.share = random.Random(seed), share
        self.lost = self.passed = 0
        self.client, self.ended = None, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ended:
            for sock in select.select([self.inside, self.outside], [], [], 0.05)[0]:
                data, peer = sock.recvfrom(65536)
                if self.random.random() < self.share:
                    self.lost += 1
                    continue
                self.passed += 1
                if sock is self.inside:
                    self.outside.sendto(data, self.client)
                else:
                    self.client = peer
                    self.inside.send(data)

    def close(self):
        self.ended = True
        self.thread.join(WAIT)
        self.inside.close()
        self.outside.close()


@pytest.fixture
def lossy():
    """lossy(server, share, seed) → a Proxy in front of the server."""
    proxies = []

    def begin(server, share, seed):
        proxies.append(Proxy(server.address, share, seed))
        return proxies[-1]

    yield begin
    for proxy in proxies:
        proxy.close()


class Bot:
    """A player's socket, hand on the bytes."""

    def __init__(self, server):
        self.sock = socket.socket(type=socket.SOCK_DGRAM)
        self.sock.settimeout(WAIT)
        self.sock.connect(server.address)
        self.token, self.sequence = bytes(8), 0

    def say(self, key=b" ", sequence=None):
        self.sequence += 1
        self.sock.send(INPUT.pack(self.token, self.sequence if sequence is None else sequence, key))

    def join(self):
        self.say()
        self.token = self.sock.recv(2048)
        assert len(self.token) == 8
        self.say()
        return self

    def hear(self):
        """The next datagram: (tick, own, {number: (x, y)}), or its bytes."""
        data = self.sock.recv(2048)
        if len(data) <= 8:
            return data
        tick, own, count = STATE.unpack_from(data)
        assert len(data) == STATE.size + 5 * count
        return tick, own, {number: (x, y) for number, x, y in
                           struct.iter_unpack("!BHH", data[STATE.size:])}


# -- clients and servers

@pytest.mark.parametrize("ours", LANGUAGES)
@pytest.mark.parametrize("theirs", LANGUAGES)
def test_players_see_each_other_walk(listen, walk, ours, theirs):
    server = listen(ours)
    first, second = walk(theirs, server.url), walk("c", server.url)
    first.wait(lambda line: line.players == 2, "two players")
    second.wait(lambda line: line.players == 2, "two players")
    for keys, place in (("d", (65535, 32768)), ("w", (65535, 0)), ("a", (0, 0)), ("s", (0, 65535))):
        first.press(keys)
        first.wait(lambda line: (line.x, line.y) == place, f"{keys} leads to {place}")
    assert {(line.x, line.y) for line in second.lines()} == {(32768, 32768)}
    first.press("q")
    assert first.process.wait() == 0
    second.wait(lambda line: line.players == 1 and line.tick > first.lines()[-1].tick, "one left")
    second.process.proc.stdin.close()
    assert second.process.wait() == 0
    wait_until(lambda: server.stderr().count("left: ") == 2, "both have left")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert re.fullmatch(r"listening.*\n(connected: .*\n){2}(left: .*\n){2}stopped\n",
                        server.stderr())


@pytest.mark.parametrize("ours", LANGUAGES)
@pytest.mark.parametrize("theirs", LANGUAGES)
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_a_game_survives_loss(listen, walk, lossy, ours, theirs, share):
    server = listen(ours)
    proxy = lossy(server, share, seed=6)
    walker = walk(theirs, proxy.url)
    for keys, place in ("d", (65535, 32768)), ("s", (65535, 65535)):
        walker.press(keys)
        walker.wait(lambda line: (line.x, line.y) == place, f"{keys} leads to {place}")
    walker.press("q")
    assert walker.process.wait() == 0
    lines = walker.lines()
    assert [line.tick for line in lines] == sorted(line.tick for line in lines)
    assert [line.x for line in lines] == sorted(line.x for line in lines)  # nobody jumps back
    wait_until(lambda: "left: " in server.stderr(), "it has left")
    assert server.stderr().count("connected: ") == 1
    assert proxy.lost > 0 and abs(proxy.lost / (proxy.lost + proxy.passed) - share) < 0.1


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_leaves_after_its_seconds(listen, walk, language):
    server, begin = listen("c"), time.monotonic()
    assert walk(language, server.url, "0.5").process.wait() == 0
    assert time.monotonic() - begin > 0.5
    wait_until(lambda: server.stderr().count("left: ") == 1, "it has left")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_client_leaves_at_a_signal(listen, walk, language, number):
    server = listen("c")
    walker = walk(language, server.url)
    walker.wait(lambda line: line.players == 1, "it plays")
    walker.process.signal(number)
    assert walker.process.wait() == 0
    wait_until(lambda: server.stderr().count("left: ") == 1, "it has left")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_terminal_shows_the_field_and_is_left_as_it_was(listen, program, base_env,  # noqa: F811
                                                          language):
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    client = subprocess.Popen([*program(language, "game_client"), listen("c").url],
                              env=base_env, stdin=slave, stdout=slave, stderr=slave)
    shown = b""

    def read():
        nonlocal shown
        if select.select([master], [], [], 0.01)[0]:
            shown += os.read(master, 65536)
        return shown

    try:
        wait_until(lambda: b"@" in read(), "the player is shown")
        own = re.compile(rb"\n(\.*)@")
        wait_until(lambda: own.findall(read()) and len(own.findall(shown)[-1]) == 32, "the middle")
        os.write(master, b"a")
        wait_until(lambda: own.findall(read()) and own.findall(shown)[-1] == b"", "the left edge")
        os.write(master, b"q")
        wait_until(lambda: read().endswith(b"\033[?25h\033[?1049l"), "the first screen again")
        assert client.wait(WAIT) == 0
        assert termios.tcgetattr(slave) == before
        assert shown.startswith(b"\033[?1049h\033[?25l\033[H...")
    finally:
        client.kill()
        client.wait()
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("language", LANGUAGES)
def test_exit_codes_of_a_client(walk, language):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:  # bound, closed: nobody is there
        sock.bind(("127.0.0.1", 0))
        nobody = "udp://127.0.0.1:%d" % sock.getsockname()[1]
    refused = walk(language, nobody).process
    assert refused.wait() == 4 and re.search("refused", refused.stderr())
    assert walk(language, "udp://no.such.host.invalid:1").process.wait() == 3


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_silence_is_exit_6_after_five_seconds(walk, language):
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        begin = time.monotonic()
        walker = walk(language, "udp://127.0.0.1:%d" % silent.getsockname()[1])
        assert walker.process.wait(2 * WAIT) == 6
        assert 4.9 < time.monotonic() - begin < 5 + WAIT / 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_shows_the_way_between_states_and_drops_late_ones(walk, language):
    def state(tick, x):
        return STATE.pack(tick, 7, 1) + struct.pack("!BHH", 7, x, 1000)

    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(WAIT)
        walker = walk(language, "udp://127.0.0.1:%d" % server.getsockname()[1])
        _, peer = server.recvfrom(100)
        server.sendto(b"my token", peer)
        wait_until(lambda: server.recv(100).startswith(b"my token"), "it has learned the token")
        server.sendto(state(1000, 100), peer)
        walker.wait(lambda line: line == (1000, 1, 7, 100, 1000), "the first state")
        for data in state(1180, 60100), state(1179, 5), state(1180, 6), b"nonsense" * 2:
            server.sendto(data, peer)
        walker.wait(lambda line: line.x == 60100, "three seconds later it is there")
        walker.press("q")
        wait_until(lambda: server.recv(100)[12:] == b"q", "it says that it leaves")
        assert walker.process.wait() == 0
        places = [line.x for line in walker.lines()]
        assert places == sorted(places)
        assert len({x for x in places if 100 < x < 60100}) >= 3


# -- the server, datagram by datagram

@pytest.mark.parametrize("language", LANGUAGES)
def test_sixty_four_play_and_the_next_one_is_told(listen, language):
    server = listen(language)
    bots = [Bot(server).join() for _ in range(64)]

    def all_play():
        for bot in bots:
            bot.say()
        heard = bots[0].hear()
        return isinstance(heard, tuple) and len(heard[2]) == 64

    def late_is_refused():
        for bot in bots:
            bot.say()
        late.say()
        return late.hear() == b"full"

    wait_until(all_play, "64 play")
    late = Bot(server).join()
    wait_until(late_is_refused, "the next one is told that the field is full")
    bots[5].say(b"q")
    wait_until(lambda: server.stderr().count("left: ") >= 1, "one has left")

    def late_plays():
        late.say()
        return isinstance(late.hear(), tuple)

    wait_until(late_plays, "its place is taken")


@pytest.mark.parametrize("language", LANGUAGES)
def test_states_come_sixty_times_a_second(listen, language):
    server, begin = listen(language), time.monotonic()
    bot = Bot(server).join()
    first = tick = bot.hear()[0]
    while tick - first < 60:
        bot.say()
        tick = bot.hear()[0]
    assert time.monotonic() - begin > 0.9


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_falls_silent_leaves(listen, language):
    server, begin = listen(language), time.monotonic()
    bot = Bot(server).join()
    wait_until(lambda: "left: " in server.stderr(), "the silent one has left")
    assert time.monotonic() - begin > 1.9
    bot.sock.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_false_address_gets_less_than_it_sent(listen, language):
    server = listen(language)
    bot = Bot(server)
    for token in bytes(8), b"guessed!":
        bot.token = token
        bot.say()
        assert len(bot.hear()) == 8
    other = Bot(server).join()  # another address: another token
    assert isinstance(other.hear(), tuple)
    bot.token = other.token
    bot.say()
    assert len(bot.hear()) == 8
    wait_until(lambda: "connected: " in server.stderr(), "one plays")
    assert server.stderr().count("connected: ") == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_makes_no_sense_and_what_is_late_changes_nothing(listen, language):
    server = listen(language)
    bot = Bot(server).join()
    for data in b"", b"x", bytes(12), bytes(14), bytes(2000):
        bot.sock.send(data)
    bot.say(b"d", sequence=100)
    bot.say(b"a", sequence=99)
    bot.say(b"a", sequence=100)

    def x_of(heard):
        return heard[2][heard[1]][0]

    before = x_of(bot.hear())
    wait_until(lambda: x_of(bot.hear()) > before, "it walks to the right")
    bot.say(b"q", sequence=101)
    wait_until(lambda: "left: " in server.stderr(), "it has left")
    bot.say(b"q", sequence=102)
    other = Bot(server).join()
    assert len(other.hear()[2]) == 1
    wait_until(lambda: server.stderr().count("connected: ") == 2, "the other plays")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_port_in_use_is_told(listen, finish, language):  # noqa: F811
    result = finish(language, "game_server", listen("c").url)
    assert result.rc == 1 and re.search("address already in use", result.err, re.I)
