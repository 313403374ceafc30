# SPDX-License-Identifier: MIT
"""The documentation agrees with the code: what tools/check_docs.py says of this tree, and of small
trees that are broken in one place each.

Marked slow so that the sanitizers' pass leaves it out: the examples are linked as a user's are.
"""

import os
import pathlib
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tools"))

import check_docs  # noqa: E402

pytestmark = pytest.mark.slow

LEG_H, LEG_3 = "include/pier/leg.h", "docs/man/pier_leg.3"
WALK_C, TOUR = "examples/walk.c", "docs/guide/00-tour.md"

HEADER = """#define PIER_GAP ((int)1)
#define PIER_API __attribute__((visibility("default")))
#define pier_twice(n) (2 * pier_step(n))
struct pier_foot {
    int size; /* in inches */
};
enum { PIER_LEFT, PIER_RIGHT };
/* Walks; pier_fly(far) is for birds. */
PIER_API const char *pier_walk(const struct pier_foot *feet,
                               void (*done)(void *arg, int n));
PIER_API int pier_step(int n);
"""

PAGE = r""".Dt PIER_LEG 3
.Sh NAME
.Nm pier_walk ,
.Nm pier_twice ,
.Nm pier_step
.Nd walking
.Sh SYNOPSIS
.Fd #define PIER_GAP ((int)1)
.Fd enum { PIER_LEFT, PIER_RIGHT };
.Bd -literal
struct pier_foot {
    int size;
};
.Ed
.Ft const char *
.Fn pier_walk "const struct pier_foot *feet" "void (*done)(void *arg, int n)"
.Ft int
.Fn pier_step "int n"
.Ft int
.Fn pier_twice "int n"
.Sh EXAMPLES
.\" example: begin
.Bd -literal
#include <pier/leg.h>

int main(void)
{
    return pier_step('\en') ? 0 : 1;
}
.Ed
.\" example: end
"""

README = """# Leg

```c
#include <pier/leg.h>

int f(void);
int f(void)
{
    return pier_twice(1);
}
```

In a function:

```c
if (fetch(&jobs[0]) < 0)
    return 1;
```
"""

EXAMPLE = """#include <pier/leg.h>

int main(void)
{
    if (pier_step(1) > 0)
        return 1;
    return 0;
}
"""

GUIDE = """Walk. From [examples/walk.c](../../examples/walk.c):

```c
if (pier_step(1) > 0)
    return 1;
```
"""

GOOD = {
    LEG_H: HEADER,
    "include/pier/pier.h": "#include <pier/leg.h>\n",
    LEG_3: PAGE,
    "README.md": README,
    WALK_C: EXAMPLE,
    TOUR: GUIDE,
    "meson.build": "examples = [\n  'walk',\n]\n",
}


def pages(tree):
    return check_docs.check_pages(tree)


def examples(tree):
    return check_docs.check_examples(tree)


def guide(tree):
    return check_docs.check_guide(tree)


BREAKS = {  # name: (check, file, what stands there, what stands there instead, what is said)
    "a new function": (pages, LEG_H, "enum", "PIER_API int pier_hop(int);\nenum", "lacks pier_hop"),
    "a new macro": (pages, LEG_H, "enum", "#define pier_run(n) (n)\nenum", "lacks pier_run"),
    "a new constant": (pages, LEG_H, "_RIGHT", "_RIGHT, PIER_UP", "PIER_UP is not mentioned"),
    "a new type": (pages, LEG_H, "enum", "struct pier_toe;\nenum", "pier_toe is not mentioned"),
    "a parameter": (pages, LEG_H, "step(int n)", "step(long n)", "pier_step ( long n )"),
    "a type of return": (pages, LEG_3, ".Ft const char *", ".Ft char *", "const char * pier_walk"),
    "a callback": (pages, LEG_3, "arg, int n", "arg, int", "pier_walk"),
    "a member": (pages, LEG_H, "int size", "long size", "struct pier_foot"),
    "a value": (pages, LEG_H, "(int)1", "(int)2", "PIER_GAP"),
    "a ghost": (pages, LEG_3, ".Sh EXA", ".Fn pier_fly void\n.Sh EXA", "pier_fly is in no header"),
    "a name that apropos misses": (pages, LEG_3, ".Nm pier_walk ,\n", "", "NAME lacks pier_walk"),
    "an example of a page": (examples, LEG_3, "pier_step(", "pier_hop(", f"{LEG_3}: does not"),
    "an unmarked example": (examples, LEG_3, '.\\" example: begin\n', "", "0 of them marked"),
    "a warning": (examples, "README.md", "return", "int n;\n    return", "README.md: block 1"),
    "a fragment": (examples, "README.md", "jobs[0]", "jobs[0", "README.md: block 2"),
    "an example of the guide": (guide, WALK_C, "return 1", "return 2", f"to be found in {WALK_C}"),
    "a block of the guide": (guide, TOUR, "step(1)", "step(2)", f"not to be found in {WALK_C}"),
    "a block without a file": (guide, TOUR, "](../../", "](../", "no link to examples/NAME.c"),
    "an example that is not built": (guide, "meson.build", "'walk'", "", f"{WALK_C} is not built"),
}


@pytest.fixture
def tree(tmp_path):
    for name, text in GOOD.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_pages_have_every_public_name_and_prototype():
    assert check_docs.check_pages(REPOSITORY) == []


def test_examples_of_pages_and_readme_compile_and_link():
    build = pathlib.Path(os.environ.get("PIER_BUILD_DIR", REPOSITORY / "build"))
    assert check_docs.check_examples(REPOSITORY, build / "libpier.a") == []


def test_code_of_the_guide_is_that_of_the_examples():
    assert check_docs.check_guide(REPOSITORY) == []


@pytest.mark.parametrize("check", (pages, examples, guide))
def test_a_good_tree_passes(tree, check):
    assert check(tree) == []


@pytest.mark.parametrize("check, path, old, new, says", BREAKS.values(), ids=BREAKS)
def test_what_disagrees_is_reported(tree, check, path, old, new, says):
    text = (tree / path).read_text()
    assert old in text
    (tree / path).write_text(text.replace(old, new, 1))
    assert says in "\n".join(check(tree))


def test_a_header_without_a_page_is_reported(tree):
    (tree / LEG_3).unlink()
    assert check_docs.check_pages(tree) == [f"{LEG_3}: missing, for {LEG_H}"]


def test_an_example_that_does_not_link_is_reported(tree):
    library = tree / "libpier.a"
    library.write_text("!<arch>\n")  # an archive of nothing
    assert "undefined reference" in "\n".join(check_docs.check_examples(tree, library))
