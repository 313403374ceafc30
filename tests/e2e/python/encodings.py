#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""One text in two encodings: the bytes of each, and the text that comes back."""

import sys


def show(charset, text):
    encoded = text.encode(charset)
    print(f"{charset}:", "".join(f"\\x{byte:02x}" for byte in encoded))
    print(f"{charset}:", encoded.decode(charset))


try:
    for charset in "utf-8", "gbk":
        show(charset, sys.argv[1] if len(sys.argv) > 1 else "你好,世界!")
except UnicodeError as error:
    sys.exit(f"encodings: {error}")
