# SPDX-License-Identifier: MIT
"""`pier hash`: what sha256sum prints, to the byte, and each checks the other's lists."""

import hashlib
import os
import shutil
import subprocess

import pytest

from pierlib import WAIT

NAMES = [b"plain", b" space", b"*star", b"new\nline", b"back\\slash", b"return\r", b"\xff\xfe",
         "名".encode(), b"a) = b"]


@pytest.fixture
def sha256sum(tmp_path):
    """sha256sum(*args, stdin=b"…") → (exit status, stdout) in the test's folder."""
    if not shutil.which("sha256sum"):
        pytest.skip("there is no sha256sum to compare with")

    def run(*args, stdin=b""):
        done = subprocess.run(["sha256sum", *args], input=stdin, cwd=tmp_path, timeout=WAIT,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.returncode, done.stdout

    return run


@pytest.fixture
def here(pier, tmp_path, monkeypatch):
    """`pier hash` in the test's folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *args, **more: pier("hash", *args, **more)


@pytest.fixture
def files(tmp_path):
    """Files with awkward names and lengths."""
    for count, name in enumerate(NAMES):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(bytes(range(256)) * count * 137 + b"." * count)
    return NAMES


def test_hash_prints_what_sha256sum_prints(here, sha256sum, files):
    result = here(*files)
    assert (result.rc, result.out, result.err) == (*sha256sum(*files), "")
    assert result.out.count(b"\n") == len(files)


@pytest.mark.parametrize("length", [0, 1, 131071, 131072, 131073, 5_000_000])
def test_hash_of_standard_input(here, sha256sum, length):
    data = os.urandom(length)
    wanted = hashlib.sha256(data).hexdigest().encode() + b"  -\n"
    assert here(stdin=data).out == wanted == sha256sum(stdin=data)[1]
    assert here("-", stdin=data).out == wanted


def test_hash_goes_on_after_a_file_that_cannot_be_read(here, sha256sum, files):
    result = here("plain", "missing", ".", " space")
    assert (result.rc, result.out) == sha256sum("plain", "missing", ".", " space")
    assert result.rc == 1
    assert result.err == (
        "pier: missing: no such file or directory\npier: .: is a directory\n"
    )


def test_hash_check_of_its_own_list_is_ok(here, sha256sum, files, tmp_path):
    (tmp_path / "sums").write_bytes(here(*files).out)
    result = here("--check", "sums")
    assert (result.rc, result.out, result.err) == (*sha256sum("-c", "sums"), "")
    assert (result.rc, result.out.count(b": OK\n")) == (0, len(files))


def test_hash_check_finds_what_has_changed(here, sha256sum, files, tmp_path):
    (tmp_path / "sums").write_bytes(here("plain", " space", "*star").out)
    (tmp_path / " space").write_bytes(b"changed")
    (tmp_path / "*star").unlink()
    result = here("-c", "sums")
    assert (result.rc, result.out) == sha256sum("-c", "sums")
    assert result.out == b"plain: OK\n space: FAILED\n*star: FAILED open or read\n"
    assert result.err.splitlines()[1:] == [
        "pier: warning: 1 listed file could not be read",
        "pier: warning: 1 computed digest did NOT match",
    ]


OF_A = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
LISTS = {
    "upper case": f"{OF_A.upper()}  a\n",
    "binary": f"{OF_A} *a\n",
    "BSD": f"SHA256 (a) = {OF_A}\n",
    "OpenSSL": f"SHA256(a)= {OF_A}\n",
    "BSD with a wrong digest": f"SHA256 (a) = {OF_A[::-1]}\n",
    "one space": f"{OF_A} a\n{OF_A} a\n",
    "one space in the middle": f"{OF_A}  a\n{OF_A} xa\n",
    "two spaces after one": f"{OF_A} a\n{OF_A}  a\n",
    "CRLF": f"{OF_A}  a\r\n",
    "no end of line": f"{OF_A}  a",
    "blanks in front": f" \t{OF_A}  a\n",
    "comments and empty lines": f"# x\n\n{OF_A}  a\n\n",
    "junk beside": f"junk\n{OF_A}  a\nmore junk\n",
    "junk alone": "junk\n",
    "empty": "",
    "too short": f"{OF_A[1:]}  a\n",
    "too long": f"0{OF_A}  a\n",
    "no digit": f"g{OF_A[1:]}  a\n",
    "no name": f"{OF_A}\n{OF_A} \n{OF_A}  \n",
    "escaped": f"\\{OF_A}  b\\\\n\n",
    "a bad escape": f"\\{OF_A}  a\\x\n",
    "an unfinished escape": f"\\{OF_A}  a\\\n",
    "escaped BSD": f"\\SHA256 (b\\\\n) = {OF_A}\n",
    "unbalanced BSD": f"SHA256 (a = {OF_A}\n",
    "BSD with a bracket": f"SHA256 (p)q) = {OF_A}\n",
    "standard input": f"{OF_A}  -\n",
    "another digest": f"MD5 (a) = {OF_A}\n",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("from_file", [True, False], ids=["file", "stdin"])
def test_hash_check_understands_what_sha256sum_understands(here, sha256sum, tmp_path, text,
                                                           from_file):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b\\n").write_bytes(b"a")
    (tmp_path / "p)q").write_bytes(b"a")
    (tmp_path / "list").write_text(text, newline="")
    args, stdin = (["list"], b"") if from_file else ([], text.encode())
    result = here("--check", *args, stdin=stdin)
    assert (result.rc, result.out) == sha256sum("--check", *args, stdin=stdin)


def test_hash_check_counts_the_lines_that_it_does_not_understand(here, tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    result = here("-c", stdin=f"junk\n#\n\n{OF_A}  a\nx\n".encode())
    assert (result.rc, result.err) == (0, "pier: warning: 2 lines are improperly formatted\n")
    result = here("-c", stdin=b"junk\n")
    assert (result.rc, result.err) == (1, "pier: standard input: no line with a SHA-256 digest\n")


def test_hash_check_tells_of_a_list_that_cannot_be_read(here):
    result = here("-c", "missing", ".")
    assert (result.rc, result.out) == (1, b"")
    assert result.err == "pier: missing: no such file or directory\npier: .: is a directory\n"
