# SPDX-License-Identifier: MIT
"""One round of each kind: starts a contestant's processes on their cores, has the load run against it or asks it, and
returns the round's numbers as a dictionary. Everything started here is in `children` until it has been reaped.

A round raises Failed when the contestant did not do its work, and contestants.Absent when it cannot run here.
"""
import collections
import ctypes
import json
import os
import random
import re
import select
import signal
import socket
import statistics
import subprocess
import threading
import time

import contestants as field

LISTENING = re.compile(r"listening on (?:tcp|tls|udp|http)://127\.0\.0\.1:(\d+)")
START_LIMIT_S = 15
IDLE_COUNT = 2000
HTTP_IDLE_COUNT = 10000
IDLE_LIMIT_S = 60
BALANCE_COUNT = 400
BALANCE_S = 1.0  # of speaking, before and after a quarter of the connections was replaced
MICRO_LIMIT_S = 120
STARTS_A_ROUND = 5
SKIP_CODE = 77  # of a server that cannot run on this machine
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None)
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]

load_path = None  # bench/run sets it when it has built the load generator


class Failed(Exception):
    """A contestant did not do its work in this round."""


# ---- processes ----

children = set()


def pinned(cores):
    """Runs in the child before exec: its cores, its own process group, and no life without this harness."""
    def prepare():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, cores)
    return prepare


def spawn(argv, cores, env=None, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE):
    try:
        process = subprocess.Popen(argv, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, text=True,
                                   preexec_fn=pinned(cores), start_new_session=True)
    except OSError as e:
        raise Failed(f"does not start: {e}")
    children.add(process)
    return process


def reap(process):
    """Kills the process and all it started, and waits for its end."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            try:
                stream.close()
            except OSError:
                pass
    children.discard(process)


def read_line(process, limit_s, what):
    """One line of a process's unbuffered output pipe, or Failed."""
    line, end = b"", time.monotonic() + limit_s
    fd = process.stdout.fileno()
    while not line.endswith(b"\n"):
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            raise Failed(f"no {what} within {limit_s} s")
        byte = os.read(fd, 1)
        if not byte:
            raise Failed(f"ended before {what}: {line.decode(errors='replace').strip()}")
        line += byte
    return line.decode(errors="replace").rstrip("\n")


def ended_with(process, code):
    try:
        return process.wait(1) == code
    except subprocess.TimeoutExpired:
        return False


class Server:
    """A contestant's server, from its `listening on` line to its end."""

    def __init__(self, contestant, argument, cores):
        self.process = spawn(contestant.command(argument), cores, contestant.environment(), stderr=subprocess.STDOUT)
        self.lines = collections.deque(maxlen=20)
        try:
            self.port = self.wait_listening(contestant.says)
        except (Failed, field.Absent):
            reap(self.process)
            raise
        self.drain = threading.Thread(target=self.read_on, daemon=True)
        self.drain.start()

    def wait_listening(self, says):
        end = time.monotonic() + START_LIMIT_S
        while True:
            try:
                line = read_line(self.process, max(0, end - time.monotonic()), "`listening on` line")
            except Failed:
                why = self.lines[-1] if self.lines else "no output"
                raise field.Absent(why) if ended_with(self.process, SKIP_CODE) else Failed(f"did not listen: {why}")
            self.lines.append(line)
            if found := LISTENING.search(line):
                if says not in line:
                    raise field.Absent(f"not {says}: {line}")
                return int(found.group(1))

    def read_on(self):
        """So that a server that logs does not block; its last lines explain a failure."""
        fd = self.process.stdout.fileno()
        try:
            while chunk := os.read(fd, 65536):
                self.lines.extend(chunk.decode(errors="replace").splitlines())
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.drain.join(5)  # the pipe ends with the last process that holds it
        reap(self.process)

    def explain(self, text):
        code = self.process.poll()
        if code is not None:
            text += f"; the server ended with {code}: {self.lines[-1] if self.lines else 'no output'}"
        return text


def run_load(server, options, cores, limit_s):
    """Runs the load generator to its end; its JSON line as a dictionary."""
    argv = [load_path, "--connect", f"127.0.0.1:{server.port}", "--pid", server.process.pid, *options]
    process = spawn([str(a) for a in argv], cores)
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise Failed(server.explain(f"the load did not end within {limit_s:.0f} s"))
    finally:
        reap(process)
    if process.returncode != 0:
        raise Failed(server.explain(err.strip() or f"the load ended with {process.returncode}"))
    return json.loads(out)


# ---- one round of each kind ----

def round_echo(contestant, work, options):
    server_cores, load_cores = ({SERVER_CORE}, {LOAD_CORE})
    if work.both_cores:
        server_cores = load_cores = {SERVER_CORE, LOAD_CORE}
    with Server(contestant, work.buffer, server_cores) as server:
        return measure_echo(server, work, options, load_cores, block=work.both_cores)


def round_udp(contestant, work, options):
    with Server(contestant, work.buffer, {SERVER_CORE}) as server:
        return measure_echo(server, work, options, {LOAD_CORE}, extra=["--udp"])


FLIGHT_LINE = re.compile(r"(\d+) ops, (\d+) ops/s, ([\d.]+) us CPU/op, (\d+) % of a core, (\d+) lost")


def round_flight(contestant, work, options):
    """udp_load's figures: it sends again what is lost, and says how much that was."""
    with Server(contestant, work.buffer, {SERVER_CORE}) as server:
        argv = [os.path.join(field.build_dir, "bench", "udp_load"), "--pid", server.process.pid, "--peers", 1,
                "--flight", work.connections, "--size", work.size, "--seconds", max(1, round(options.seconds)),
                f"udp://127.0.0.1:{server.port}"]
        process = spawn([str(a) for a in argv], {LOAD_CORE})
        try:
            out, err = process.communicate(timeout=options.seconds + 30)
        except subprocess.TimeoutExpired:
            raise Failed(server.explain("the load did not end"))
        finally:
            reap(process)
        found = FLIGHT_LINE.search(out)
        if process.returncode != 0 or not found or found[1] == "0":
            raise Failed(server.explain(err.strip() or out.strip() or "the load printed nothing"))
    return {"cpu_ns_op": float(found[3]) * 1000, "ops_per_s": float(found[2]), "share": int(found[4]) / 100,
            "lost": int(found[5])}


def tls_load(server, *arguments):
    return [field.build_tls_load(), "--pid", str(server.process.pid), "--port", str(server.port), *arguments]


def round_tls(contestant, work, options):
    """tls_load's figures: ns of the server's CPU per handshake, or per KiB."""
    with Server(contestant, work.buffer, {SERVER_CORE}) as server:
        argv = tls_load(server, "--" + work.mode, "--seconds", str(options.seconds), "--warmup", str(options.warmup))
        process = spawn(argv, {LOAD_CORE})
        try:
            out, err = process.communicate(timeout=options.seconds + options.warmup + 30)
        except subprocess.TimeoutExpired:
            raise Failed(server.explain("the load did not end"))
        finally:
            reap(process)
        if process.returncode != 0:
            raise Failed(server.explain(err.strip() or "the load printed nothing"))
    return json.loads(out)


def round_tlsidle(contestant, work, options):
    with Server(contestant, work.buffer, {SERVER_CORE}) as server:
        def hold(count):
            holder = spawn(tls_load(server, "--idle", str(count)), {LOAD_CORE}, stderr=subprocess.STDOUT)
            expect(holder, f"open {count}")
            return holder
        reap(hold(1))
        before = settled_memory(server.process.pid)
        holder = hold(IDLE_COUNT)
        try:
            after = settled_memory(server.process.pid)
        finally:
            reap(holder)
    return {"bytes": (after[0] - before[0]) * 1024 / IDLE_COUNT, "base_rss_kib": before[0]}


def http_load(server, *arguments):
    return [field.build_http_load(), str(server.port), str(server.process.pid), *arguments]


def round_http(contestant, work, options):
    """http_load's figures: ns of the server's CPU per request."""
    with Server(contestant, work.buffer, {SERVER_CORE}) as server:
        arguments = ["--connections", str(work.connections), *work.mode.split(), "--seconds", str(options.seconds),
                     "--warmup", str(options.warmup)]
        process = spawn(http_load(server, *arguments), {LOAD_CORE})
        try:
            out, err = process.communicate(timeout=options.seconds + options.warmup + 30)
        except subprocess.TimeoutExpired:
            raise Failed(server.explain("the load did not end"))
        finally:
            reap(process)
        if process.returncode != 0:
            raise Failed(server.explain(err.strip() or "the load printed nothing"))
    result = json.loads(out)
    return {"cpu_ns_op": result["cpu_ns_op"], "share": result["busy"], "p99_ns": result["p99_ns"]}


def round_httpidle(contestant, work, options):
    """Memory of connections that have had a request each, once it stands still."""
    with Server(contestant, work.buffer, {SERVER_CORE}) as server:
        def hold(count):
            holder = spawn(http_load(server, "--idle", str(count)), {LOAD_CORE}, stdin=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
            expect(holder, '{"held": true}')
            return holder
        reap(hold(1))
        before = settled_memory(server.process.pid)
        holder = hold(HTTP_IDLE_COUNT)
        try:
            time.sleep(1)  # what was busy with the requests has a second to give back what it needed
            after = settled_memory(server.process.pid)
        finally:
            reap(holder)
    return {"bytes": (after[0] - before[0]) * 1024 / HTTP_IDLE_COUNT, "base_rss_kib": before[0]}


def round_relay(contestant, work, options):
    with Server(field.BACKEND, work.buffer, {LOAD_CORE}) as backend:
        with Server(contestant, f"tcp://127.0.0.1:{backend.port}", {SERVER_CORE}) as server:
            return measure_echo(server, work, options, {LOAD_CORE}, block=True)


def measure_echo(server, work, options, load_cores, block=False, extra=()):
    """`block`: the load shares its core and must sleep when it has nothing to do."""
    arguments = ["--connections", work.connections, "--size", work.size, "--seconds", options.seconds,
                 "--warmup", options.warmup, *(["--block"] if block else []), *extra]
    result = run_load(server, arguments, load_cores, options.seconds + options.warmup + 30)
    result["user_ns_op"] = result["cpu_ns_op"] * result["user_share"]
    result["sys_ns_op"] = result["cpu_ns_op"] - result["user_ns_op"]
    return result


def process_tree(pid):
    tree = [pid]
    for parent in tree:
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{thread}/children") as f:
                    tree += [int(child) for child in f.read().split()]
        except OSError:
            pass
    return tree


def memory_kib(pid):
    """Resident memory and page tables of a process and its children."""
    rss = tables = 0
    for member in process_tree(pid):
        try:
            with open(f"/proc/{member}/smaps_rollup") as f:
                rss += int(re.search(r"^Rss:\s+(\d+)", f.read(), re.M).group(1))
            with open(f"/proc/{member}/status") as f:
                tables += int(re.search(r"^VmPTE:\s+(\d+)", f.read(), re.M).group(1))
        except OSError:
            raise Failed("the server ended")
    return rss, tables


def settled_memory(pid):
    """Memory once it has stood still for 0.2 s, or after 3 s."""
    last = memory_kib(pid)
    for _ in range(15):
        time.sleep(0.2)
        now = memory_kib(pid)
        if now == last:
            break
        last = now
    return last


def round_idle(contestant, work, options):
    with Server(contestant, work.buffer, {SERVER_CORE}) as server:
        run_load(server, ["--connections", 1, "--seconds", 0.05, "--warmup", 0], {LOAD_CORE}, 30)
        before = settled_memory(server.process.pid)
        argv = [load_path, "--connect", f"127.0.0.1:{server.port}", "--idle", str(IDLE_COUNT)]
        holder = spawn(argv, {LOAD_CORE}, stdin=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            expect(holder, f"open {IDLE_COUNT}")
            silent = settled_memory(server.process.pid)
            holder.stdin.write("talk\n")
            holder.stdin.flush()
            expect(holder, f"talked {IDLE_COUNT}")
            talked = settled_memory(server.process.pid)
        finally:
            reap(holder)
    def each(now, i):
        return (now[i] - before[i]) * 1024 / IDLE_COUNT
    return {"silent_bytes": each(silent, 0), "talked_bytes": each(talked, 0), "tables_bytes": each(talked, 1),
            "base_rss_kib": before[0]}


def expect(process, line):
    got = read_line(process, IDLE_LIMIT_S, f"`{line}`")
    if got != line:
        raise Failed(got)


def round_startup(contestant, work, options):
    """exec to line, in ms. Without a preexec hook: that would make fork slower. The child inherits the core."""
    times = []
    for _ in range(STARTS_A_ROUND):
        os.sched_setaffinity(0, {SERVER_CORE})
        begin = time.perf_counter_ns()
        process = subprocess.Popen(contestant.command(work.buffer), env=contestant.environment(),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        children.add(process)
        os.sched_setaffinity(0, {LOAD_CORE})
        try:
            fd, output = process.stdout.fileno(), b""
            while not LISTENING.search(output.decode(errors="replace")):
                if not select.select([fd], [], [], START_LIMIT_S)[0]:
                    raise Failed(f"did not listen within {START_LIMIT_S} s")
                chunk = os.read(fd, 4096)
                if not chunk:
                    why = output.decode(errors="replace").strip()
                    raise field.Absent(why) if ended_with(process, SKIP_CODE) else Failed(f"did not listen: {why}")
                output += chunk
            line = output.decode(errors="replace").strip().splitlines()[-1]
            if contestant.says not in line:
                raise field.Absent(f"not {contestant.says}: {line}")
            times.append((time.perf_counter_ns() - begin) / 1e6)
        finally:
            reap(process)
    return {"all_ms": times}


class Speakers:
    """Clients that keep asking their connection's handler which worker it runs on."""

    def __init__(self, port):
        self.port, self.epoll = port, select.epoll()
        self.sockets, self.answers = {}, {}

    def open(self, count):
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[client.fileno()] = client
            self.epoll.register(client, select.EPOLLIN)
            client.send(b"?")
            self.speak(0.001)

    def close(self, fds):
        for fd in fds:
            self.epoll.unregister(fd)
            self.sockets.pop(fd).close()
            self.answers.pop(fd, None)

    def speak(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for fd, _ in self.epoll.poll(0.01, 64):
                answer = self.sockets[fd].recv(1)
                if not answer:
                    raise Failed("a connection was closed by the server")
                self.answers[fd] = answer[0]
                self.sockets[fd].send(b"?")

    def wait_answers(self):
        end = time.monotonic() + START_LIMIT_S
        while len(self.answers) < len(self.sockets):
            if time.monotonic() > end:
                raise Failed(f"{len(self.sockets) - len(self.answers)} connections had no answer")
            self.speak(0.01)


def round_balance(contestant, work, options):
    """Connections open one by one while all others speak; a quarter of them, drawn at random, is then replaced."""
    draw = random.Random(options.seed)
    with Server(contestant, work.buffer, set(CORES)) as server:
        speakers = Speakers(server.port)
        try:
            speakers.open(BALANCE_COUNT)
            speakers.speak(min(BALANCE_S, options.seconds))
            speakers.close(draw.sample(sorted(speakers.sockets), BALANCE_COUNT // 4))
            speakers.open(BALANCE_COUNT // 4)
            speakers.speak(min(BALANCE_S, options.seconds))
            speakers.wait_answers()
        except OSError as e:
            raise Failed(server.explain(str(e)))
        finally:
            counts = collections.Counter(speakers.answers.values())
            speakers.close(list(speakers.sockets))
            speakers.epoll.close()
    counts = [counts[k] for k in range(contestant.workers)]
    if sum(counts) != BALANCE_COUNT:
        raise Failed(f"workers answered for {counts} of {BALANCE_COUNT} connections")
    mean = BALANCE_COUNT / contestant.workers
    return {"counts": counts, "deviation": max(abs(n - mean) for n in counts) / mean}


def run_to_end(contestant, argument, cores=frozenset({SERVER_CORE})):
    """The lines of a program that measures itself."""
    process = spawn(contestant.command(argument), cores, contestant.environment())
    try:
        out, err = process.communicate(timeout=MICRO_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"did not end within {MICRO_LIMIT_S} s")
    finally:
        reap(process)
    if process.returncode == SKIP_CODE:
        raise field.Absent(err.strip().splitlines()[-1] if err.strip() else "cannot run here")
    if process.returncode != 0:
        raise Failed(err.strip().splitlines()[-1] if err.strip() else f"ended with {process.returncode}")
    return [json.loads(line) for line in out.splitlines()]


def round_micro(contestant, work, options):
    best = {}
    for row in run_to_end(contestant, work.buffer):
        best[row["name"]] = min(row["ns"], best.get(row["name"], row["ns"]))
    return best


def round_pool(contestant, work, options):
    """A map by all cores: ns an input, and how many times the ideal, one core's time shared by all, it took."""
    figures = {}
    for row in run_to_end(contestant, work.buffer, set(CORES)):
        figures[row["name"]] = row["ns"]
        if "ideal_seconds" in row:
            figures[row["name"] + " / ideal"] = row["seconds"] / row["ideal_seconds"]
    return figures


def round_crowd(contestant, work, options):
    return run_to_end(contestant, work.buffer)[-1]


def round_size(contestant, work, options):
    """What strip(1) leaves of the library, and size(1) of it."""
    path = os.path.join(field.build_dir, "bench", "libpier.stripped.so")
    strip = subprocess.run(["strip", "-o", path, contestant.path], capture_output=True, text=True)
    size = subprocess.run(["size", path], capture_output=True, text=True)
    if strip.returncode or size.returncode:
        raise Failed((strip.stderr + size.stderr).strip())
    text, data = size.stdout.splitlines()[1].split()[:2]
    return {"bytes": os.path.getsize(path), "text": int(text), "data": int(data)}


ROUNDS = {"echo": round_echo, "relay": round_relay, "udp": round_udp, "flight": round_flight, "tls": round_tls,
          "tlsidle": round_tlsidle, "http": round_http,
          "httpidle": round_httpidle, "idle": round_idle, "startup": round_startup, "micro": round_micro,
          "balance": round_balance, "utf8": round_micro, "httpclient": round_micro,
          "crowd": round_crowd, "pool": round_pool, "size": round_size}
