#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes src/text/width_table.h, the columns that characters take, from the Unicode Character
Database of Debian's package unicode-data:

    tools/width_table.py >src/text/width_table.h

No column: nonspacing and enclosing marks (Mn, Me), formats (Cf) but those that show (the soft
hyphen, the marks that numbers are written over), the line and paragraph separators, and the vowels
and finals of Hangul that join their initial. Two: East Asian Width W or F (UAX #11), which emoji have too. One: all others."""

import re
from pathlib import Path

UCD = Path("/usr/share/unicode")
SOFT_HYPHEN, HANGUL_JOINING = 0xAD, [*range(0x1160, 0x1200), *range(0xD7B0, 0xD800)]

HEAD = """/* SPDX-License-Identifier: MIT */
/*
 * text/width_table.h - the characters that take no column, and those that take two; first and last
 * of each run, in order. Unicode {version}.
 *
 * Made by tools/width_table.py from the Unicode Character Database; not edited by hand.
 */
#ifndef PI_TEXT_WIDTH_TABLE_H
#define PI_TEXT_WIDTH_TABLE_H

#include <stdint.h>

struct run {{
    uint32_t first, last;
}};
"""


def fields(name):
    """(first, last, second field) of each line of a file of the database."""
    for line in (UCD / name).read_text().splitlines():
        found = re.match(r"([0-9A-F]+)(?:\.\.([0-9A-F]+))?\s*;\s*([^;#]+?)\s*(?:[;#]|$)", line)
        if found:
            yield int(found[1], 16), int(found[2] or found[1], 16), found[3], line


def zero_columns():
    codes = set(HANGUL_JOINING)
    for first, _, _, line in fields("UnicodeData.txt"):
        if line.split(";")[2] in ("Mn", "Me", "Cf", "Zl", "Zp"):
            codes.add(first)
    for first, last, name, _ in fields("PropList.txt"):
        if name == "Prepended_Concatenation_Mark":
            codes -= {*range(first, last + 1)}
    return codes - {SOFT_HYPHEN}


def two_columns():
    codes = set()
    for first, last, width, _ in fields("EastAsianWidth.txt"):
        if width in ("W", "F"):
            codes.update(range(first, last + 1))
    return codes


def runs(codes):
    found = []
    for code in sorted(codes):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def table(name, codes):
    cells = [f"{{ 0x{first:04x}, 0x{last:04x} }}," for first, last in runs(codes)]
    lines, line = [], "   "
    for cell in cells:
        if len(line) + 1 + len(cell) > 100:
            lines.append(line)
            line = "   "
        line += " " + cell
    return "\n".join([f"\nstatic const struct run {name}[] = {{", *lines, line, "};"])


def main():
    version = re.match(r"# EastAsianWidth-([\d.]+)\.txt",
                       (UCD / "EastAsianWidth.txt").read_text())[1]
    none = zero_columns()
    print(HEAD.format(version=version), end="")
    print("/* clang-format off */")
    print(table("no_column", none))
    print(table("two_columns", two_columns() - none))
    print("\n/* clang-format on */\n\n#endif")


if __name__ == "__main__":
    main()
