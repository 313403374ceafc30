#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Greets by name, whoever sends one."""

import signal
import socketserver
import sys
import urllib.parse


def address(url):
    """The host and port of udp://host:port."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        if data:
            sock.sendto(b"Hello, " + data + b"!", self.client_address)


class Server(socketserver.UDPServer):
    max_packet_size = 65536


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "udp://127.0.0.1:9999"
    try:
        server = Server(address(url), Handler)
    except OSError as error:
        sys.exit(f"udp_hello: listen {url}: {error}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with server:
        print("listening on udp://%s:%d" % server.server_address, file=sys.stderr, flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
