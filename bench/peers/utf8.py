#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The texts of bench/utf8.c through Python's decoder, the rows alike. It makes a string as well:
there is no call that only looks."""

import json
import time

REPEATS, TEXT_BYTES, PASSES = 15, 256 << 10, 4

TEXTS = {
    "ascii": ["The ", "quick ", "brown fox ", "jumps.\n"],
    "english": ["A text of plain words, ", "as most are, ", "with a naïve ", "one.\n"],
    "latin": ["Où ", "est ", "l'été ", "naïf ", "garçon ", "là-bas?\n"],
    "russian": ["Привет, ", "мир! ", "сервер ", "получил ", "сообщение.\n"],
    "chinese": ["你好", "世界", "服务器", "已收到", "，", "。"],
    "emoji": ["😀", "🚀", "👍🏽", "🎉"],
    "mixed": ["<p>", "你好", " world ", "é", "😀", "</p>\n", "消息: "],
    "cut": ["你好", "世界", "服务器", "已收到"],
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


def is_valid(text):
    try:
        text.decode()
        return True
    except UnicodeDecodeError:
        return False


for name, words in TEXTS.items():
    text = make_text(words)[:-1 if name == "cut" else None]
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        for _ in range(PASSES):
            assert is_valid(text) == (name != "cut")
        best = min(best, (time.perf_counter_ns() - start) / PASSES)
    print(json.dumps({"name": name, "by": "python", "ns": round(best * 1024 / len(text), 1)}))
