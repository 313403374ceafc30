# SPDX-License-Identifier: MIT
"""src/text/width_table.h: against Python's Unicode database, and against the script that makes it."""

import pathlib
import re
import subprocess
import unicodedata

import pytest

pytestmark = pytest.mark.slow  # of the sources, so once is enough

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = ROOT / "src/text/width_table.h"
SHOWN_FORMATS = {0xAD, *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
JOINING = {*range(0x1160, 0x1200), *range(0xD7B0, 0xD800)}


def runs(name):
    body = re.search(rf"{name}\[\] = {{(.*?)\n}};", TABLE.read_text(), re.S)[1]
    return [(int(first, 16), int(last, 16))
            for first, last in re.findall(r"{ 0x(\w+), 0x(\w+) }", body)]


def expected(code):
    character = chr(code)
    category = unicodedata.category(character)
    if code in JOINING or category in ("Mn", "Me", "Cf", "Zl", "Zp") and code not in SHOWN_FORMATS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def test_the_table_agrees_with_pythons_database():
    columns = dict.fromkeys(range(0x110000), 1)
    for name, width in ("two_columns", 2), ("no_column", 0):
        found = runs(name)
        assert found == sorted(found) and len(found) > 100
        for first, last in found:
            columns.update(dict.fromkeys(range(first, last + 1), width))
    wrong = [hex(code) for code in range(0xA0, 0x110000)
             if unicodedata.category(chr(code)) not in ("Cn", "Cs") and
             columns[code] != expected(code)]
    assert not wrong


def test_the_table_is_what_its_script_makes():
    if not pathlib.Path("/usr/share/unicode/EastAsianWidth.txt").exists():
        pytest.skip("unicode-data is not installed")
    made = subprocess.run([ROOT / "tools/width_table.py"], check=True, capture_output=True).stdout
    assert made == TABLE.read_bytes()
