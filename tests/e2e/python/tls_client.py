#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Says hello to a server that has proved who it is, and prints its reply."""

import socket
import ssl
import sys
import urllib.parse


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "tls://localhost:8443"
    parts = urllib.parse.urlsplit(url)
    context = ssl.create_default_context(cafile=sys.argv[2] if len(sys.argv) > 2 else None)
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=5) as plain:
            with context.wrap_socket(plain, server_hostname=parts.hostname) as sock:
                sock.sendall(b"Hello, World!")
                print(sock.recv(1024).decode(errors="replace"))
    except ssl.SSLError as error:
        print(f"tls_client: {url}: {error}", file=sys.stderr)
        sys.exit(5)
    except OSError as error:
        print(f"tls_client: {url}: {error}", file=sys.stderr)
        sys.exit(4)


if __name__ == "__main__":
    main()
