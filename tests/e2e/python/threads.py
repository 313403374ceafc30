#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Five workers with names, each as long as it says; all are waited for."""

import sys
import threading
import time


def work(seconds):
    name = threading.current_thread().name
    print(f"{name}: {seconds:g} s\n", end="", flush=True)
    time.sleep(seconds)
    print(f"{name}: done\n", end="", flush=True)


def main():
    factor = float(sys.argv[1]) if len(sys.argv) > 1 else 1
    workers = [threading.Thread(target=work, args=(i * factor,), name=f"worker-{i}")
               for i in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("all done")


if __name__ == "__main__":
    main()
