#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Walks on the field of game_server: w, a, s, d; q leaves, other keys stand still."""

import math
import os
import select
import signal
import socket
import struct
import sys
import termios
import time
import tty
import urllib.parse

RATE, WIDTH, HEIGHT, SILENCE = 60, 64, 20, 5
INPUT = struct.Struct("!8sIc")
STATE = struct.Struct("!IBB")
POSITION = struct.Struct("!BHH")


class State:
    def __init__(self, data):
        self.tick, self.own, count = STATE.unpack_from(data)
        if len(data) != STATE.size + count * POSITION.size:
            raise ValueError("no state")
        self.players = {number: (x, y)
                        for number, x, y in POSITION.iter_unpack(data[STATE.size:])}


class Game:
    def __init__(self, sock):
        self.sock, self.token, self.key, self.sequence = sock, bytes(8), b" ", 0
        self.before = self.last = None
        self.heard = self.answered = time.monotonic()
        self.is_terminal = sys.stdout.isatty()

    def leave(self, *_):
        self.key = b"q"

    def hear(self, data):
        self.answered = time.monotonic()
        if data == b"full":
            raise ConnectionError("the field is full")
        if len(data) == 8:
            if data != self.token:  # another server
                self.token, self.last = data, None
            return
        try:
            state = State(data)
        except (ValueError, struct.error):
            return
        if self.last is None or 0 < (state.tick - self.last.tick) % 2**32 < 2**31:
            self.before, self.last = self.last or state, state
            self.heard = time.monotonic()

    def say(self):
        self.sequence += 1
        self.sock.send(INPUT.pack(self.token, self.sequence, self.key))

    def place(self, number):
        """Where a player is at this moment, on its way from the last state but one to the last."""
        way = (self.last.tick - self.before.tick) % 2**32 / RATE
        gone = time.monotonic() - self.heard
        part = gone / way if gone < way else 1
        to = self.last.players[number]
        return [int(a + (b - a) * part)
                for a, b in zip(self.before.players.get(number, to), to)]

    def show(self):
        field = [["."] * WIDTH for _ in range(HEIGHT)]
        for number in self.last.players:
            x, y = self.place(number)
            mark = "@" if number == self.last.own else chr(ord("A") + number % 26)
            field[y * HEIGHT // 65536][x * WIDTH // 65536] = mark
        if self.is_terminal:
            print("\033[H" + "\n".join(map("".join, field)))
        x, y = self.place(self.last.own)
        end = "\033[K\n" if self.is_terminal else "\n"
        print(f"tick {self.last.tick}: {len(self.last.players)} players, "
              f"{self.last.own} at {x},{y}", end=end, flush=True)

    def wait(self, deadline):
        """Hears and reads keys until the deadline."""
        while (left := deadline - time.monotonic()) > 0:
            for ready in select.select([self.sock, sys.stdin], [], [], left)[0]:
                if ready is self.sock:
                    self.hear(self.sock.recv(2048))
                else:
                    self.key = os.read(sys.stdin.fileno(), 1) or b"q"
            if self.key == b"q":
                return
        if time.monotonic() - self.answered > SILENCE:
            raise TimeoutError("timed out")

    def play(self, end):
        frame = 0
        while self.key != b"q" and time.monotonic() < end:
            if self.last and (self.is_terminal or frame % (RATE // 4) == 0):
                self.show()
            self.say()
            self.wait(time.monotonic() + 1 / RATE)
            frame += 1
        self.key = b"q"
        for _ in range(3):  # one will get through
            self.say()


def play_on_terminal(game, end):
    saved = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
    try:
        if saved:
            tty.setcbreak(sys.stdin, termios.TCSANOW)
        if game.is_terminal:
            print("\033[?1049h\033[?25l", end="")
        game.play(end)
    finally:
        if game.is_terminal:
            print("\033[?25h\033[?1049l", end="", flush=True)
        if saved:
            termios.tcsetattr(sys.stdin, termios.TCSANOW, saved)


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "udp://127.0.0.1:9001"
    end = time.monotonic() + float(sys.argv[2]) if len(sys.argv) > 2 else math.inf
    parts = urllib.parse.urlsplit(url)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((parts.hostname, parts.port))
            game = Game(sock)
            for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
                signal.signal(number, game.leave)
            play_on_terminal(game, end)
    except OSError as error:
        print(f"game_client: {url}: {error}", file=sys.stderr)
        sys.exit({socket.gaierror: 3, ConnectionRefusedError: 4, TimeoutError: 6}.get(type(error), 1))


if __name__ == "__main__":
    main()
