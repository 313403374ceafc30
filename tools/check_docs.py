#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The documentation agrees with the code. Each function below looks at a tree and returns the
violations as lines; tests/e2e/test_docs.py runs them and proves that each can fail.

  check_pages     docs/man/pier_x.3 has every public name of include/pier/x.h, every function with
                  its prototype, and none that is not there
  check_examples  the C code of the pages and of README.md compiles as a user's does
  check_guide     the C code of docs/guide/ is that of the example named above it, line for line

Run by hand: tools/check_docs.py [BUILD], which links with BUILD/libpier.a (default: build)."""

import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USER_FLAGS = ("-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror")

# What the headers need for themselves; no page has to speak of it.
INTERNAL = {"PIER_API", "PIER_PRINTF", "PIER_MUST_USE"}

# A block without a function in it is the inside of one, and takes these for granted.
FRAGMENT = """#include <pier/pier.h>
struct job;
extern int fetch(void *arg);
extern struct { int n; } jobs[2];
int fragment(void);
int fragment(void)
{
%s
    return 0;
}
"""


def tokens(code):
    """Code without its spacing, for comparison."""
    return " ".join(re.findall(r"\w+|[^\w\s]", code))


def split_top(text):
    """A list of parameters at its commas, but for those in parentheses."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


# ---- headers ----

class Header:
    """The public names of a header: functions, with type and parameters, macros, and all names."""

    def __init__(self, text):
        code = re.sub(r"/\*.*?\*/", " ", text, flags=re.S).replace("\\\n", " ")
        self.tokens = tokens(code)
        self.macros = set(re.findall(r"^#define (\w+)\(", code, re.M)) - INTERNAL
        guards = set(re.findall(r"^#ifndef (\w+)", code, re.M))
        names = re.findall(r"\b(?:pier|PIER)_\w*[^\W_]\b", code)
        self.names = set(names) - guards - INTERNAL
        self.functions = {}
        for declaration in re.findall(r"^PIER_API\s+([^;]+);", code, re.M):
            declaration = re.sub(r"\s+(PIER_PRINTF\(.*\)|PIER_MUST_USE)$", "", declaration.rstrip())
            type_, name, parameters = re.fullmatch(r"(.*?)\b(pier_\w+)\s*\((.*)\)", declaration,
                                                   re.S).groups()
            self.functions[name] = prototype(type_, name, split_top(parameters))


def prototype(type_, name, parameters):
    return f"{tokens(type_)} {name} ( {' , '.join(tokens(each) for each in parameters)} )"


# ---- pages ----

ESCAPES = {r"\e": "\\", r"\-": "-", r"\&": "", r"\(dq": '"'}


def plain(text):
    """The text of mdoc(7) source, where that has no macros."""
    text = re.sub(r'^\.\\".*\n', "", text, flags=re.M)
    return re.sub(r"\\(?:\(..|.)", lambda found: ESCAPES.get(found[0], found[0]), text)


def arguments(line):
    """The arguments of a macro; one that is quoted may hold spaces."""
    return [quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', line)]


def section(page, title):
    found = re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", page, re.M | re.S)
    return found[1] if found else ""


def page_prototypes(synopsis):
    """name: prototype, of each .Fn with the .Ft before it."""
    found, type_ = {}, ""
    for line in synopsis.split("\n"):
        macro, _, rest = line.partition(" ")
        if macro == ".Ft":
            type_ = rest
        elif macro == ".Fn":
            name, *parameters = arguments(rest)
            found[name] = prototype(type_, name, parameters)
            type_ = ""
    return found


def page_declarations(synopsis):
    """What else the synopsis shows: .Fd lines, and the pieces of its literal text."""
    shown = re.findall(r"^\.Fd (.*)$", synopsis, re.M)
    for text in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", synopsis, re.M | re.S):
        shown += re.split(r"\n\n", text)
    return [plain(each).strip() for each in shown]


def page_violations(name, header, page):
    synopsis = section(page, "SYNOPSIS")
    listed = set(re.findall(r"^\.Nm (\w+)", section(page, "NAME"), re.M))
    shown = page_prototypes(synopsis)
    words = set(re.findall(r"\w+", plain(page)))

    callable_ = header.functions.keys() | header.macros
    bad = [f"{name}: NAME lacks {each}" for each in sorted(callable_ - listed)]
    bad += [f"{name}: SYNOPSIS lacks {each}" for each in sorted(callable_ - shown.keys())]
    bad += [f"{name}: {each} is in no header" for each in sorted((shown.keys() | listed) -
                                                                 callable_)]
    bad += [f"{name}: {shown[each]}\n    in the header: {wanted}"
            for each, wanted in header.functions.items() if shown.get(each, wanted) != wanted]
    bad += [f"{name}: {each} is not mentioned" for each in sorted(header.names - words)]
    bad += [f"{name}: not in the header: {each}" for each in page_declarations(synopsis)
            if tokens(each.rstrip(";")) not in header.tokens]
    return bad


def check_pages(root):
    """Each public header has a page with all of its names and prototypes, and no others."""
    bad = []
    for path in sorted((root / "include/pier").glob("*.h")):
        header = Header(path.read_text())
        page = root / f"docs/man/pier_{path.stem}.3"
        if not header.functions:
            continue
        if page.exists():
            bad += page_violations(page.relative_to(root), header, page.read_text())
        else:
            bad.append(f"{page.relative_to(root)}: missing, for {path.relative_to(root)}")
    return bad


# ---- C code in pages and README.md ----

def page_examples(page):
    """The C programs of a page, and how many texts its EXAMPLES show in all."""
    marked = re.findall(r'^\.\\" example: begin\n\.Bd -literal.*?\n(.*?)^\.Ed\n\.\\" example: end$',
                        page, re.M | re.S)
    return [plain(code) for code in marked], section(page, "EXAMPLES").count("\n.Bd ")


def markdown_blocks(text):
    """(line above, code) of each C block."""
    return re.findall(r"^([^\n]*)\n+```c\n(.*?)^```$", text, re.M | re.S)


def has_function(code):
    return re.search(r"^\{$|^#include", code, re.M)


def needed_by(library):
    """What `pkg-config --static` would say: liburing is optional."""
    uring = ["-luring"] if b"io_uring_queue_init" in library.read_bytes() else []
    return ["-pthread", "-lssl", "-lcrypto", "-ljansson", "-lz", "-lpsl", "-lcares", *uring]


def compile_violations(root, where, code, library):
    """Compiles code as a user would, and links it with the library if it has a main."""
    if not has_function(code):
        code = FRAGMENT % textwrap.indent(code, "    ")
    links = library and re.search(r"^int main\(", code, re.M)
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "example.c"
        source.write_text(code)
        output = [library, *needed_by(library), "-o", Path(work) / "example"] if links \
            else ["-fsyntax-only"]
        result = subprocess.run(["gcc", *USER_FLAGS, f"-I{root / 'include'}", source, *output],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, check=False)
    said = result.stdout.replace(f"{source}:", "example.c:")
    return [f"{where}: does not compile:\n{said}"] if result.returncode else []


def check_examples(root, library=None):
    """The examples of each page and of README.md compile."""
    bad = []
    for path in sorted((root / "docs/man").glob("pier_*.3")):
        name = path.relative_to(root)
        programs, shown = page_examples(path.read_text())
        if not programs or len(programs) != shown:
            bad.append(f"{name}: {shown} examples, {len(programs)} of them marked as such")
        for program in programs:
            bad += compile_violations(root, name, program, library)
    for number, (_, code) in enumerate(markdown_blocks((root / "README.md").read_text()), 1):
        bad += compile_violations(root, f"README.md: block {number}", code, library)
    return bad


# ---- the guide ----

def guide_violations(root, where, above, code):
    """What is wrong with a block of the guide and the link above it."""
    link = re.search(r"\[(examples/(\w+)\.c)\]\(\.\./\.\./\1\)", above)
    if not link:
        return [f"{where}: no link to examples/NAME.c in the line above"]
    if f"'{link[2]}'" not in (root / "meson.build").read_text():
        return [f"{where}: {link[1]} is not built"]
    lines = (root / link[1]).read_text().split("\n") if (root / link[1]).exists() else []
    wanted = code.rstrip("\n").split("\n")
    for at in range(len(lines) - len(wanted) + 1):
        there = textwrap.dedent("\n".join(lines[at:at + len(wanted)]))
        if there == "\n".join(wanted):
            return []
    return [f"{where}: not to be found in {link[1]}:\n{code}"]


def check_guide(root):
    """The C code of the guide is that of the examples."""
    bad = []
    for path in sorted((root / "docs/guide").glob("*.md")):
        blocks = markdown_blocks(path.read_text())
        if len(blocks) != path.read_text().count("```c\n"):
            bad.append(f"{path.relative_to(root)}: a C block without an end")
        for number, (above, code) in enumerate(blocks, 1):
            bad += guide_violations(root, f"{path.relative_to(root)}: block {number}", above, code)
    return bad


def main(build):
    library = build / "libpier.a"
    if not library.exists():
        print(f"{library} is missing: examples are compiled, not linked", file=sys.stderr)
        library = None
    bad = check_pages(ROOT) + check_examples(ROOT, library) + check_guide(ROOT)
    for line in bad:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build")))
