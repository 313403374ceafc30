#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Receives files into a folder, one after the other, and goes on where a transfer broke off."""

import errno
import hashlib
import os
import re
import signal
import socket
import socketserver
import sys
import urllib.parse

PIECE = 65536


def address(url):
    """The host and port of tcp://host:port."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


def log(text):
    print(text, file=sys.stderr, flush=True)


def read_line(stream, limit):
    line = stream.readline(limit + 2)
    if not line:
        raise ConnectionError("end of input")
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if len(line) > limit:
        raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    return line.decode()


def read_header(stream):
    name, length, digest = (read_line(stream, limit) for limit in (255, 18, 64))
    if not name or name[0] == "." or re.search(r"[/\x00-\x1f\x7f]", name):
        raise ValueError("file name: invalid argument")
    if not re.fullmatch("[0-9]+", length):
        raise ValueError("length: invalid argument")
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError("digest: invalid argument")
    return name, int(length), digest


class Handler(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self):
        peer = "%s:%d" % self.client_address[:2]
        log(f"connected: {peer}")
        try:
            self.receive()
            log(f"left: {peer}")
        except (OSError, ValueError) as error:
            log(f"{error}: {peer}")
            self.refuse(error)

    def refuse(self, error):
        try:
            self.wfile.write(f"NO {error}\n".encode())
            self.request.shutdown(socket.SHUT_WR)
            self.request.settimeout(1)
            while self.rfile.read1(PIECE):  # else a reset would overtake the reply
                pass
        except OSError:
            pass

    def receive(self):
        name, length, digest = read_header(self.rfile)
        part = f".{digest}.part"
        sha256 = hashlib.sha256()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with open(os.open(part, flags, 0o666), "rb+", buffering=0) as file:
            here = self.copy(file, name, length, sha256)
        if here != length or sha256.hexdigest() != digest:
            os.unlink(part)
            raise ValueError(f"{name}: {here} bytes with SHA-256 {sha256.hexdigest()}")
        os.rename(part, name)
        print(name, length, digest, flush=True)
        self.wfile.write(b"OK\n")

    def copy(self, file, name, length, sha256):
        here = os.fstat(file.fileno()).st_size
        self.wfile.write(f"AT {here}\n".encode())
        while data := file.read(PIECE):
            sha256.update(data)
        while here < length:
            data = self.rfile.read1(min(PIECE, length - here))
            if not data:
                raise ConnectionError(f"{name}: byte {here} of {length}: broken off")
            sha256.update(data)
            here += len(data)
            while data:
                data = data[file.write(data):]
        os.fdatasync(file.fileno())
        return here


class Server(socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = 1000


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:9000"
    try:
        os.chdir(sys.argv[2] if len(sys.argv) > 2 else ".")
        server = Server(address(url), Handler)
    except OSError as error:
        sys.exit(f"receive_file: listen {url}: {error}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with server:
        log("listening on tcp://%s:%d" % server.server_address[:2])
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
