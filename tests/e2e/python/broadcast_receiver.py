#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Prints what is sent to everybody, and answers hello."""

import signal
import socketserver
import sys
import urllib.parse


def address(url):
    """The host and port of udp://host:port."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname or "0.0.0.0", parts.port


ESCAPES = {code: repr(chr(code))[1:-1] for code in [*range(0x20), 0x5C, 0x7F]}


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        text = data.rstrip(b"\r\n")
        if data:
            peer = "%s:%d" % self.client_address
            shown = text.decode(errors="backslashreplace").translate(ESCAPES)
            print(f"收到来自 {peer} 的消息: {shown}", flush=True)
        if text.lower() == b"hello":
            sock.sendto(b"Hello from UDP Receiver!", self.client_address)


class Server(socketserver.UDPServer):
    max_packet_size = 65536


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "udp://:9999"
    try:
        server = Server(address(url), Handler)
    except OSError as error:
        sys.exit(f"broadcast_receiver: listen {url}: {error}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with server:
        print("listening on udp://%s:%d" % server.server_address, file=sys.stderr, flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
