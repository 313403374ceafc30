#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Answers many clients at once, each in a process of its own."""

import signal
import socketserver
import sys
import urllib.parse


def address(url):
    """The host and port of tcp://host:port."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


class Handler(socketserver.BaseRequestHandler):
    def setup(self):
        self.peer = "%s:%d" % self.client_address[:2]
        self.request.settimeout(300)
        print(f"connected: {self.peer}\n", end="", file=sys.stderr, flush=True)

    def handle(self):
        try:
            self.converse()
            print(f"left: {self.peer}\n", end="", file=sys.stderr, flush=True)
        except OSError as error:
            print(f"{error.strerror or error}: {self.peer}", file=sys.stderr, flush=True)

    def converse(self):
        while data := self.request.recv(4096):
            self.request.sendall("服务器已收到: ".encode() + data)


class Server(socketserver.ForkingTCPServer):
    allow_reuse_address = True
    request_queue_size = 1000
    max_children = 10000


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:8888"
    try:
        server = Server(address(url), Handler)
    except OSError as error:
        sys.exit(f"processes_server: listen {url}: {error}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with server:
        print("listening on tcp://%s:%d" % server.server_address[:2], file=sys.stderr, flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
