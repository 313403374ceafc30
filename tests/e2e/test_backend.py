# SPDX-License-Identifier: MIT
"""Which backend it is: as asked for, or epoll where io_uring is refused."""

import json
import pathlib

import pytest

import pierlib

REFUSE = pathlib.Path(__file__).resolve().parents[2] / "tools/refuse_io_uring.py"


def backend_of(pier_bin, base_env, backend, *before):
    env = {**base_env, "PIER_BACKEND": backend}
    result = pierlib.run([*before, pier_bin, "info", "--json"], env, b"", pierlib.WAIT)
    assert result.rc == 0
    info = json.loads(result.out)
    return info["backend"], info["backend_reason"], result.err


def test_the_backend_is_the_one_asked_for(pier_bin, base_env):
    assert backend_of(pier_bin, base_env, "epoll") == ("epoll", "PIER_BACKEND asks for it", "")
    name, why, _ = backend_of(pier_bin, base_env, "io_uring")
    if name != "io_uring":
        pytest.skip(why)
    assert why == "PIER_BACKEND asks for it"


def test_where_io_uring_is_refused_it_is_epoll_and_info_says_why(pier_bin, base_env):
    name, why, err = backend_of(pier_bin, base_env, "io_uring", str(REFUSE))
    assert name == "epoll"
    assert "io_uring" in why
    assert err.count("\n") == 1 and "PIER_BACKEND is not available" in err


def test_where_io_uring_is_refused_nobody_is_told_who_did_not_ask(pier_bin, base_env):
    name, _, err = backend_of(pier_bin, base_env, "auto", str(REFUSE))
    assert name == "epoll"
    assert err == ""
