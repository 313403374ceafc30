#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Ten threads count to a million together, under a lock."""

import contextlib
import sys
import threading
import time

THREADS, INCREMENTS = 10, 100_000
counter = 0


def count(lock, go):
    global counter
    go.wait()
    for i in range(INCREMENTS):
        with lock:
            seen = counter
            if i % 1000 == 0:
                time.sleep(0)  # somebody else counts meanwhile, if he can
            counter = seen + 1


def main():
    unlocked = sys.argv[1:] == ["--unlocked"]
    lock, go = contextlib.nullcontext() if unlocked else threading.Lock(), threading.Event()
    threads = [threading.Thread(target=count, args=(lock, go)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    print(counter)


if __name__ == "__main__":
    main()
