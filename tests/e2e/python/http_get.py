#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Fetches a page: prints the status, the type and the body."""

import socket
import sys
import urllib.error
import urllib.request


def fetch(url):
    try:
        response = urllib.request.urlopen(url, timeout=10)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        sys.stdout.write(f"{response.status} {response.headers.get('Content-Type', '-')}\n\n")
        sys.stdout.flush()
        while data := response.read(16384):
            sys.stdout.buffer.write(data)
    return 0 if response.status // 100 == 2 else 1


def main():
    if len(sys.argv) < 2:
        print("usage: http_get URL", file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(fetch(sys.argv[1]))
    except (OSError, ValueError) as error:
        print(f"http_get: {error}", file=sys.stderr)
        reason = type(getattr(error, "reason", error))
        sys.exit({socket.gaierror: 3, ConnectionRefusedError: 4, TimeoutError: 6}.get(reason, 1))


if __name__ == "__main__":
    main()
