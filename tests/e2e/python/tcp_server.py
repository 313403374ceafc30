#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Serves one client: prints what it says, answers, and ends."""

import socket
import sys
import urllib.parse


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "tcp://localhost:10000"
    parts = urllib.parse.urlsplit(url)
    try:
        server = socket.create_server((parts.hostname, parts.port))
    except OSError as error:
        sys.exit(f"tcp_server: listen {url}: {error}")
    with server:
        print("listening on tcp://%s:%d" % server.getsockname(), file=sys.stderr, flush=True)
        sock, peer = server.accept()
    with sock:
        print("connected: %s:%d" % peer, file=sys.stderr, flush=True)
        sock.settimeout(300)
        try:
            text = sock.recv(1024)
            if text:
                print(text.decode(errors="replace"))
                sock.sendall(b"Hello, Client!")
        except OSError as error:
            sys.exit(f"tcp_server: {error}")


if __name__ == "__main__":
    main()
