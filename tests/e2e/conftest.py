# SPDX-License-Identifier: MIT
"""Fixtures of the end-to-end tests: the `pier` binary, running servers, scripted peers.

Run: /usr/bin/python3 -m pytest tests/e2e
`-m "not slow"` leaves out the tests that wait for real time-outs.

    PIER_BIN            the binary, default build/cli/pier
    PIER_TEST_SLOW=1    every deadline × 5, for Valgrind, sanitizers and busy machines
    PIER_E2E_BACKENDS   comma-separated backends that tasks run on, default "epoll"

A test that takes `serve` runs once for each model and backend; `@pytest.mark.models("tasks")`
narrows that.
"""

import contextlib
import os
import pathlib
import resource
import signal
import sys
import time

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))

import pierlib  # noqa: E402
from pierlib import SCALE, WAIT, Model, Peer, Process, Server  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BACKENDS = os.environ.get("PIER_E2E_BACKENDS", "epoll").split(",")
MODELS = [Model(name, backend) for name in ("tasks", "prefork") for backend in BACKENDS]
MODELS += [Model("threads", "direct"), Model("processes", "direct")]
TEST_SECONDS = {
    False: 60 * SCALE,
    True: 180 * SCALE,
}  # the last resort, by slow mark: every wait has its own bound


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: waits for a real time-out of several seconds")
    config.addinivalue_line(
        "markers", "models(*names): the models that a test runs on, default all"
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pytest_generate_tests(metafunc):
    if "model" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("models")
        models = [model for model in MODELS if not mark or model.name in mark.args]
        metafunc.parametrize("model", models, ids=["-".join(model) for model in models])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    seconds = TEST_SECONDS[item.get_closest_marker("slow") is not None]

    def give_up(*_):
        raise TimeoutError(f"the whole test took over {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def pier_bin():
    path = pathlib.Path(os.environ.get("PIER_BIN", REPOSITORY / "build/cli/pier")).resolve()
    if not os.access(path, os.X_OK):
        pytest.exit(
            f"no pier command at {path}: build it first (./dev build) or set PIER_BIN", returncode=4
        )
    return str(path)


@pytest.fixture(scope="session")
def base_env():
    """The caller's environment without what would change Pier's behaviour."""
    drop = (
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "PIER_BACKEND",
        "NO_COLOR",
        "TZ",
    )
    env = {name: value for name, value in os.environ.items() if name not in drop}
    env[
        "RES_OPTIONS"
    ] = "timeout:1 attempts:1"  # names that do not resolve fail soon, with or without a network
    return env


@pytest.fixture
def model_env(base_env, request):
    env = dict(base_env)
    if "model" in request.fixturenames:
        model = request.getfixturevalue("model")
        if model.backend != "direct":
            env["PIER_BACKEND"] = model.backend
    else:
        env["PIER_BACKEND"] = BACKENDS[0]
    return env


def end(server):
    """The end of each test's server: SIGTERM, exit 0, no sanitizer report; killed if need be."""
    try:
        server.close_clients()
        if not server.waited:
            died = not server.running() and not server.signalled
            rc = server.wait() if not server.running() else server.stop(timeout=15 * SCALE)
            assert not died, f"the server ended by itself, status {rc}:\n{server.stderr()}"
            assert rc == 0, f"exit status {rc} on SIGTERM:\n{server.stderr()}"
        pierlib.check_report(server.stderr())
    finally:
        server.kill()
        print(f"--- stderr of {server.argv}\n{server.stderr()}")


@pytest.fixture
def serve(pier_bin, model, model_env):
    """serve(*args, urls=[…], lines=N, env={…}, wrapper=[…], **popen) → Server, all URLs listening.

    `urls` default to one TCP port of the system's choice. `lines` is how many "listening on" lines
    to wait for (default: one a URL; 0 for none). `wrapper` is a command that execs its arguments.
    Workers that are processes all accept when this returns.
    """
    with contextlib.ExitStack() as stack:

        def start(*args, urls=("tcp://127.0.0.1:0",), lines=None, env=None, wrapper=(), **popen):
            if "chat" in args and model.name in ("processes", "prefork"):
                pytest.skip("a chat room is in one process")
            argv = [*wrapper, pier_bin, "serve", "--model", model.name, *args, *urls]
            lines = len(urls) if lines is None else lines
            ready = None
            if model.name == "prefork" and lines and "NOTIFY_SOCKET" not in (env or {}):
                ready = stack.enter_context(pierlib.NotifySocket())
                env = {**(env or {}), "NOTIFY_SOCKET": ready.name}
            server = Server(argv, {**model_env, **(env or {})}, **popen)
            stack.callback(end, server)
            server.wait_listening(lines)
            if ready:
                ready.wait_ready()
            return server

        yield start


@pytest.fixture
def start(pier_bin, model_env):
    """start(*args, **popen) → Process: a `pier` command to interact with, killed at the end."""
    with contextlib.ExitStack() as stack:

        def begin(*args, env=None, wrapper=(), **popen):
            process = Process([*wrapper, pier_bin, *args], {**model_env, **(env or {})}, **popen)
            stack.callback(lambda: pierlib.check_report(process.stderr()))
            stack.callback(process.kill)
            return process

        yield begin


@pytest.fixture
def pier(pier_bin, model_env):
    """pier(*args, stdin=b"…", env={…}, timeout=S) → Result of a command run to its end."""

    def run(*args, stdin=b"", env=None, timeout=WAIT, wrapper=()):
        return pierlib.run(
            [*wrapper, pier_bin, *args], {**model_env, **(env or {})}, stdin, timeout
        )

    return run


@pytest.fixture
def peer():
    """peer(script, path=None, connections=1) → Peer; what the script raises fails the test."""
    peers = []

    def start(script, path=None, connections=1):
        peers.append(Peer(script, path, connections))
        return peers[-1]

    yield start
    for each in peers:
        each.join()


@pytest.fixture
def unix_url(tmp_path):
    return f"unix://{tmp_path}/s"


@pytest.fixture
def abstract_url():
    """A name of the abstract namespace that no other run uses."""
    return f"unix://@pier-e2e-{os.getpid()}-{time.monotonic_ns()}"
