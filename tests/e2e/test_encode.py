# SPDX-License-Identifier: MIT
"""`pier encode` and `pier decode`: operands, streams, escapes, modes and the place of mistakes."""

import fcntl
import json
import os
import re
import subprocess
import sys
import termios

import pytest

from pierlib import WAIT, wait_until

TEXT = "你好,世界!\n"
GBK = TEXT.encode("gbk")


def test_an_operand_is_encoded_without_another_byte(pier):
    result = pier("encode", "--to", "gbk", "你好")
    assert (result.rc, result.out, result.err) == (0, "你好".encode("gbk"), "")


def test_an_operand_is_decoded_as_a_line(pier):
    assert pier("decode", "--from", "gbk", "你好".encode("gbk")).out == "你好\n".encode()


def test_standard_input_is_converted_byte_for_byte(pier):
    assert pier("encode", "--to", "gbk", stdin=TEXT.encode()).out == GBK
    assert pier("decode", "--from", "gbk", stdin=GBK).out == TEXT.encode()
    assert pier("decode", "--from", "gbk", stdin=b"a\0b").out == b"a\0b"
    assert pier("decode", "--from", "gbk").out == b""


def test_hex_goes_both_ways(pier):
    shown = "".join(f"\\x{byte:02x}" for byte in GBK)
    assert pier("encode", "--to", "gbk", "--hex", TEXT).out == shown.encode() + b"\n"
    assert pier("encode", "--to", "gbk", "--hex", stdin=TEXT.encode()).out.decode() == shown + "\n"
    assert pier("decode", "--from", "gbk", "--hex", shown).out == TEXT.encode() + b"\n"
    assert pier("decode", "--from", "gbk", "--hex", stdin=shown.encode() + b"\n").out \
        == TEXT.encode()


def test_hex_reads_what_python_prints(pier):
    data = TEXT.encode("gbk") + b"\t\\'\"\r"
    shown = repr(data)[2:-1]
    assert pier("decode", "--from", "gbk", "--hex", stdin=shown.encode()).out \
        == data.decode("gbk").encode()


@pytest.mark.parametrize("shown, at, wrong", [
    ("ab\\xc4\\xg3", 6, r"\\xg"), ("\\q", 0, r"\\q"), ("a\\xe", 1, r"\\xe"), ("\\", 0, r"\\"),
])
def test_what_is_no_escape_is_told_with_its_place(pier, shown, at, wrong):
    result = pier("decode", "--from", "gbk", "--hex", stdin=shown.encode())
    assert result.rc == 1
    assert re.fullmatch(rf"pier: decode --hex: byte {at}: {wrong} is no escape\n", result.err)


def feed(process, pieces):
    """Writes pieces, each when the one before has been taken from the pipe."""
    pipe = process.proc.stdin
    for piece in pieces:
        wait_until(lambda: not unread(pipe), "the piece before is read")
        os.write(pipe.fileno(), piece)
    pipe.close()


def unread(pipe):
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.parametrize("args, sent", [
    (("decode", "--from", "gbk"), GBK),
    (("decode", "--from", "gbk", "--hex"), b"".join(b"\\x%02x" % byte for byte in GBK)),
    (("decode", "--from", "utf-8"), TEXT.encode()),
])
def test_input_may_be_cut_anywhere(start, args, sent):
    process = start(*args, stdin=subprocess.PIPE)
    feed(process, [bytes([byte]) for byte in sent])
    assert (process.wait(), process.out.data) == (0, TEXT.encode())


def test_what_came_is_written_before_the_end_of_input(start):
    process = start("decode", "--from", "gbk", stdin=subprocess.PIPE)
    process.proc.stdin.write("你".encode("gbk") + b"\xba")
    process.proc.stdin.flush()
    wait_until(lambda: process.out.data == "你".encode(), "the first character")
    process.proc.stdin.write(b"\xc3")
    process.proc.stdin.close()
    assert (process.wait(), process.out.data) == (0, "你好".encode())


@pytest.mark.parametrize("verb, sent, out, words", [
    ("decode", b"ab\nc\xff", b"ab\nc", "decode gbk: byte 4: ff is no character (line 2)"),
    ("decode", b"\xc4\xe3\n\n\xc4", "你\n\n".encode(),
     "decode gbk: byte 4: the character c4 is cut (line 3)"),
    ("encode", "你\n😀".encode(), b"\xc4\xe3\n", "encode gbk: byte 4: U+1F600 is not in gbk (line 2)"),
    ("encode", b"a\xe4\xbdz", b"a", "encode gbk: byte 1: e4 bd is no UTF-8 (line 1)"),
    ("encode", b"a\xe4\xbd", b"a", "encode gbk: byte 1: the character e4 bd is cut (line 1)"),
    ("decode", b"a" * 200_000 + b"\n\xff", b"a" * 200_000 + b"\n",
     "decode gbk: byte 200001: ff is no character (line 2)"),
    ("encode", b"a\n" * 100_000 + b"\xff", b"a\n" * 100_000,
     "encode gbk: byte 200000: ff is no UTF-8 (line 100001)"),
])
def test_a_mistake_is_told_with_its_place_after_what_precedes_it(pier, verb, sent, out, words):
    result = pier(verb, "--to" if verb == "encode" else "--from", "gbk", stdin=sent)
    assert (result.rc, result.out, result.err) == (1, out, f"pier: {words}\n")


@pytest.mark.parametrize("mode", ["replace", "ignore"])
def test_modes_do_as_python_does(pier, mode):
    wrong = b"a\xff\xc4\xe3\x81 b\xc4"
    assert pier("decode", "--from", "gbk", "--errors", mode, stdin=wrong).out \
        == wrong.decode("gbk", mode).encode()
    wrong = b"a\xff\xe4\xbd\xa0\xe4\xbd \xf0\x9f\x98b\xed\xa0\x80\xf4\x90\x80\x80\xe4"
    assert pier("decode", "--from", "utf-8", "--errors", mode, stdin=wrong).out \
        == wrong.decode("utf-8", mode).encode()
    text = "aé😀\U000e0041z"
    assert pier("encode", "--to", "latin1", "--errors", mode, stdin=text.encode()).out \
        == text.encode("latin-1", mode)
    wrong = b"\x41\x00\x00\xd8\x42\x00\x00\xdc\x43"
    assert pier("decode", "--from", "utf-16le", "--errors", mode, stdin=wrong).out \
        == wrong.decode("utf-16le", mode).encode()


@pytest.mark.parametrize("args, words", [
    (("encode", "a"), "encode needs --to CHARSET; --list prints their names"),
    (("decode",), "decode needs --from CHARSET; --list prints their names"),
    (("encode", "--to", "gkb"), "encode: there is no charset 'gkb'; did you mean 'gbk'?"),
    (("decode", "--from", "utf-7"), "decode: there is no charset 'utf-7'; did you mean 'utf-8'?"),
    (("decode", "--from", "klingon"), "decode: there is no charset 'klingon'"),
    (("decode", "--from", ""), "decode: there is no charset ''"),
    (("encode", "--to", "\x1b[31m"), "encode: there is no charset '\\x1b[31m'"),
])
def test_what_is_missing_or_unknown_is_a_usage_error(pier, args, words):
    result = pier(*args)
    assert (result.rc, result.out, result.err.split("\n")[0]) == (2, b"", f"pier: {words}")


def test_names_are_those_of_the_web_and_of_python(pier):
    for label, charset in {"GB2312": "gbk", "x-sjis": "shift_jis", "Windows-31J": "shift_jis",
                           "ks_c_5601-1987": "euc-kr", "cp949": "euc-kr", "UTF8": "utf-8",
                           "latin-1": "iso-8859-1", "ISO_8859-1:1987": "iso-8859-1",
                           "us-ascii": "ascii", "cp1251": "windows-1251", "utf-16": "utf-16le",
                           "Big5-HKSCS": "big5-hkscs", "ANSI_X3.4-1968": "ascii"}.items():
        result = pier("encode", "--to", label, stdin=b"\xff")
        assert result.err.startswith(f"pier: encode {charset}: byte 0: "), result.err


def test_the_list_is_printed_as_json_too(pier):
    names = pier("encode", "--list").out.decode().split()
    assert "gbk" in names and "windows-1258" in names
    assert json.loads(pier("decode", "--list", "--json").out) == names


def test_a_stream_of_any_length_takes_little_memory(start):
    process = start("decode", "--from", "gb18030", stdin=subprocess.PIPE)
    piece, count = "你好😀\n".encode("gb18030") * 10_000, 100
    for _ in range(count):
        process.proc.stdin.write(piece)
        process.out.data = process.out.data[-100:]
    assert process.rss() < 20_000_000 * (8 if "asan" in process.argv[0] else 1)
    process.proc.stdin.close()
    assert process.wait() == 0


def test_an_output_that_is_closed_is_an_error_with_a_text(pier_bin, base_env):
    done = subprocess.run(["sh", "-c", '"$0" encode --to gbk a >&-', pier_bin], env=base_env,
                          capture_output=True, timeout=WAIT)
    assert done.returncode == 1
    assert b"write standard output" in done.stderr
