#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The texts of bench/utf8.c through Python's decoder, the rows alike. It makes a string as well:
there is no call that only looks."""

import json
import time

REPEATS, TEXT_BYTES, PASSES = 9, 1 << 20, 8

TEXTS = {
    "ascii": ["The ", "quick ", "brown fox ", "jumps.\n"],
    "latin": ["Où ", "est ", "l'été ", "naïf ", "garçon ", "là-bas?\n"],
    "chinese": ["你好", "世界", "服务器", "已收到", "，", "。"],
    "mixed": ["<p>", "你好", " world ", "é", "😀", "</p>\n", "消息: "],
    "emoji": ["😀", "🚀", "👍🏽", "🎉"],
}


def make_text(words):
    pieces, length, seed = [], 0, 1
    while True:
        seed = (seed * 1103515245 + 12345) & 0xFFFFFFFF
        word = words[(seed >> 16) % len(words)].encode()
        if length + len(word) > TEXT_BYTES:
            return b"".join(pieces)
        pieces.append(word)
        length += len(word)


for name, words in TEXTS.items():
    text = make_text(words)
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        for _ in range(PASSES):
            text.decode()
        best = min(best, (time.perf_counter_ns() - start) / PASSES)
    print(json.dumps({"name": f"utf8_{name}", "by": "python", "ns": round(best * 1024 / len(text), 1),
                      "gbps": round(len(text) / best, 2)}))
