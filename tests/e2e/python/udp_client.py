#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Sends a datagram, and prints the reply."""

import socket
import sys
import urllib.parse


def address(url):
    """The host and port of udp://host:port."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


def fail(code, url, error):
    print(f"udp_client: {url}: {error}", file=sys.stderr)
    sys.exit(code)


def converse(sock):
    sock.send(b"Hello, World!")
    print(sock.recv(65536).decode(errors="replace"))


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "udp://localhost:10000"
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(5)
    try:
        with sock:
            sock.connect(address(url))
            converse(sock)
    except socket.gaierror as error:
        fail(3, url, error)
    except ConnectionRefusedError as error:
        fail(4, url, error)
    except TimeoutError as error:
        fail(6, url, error)
    except OSError as error:
        fail(1, url, error)


if __name__ == "__main__":
    main()
