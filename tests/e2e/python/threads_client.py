#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Eight threads, each a client."""

import socket
import sys
import threading
import urllib.parse

CLIENTS = 8
codes = []


def fail(code, error):
    print(f"{threading.current_thread().name}: {error}", file=sys.stderr)
    codes.append(code)


def talk(url):
    parts = urllib.parse.urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=5) as sock:
            sock.sendall(b"Hello, World!")
            reply = sock.recv(1024)
            if not reply:
                raise ConnectionError("no reply")
            print(reply.decode(errors="replace") + "\n", end="", flush=True)
    except socket.gaierror as error:
        fail(3, error)
    except TimeoutError as error:
        fail(6, error)
    except ConnectionRefusedError as error:
        fail(4, error)
    except OSError as error:
        fail(1, error)


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "tcp://localhost:10000"
    threads = [threading.Thread(target=talk, args=(url,), name=f"client-{i + 1}")
               for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.exit(codes[0] if codes else 0)


if __name__ == "__main__":
    main()
