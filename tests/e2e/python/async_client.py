#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A thousand clients at once, on one thread."""

import argparse
import asyncio
import sys
import urllib.parse


class Count:
    right = wrong = 0


async def talk(args, count):
    writer = None
    try:
        parts = urllib.parse.urlsplit(args.url)
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(parts.hostname, parts.port), 5)
        writer.write(b"Hello, World!")
        await writer.drain()
        reply = await asyncio.wait_for(reader.read(1024), 5)
        error = None if reply.decode() == args.expect else "another reply"
    except (OSError, UnicodeError, asyncio.TimeoutError) as failure:
        error = failure or "timed out"
    finally:
        if writer:
            writer.close()
    if error is None:
        count.right += 1
        return
    if count.wrong == 0:
        print(f"async_client: {error}", file=sys.stderr)
    count.wrong += 1


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?", default="tcp://localhost:10000")
    parser.add_argument("count", nargs="?", type=int, default=1000)
    parser.add_argument("--expect", default="Hello, Client!")
    args, count = parser.parse_args(), Count()
    await asyncio.gather(*(talk(args, count) for _ in range(args.count)))
    print(f"{count.right} of {args.count}")
    sys.exit(count.right != args.count)


asyncio.run(main())
