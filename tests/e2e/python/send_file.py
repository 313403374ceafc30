#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Sends a file to receive_file, from where it broke off if it did."""

import hashlib
import os
import re
import socket
import sys
import urllib.parse

PIECE = 65536


def address(url):
    """The host and port of tcp://host:port."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


def fail(code, error):
    print(f"send_file: {error}", file=sys.stderr)
    sys.exit(code)


def hash_file(file):
    sha256 = hashlib.sha256()
    while data := file.read(PIECE):
        sha256.update(data)
    return sha256.hexdigest()


def copy(file, sock, at, length):
    file.seek(at)
    while at < length:
        data = file.read(min(PIECE, length - at))
        if not data:
            raise ValueError(f"file ends at byte {at}")
        try:
            sock.sendall(data)
        except ConnectionError:
            return  # not the last word: the reply says why the receiver left
        at += len(data)


def read_reply(stream):
    reply = stream.readline(1024).decode(errors="replace").rstrip("\r\n")
    if not reply:
        raise ConnectionError("no reply")
    return reply


def send_file(file, sock, name):
    stream = sock.makefile("rb")
    length = os.fstat(file.fileno()).st_size
    sock.sendall(f"{name}\n{length}\n{hash_file(file)}\n".encode())
    reply = read_reply(stream)
    if begin := re.fullmatch(r"AT (\d{1,18})", reply):
        print(f"sending {name} from byte {begin[1]} of {length}", file=sys.stderr)
        sock.settimeout(60)  # at the end the receiver waits for its disk
        copy(file, sock, int(begin[1]), length)
        reply = read_reply(stream)
    if reply != "OK":
        raise ConnectionError(f"receiver: {reply}")


def main():
    if len(sys.argv) < 2:
        fail(2, "usage: send_file FILE [URL]")
    url = sys.argv[2] if len(sys.argv) > 2 else "tcp://127.0.0.1:9000"
    try:
        file = open(sys.argv[1], "rb")
    except OSError as error:
        fail(1, error)
    try:
        sock = socket.create_connection(address(url), timeout=5)
    except socket.gaierror as error:
        fail(3, f"{url}: {error}")
    except TimeoutError as error:
        fail(6, f"{url}: {error}")
    except OSError as error:
        fail(4, f"{url}: {error}")
    try:
        with file, sock:
            send_file(file, sock, os.path.basename(sys.argv[1]))
    except TimeoutError as error:
        fail(6, f"{url}: {error}")
    except (OSError, ValueError) as error:
        fail(1, error)


if __name__ == "__main__":
    main()
