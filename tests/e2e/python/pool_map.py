#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The sum of the squares below ten million, eight times, by four processes."""

import multiprocessing
import sys


def sum_squares(below):
    return sum(i * i for i in range(below))


def main():
    try:
        with multiprocessing.Pool(4) as pool:
            for total in pool.map(sum_squares, [10_000_000] * 8):
                print(total)
    except OSError as error:
        sys.exit(f"pool_map: {error}")


if __name__ == "__main__":
    main()
