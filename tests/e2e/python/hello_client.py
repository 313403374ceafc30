#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Is welcomed, says three names, and leaves."""

import socket
import sys
import urllib.parse


def address(url):
    """The host and port of tcp://host:port."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


def fail(code, url, error):
    print(f"hello_client: {url}: {error}", file=sys.stderr)
    sys.exit(code)


def print_reply(sock):
    reply = sock.recv(1024)
    if not reply:
        raise ConnectionError("no reply")
    print(reply.decode(errors="replace"))


def converse(sock):
    print_reply(sock)
    for name in "Michael", "Tracy", "Sarah":
        sock.sendall(name.encode())
        print_reply(sock)
    sock.sendall(b"exit")


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:9999"
    try:
        sock = socket.create_connection(address(url), timeout=5)
    except socket.gaierror as error:
        fail(3, url, error)
    except TimeoutError as error:
        fail(6, url, error)
    except OSError as error:
        fail(4, url, error)
    try:
        with sock:
            converse(sock)
    except TimeoutError as error:
        fail(6, url, error)
    except OSError as error:
        fail(1, url, error)


if __name__ == "__main__":
    main()
