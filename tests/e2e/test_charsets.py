# SPDX-License-Identifier: MIT
"""Every charset of `pier encode` and `pier decode` against Python's codec of the same name: all
characters of the basic plane one way, all sequences of one and two bytes the other way."""

import codecs

import pytest

pytestmark = pytest.mark.slow  # once is enough: the sanitizers see the rest of the tests

# What the codec is called in Python, where it is not the same.
PYTHON = {
    "shift_jis": "cp932", "euc-kr": "cp949", "big5-hkscs": "big5hkscs", "windows-874": "cp874",
    "macintosh": "mac_roman", "ibm437": "cp437", "ibm850": "cp850", "ibm866": "cp866",
}
TWO_BYTES = ("gbk", "gb18030", "big5", "big5-hkscs", "shift_jis", "euc-jp", "euc-kr")
UTF = ("utf-8", "utf-16le", "utf-16be")

# How many characters are encoded, and sequences decoded, otherwise than by Python, and why.
DIFFERENCES = {
    "gbk": (1, 1, "80 is the euro sign, as on the web"),
    "gb18030": (44, 25, "the edition of 2005, which gave codes of private use to characters"),
    "big5": (714, 462, "Unicode's own mapping with the euro and ETEN's forms, not that of 1994"),
    "big5-hkscs": (52, 76, "the edition of 2008, not that of 2004"),
    "shift_jis": (381, 5, "as on the web: IBM's codes for what NEC has too, yen and overline as "
                          "5C and 7E; Python has characters for 80, A0, FD, FE and FF"),
    "euc-jp": (31, 30, "C1 controls are characters"),
    "windows-1255": (34, 0, "composed letters are encoded as letter and mark"),
    "windows-1258": (183, 0, "composed letters are encoded as letter and mark"),
    "macintosh": (4, 2, "C6 is Delta, not the increment; F0, the apple, is U+E01E"),
}

CHARACTERS = [chr(code) for code in range(0x20, 0x10000) if not 0xD800 <= code <= 0xDFFF]


def names():
    """The list is read when tests are collected, before there is a binary: it is repeated here, and
    test_the_list_is_complete() compares."""
    single = [f"iso-8859-{n}" for n in range(1, 17) if n not in (11, 12)]
    single += [f"windows-{n}" for n in (874, *range(1250, 1259))]
    single += ["ascii", "koi8-r", "koi8-u", "ibm437", "ibm850", "ibm866", "macintosh"]
    return [*UTF, *TWO_BYTES, *single]


def python_codec(name):
    return codecs.lookup(PYTHON.get(name, name))


def strictly(convert, value):
    """What the function makes of the value, None when that is an error."""
    try:
        return convert(value)[0]
    except UnicodeError:
        return None


def difference(charset, index, differing):
    """Fails unless as many differ as are known."""
    known = DIFFERENCES.get(charset, (0, 0, ""))[index]
    shown = [tuple(map(ascii, each)) for each in differing[:20]]
    assert len(differing) == known, f"{charset}: {len(differing)} differ, {known} known: {shown}"


def test_the_list_is_complete(pier):
    assert sorted(pier("encode", "--list").out.decode().split()) == sorted(names())
    assert pier("encode", "--list").out == pier("decode", "--list").out


@pytest.mark.parametrize("charset", [name for name in names() if name not in UTF])
def test_every_character_of_the_basic_plane_is_encoded_as_by_python(pier, charset):
    result = pier("encode", "--to", charset, "--errors", "replace",
                  stdin="\n".join(CHARACTERS).encode())
    lines = result.out.split(b"\n")
    encode, wrong = python_codec(charset).encode, []
    assert len(lines) == len(CHARACTERS)
    for character, line in zip(CHARACTERS, lines):
        expected = strictly(encode, character)
        if line != (b"?" if expected is None else expected):
            wrong.append((character, line, expected))
    difference(charset, 0, wrong)


def decoded(pier, charset, sequences):
    """What each sequence is, None where it has a mistake."""
    result = pier("decode", "--from", charset, "--errors", "replace", stdin=b"\n".join(sequences))
    lines = result.out.decode().split("\n")
    assert len(lines) == len(sequences)
    return [None if "\ufffd" in line else line for line in lines]


@pytest.mark.parametrize("charset", [name for name in names() if name not in UTF])
def test_every_short_sequence_is_decoded_as_by_python(pier, charset):
    decode = python_codec(charset).decode
    expected, got = {}, {}

    def compare(sequences):
        expected.update({sequence: strictly(decode, sequence) for sequence in sequences})
        got.update(zip(sequences, decoded(pier, charset, sequences)))

    compare([bytes([byte]) for byte in range(256) if byte != 10])
    if charset in TWO_BYTES:
        leads = [lead for lead in got if got[lead] is None and expected[lead] is None]
        compare([lead + bytes([byte]) for lead in leads for byte in range(256) if byte != 10])
    difference(charset, 1, [(sequence, got[sequence], expected[sequence])
                            for sequence in got if got[sequence] != expected[sequence]])


def every_character(but=()):
    return "".join(chr(code) for code in range(0x110000)
                   if not 0xD800 <= code <= 0xDFFF and code not in but)


@pytest.mark.parametrize("charset", UTF)
def test_every_character_there_is_is_encoded_as_by_python_and_comes_back(pier, charset):
    text = every_character()
    encoded = pier("encode", "--to", charset, stdin=text.encode()).out
    assert encoded == text.encode(charset)
    assert pier("decode", "--from", charset, stdin=encoded).out == text.encode()


def test_every_character_but_private_ones_comes_back_from_gb18030(pier):
    text = every_character(but=range(0xE000, 0xF900)).encode()
    encoded = pier("encode", "--to", "gb18030", stdin=text)
    assert (encoded.rc, encoded.err) == (0, "")
    assert pier("decode", "--from", "gb18030", stdin=encoded.out).out == text
