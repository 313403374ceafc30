# SPDX-License-Identifier: MIT
"""The sessions that the chapters of docs/guide/ show (but 10) are what their commands print.

Each section of a chapter is a test. Its blocks are run from top to bottom: lines after `$ ` in one
shell, each after the other, and a line after `server$ ` as in a second terminal, with all that it
prints in its own block and, at `^C`, an interrupt. What is another number each time is compared by
its place: times, and ports, process and descriptor numbers, of which one that the guide shows
twice must be one here, too. A server listens where the system wants, and the guide's port is
replaced by that. "…" stands for any lines. After "# differs each time" only words count, and the
order of lines does not. Not here: chapter 10, which has test_guide_sim.py.
"""

import itertools
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

from pierlib import WAIT, Process, check_report, free_port_held, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/guide"
CHAPTERS = sorted({*GUIDE.glob("[01]*.md")} - {*GUIDE.glob("10-*.md")})
END = "@@@ end of output @@@"
SHELL = f"""exec 9<&0 </dev/null
while IFS= read -r -u 9 line; do
    eval "(exit ${{rc:-0}})
$line"
    rc=$?
    printf '\\n%s\\n' '{END}'
done"""
VARIES = "# differs each time"
URL = re.compile(r"(?:tcp|udp|http)://[^\s:]+:(\d+)")
NUMBER = re.compile(r"(?<=[\d\]*]:)\d{2,5}\b|(?<=htons\()\d+|(?<=pid)=\d+|(?<=fd)=\d+")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+Z)?")


def sessions(text):
    """[(prompt, command, lines shown)] of the console blocks of a text."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
        for line in block.splitlines():
            prompt = re.match(r"(server)?\$ ", line)
            if prompt:
                found.append((prompt[0].strip(), line[prompt.end():], []))
            else:
                assert found, f"output before a command: {line}"
                found[-1][2].append(line)
    return found


def sections():
    """(chapter, heading, sessions) of each section that shows any."""
    for path in CHAPTERS:
        for section in re.split(r"^## ", path.read_text(), flags=re.M):
            shown = sessions(section)
            if shown:
                yield pytest.param(shown, id=f"{path.stem}: {section.splitlines()[0]}")


class Mismatch(AssertionError):
    pass


class Numbers:
    """Which number here is which of the guide's; neither may be two."""

    def __init__(self, pairs=()):
        self.pairs = set(pairs)

    def here(self, shown):
        return next((here for here, guide in self.pairs if guide == shown), None)

    def bind(self, here, shown):
        clash = [pair for pair in self.pairs if (pair[0] == here) != (pair[1] == shown)]
        self.pairs.add((here, shown))
        return not clash


def plain(line):
    line = TIME.sub("TIME", line.rstrip())
    line = re.sub(r"^(socket\(.*\) += )\d+$", r"\1FD", line)
    return re.sub(r"^(\w+)\(\d+, ", r"\1(FD, ", line)


def same_line(here, shown, numbers):
    """Whether a line is the one shown; binds its numbers."""
    here, shown = plain(here), plain(shown)
    if NUMBER.sub("#", here) != NUMBER.sub("#", shown):
        return False
    return all(numbers.bind(*pair) for pair in zip(NUMBER.findall(here), NUMBER.findall(shown)))


def same_lines(here, shown, numbers):
    if not shown:
        return not here
    if shown[0] == "…":
        return any(same_lines(here[skip:], shown[1:], numbers) for skip in range(len(here) + 1))
    return bool(here) and same_line(here[0], shown[0], numbers) and \
        same_lines(here[1:], shown[1:], numbers)


def ends(row):
    """The two addresses in a row of ss(8)."""
    return tuple(re.findall(r"\S+:\d+", row)[:2])


def rows(lines):
    """What ss(8) prints, without its padding."""
    return [" ".join(line.replace("PortPro", "Port Pro").split()) for line in lines]


def same_sockets(here, shown, numbers):
    """The rows of ss(8), in any order."""
    for order in itertools.permutations(rows(here)):
        trial = Numbers(numbers.pairs)
        if same_lines(order, rows(shown), trial):
            numbers.pairs = trial.pairs
            return True
    return False


def words(lines):
    return sorted(re.sub(r"\d+", "#", line) for line in lines)


def expect(command, here, shown, numbers):
    """Fails unless the command's output here is the one shown."""
    if command.startswith("strace"):  # the answer may not be there yet
        here = [line for line in here if "EAGAIN" not in line]
    if VARIES in command:
        good = words(here) == words(shown)
    elif command.startswith("ss "):
        good = same_sockets(here, shown, numbers)
    else:
        good = same_lines(here, shown, numbers)
    if not good:
        raise Mismatch(f"$ {command}\n--- the guide shows:\n" + "\n".join(shown) +
                       "\n--- there is:\n" + "\n".join(here) +
                       f"\n--- numbers here and there: {sorted(numbers.pairs)}")


class Terminal:
    """Runs the sessions of a section."""

    def __init__(self, env, folder):
        self.env, self.folder, self.numbers = env, folder, Numbers()
        self.servers, self.held, self.former = [], [], set()
        self.shell = self.start(["bash", "--norc", "-c", SHELL], stdin=subprocess.PIPE)

    def start(self, argv, **popen):
        return Process(argv, self.env, stderr=subprocess.STDOUT, cwd=self.folder, **popen)

    def localised(self, command):
        """The command with the ports of here; one where nobody listens is kept free of others."""
        for shown in URL.findall(command):
            if int(shown) >= 1024 and int(shown) < 65536 and not self.numbers.here(shown):
                self.held.append(free_port_held())
                assert self.numbers.bind(str(self.held[-1].getsockname()[1]), shown)
        for here, shown in self.numbers.pairs:
            command = re.sub(rf"(?<=[:/ ]){shown}\b", f"<{here}>", command)
        return re.sub(r"<(\d+)>", r"\1", command)

    def serve(self, command, shown):
        """Starts a server; its listening line says the port."""
        port = URL.search(command)[1]
        command_here = command.replace(f":{port}", ":0")
        # who runs the tests in the background ignores SIGINT, and so would they
        server = self.start(["bash", "-c", f"exec env --default-signal=INT {command_here}"])
        self.servers.append((server, command, shown))
        line = server.out.wait_for(lambda data: URL.search(data.decode()), f"{command} listens")
        assert self.numbers.bind(line[1], URL.search("\n".join(shown))[1])
        self.former.update(self.connections(line[1]))

    def connections(self, port):
        """(local, peer) of each connection of a port; at the start they are a former user's."""
        found = self.output(f"ss -Htan state connected '( sport = :{port} or dport = :{port} )'")
        return {ends(row) for row in found}

    def output(self, command):
        before = len(self.shell.out.data)
        self.shell.proc.stdin.write(f"{self.localised(command)}\n".encode())
        self.shell.proc.stdin.flush()
        end = f"\n{END}\n".encode()
        self.shell.out.wait_for(lambda data: end in data[before:], f"the end of {command}",
                                3 * WAIT)
        text = self.shell.out.data[before:].split(end)[0].decode("utf-8", "backslashreplace")
        check_report(text)
        return text.rstrip("\n").split("\n") if text.strip("\n") else []

    def run(self, command, shown):
        deadline = time.monotonic() + WAIT
        while True:
            try:
                here = [line for line in self.output(command)
                        if ends(line) not in self.former]
                return expect(command, here, shown, self.numbers)
            except Mismatch:  # states of sockets come when they come
                if not command.startswith("ss ") or time.monotonic() > deadline:
                    raise

    def finish(self):
        """The end of all servers, and what they have printed."""
        for server, command, shown in self.servers:
            if "^C" in shown:
                at = shown.index("^C")
                shown = shown[:at] + shown[at + 1:]
                wait_until(lambda: server.out.data.count(b"\n") >= at or not server.running(),
                           f"{at} lines of {command}:\n{server.out.data.decode()}")
                server.signal(signal.SIGINT)
            assert server.wait() == 0
            port = self.numbers.here(URL.search(command)[1])
            text = re.sub(r"(?<=:)0$", port, server.out.finish().decode(), flags=re.M)
            check_report(text)
            expect(command, text.splitlines(), shown, self.numbers)

    def close(self):
        for process in [self.shell, *(server for server, *_ in self.servers)]:
            process.kill()
        for sock in self.held:
            sock.close()


def missing(shown):
    """Why a section cannot be run on this machine, or None."""
    commands = " ".join(command for _, command, _ in shown)
    if "strace" in commands and subprocess.run(["strace", "-o", "/dev/null", "true"], check=False,
                                               stderr=subprocess.DEVNULL).returncode:
        return "strace is not allowed to trace here"
    if ".invalid" in commands:
        try:
            socket.getaddrinfo("nosuch.invalid", None)
        except socket.gaierror as error:
            return None if error.errno == socket.EAI_NONAME else f"no name server: {error}"
    return None


@pytest.fixture
def terminal(pier_bin, base_env, tmp_path):
    (tmp_path / "build").symlink_to(pathlib.Path(pier_bin).parents[1])
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    races = tmp_path / "races"
    races.write_text("race:^count$\n")  # what lock_counter --unlocked is there to show
    env = {**base_env, "ASAN_OPTIONS": "detect_leaks=0", "LC_ALL": "C.UTF-8",
           "TSAN_OPTIONS": f"{base_env.get('TSAN_OPTIONS', '')} suppressions={races}"}
    opened = Terminal(env, tmp_path)
    yield opened
    opened.close()


@pytest.mark.parametrize("shown", sections())
def test_a_session_of_the_guide_is_what_happens(terminal, shown):
    reason = missing(shown)
    if reason:
        pytest.skip(reason)
    for prompt, command, lines in shown:
        (terminal.serve if prompt == "server$" else terminal.run)(command, lines)
    terminal.finish()


def test_chapters_are_linked_in_their_order():
    """The index names each chapter, and each chapter the next one."""
    index = (GUIDE / "README.md").read_text()
    linked = re.findall(r"\]\((\d\d-[\w-]+\.md)\)", index)
    names = [path.name for path in sorted(GUIDE.glob("[0-9][0-9]-*.md"))]
    assert linked == names
    for name, following in zip(names, names[1:]):
        last = (GUIDE / name).read_text().rstrip().splitlines()[-1]
        assert f"]({following})" in last, f"{name} does not end with a link to {following}"


def test_links_of_the_guide_lead_somewhere():
    for path in GUIDE.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (GUIDE / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("here, shown, good", [
    (["a 127.0.0.1:40001", "b 127.0.0.1:40001"], ["a 127.0.0.1:50", "b 127.0.0.1:50"], True),
    (["a 127.0.0.1:40001", "b 127.0.0.1:40002"], ["a 127.0.0.1:50", "b 127.0.0.1:50"], False),
    (["a 127.0.0.1:40001", "b 127.0.0.1:40001"], ["a 127.0.0.1:50", "b 127.0.0.1:51"], False),
    (["one", "two", "three"], ["…", "three"], True),
    (["one", "two"], ["one"], False),
    (["one"], ["one", "two"], False),
    (["at 2026-11-20 10:00:00"], ["at 2025-01-01 00:00:00"], True),
    (["http 80/tcp"], ["http 81/tcp"], False),
])
def test_what_differs_from_the_guide_is_seen(here, shown, good):
    assert same_lines(here, shown, Numbers()) == good


def test_rows_of_sockets_have_no_order_but_no_strangers():
    shown = ["LISTEN 0 127.0.0.1:1000", "ESTAB  5 127.0.0.1:2000"]
    assert same_sockets(shown[::-1], shown, Numbers())
    assert not same_sockets([*shown, "TIME-WAIT 0 127.0.0.1:3000"], shown, Numbers())
    assert not same_sockets([shown[0], "ESTAB 4 127.0.0.1:2000"], shown, Numbers())
    assert not same_sockets(shown[:1], shown, Numbers())
