# SPDX-License-Identifier: MIT
"""The fuzz targets over their corpus, its beginnings and random changes (fuzz/replay.c)."""

import os
import pathlib
import subprocess

import pytest

from pierlib import SCALE, check_report

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGETS = sorted(path.stem for path in (ROOT / "fuzz").glob("*_*.c"))


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_the_corpus_fails(pier_bin, target):
    program = pathlib.Path(pier_bin).parents[1] / "fuzz" / target
    if not os.access(program, os.X_OK):
        pytest.skip("not built: ninja tests")
    corpus = sorted((ROOT / "fuzz/corpus" / target).iterdir())
    assert corpus
    done = subprocess.run([program, *corpus], capture_output=True, text=True, timeout=60 * SCALE)
    check_report(done.stderr)
    assert done.returncode == 0, done.stderr
