#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Answers many clients at once, each in a task of its own."""

import asyncio
import signal
import sys
import urllib.parse

IDLE = 300


async def reply(reader, writer):
    peer = "%s:%d" % writer.get_extra_info("peername")[:2]
    print(f"connected: {peer}\n", end="", file=sys.stderr, flush=True)
    try:
        while data := await asyncio.wait_for(reader.read(4096), IDLE):
            writer.write("服务器已收到: ".encode() + data)
            await writer.drain()
        print(f"left: {peer}\n", end="", file=sys.stderr, flush=True)
    except (OSError, asyncio.TimeoutError) as error:
        print(f"{error or 'timed out'}: {peer}", file=sys.stderr, flush=True)
    finally:
        writer.close()


async def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:8888"
    parts = urllib.parse.urlsplit(url)
    stopped = asyncio.Event()
    for number in signal.SIGINT, signal.SIGTERM:
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        server = await asyncio.start_server(reply, parts.hostname, parts.port, backlog=1000)
    except OSError as error:
        sys.exit(f"tasks_server: listen {url}: {error}")
    name = server.sockets[0].getsockname()
    print("listening on tcp://%s:%d" % name[:2], file=sys.stderr, flush=True)
    async with server:
        await stopped.wait()


asyncio.run(main())
