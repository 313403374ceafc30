#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A field that 64 players walk on: 60 times a second all hear where everybody is."""

import hashlib
import os
import signal
import socket
import struct
import sys
import time
import urllib.parse

PLAYERS, RATE, SILENCE = 64, 60, 2
STEP = 65536 // (2 * RATE)
INPUT = struct.Struct("!8sIc")
STATE = struct.Struct("!IBB")
POSITION = struct.Struct("!BHH")
WAYS = {b"d": (STEP, 0), b"a": (-STEP, 0), b"s": (0, STEP), b"w": (0, -STEP)}


class Player:
    def __init__(self, number):
        self.number, self.sequence, self.key = number, None, b" "
        self.x = self.y = 32768

    def hear(self, sequence, key):
        if self.sequence is None or 0 < (sequence - self.sequence) % 2**32 < 2**31:
            self.sequence, self.key, self.heard = sequence, key, time.monotonic()

    def move(self):
        x, y = WAYS.get(self.key, (0, 0))
        self.x = min(max(self.x + x, 0), 65535)
        self.y = min(max(self.y + y, 0), 65535)

    def has_left(self):
        return self.key == b"q" or time.monotonic() - self.heard > SILENCE


class Game:
    def __init__(self, sock):
        self.sock, self.players, self.tick, self.secret = sock, {}, 0, os.urandom(32)

    def log(self, what, peer):
        print("%s: %s:%d" % (what, *peer[:2]), file=sys.stderr, flush=True)

    def send(self, data, peer):
        try:
            self.sock.sendto(data, peer)
        except OSError:
            pass  # who cannot be sent to is not heard either, and leaves

    def hear(self, data, peer):
        if len(data) != INPUT.size:
            return
        token, sequence, key = INPUT.unpack(data)
        right = hashlib.sha256(self.secret + repr(peer).encode()).digest()[:8]
        if token != right:
            self.send(right, peer)
            return
        if peer not in self.players and key != b"q" and len(self.players) < PLAYERS:
            taken = {player.number for player in self.players.values()}
            self.players[peer] = Player(min(set(range(PLAYERS)) - taken))
            self.log("connected", peer)
        if peer in self.players:
            self.players[peer].hear(sequence, key)
        else:
            self.send(b"full", peer)

    def send_state(self):
        self.tick = (self.tick + 1) % 2**32
        for peer in [peer for peer, player in self.players.items() if player.has_left()]:
            self.log("left", peer)
            del self.players[peer]
        for player in self.players.values():
            player.move()
        positions = b"".join(POSITION.pack(player.number, player.x, player.y)
                             for player in self.players.values())
        for peer, player in self.players.items():
            self.send(STATE.pack(self.tick, player.number, len(self.players)) + positions, peer)

    def receive(self, deadline):
        """Hears what comes until the deadline, at least what is there."""
        while True:
            self.sock.settimeout(max(deadline - time.monotonic(), 1e-6))
            try:
                data, peer = self.sock.recvfrom(64)
            except TimeoutError:
                return
            self.hear(data, peer)
            if time.monotonic() >= deadline:
                return

    def play(self):
        deadline = time.monotonic()
        while True:
            deadline = max(deadline + 1 / RATE, time.monotonic())
            self.receive(deadline)
            self.send_state()


def stop(*_):
    print("stopped", file=sys.stderr)
    sys.exit(0)


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "udp://127.0.0.1:9001"
    parts = urllib.parse.urlsplit(url)
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((parts.hostname, parts.port))
    except OSError as error:
        sys.exit(f"game_server: listen {url}: {error}")
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, stop)
    print("listening on udp://%s:%d" % sock.getsockname(), file=sys.stderr, flush=True)
    Game(sock).play()


if __name__ == "__main__":
    main()
