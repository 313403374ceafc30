# SPDX-License-Identifier: MIT
"""Each check can fail: a small good tree passes, and one broken in one place is reported."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import checks  # noqa: E402

ROOT = Path(__file__).parent.parent
SPDX = "/* SPDX-License-Identifier: MIT */\n"
GOOD = {
    "meson.build": "version: '0.1.0'\n'src/base/err.c' 'src/base/sys.c' 'src/net/dns.c' "
                   "'src/net/dns_wire.c' 'cli/main.c' 'include/pier/base.h' 'net_dns' 'echo'\n",
    "dev": "#!/bin/sh\ntrue\n",
    ".ci/run": "#!/bin/sh\ntrue\n",
    "include/pier/base.h": SPDX + '#define PIER_VERSION "0.1.0"\nint pier_zero(void);\n',
    "src/base/err.c": SPDX + '#include "err.h"\n\n/* exit(1) is not for us */\nint zero;\n',
    "src/base/err.h": SPDX,
    "src/base/sys.c": SPDX + "void *get(void)\n{\n    return malloc(1);\n}\n",
    "src/net/dns.c": SPDX + '#include "base/err.h"\n#include "task/io.h"\n#include <pier/base.h>\n',
    "src/net/dns_wire.c": SPDX + '#include "dns_wire.h"\n#include <string.h>\n',
    "cli/main.c": SPDX + '#include "verb.h"\n#include <pier/net.h>\n',
    "cli/verb.h": SPDX,
    "examples/echo.c": SPDX + "#include <pier/pier.h>\n",
    "tests/net_dns.c": SPDX + '#include "harness.h"\n#include "net/dns.h"\n',
}
LONG = SPDX + "int f(void)\n{\n" + "    g();\n" * 69 + "}\n"

BREAKS = [
    (checks.check_layers, "src/base/err.c", '#include "task/io.h"\n'),
    (checks.check_layers, "src/base/err.c", "#include <pier/net.h>\n"),
    (checks.check_layers, "src/base/err.c", "#include <pier/pier.h>\n"),
    (checks.check_layers, "src/base/err.c", '#include "../task/io.h"\n'),
    (checks.check_layers, "src/attic/x.c", '#include "base/err.h"\n'),
    (checks.check_layers, "include/pier/base.h", "#include <pier/task.h>\n"),
    (checks.check_layers, "include/pier/base.h", '#include "base/err.h"\n'),
    (checks.check_layers, "cli/main.c", '#include "base/err.h"\n'),
    (checks.check_layers, "examples/echo.c", '#include "net/dns.h"\n'),
    (checks.check_layers, "examples/echo.c", '#include "../src/base/err.h"\n'),
    (checks.check_layers, "tests/net_dns.c", '#include "task/io.h"\n'),
    (checks.check_wire_files, "src/net/dns_wire.c", "#include <unistd.h>\n"),
    (checks.check_wire_files, "src/net/dns_wire.c", '#include "task/io.h"\n'),
    (checks.check_public_headers, "include/pier/base.h", "size_t pier_count(void);\n"),
    (checks.check_public_headers, "include/pier/base.h", "int pier_new(int class);\n"),
    (checks.check_license_line, "src/base/err.c", "int x;\n"),
    (checks.check_columns, "src/base/err.c", SPDX + "//" + "x" * 99 + "\n"),
    (checks.check_function_length, "src/base/err.c", LONG),
    (checks.check_no_exit, "src/base/err.c", "void f(void)\n{\n    exit(1);\n}\n"),
    (checks.check_system_calls, "src/base/err.c", "void f(void)\n{\n    malloc(1);\n}\n"),
    (checks.check_format, "src/base/err.c", SPDX + "int  x;\n"),
    (checks.check_lists, "src/base/new.c", SPDX),
    (checks.check_lists, "tests/net_new.c", SPDX),
    (checks.check_lists, "docs/man/pier_new.3", "\n"),
    (checks.check_version, "include/pier/base.h", '#define PIER_VERSION "0.2.0"\n'),
    (checks.check_shell, "dev", "#!/bin/sh\ncd $1\n"),
]


@pytest.fixture
def tree(tmp_path):
    for name, text in GOOD.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy(ROOT / ".clang-format", tmp_path)
    return tmp_path


def result_of(check, tree):
    try:
        return check(tree)
    except checks.Skip as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("check", checks.TREE_CHECKS, ids=lambda check: check.__name__)
def test_a_good_tree_passes(tree, check):
    assert result_of(check, tree) == []


@pytest.mark.parametrize("check, path, text", BREAKS,
                         ids=[f"{check.__name__}-{path}" for check, path, _ in BREAKS])
def test_a_broken_tree_is_reported(tree, check, path, text):
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_text(text)
    assert any(Path(path).name in line or "0.2.0" in line for line in result_of(check, tree))


def test_every_check_is_broken_here():
    assert set(checks.TREE_CHECKS) == {check for check, _, _ in BREAKS}


def library(tree, source, soname):
    (tree / "x.c").write_text(source)
    for command in (f"gcc -fPIC -c x.c && ar rcs libpier.a x.o",
                    f"gcc -shared x.o -o libpier.so -Wl,-soname,{soname}"):
        subprocess.run(command, shell=True, check=True, cwd=tree)
    return checks.check_symbols(tree)


def test_symbols_of_a_clean_library_pass(tree):
    assert library(tree, "int pier_a; static int b; int *pier_p(void) { return &b; }",
                   "libpier.so.0") == []


def test_a_leaked_symbol_and_a_wrong_soname_are_reported(tree):
    assert library(tree, "int pier_a, pi_leaked;", "libpier.so.1") == [
        "libpier.a: pi_leaked is visible", "libpier.so: pi_leaked is visible",
        "libpier.so: the SONAME is not libpier.so.0"]
