#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The peer uvloop: the asyncio servers on libuv's loop. Usage: as echo_asyncio.py."""
import uvloop

import echo_asyncio

uvloop.install()
echo_asyncio.run()
