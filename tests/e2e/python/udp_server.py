#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Prints the first datagram that comes, answers, and ends."""

import socket
import sys
import urllib.parse


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "udp://localhost:10000"
    parts = urllib.parse.urlsplit(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((parts.hostname, parts.port))
        except OSError as error:
            sys.exit(f"udp_server: listen {url}: {error}")
        print("listening on udp://%s:%d" % sock.getsockname(), file=sys.stderr, flush=True)
        try:
            text, peer = sock.recvfrom(65536)
            print(text.decode(errors="replace"), flush=True)
            sock.sendto(b"Hello, Client!", peer)
        except OSError as error:
            sys.exit(f"udp_server: {error}")


if __name__ == "__main__":
    main()
