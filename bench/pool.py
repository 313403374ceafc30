#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The other side of bench/pool.c: multiprocessing.Pool.map with its default chunks over a million
tiny inputs. Prints the same JSON line; the ratio of the two `seconds` is what counts, taken in turns
in one run."""

import json
import multiprocessing
import os
import time

REPEATS, TINY = 3, 1000000


def square(n):
    return n * n


def main():
    workers = len(os.sched_getaffinity(0))
    inputs = list(range(TINY))
    best = None
    with multiprocessing.Pool(workers) as pool:
        for _ in range(REPEATS):
            begin = time.monotonic()
            outputs = pool.map(square, inputs)
            took = time.monotonic() - begin
            best = took if best is None else min(best, took)
            assert outputs[-1] == (TINY - 1) ** 2
    print(json.dumps({"name": "pool_tiny", "count": TINY, "workers": workers, "seconds": best,
                      "ns": best * 1e9 / TINY}))


if __name__ == "__main__":
    main()
