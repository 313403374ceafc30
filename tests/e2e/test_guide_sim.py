# SPDX-License-Identifier: MIT
"""docs/guide/10-bad-network.md tells the truth: what it shows is what its programs say.

When the simulator's decisions change, other seeds fail: then the guide needs the new output.
"""

import os
import pathlib
import re

import pytest

import pierlib

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PIER_BUILD_DIR", REPOSITORY / "build"))
GUIDE = (REPOSITORY / "docs/guide/10-bad-network.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.M | re.S)
SHOWN = [text for language, text in BLOCKS if not language]
BUGGY, FIXED = "build/examples/sim_counter_bug", "build/examples/sim_counter"


@pytest.fixture
def example(base_env):
    """example(line) → Result of a command line as the guide shows it."""

    def run(line):
        name, *args = line.split()
        argv = [str(BUILD / name.removeprefix("build/")), *args]
        return pierlib.run(argv, base_env, b"", 60 * pierlib.SCALE)

    return run


def shown(start):
    """The lines of the block that begins so; what "…" leaves out is None."""
    block = next(block for block in SHOWN if block.startswith(start))
    return [None if line == "…" else line for line in block.splitlines()]


def said(text):
    text = text if isinstance(text, str) else text.decode()
    return text.replace(f"{BUILD}/", "build/").splitlines()


def expect_lines(lines, wanted):
    """The wanted lines stand one below the other, but for gaps."""
    at = 0
    for before, line in zip([None, *wanted], wanted):
        if line is None:
            continue
        found = lines.index(line, at) if line in lines[at:] else -1
        assert found == at or (before is None and found > at), \
            f"the guide shows {line!r}; there is:\n" + "\n".join(lines[at:])
        at = found + 1


def test_the_sweep_finds_what_the_guide_shows(example):
    command, *wanted = shown(f"$ {BUGGY}")
    result = example(command.removeprefix("$ "))
    assert result.rc == 1
    expect_lines(said(result.err) + said(result.out), wanted)


def test_the_seed_of_the_guide_fails(example):
    _, first, *_ = shown(f"$ {BUGGY}")
    command, words = re.fullmatch(r"(.*\S)\s+# (.*)", first).groups()
    result = example(command)
    assert result.rc == 1
    assert said(result.err) == [f"sim_counter_bug: {words}"]


def test_the_reduced_case_has_the_trace_of_the_guide(example):
    line = next(line for line in shown(f"$ {BUGGY}") if line and line.startswith("reduced: "))
    result = example(line.removeprefix("reduced: "))
    assert result.rc == 1
    trace = [line.strip() for line in said(result.out)]
    expect_lines(trace, [None, *(line.strip() for line in shown("0."))])


def test_the_repaired_one_passes(example):
    command, *wanted = shown(f"$ {FIXED}\n")
    result = example(command.removeprefix("$ "))
    assert (result.rc, said(result.out), said(result.err)) == (0, wanted, [])
