# SPDX-License-Identifier: MIT
"""The rules of the house that a machine can check. Each function below looks at a tree (and, where
it needs one, at a build of it) and returns the violations as lines; run_tests.py counts each as a
test and test_checks.py proves that each can fail."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

MAX_COLUMNS = 100
MAX_FUNCTION_LINES = 70
FORMATTER = "clang-format-14"
CODE_FOLDERS = ("src", "include", "cli", "examples", "tests", "bench", "fuzz")

# The layer table: a folder of src/ (or the public header of its name) and what it may include.
LAYERS = {
    "base": {"base"},
    "text": {"base", "text"},
    "task": {"base", "task"},
    "sim": {"base", "task", "sim"},
    "work": {"base", "task", "work"},
    "net": {"base", "text", "task", "work", "net"},
    "http": {"base", "text", "task", "work", "net", "http"},
}
HEADER_FOLDER = {}
PUBLIC_ONLY = ("src/app", "cli", "examples", "bench")

# All that a *_wire.c may include: no I/O, no clock, no task.
WIRE_INCLUDES = {
    "<assert.h>", "<errno.h>", "<limits.h>", "<stdbool.h>", "<stddef.h>", "<stdint.h>",
    "<string.h>", "<strings.h>", "<sys/types.h>", "<emmintrin.h>", "<pier/base.h>",
    "<pier/text.h>",
}
WIRE_PRIVATE = re.compile(r"(text/.*|base/(assert|err|buf|arena|list)|fields|\w+_wire)\.h")

# Only src/base/sys.c asks the system for memory, time and randomness; exit() is nobody's.
SYS_FILE = "src/base/sys.c"
SYS_CALLS = re.compile(
    r"(?<![\w.>])(malloc|calloc|realloc|reallocarray|aligned_alloc|posix_memalign|strdup|strndup|"
    r"asprintf|vasprintf|clock_gettime|gettimeofday|time|getrandom|rand|random)\s*\(")
EXIT_CALL = re.compile(r"(?<![\w.>])(exit|quick_exit)\s*\(")

INCLUDE = re.compile(r'^\s*#\s*include\s*(<[^>]+>|"[^"]+")', re.M)

TEN_LINES = r"""
#include <pier/pier.h>

int main(void)
{
    struct pier_conn *c = pier_dial("unix:///nonexistent", NULL);
    if (!c)
        return pier_fail("ten");
    pier_close(c);
    return 0;
}
"""
TEN_LINES_EXIT, TEN_LINES_SAYS = 4, "ten: dial unix:///nonexistent: no such file or directory\n"


class Skip(Exception):
    """Raised by a check that cannot run here, with the reason."""


def run(*command, **options):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", **options)


def c_files(root, *folders):
    """The .c and .h files in those folders of the tree, as paths relative to it."""
    found = []
    for folder in folders or CODE_FOLDERS:
        for path in sorted((root / folder).rglob("*.[ch]")):
            found.append(path.relative_to(root))
    return found


def without_comments(text):
    """The text with comments, strings and characters blanked, line for line."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.S)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


# ---- what may include what ----

def includes(root, path):
    """(line, include with its brackets) for each include of a file."""
    text = (root / path).read_text()
    text = re.sub(r"/\*.*?\*/", lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.S)
    return [(line_of(text, found.start(1)), found[1]) for found in INCLUDE.finditer(text)]


def target_of(include):
    """Which part of Pier an include names: ("public" or "private", folder), or None."""
    name = include[1:-1]
    if include.startswith("<pier/"):
        stem = Path(name).stem
        return "public", HEADER_FOLDER.get(stem, stem)
    if include.startswith('"'):
        return "private", name.split("/")[0] if "/" in name else "."
    return None


def layer_violation(root, path, include):
    """What is wrong with this include in this file, or None."""
    target = target_of(include)
    if not target:
        return None
    kind, folder = target
    if str(path).startswith(PUBLIC_ONLY):
        top = path.parts[:2 if path.parts[0] == "src" else 1]
        there = Path(os.path.normpath(path.parent / include[1:-1]))
        own = there.parts[:len(top)] == top and (root / there).exists()
        return "private header" if kind == "private" and not own else None
    if ".." in include:
        return "leaves its folder"
    if path.parts[0] in ("tests", "fuzz"):
        allowed = {".", path.stem.split("_")[0]}
        return "private header of another folder" if kind == "private" and folder not in allowed \
            else None
    layer = path.parts[1] if path.parts[0] == "src" else HEADER_FOLDER.get(path.stem, path.stem)
    if path.parts[0] == "include" and kind == "private":
        return "private header in a public one"
    if layer not in LAYERS:
        return None if path.name in ("pier.h", "app.h") else f"{layer} is not in the layer table"
    return None if folder in LAYERS[layer] | {"."} else f"{layer} may not include {folder}"


def check_layers(root):
    """Each folder includes only what the layer table allows."""
    bad = []
    for path in c_files(root):
        for line, include in includes(root, path):
            wrong = layer_violation(root, path, include)
            if wrong:
                bad.append(f"{path}:{line}: #include {include}: {wrong}")
    return bad


def check_wire_files(root):
    """A *_wire.c is pure: bytes in, bytes out."""
    bad = []
    for path in c_files(root, "src"):
        if not path.name.endswith("_wire.c"):
            continue
        for line, include in includes(root, path):
            allowed = WIRE_PRIVATE.fullmatch(Path(include[1:-1]).name) or \
                WIRE_PRIVATE.fullmatch(include[1:-1])
            if include not in WIRE_INCLUDES and not (include.startswith('"') and allowed):
                bad.append(f"{path}:{line}: #include {include}: a wire file does without")
    return bad


def check_public_headers(root):
    """Each public header compiles alone, as C and as C++."""
    bad = []
    for path in c_files(root, "include"):
        for compiler, standard in (("gcc", "gnu11"), ("g++", "c++11")):
            result = run(compiler, "-xc" if compiler == "gcc" else "-xc++", f"-std={standard}",
                         "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Iinclude", "-include",
                         path.relative_to("include"), "/dev/null", cwd=root)
            if result.returncode:
                bad.append(f"{path}: does not compile alone with {compiler}:\n{result.stdout}")
    return bad


# ---- the text of the files ----

def check_license_line(root):
    """Line 1 of each C file names the licence."""
    wanted = "/* SPDX-License-Identifier: MIT */"
    return [f"{path}:1: line 1 is not {wanted}" for path in c_files(root)
            if (root / path).read_text().split("\n", 1)[0] != wanted]


def check_columns(root):
    """No line is longer than 100 columns."""
    return [f"{path}:{number}: {len(line)} columns" for path in c_files(root)
            for number, line in enumerate((root / path).read_text().split("\n"), 1)
            if len(line) > MAX_COLUMNS]


def check_function_length(root):
    """No function is longer than 70 lines, from brace to brace."""
    bad = []
    for path in c_files(root):
        start = 0
        for number, line in enumerate((root / path).read_text().split("\n"), 1):
            if line == "{":
                start = number
            elif line.startswith("}") and start:
                if number - start + 1 > MAX_FUNCTION_LINES:
                    bad.append(f"{path}:{start}: a function of {number - start + 1} lines")
                start = 0
    return bad


def calls(root, pattern, but=()):
    """path:line: name() for each call in src/ that the pattern finds."""
    bad = []
    for path in c_files(root, "src"):
        if str(path) not in but:
            text = without_comments((root / path).read_text())
            bad += [f"{path}:{line_of(text, found.start(1))}: {found[1]}()"
                    for found in pattern.finditer(text)]
    return bad


def check_no_exit(root):
    """The library never ends the process."""
    return calls(root, EXIT_CALL)


def check_system_calls(root):
    """Memory, time and randomness are asked for in src/base/sys.c alone."""
    return calls(root, SYS_CALLS, but=(SYS_FILE,))


def check_format(root):
    """The files are as ./dev format leaves them."""
    files = c_files(root)
    if not shutil.which(FORMATTER):
        raise Skip(f"{FORMATTER} is not installed")
    result = run(FORMATTER, "--dry-run", "--Werror", "--ferror-limit=1", *files, cwd=root) \
        if files else None
    if not result or not result.returncode:
        return []
    return [line for line in result.stdout.split("\n") if "error:" in line] or [result.stdout]


def check_lists(root):
    """Each source, header, test, example and man page is in its list in meson.build."""
    lists = (root / "meson.build").read_text()
    whole = c_files(root, "src", "cli", "include") + \
        sorted(path.relative_to(root) for path in (root / "docs/man").glob("*.[137]"))
    wanted = [(path, str(path)) for path in whole
              if path.suffix != ".h" or path.parts[0] == "include"]
    wanted += [(path.relative_to(root), path.stem) for folder in ("examples", "bench", "tests")
               for path in sorted((root / folder).glob("*.c"))]
    return [f"{path}: not in meson.build" for path, name in wanted if f"'{name}'" not in lists]


def check_version(root):
    """meson.build and <pier/base.h> agree on the version."""
    built = re.search(r"version: '([^']+)'", (root / "meson.build").read_text())[1]
    header = re.search(r'PIER_VERSION "([^"]+)"', (root / "include/pier/base.h").read_text())[1]
    return [] if built == header else [f"meson.build says {built}, base.h says {header}"]


def check_shell(root):
    """shellcheck has nothing to say about the scripts."""
    if not shutil.which("shellcheck"):
        raise Skip("shellcheck is not installed")
    scripts = [root / "dev", root / ".ci/run", *sorted((root / "tools").glob("*.sh"))]
    result = run("shellcheck", *scripts)
    return [result.stdout] if result.returncode else []


# ---- what is built ----

def check_symbols(build):
    """Both libraries define pier_* for others and nothing else; the SONAME is libpier.so.0."""
    bad = []
    for library, options in (("libpier.a", ()), ("libpier.so", ("-D",))):
        result = run("nm", *options, "--extern-only", "--defined-only", "--format=posix",
                     build / library)
        names = re.findall(r"^(\S+) [A-Za-z] ", result.stdout, re.M)
        if result.returncode or not names:
            bad.append(f"{library}: nm finds nothing: {result.stdout}")
        bad += [f"{library}: {name} is visible" for name in names if not name.startswith("pier_")]
    if "[libpier.so.0]" not in run("readelf", "-d", build / "libpier.so").stdout:
        bad.append("libpier.so: the SONAME is not libpier.so.0")
    return bad


def compile_outside(work, name, flags, env):
    """Builds and runs the ten-line program against the installed library; returns what is wrong."""
    result = run("gcc", "ten.c", "-o", name, *flags, cwd=work)
    if result.returncode:
        return [f"{name}: does not build: {result.stdout}"]
    result = run(f"./{name}", cwd=work, env=env)
    bad = []
    if (result.returncode, result.stdout) != (TEN_LINES_EXIT, TEN_LINES_SAYS):
        bad.append(f"{name}: exit {result.returncode}, says {result.stdout!r}")
    needs = "[libpier.so.0]" in run("readelf", "-d", work / name).stdout
    if needs != (name == "shared"):
        bad.append(f"{name}: {'needs' if needs else 'does not need'} libpier.so.0")
    return bad


def install_violations(root, build, work):
    destination = work / "destination"
    result = run("/usr/bin/meson", "install", "-C", build, "--no-rebuild", "--destdir", destination)
    if result.returncode:
        return [f"meson install fails: {result.stdout}"]

    installed = {path.name: path for path in destination.rglob("*") if path.is_file()}
    wanted = [path.name for path in c_files(root, "include")] + ["pier", "pier.pc", "libpier.a"]
    wanted += [path.name for path in (root / "docs/man").glob("*.[137]")]
    bad = [f"{name} is not installed" for name in wanted if name not in installed]
    if bad:
        return bad

    (work / "ten.c").write_text(TEN_LINES)
    libraries = installed["libpier.a"].parent
    env = dict(os.environ, PKG_CONFIG_PATH=str(installed["pier.pc"].parent),
               PKG_CONFIG_SYSROOT_DIR=str(destination), LD_LIBRARY_PATH=str(libraries))
    shared = run("pkg-config", "--cflags", "--libs", "pier", env=env).stdout.split()
    static = run("pkg-config", "--static", "--cflags", "--libs", "pier", env=env).stdout.split()
    static = ["-l:libpier.a" if flag == "-lpier" else flag for flag in static]
    return compile_outside(work, "shared", shared, env) + \
        compile_outside(work, "static", static, env)


def check_install(root, build):
    """What is installed builds and runs a ten-line program outside the tree."""
    with tempfile.TemporaryDirectory() as work:
        return install_violations(root, build, Path(work))


TREE_CHECKS = (
    check_layers, check_wire_files, check_public_headers, check_license_line, check_columns,
    check_function_length, check_no_exit, check_system_calls, check_format, check_lists,
    check_version, check_shell,
)
