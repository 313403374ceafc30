#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The test run behind `./dev test [--all] [NAME…]`: makes the builds, runs the C tests on every
backend that they ask for, the end-to-end tests, the simulations and the checks of the house, on
all cores.

Prints a line for each failed or skipped test, with its reason and output; logs are in
build/test-logs/. The last line is `N passed, N failed, N skipped`. Exits 1 when a test failed or
none ran."""

import fcntl
import functools
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

import checks

ROOT = Path(__file__).resolve().parent.parent
C_SECONDS, PYTEST_SECONDS, SLOW_FACTOR = 300, 420, 5
TAIL_LINES, DETAILS = 60, 10  # of a failure's output; of failures in one job that are shown whole
NOTHING_COLLECTED = 5         # pytest's exit code
WAITING_AT_ONCE = 3           # jobs that wait more than they compute
LONG_E2E = ["test_hostile", "test_exec", "test_stop", "test_examples_game", "test_examples_files",
            "test_examples_udp", "test_examples", "test_limits", "test_charsets"]

SANITIZER_ENV = {"UBSAN_OPTIONS": "print_stacktrace=1", "PIER_TEST_SLOW": "1"}
# Threads: a test that asks again and again whether it is refused is served by one each time.
VALGRIND = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full", "--fair-sched=yes",
            "--max-threads=5000", "--suppressions=" + os.path.join(ROOT, "tools", "valgrind.supp"),
            "--errors-for-leak-kinds=definite,indirect", "--show-leak-kinds=definite,indirect"]


@dataclass
class Pass:
    """One way to run the suite: a build, and what is put before and around its programs."""
    name: str
    build: str
    env: dict = field(default_factory=dict)
    prefix: list = field(default_factory=list)
    pytest: tuple = None     # pytest's arguments; None: C tests only
    sanitized: bool = False
    sim_seconds: int = 0     # of simulation, all scenarios together
    only_e2e: bool = False   # no C tests
    only_backend: str = ""   # the C tests that run on it, and not on others


PASSES = [
    Pass("release", "release", pytest=(), sim_seconds=30),
    Pass("asan", "asan", SANITIZER_ENV, pytest=("-m", "not slow"), sanitized=True, sim_seconds=5),
]
MORE_PASSES = [
    Pass("clang", "clang", {"PIER_TEST_SSL": "1"}, pytest=(), sim_seconds=5),
    # A forked child may start threads: whoever forks has no other thread than the sanitizer's.
    Pass("tsan", "tsan", {**SANITIZER_ENV, "TSAN_OPTIONS": "die_after_fork=0"}, sanitized=True),
    Pass("valgrind", "release", {"PIER_TEST_SLOW": "1", "PIER_TEST_TOOL": "valgrind"},
         VALGRIND),
    Pass("mprotect", "release", {"PIER_STACK_GUARD": "mprotect"}),
    Pass("io_uring", "release", {"PIER_E2E_BACKENDS": "io_uring"}, pytest=(), only_e2e=True),
    Pass("refused", "release", prefix=[str(ROOT / "tools/refuse_io_uring.py")], only_backend="io_uring"),
]


@dataclass
class Result:
    name: str
    outcome: str             # passed, failed or skipped
    reason: str = ""         # one line
    detail: str = ""         # what else helps to understand a failure


@dataclass
class Job:
    name: str
    work: object             # () -> list of Result
    log: Path = None         # its end is shown when a failure has no detail of its own
    waits: bool = False      # more than it computes: so many run beside as many others as cores


def build_dir(build):
    return ROOT / ("build" if build == "release" else f"build-{build}")


@functools.cache
def fixed_addresses():
    """Sanitizers of this age die on addresses that newer kernels give: ask for fixed ones."""
    command = ["setarch", "-R"]
    works = shutil.which("setarch") and subprocess.run(
        [*command, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    return command if works else []


# ---- running programs ----

running = set()


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_logged(command, env, log, seconds):
    """Runs a program in a group of its own, output to the log; returns its code, None: timed out.
    Whatever it leaves behind is killed."""
    with open(log, "wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        running.add(process)
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            kill_group(process)
            process.wait()
            running.discard(process)


def environment(extra):
    """The caller's, without what would change the tests, and what the pass asks for."""
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(("PIER_", "CK_", "LISTEN_", "NOTIFY_"))}
    return {**env, "PYTHONDONTWRITEBYTECODE": "1", **extra}


# ---- C tests ----

TAP = re.compile(r"(ok|not ok) \d+ - [^:]*:([^:]+):[^:]+: (.*)")
SKIPPED = re.compile(r"^SKIP ([^:\s]+): (.*)", re.M)


def backends_of(path):
    """What the comment `/* backends: epoll direct */` near the top asks for."""
    found = re.search(r"/\* backends: ([\w ]+) \*/", path.read_text()[:2000])
    return found[1].split() if found else [""]


def why_not(path, the_pass):
    """The reason in `/* not on valgrind: reason */` near the top, if that is the pass."""
    found = re.search(rf"/\* not on {the_pass.name}: ([^*]+) \*/", path.read_text()[:2000])
    return found and " ".join(found[1].split())


def skip_all(title, reason):
    return [Result(title, "skipped", reason)]


def read_tap(title, tap, output):
    """The results that libcheck wrote."""
    skips = dict(SKIPPED.findall(output))
    results = []
    for outcome, test, reason in TAP.findall(tap.read_text() if tap.exists() else ""):
        if outcome == "ok" and test in skips:
            results.append(Result(f"{title} {test}", "skipped", skips[test]))
        elif outcome == "ok":
            results.append(Result(f"{title} {test}", "passed"))
        else:
            results.append(Result(f"{title} {test}", "failed", reason))
    return results


def run_c(title, program, the_pass, backend, log, names):
    tap = log.with_suffix(".tap")
    tap.unlink(missing_ok=True)
    env = environment({**the_pass.env, "CK_TAP_LOG_FILE_NAME": str(tap)})
    if backend:
        env["PIER_BACKEND"] = backend
    prefix = fixed_addresses() if the_pass.sanitized else the_pass.prefix
    seconds = C_SECONDS * (SLOW_FACTOR if "PIER_TEST_SLOW" in env else 1)
    code = run_logged([*prefix, program, *names], env, log, seconds)

    results = read_tap(title, tap, log.read_text(errors="replace"))
    if code is None:
        results.append(Result(title, "failed", f"still running after {seconds} s"))
    elif code != 0 and not any(result.outcome == "failed" for result in results):
        results.append(Result(title, "failed", f"exit code {code}"))
    elif not results and not names:
        results.append(Result(title, "failed", "no test in it"))
    return results


def c_jobs(the_pass, names, logs):
    for source in sorted((ROOT / "tests").glob("*.c")):
        program = build_dir(the_pass.build) / "tests" / source.stem
        reason = why_not(source, the_pass)
        if reason:
            title = f"{the_pass.name} {source.stem}"
            yield Job(title, functools.partial(skip_all, title, reason))
            continue
        for backend in backends_of(source):
            if the_pass.only_backend not in ("", backend):
                continue
            title = f"{the_pass.name} {source.stem}" + (f" [{backend}]" if backend else "")
            if backend == "io_uring" and the_pass.name == "valgrind":
                reason = "Valgrind does not see what a ring's kernel side writes"
                yield Job(title, functools.partial(skip_all, title, reason))
                continue
            inner = [] if any(name in title for name in names) else names
            log = logs / f"{the_pass.name}-{source.stem}{'-' if backend else ''}{backend}.log"
            yield Job(title, functools.partial(run_c, title, program, the_pass, backend, log,
                                               inner), log)


# ---- pytest ----

def read_junit(title, path):
    """The results that pytest wrote. A test that fails and then fails to clean up is there twice."""
    results = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{title} {case.get('classname').rpartition('.')[2]}::{case.get('name')}"
        bad = next((child for child in case if child.tag in ("failure", "error")), None)
        skip = case.find("skipped")
        if bad is not None:
            reason = bad.get("message", "").split("\n")[0]
            results.setdefault(name, Result(name, "failed", reason, bad.text or ""))
        elif skip is not None:
            results[name] = Result(name, "skipped", skip.get("message", ""))
        else:
            results[name] = Result(name, "passed")
    return list(results.values())


def run_pytest(title, target, arguments, env, log, names, prefix=()):
    junit = log.with_suffix(".xml")
    junit.unlink(missing_ok=True)
    command = [*prefix, "/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider",
               "--tb=short", f"--junitxml={junit}", target, *arguments]
    if names:
        command += ["-k", " or ".join(names)]
    code = run_logged(command, environment(env), log, PYTEST_SECONDS)
    if code is None:
        return [Result(title, "failed", f"still running after {PYTEST_SECONDS} s")]
    results = read_junit(title, junit) if junit.exists() else []
    nothing_to_do = code == NOTHING_COLLECTED and (names or arguments)
    if code not in (0, 1) and not nothing_to_do:
        results.append(Result(title, "failed", f"pytest ends with {code}"))
    return results


def e2e_jobs(the_pass, names, logs):
    """A job a file, those that take longest first."""
    title = f"{the_pass.name} e2e"
    build = build_dir(the_pass.build)
    env = {**the_pass.env, "PIER_BIN": str(build / "cli/pier"), "PIER_BUILD_DIR": str(build)}
    inner = [] if any(name in title for name in names) else names
    prefix = fixed_addresses() if the_pass.sanitized else []
    files = sorted((ROOT / "tests/e2e").glob("test_*.py"))
    order = {stem: place for place, stem in enumerate(LONG_E2E)}
    for path in sorted(files, key=lambda path: order.get(path.stem, len(order))):
        text = path.stem + path.read_text()
        if inner and not any(name in text for name in inner):
            continue
        log = logs / f"{the_pass.name}-e2e-{path.stem}.log"
        yield Job(f"{title} {path.stem}",
                  functools.partial(run_pytest, title, path, the_pass.pytest, env, log, inner,
                                    prefix), log, waits=True)


# ---- simulations ----

REPLAY = re.compile(r"^pier sim \S+ --seed .*", re.M)
SIM_PATIENCE = 240           # seconds beyond the time given: a seed may hang, then is made smaller
FIRST_SEED = int(time.time())  # other seeds in each run; those that fail are named


def run_sim(title, pier, scenario, seconds, env, log):
    """One scenario, from the run's first seed on. A failure's reason is the line that replays it."""
    command = [*pier, "sim", scenario, "--first", str(FIRST_SEED), "--jobs", "1",
               "--for", f"{seconds:.3f}s"]
    code = run_logged(command, environment(env), log, seconds + SIM_PATIENCE)
    if code == 0:
        return [Result(title, "passed")]
    found = REPLAY.search(log.read_text(errors="replace"))
    if found:
        return [Result(title, "failed", found[0])]
    return [Result(title, "failed", f"from seed {FIRST_SEED}: " +
                   ("does not end" if code is None else f"exit code {code}"))]


def scenarios_of(command):
    """The names that pier lists, one at the beginning of each line."""
    listed = subprocess.run([*command, "sim", "--list"], stdout=subprocess.PIPE, text=True,
                            check=False)
    return [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]


def sim_jobs(the_pass, names, logs):
    prefix = fixed_addresses() if the_pass.sanitized else the_pass.prefix
    pier = [*prefix, build_dir(the_pass.build) / "cli/pier"]
    scenarios = scenarios_of(pier)
    if not scenarios:
        title = f"{the_pass.name} sim"
        yield Job(title, lambda: [Result(title, "failed", "no scenario in the list")])
    for scenario in scenarios:
        title, log = f"{the_pass.name} sim {scenario}", logs / f"{the_pass.name}-sim-{scenario}.log"
        if not names or any(name in title for name in names):
            yield Job(title, functools.partial(run_sim, title, pier, scenario,
                                               the_pass.sim_seconds / len(scenarios),
                                               the_pass.env, log), log)


# ---- checks ----

def run_check(title, check, arguments):
    try:
        bad = check(*arguments)
    except checks.Skip as reason:
        return [Result(title, "skipped", str(reason))]
    except Exception as error:  # a broken check is a failed test, not the end of the run
        bad = [f"{type(error).__name__}: {error}"]
    if bad:
        return [Result(title, "failed", check.__doc__, "\n".join(bad))]
    return [Result(title, "passed")]


def check_jobs(builds, names, logs):
    listed = [(check.__name__, check, (ROOT,)) for check in checks.TREE_CHECKS]
    listed.append(("check_install", checks.check_install, (ROOT, build_dir("release"))))
    for build in builds:
        if build in ("release", "clang"):
            listed.append((f"check_symbols {build}", checks.check_symbols, (build_dir(build),)))
    for title, check, arguments in listed:
        if not names or any(name in title for name in names):
            yield Job(title, functools.partial(run_check, title, check, arguments))

    title, log = "test_checks", logs / "test_checks.log"
    inner = [] if any(name in title for name in names) else names
    yield Job(title, functools.partial(run_pytest, title, ROOT / "tools/test_checks.py", (), {},
                                       log, inner), log)


# ---- the run ----

class Report:
    def __init__(self):
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}

    def add(self, job, results):
        details = 0
        for result in results:
            self.counts[result.outcome] += 1
            if result.outcome == "skipped":
                print(f"SKIP {result.name}: {result.reason}")
            elif result.outcome == "failed":
                print(f"FAIL {result.name}: {result.reason}")
                details += 1
                if details <= DETAILS:
                    self.show(result.detail)
        failed = [result for result in results if result.outcome == "failed"]
        if job.log and job.log.exists() and any(not result.detail for result in failed):
            print(f"---- the end of {job.log.relative_to(ROOT)}")
            self.show(job.log.read_text(errors="replace"))
        sys.stdout.flush()

    @staticmethod
    def show(text):
        lines = text.rstrip().split("\n") if text.strip() else []
        if len(lines) > TAIL_LINES:
            print(f"    … {len(lines) - TAIL_LINES} lines above")
        for line in lines[-TAIL_LINES:]:
            print("    " + line)

    def last_line(self):
        return ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())


def run_jobs(jobs, report):
    """Runs the jobs: as many at a time as there are cores, and beside them those that wait."""
    waiting = list(jobs)
    changed = threading.Condition()
    active = []

    def run_one(job):
        started = time.monotonic()
        try:
            results = job.work()
        except Exception as error:  # the run must end with its last line
            results = [Result(job.name, "failed", f"{type(error).__name__}: {error}")]
        with changed:
            active.remove(job)
            report.add(job, results)
            if sys.stderr.isatty():
                print(f"{job.name}: {time.monotonic() - started:.1f} s", file=sys.stderr)
            changed.notify()

    with changed:
        while waiting or active:
            sleepers = sum(job.waits for job in active)
            room = {True: WAITING_AT_ONCE - sleepers,
                    False: len(os.sched_getaffinity(0)) - len(active) + sleepers}
            ready = next((job for job in waiting if room[job.waits] > 0), None)
            if ready is None:
                changed.wait()
                continue
            waiting.remove(ready)
            active.append(ready)
            threading.Thread(target=run_one, args=(ready,), daemon=True).start()


def make_builds(builds, report):
    """Makes the builds with their tests; returns those that succeed."""
    made = []
    for build in builds:
        print(f"building {build}", file=sys.stderr)
        result = checks.run(ROOT / "dev", "build", build, "all", "tests")
        if result.returncode == 0:
            made.append(build)
        else:
            failure = Result(f"build {build}", "failed", "does not build", result.stdout)
            report.add(Job(build, None), [failure])
            if build == "release":  # what the others are compared with, and where the logs are
                break
    return made


def log_directory():
    """build/test-logs/, or a directory in it while another run in this checkout has that."""
    logs = ROOT / "build/test-logs"
    logs.mkdir(parents=True, exist_ok=True)
    lock = os.open(logs, os.O_RDONLY)  # held until this process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Path(tempfile.mkdtemp(dir=logs))
    for old in logs.iterdir():
        if old.is_file():
            old.unlink()
    return logs


def main(arguments):
    names = [argument for argument in arguments if not argument.startswith("-")]
    for option in set(arguments) - set(names) - {"--all"}:
        print(f"dev: test has no option {option}", file=sys.stderr)
        return 2
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    passes = PASSES + (MORE_PASSES if "--all" in arguments else [])
    report = Report()
    builds = make_builds(dict.fromkeys(the_pass.build for the_pass in passes), report)
    jobs = []
    if builds:
        logs = log_directory()
        jobs += check_jobs(builds, names, logs)
    for the_pass in passes:
        if the_pass.build in builds:
            if the_pass.pytest is not None:
                jobs += e2e_jobs(the_pass, names, logs)
            if the_pass.sim_seconds:
                jobs += sim_jobs(the_pass, names, logs)
            if not the_pass.only_e2e:
                jobs += c_jobs(the_pass, names, logs)

    print(f"running the tests ({len(jobs)} jobs), simulations from seed {FIRST_SEED} on",
          file=sys.stderr)
    run_jobs(jobs, report)
    print(report.last_line(), flush=True)
    return 1 if report.counts["failed"] or not report.counts["passed"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        for left in list(running):
            kill_group(left)
        sys.exit(130)
