#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The peer asyncio in the micro benchmarks: the counterparts of bench/micro.c. One JSON line each."""
import asyncio
import json
import time


def report(name, count, start):
    ns = (time.perf_counter_ns() - start) / count
    print(json.dumps({"name": name, "ns": round(ns, 2), "count": count}), flush=True)


async def yields(count):
    for _ in range(count):
        await asyncio.sleep(0)


async def nothing():
    pass


async def channel(name, room, count):
    queue = asyncio.Queue(room)

    async def send():
        for i in range(count):
            await queue.put(i)

    start = time.perf_counter_ns()
    sender = asyncio.create_task(send())
    for _ in range(count):
        await queue.get()
    await sender
    report(name, count, start)


async def main():
    start = time.perf_counter_ns()
    await asyncio.gather(yields(10000), yields(10000))
    report("yield", 20000, start)

    start = time.perf_counter_ns()
    for _ in range(10000):
        await asyncio.create_task(nothing())
    report("spawn_join", 10000, start)

    start = time.perf_counter_ns()
    for _ in range(10):
        await asyncio.gather(*[asyncio.create_task(nothing()) for _ in range(1000)])
    report("spawn_join_batch", 10000, start)

    await channel("chan_buffered", 64, 10000)
    await channel("chan_one", 1, 10000)

    lock = asyncio.Lock()
    start = time.perf_counter_ns()
    for _ in range(10000):
        await lock.acquire()
        lock.release()
    report("mutex_uncontended", 10000, start)

    start = time.perf_counter_ns()
    for _ in range(50):
        await asyncio.sleep(0.0001)
    report("sleep_100us", 50, start)


for _ in range(7):
    asyncio.run(main())
