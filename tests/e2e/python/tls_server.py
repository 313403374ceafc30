#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The echo server with a certificate, a thread for each client."""

import socket
import ssl
import sys
import threading
import urllib.parse


def echo(context, plain):
    try:
        with context.wrap_socket(plain, server_side=True) as sock:
            while data := sock.recv(4096):
                sock.sendall(data)
            sock.unwrap().close()
    except OSError as error:
        print(f"tls_server: {error}", file=sys.stderr, flush=True)


def main():
    cert, key, url = [*sys.argv[1:], *("server.pem", "server-key.pem", "tls://127.0.0.1:8443")][:3]
    parts = urllib.parse.urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with socket.create_server((parts.hostname, parts.port)) as server:
        print("listening on tls://%s:%d" % server.getsockname(), file=sys.stderr, flush=True)
        while True:
            plain, _ = server.accept()
            threading.Thread(target=echo, args=(context, plain), daemon=True).start()


if __name__ == "__main__":
    main()
