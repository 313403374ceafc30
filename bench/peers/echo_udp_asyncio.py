#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The peers asyncio and uvloop over UDP, as a datagram protocol.

Usage: echo_udp_asyncio.py [uvloop] [BUFFER]. Prints `listening on udp://127.0.0.1:PORT`.
"""
import asyncio
import sys


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


async def main():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    print("listening on udp://127.0.0.1:%d" % transport.get_extra_info("sockname")[1], flush=True)
    await loop.create_future()


if "uvloop" in sys.argv:
    import uvloop
    uvloop.install()
asyncio.run(main())
