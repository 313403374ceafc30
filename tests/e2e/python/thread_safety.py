#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A producer and three consumers: a queue hands the work over, an event starts it, a semaphore
says how many may work at once."""

import queue
import threading

ITEMS, CONSUMERS, AT_ONCE = 10, 3, 2
END = None


def produce(items, ready):
    ready.wait()
    for item in range(1, ITEMS + 1):
        items.put(item)
    for _ in range(CONSUMERS):
        items.put(END)


def consume(items, permits):
    while (item := items.get()) is not END:
        with permits:
            print(f"{threading.current_thread().name}: {item}\n", end="", flush=True)


def main():
    items, ready, permits = queue.Queue(4), threading.Event(), threading.Semaphore(AT_ONCE)
    threads = [threading.Thread(target=produce, args=(items, ready))]
    threads += [threading.Thread(target=consume, args=(items, permits), name=f"consumer-{i + 1}")
                for i in range(CONSUMERS)]
    for thread in threads:
        thread.start()
    ready.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
