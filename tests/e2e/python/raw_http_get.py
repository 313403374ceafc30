#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Fetches a page by hand: a request of four lines, a header, a body."""

import socket
import sys
import urllib.parse


def read_header(stream):
    status, chunked, length = 0, False, None
    while line := stream.readline(8192).strip().decode("latin-1"):
        print(line)
        name, _, value = line.partition(":")
        if line.startswith("HTTP/"):
            status = int(line.split()[1])
        elif name.lower() == "transfer-encoding":
            chunked = "chunked" in value
        elif name.lower() == "content-length":
            length = int(value)
    return status, chunked, length


def copy(stream, file, length):
    """length bytes of the body, all there are if None, to the file."""
    while length is None or length > 0:
        data = stream.read(16384 if length is None else min(length, 16384))
        if not data and length:
            raise ConnectionError("body: broken off")
        if not data:
            return
        file.write(data)
        if length is not None:
            length -= len(data)


def copy_chunks(stream, file):
    while size := int(stream.readline(1024).split(b";")[0], 16):
        copy(stream, file, size)
        stream.readline(1024)


def fetch(host, path):
    parts = urllib.parse.urlsplit(f"tcp://{host}")
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=5) as sock:
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        stream = sock.makefile("rb")
        status, chunked, length = read_header(stream)
        with open(path, "wb") as file:
            if chunked:
                copy_chunks(stream, file)
            else:
                copy(stream, file, length)
    return 0 if status // 100 == 2 else 1


def main():
    if len(sys.argv) < 2:
        print("usage: raw_http_get HOST[:PORT] [FILE]", file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(fetch(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "page.html"))
    except (OSError, ValueError) as error:
        print(f"raw_http_get: {error}", file=sys.stderr)
        sys.exit({socket.gaierror: 3, ConnectionRefusedError: 4, TimeoutError: 6}.get(type(error), 1))


if __name__ == "__main__":
    main()
