#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Serves one client after the other: says who came, and with what."""

import signal
import socketserver
import sys
import urllib.parse


def address(url):
    """The host and port of tcp://host:port."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


ESCAPES = {code: repr(chr(code))[1:-1] for code in [*range(0x20), 0x5C, 0x7F]}


class Handler(socketserver.BaseRequestHandler):
    def setup(self):
        self.peer = "%s:%d" % self.client_address[:2]
        self.request.settimeout(5)
        print(f"connected: {self.peer}\n", end="", file=sys.stderr, flush=True)

    def handle(self):
        try:
            self.converse()
            print(f"left: {self.peer}\n", end="", file=sys.stderr, flush=True)
        except OSError as error:
            print(f"{error.strerror or error}: {self.peer}", file=sys.stderr, flush=True)

    def converse(self):
        data = self.request.recv(1024)
        if data:
            shown = data.decode(errors="backslashreplace")
            print(f"{self.peer}: {shown.translate(ESCAPES)}", flush=True)
            self.request.sendall(b"Hello, world")


class Server(socketserver.TCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 1000


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "tcp://localhost:10000"
    try:
        server = Server(address(url), Handler)
    except OSError as error:
        sys.exit(f"loop_server: listen {url}: {error}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with server:
        print("listening on tcp://%s:%d" % server.server_address[:2], file=sys.stderr, flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
