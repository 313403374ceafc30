# SPDX-License-Identifier: MIT
"""Who competes in bench/run: how each contestant is built, started and named, and what it needs.

A contestant is built on first use into build/bench/peers/. What cannot be built raises Absent with the reason, which
the report shows. Pier's own programs are built by meson into build/bench/, not here.
"""
import glob
import os
import shutil
import signal
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BENCH = os.path.join(ROOT, "bench")
PYTHON = "/usr/bin/python3"
CARGO, RUSTC = "/usr/bin/cargo", "/usr/bin/rustc"
REGISTRY = "/usr/share/cargo/registry"
CFLAGS = ["-O2", "-std=gnu11", "-D_GNU_SOURCE=", "-Wall", "-Wextra"]
BUILD_LIMIT_S = 300
TLS_TICKETS = 1  # that Pier's servers give; nginx's give two after a full handshake
NEW = object()  # in a compiler's arguments: the file to write

build_dir = os.path.join(ROOT, "build")  # bench/run --build sets it


class Absent(Exception):
    """This contestant cannot run here; the text says why."""


def peers_dir():
    return os.path.join(build_dir, "bench", "peers")


def output_of(argv, default="unknown"):
    """The first line that a command prints."""
    try:
        result = subprocess.run(argv, capture_output=True, text=True, timeout=30)
        lines = (result.stdout + result.stderr).strip().splitlines()
        return lines[0] if result.returncode == 0 and lines else default
    except (OSError, subprocess.TimeoutExpired):
        return default


def run_compiler(argv, env, cwd):
    """Its exit code and output. It has its own process group, so that an interrupt ends its children too."""
    process = subprocess.Popen(argv, env=dict(os.environ, **(env or {})), cwd=cwd, text=True, start_new_session=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = process.communicate(timeout=BUILD_LIMIT_S)
        return process.returncode, output
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise


def compile_once(target, sources, argv, env=None, cwd=None):
    """Builds unless target is newer than all sources; returns its path. NEW in argv is what becomes the target."""
    path = os.path.join(peers_dir(), target)
    if os.path.exists(path) and all(os.path.getmtime(path) >= os.path.getmtime(s) for s in sources):
        return path
    os.makedirs(peers_dir(), exist_ok=True)
    print("building", os.path.relpath(path, ROOT), flush=True)
    new = f"{path}.{os.getpid()}"
    try:
        code, output = run_compiler([new if a == NEW else a for a in argv], env, cwd)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Absent(f"does not build: {e}")
    if code != 0:
        errors = [l for l in output.splitlines() if "error" in l] or output.splitlines() or ["no output"]
        raise Absent(f"does not build: {errors[0].strip()}")
    if NEW in argv:
        os.replace(new, path)
    os.utime(path)
    return path


def build_c(name, source, libraries=()):
    compiler = shutil.which("cc")
    if not compiler:
        raise Absent("no C compiler (package gcc)")
    headers = glob.glob(os.path.join(BENCH, "*.h"))
    path = os.path.join(BENCH, source)
    argv = [compiler, *CFLAGS, "-o", NEW, path, "-pthread", *["-l" + l for l in libraries]]
    return compile_once(name, [path, *headers], argv)


def build_c_with(package, library, header):
    def build(name, source):
        include = ["/usr/include", "/usr/local/include"]
        if not any(os.path.exists(os.path.join(d, header)) for d in include):
            raise Absent(f"no {header} (package {package})")
        return build_c(name, source, [library])
    return build


def build_go(name, source, options=()):
    go = shutil.which("go")
    if not go:
        raise Absent("no go (package golang-go)")
    path = os.path.join(BENCH, source)
    env = {"GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": os.path.join(peers_dir(), "go-cache")}
    return compile_once(name, [path], [go, "build", *options, "-o", NEW, path], env)


def build_go_library(name, source):
    return build_go(f"{name}.so", source, ["-buildmode=c-shared"])


def build_rust_library(name, source):
    if not os.access(RUSTC, os.X_OK):
        raise Absent("no /usr/bin/rustc (package rustc)")
    path = os.path.join(BENCH, source)
    argv = [RUSTC, "-O", "-C", "panic=abort", "--crate-type=cdylib", "-o", NEW, path]
    return compile_once(f"{name}.so", [path], argv)


def build_crate(name, source, crates=("tokio-1.",)):
    """Debian's cargo, rustc and crates: nothing is fetched, and no other Rust on this machine is used."""
    if not os.access(CARGO, os.X_OK) or not os.access(RUSTC, os.X_OK):
        raise Absent("no /usr/bin/cargo and rustc (packages cargo, rustc)")
    for prefix in crates:
        if not glob.glob(os.path.join(REGISTRY, prefix + "*")):
            package = prefix.split("-")[0]
            raise Absent(f"no {package} in /usr/share/cargo/registry (package librust-{package}-dev)")
    crate = os.path.join(BENCH, source)
    sources = [p for p in glob.glob(os.path.join(crate, "**"), recursive=True) if os.path.isfile(p)]
    home, target = (os.path.join(peers_dir(), d) for d in ("cargo-home", "cargo-target"))
    copy = os.path.join(peers_dir(), "cargo-crate", os.path.basename(source))
    os.makedirs(home, exist_ok=True)
    with open(os.path.join(home, "config.toml"), "w") as f:
        f.write(f'[source.crates-io]\nreplace-with = "debian"\n[source.debian]\ndirectory = "{REGISTRY}"\n')
    shutil.copytree(crate, copy, dirs_exist_ok=True)  # cargo writes its lock file beside the sources
    env = {"CARGO_HOME": home, "RUSTC": RUSTC, "CARGO_TARGET_DIR": target, "RUSTFLAGS": "", "RUSTC_WRAPPER": ""}
    binary = os.path.join("cargo-target", "release", name)
    return compile_once(binary, sources, [CARGO, "build", "--release", "--offline", "--bin", name], env, copy)


def build_tokio(name, source):
    return build_crate(name, source)


def build_hyper(name, source):
    return build_crate(name, source, ("tokio-1.", "hyper-0.14"))


def build_python(name, source, module=None):
    if not os.access(PYTHON, os.X_OK):
        raise Absent("no /usr/bin/python3 (package python3)")
    if module and output_of([PYTHON, "-c", f"import {module}; print(1)"], None) is None:
        raise Absent(f"no {module} for {PYTHON} (package python3-{module})")
    return os.path.join(BENCH, source)


def build_uvloop(name, source):
    return build_python(name, source, "uvloop")


def find_pier(name, source):
    path = os.path.join(build_dir, source)
    if not os.access(path, os.X_OK):
        raise Absent(f"{os.path.relpath(path, ROOT)} is not built (./dev build)")
    return path


def tls_dir():
    """Where a certificate for this machine is made for the run, by an authority of its own."""
    return os.path.join(build_dir, "bench", "tls")


def tls_pair():
    """The certificate and key that every TLS server uses: ECDSA with P-256."""
    prefix = os.path.join(tls_dir(), "localhost")
    pair = [prefix + ".pem", prefix + "-key.pem"]
    if not all(map(os.path.exists, pair)):
        pier = find_pier("pier", "cli/pier")
        os.makedirs(tls_dir(), exist_ok=True)
        made = subprocess.run([pier, "cert", "create", "--force", "--out", prefix, "localhost", "127.0.0.1"],
                              env=dict(os.environ, XDG_DATA_HOME=tls_dir()), capture_output=True, text=True)
        if made.returncode:
            raise Absent(made.stderr.strip())
    return pair


def build_tls(name, source):
    tls_pair()
    if not os.path.exists("/usr/include/openssl/ssl.h"):
        raise Absent("no openssl/ssl.h (package libssl-dev)")
    return build_c(name, source, ["ssl", "crypto"])


def find_tls_pier(name, source):
    tls_pair()
    return find_pier(name, source)


def find_nginx(name, source):
    tls_pair()
    if not shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin"):
        raise Absent("no nginx (package nginx)")
    return build_python(name, source)


SBIN = os.environ.get("PATH", "") + ":/usr/sbin"


def find_packaged(name, source):
    if not shutil.which(name, path=SBIN):
        raise Absent(f"no {name} (package {name})")
    return build_python(name, source)


def find_library(name, source):
    path = os.path.join(build_dir, source)
    if not os.path.exists(path):
        raise Absent(f"{os.path.relpath(path, ROOT)} is not built (./dev build)")
    return path


class Contestant:
    """One program and how it is started. `floor`: a bare loop that ratios refer to. `says`: what its `listening on`
    line must contain, or it is absent: a backend that fell back to another is not measured under the wrong name.
    `own_floor`: the bare loop of its own kind.

    `argv(path, argument, workers)` is the command. The argument is the buffer's size, or where to relay to; `workers`
    is 1 but in the workload that compares them.
    """

    def __init__(self, name, build, source, argv, *, target=None, env=None, floor=False, workers=1, says="",
                 own_floor=""):
        self.name, self.build, self.source, self.argv = name, build, source, argv
        self.target = target or os.path.splitext(os.path.basename(source))[0]
        self.env, self.floor, self.workers, self.says = env or {}, floor, workers, says
        self.own_floor, self.path = own_floor, None

    def prepare(self):
        self.path = self.build(self.target, self.source)

    def command(self, argument):
        return [str(a) for a in self.argv(self.path, argument, self.workers)]

    def environment(self):
        return dict(os.environ, **self.env)


def plain(path, argument, workers):
    return [path, argument]


def own_buffers(path, argument, workers):
    return [path, "--own", argument]


def with_workers(path, argument, workers):
    return [path, argument, workers]


def python(*args):
    return lambda path, argument, workers: [PYTHON, "-B", path, *args, argument]


def pier(model, scheme="tcp"):
    return lambda path, argument, workers: [path, f"{scheme}://127.0.0.1:0", argument, workers, model]


def who(path, argument, workers):
    return [path, "tcp://127.0.0.1:0", workers]


def pier_serve(path, argument, workers):
    return [path, "serve", "tcp://127.0.0.1:0"]


def alone(path, argument, workers):
    return [path]


def alone_python(path, argument, workers):
    return [PYTHON, "-B", path]


def tls(path, argument, workers):
    return [path, *tls_pair()]


def tls_bare(path, argument, workers):
    return [path, *tls_pair(), TLS_TICKETS]


def nginx_tls(path, argument, workers):
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    return [PYTHON, "-B", path, nginx, *tls_pair(), os.path.join(tls_dir(), "nginx")]


uv = build_c_with("libuv1-dev", "uv", "uv.h")
event = build_c_with("libevent-dev", "event", "event2/event.h")
uring = build_c_with("liburing-dev", "uring", "liburing.h")


def backend(name):
    return {"env": {"PIER_BACKEND": name}, "says": f"({name})",
            "own_floor": {"epoll": "bare-epoll", "io_uring": "bare-uring"}[name]}


def go_procs(count):
    return {"GOMAXPROCS": str(count)}


SERVERS = [
    Contestant("bare-epoll", build_c, "echo_epoll.c", plain, floor=True),
    Contestant("bare-uring", uring, "echo_uring.c", plain, floor=True),
    Contestant("bare-epoll-own", build_c, "echo_epoll.c", own_buffers),
    Contestant("bare-thread", build_c, "echo_thread.c", plain),
    Contestant("pier", find_pier, "bench/echo_pier", pier("tasks"), **backend("epoll")),
    Contestant("pier-uring", find_pier, "bench/echo_pier", pier("tasks"), **backend("io_uring")),
    Contestant("pier-threads", find_pier, "bench/echo_pier", pier("threads"), says="(direct)",
               own_floor="bare-thread"),
    Contestant("libuv", uv, "peers/echo_libuv.c", plain),
    Contestant("libevent", event, "peers/echo_libevent.c", plain),
    Contestant("tokio", build_tokio, "peers/echo_tokio", plain, target="echo_tokio"),
    Contestant("go", build_go, "peers/echo.go", plain, target="echo_go", env=go_procs(1)),
    Contestant("uvloop", build_uvloop, "peers/echo_uvloop.py", python("protocol")),
    Contestant("asyncio", build_python, "peers/echo_asyncio.py", python("protocol")),
    Contestant("asyncio-streams", build_python, "peers/echo_asyncio.py", python("streams")),
]

# The same handler in every model, beside the bare loop of each.
MODELS = [
    Contestant("bare-epoll", build_c, "echo_epoll.c", plain, floor=True),
    Contestant("bare-thread", build_c, "echo_thread.c", plain),
    Contestant("bare-process", build_c, "echo_process.c", plain),
    Contestant("pier", find_pier, "bench/echo_pier", pier("tasks"), **backend("epoll")),
    Contestant("pier-threads", find_pier, "bench/echo_pier", pier("threads"), says="(direct)",
               own_floor="bare-thread"),
    Contestant("pier-processes", find_pier, "bench/echo_pier", pier("processes"), says="(direct)",
               own_floor="bare-process"),
    Contestant("pier-prefork", find_pier, "bench/echo_pier", pier("prefork"), **backend("epoll")),
]

# `pier serve` itself: only its start is measured, against the start of the others.
STARTUP = [Contestant("pier serve", find_pier, "cli/pier", pier_serve), *SERVERS]

# The same server with one worker and with two, each allowed on both cores.
WORKERS = [
    *(Contestant(f"{name}-{count}", build, source, with_workers, floor=count == 1, workers=count)
      for name, build, source in (("bare-epoll", build_c, "echo_epoll.c"), ("bare-uring", uring, "echo_uring.c"))
      for count in (1, 2)),
    *(Contestant(f"{name}-{count}", find_pier, "bench/echo_pier", pier("tasks"),
                 **dict(backend(which), own_floor=f"{floor}-{count}"), workers=count)
      for name, which, floor in (("pier", "epoll", "bare-epoll"), ("pier-uring", "io_uring", "bare-uring"))
      for count in (1, 2)),
    *(Contestant(f"go-{count}", build_go, "peers/echo.go", plain, target="echo_go", env=go_procs(count))
      for count in (1, 2)),
]

# A server whose handlers say on which worker they run.
BALANCE = [Contestant(f"pier-{which}-{count}", find_pier, "bench/who_pier", who, **backend(which), workers=count)
           for which in ("epoll", "io_uring") for count in (2, 4)]

RELAYS = [
    Contestant("bare-splice", build_c, "relay_splice.c", plain, floor=True),
    Contestant("pier", find_pier, "bench/relay_pier", plain, **backend("epoll")),
    Contestant("pier-uring", find_pier, "bench/relay_pier", plain, **backend("io_uring")),
    Contestant("go", build_go, "peers/relay.go", plain, target="relay_go", env=go_procs(1)),
]

DATAGRAMS = [
    Contestant("bare-recvmmsg", build_c, "udp_mmsg.c", plain, floor=True),
    Contestant("pier", find_pier, "bench/echo_pier", pier("tasks", "udp"), **backend("epoll")),
    Contestant("pier-uring", find_pier, "bench/echo_pier", pier("tasks", "udp"), **backend("io_uring")),
    Contestant("libuv", uv, "peers/udp_libuv.c", alone),
    Contestant("go", build_go, "peers/echo_udp.go", plain, target="echo_udp_go", env=go_procs(1)),
    Contestant("asyncio", build_python, "peers/echo_udp_asyncio.py", python()),
    Contestant("uvloop", build_uvloop, "peers/echo_udp_asyncio.py", python("uvloop")),
]

# One peer with many datagrams in flight: what batches and segmentation by the kernel are worth.
FLIGHTS = [
    *DATAGRAMS,
    Contestant("bare-segment", build_c, "udp_mmsg.c", lambda path, argument, workers: [path, "--segment", argument]),
    Contestant("pier-batch", find_pier, "bench/udp_pier", lambda path, argument, workers: [path, "batch"]),
    Contestant("pier-segment", find_pier, "bench/udp_pier", lambda path, argument, workers: [path, "segment"]),
]

BACKEND = SERVERS[0]  # what the relays relay to

MICRO = [
    Contestant("pier", find_pier, "bench/micro", alone),
    Contestant("pthread", build_c, "micro_pthread.c", alone, floor=True),
    Contestant("tokio", build_tokio, "peers/echo_tokio", alone, target="micro_tokio"),
    Contestant("go", build_go, "peers/micro.go", alone, target="micro_go", env=go_procs(1)),
    Contestant("asyncio", build_python, "peers/micro_asyncio.py", alone_python),
]


def utf8_by(name):
    return lambda path, argument, workers: [path, name]


def utf8_library(path, argument, workers):
    return [os.path.join(build_dir, "bench/utf8"), path]


UTF8 = [
    *(Contestant(name, find_pier, "bench/utf8", utf8_by(name))
      for name in ("pier", "shifts", "glib", "libunistring", "states", "iconv")),
    Contestant("rust", build_rust_library, "peers/utf8.rs", utf8_library, target="utf8_rust"),
    Contestant("go", build_go_library, "peers/utf8.go", utf8_library, target="utf8_go", env=go_procs(1)),
    Contestant("python", build_python, "peers/utf8.py", alone_python),
]

def beside_server(path, argument, workers):
    return [path, os.path.join(build_dir, "bench")]


HTTP_CLIENTS = [
    Contestant("pier", find_pier, "bench/http_client", beside_server),
    Contestant("libcurl", find_pier, "bench/http_curl", beside_server),
]

CROWD = [
    Contestant("pier", find_pier, "bench/crowd", alone),
    Contestant("go", build_go, "peers/crowd.go", alone, target="crowd_go", env=go_procs(1)),
]

POOLS = [
    Contestant("pier", find_pier, "bench/pool", alone),
    Contestant("pier-threads", find_pier, "bench/pool", lambda path, argument, workers: [path, "--threads"]),
    Contestant("multiprocessing", build_python, "pool.py", alone_python),
]

TLS = [
    Contestant("bare-libssl", build_tls, "tls_epoll.c", tls_bare, floor=True),
    Contestant("pier", find_tls_pier, "bench/tls_pier", tls, **backend("epoll")),
    Contestant("pier-uring", find_tls_pier, "bench/tls_pier", tls, **backend("io_uring")),
    Contestant("nginx", find_nginx, "peers/nginx_tls.py", nginx_tls),
]

def http_pier(path, argument, workers):
    return [path, "http://127.0.0.1:0", workers]


def packaged(name):
    return lambda path, argument, workers: [PYTHON, "-B", path, name, shutil.which(name, path=SBIN),
                                            os.path.join(build_dir, "bench", "www")]


def http_servers(*floor):
    return [
        Contestant("bare-epoll", build_c, "http_epoll.c", lambda path, *_: [path, *floor], floor=True),
        Contestant("bare-uring", uring, "http_uring.c", lambda path, *_: [path, *floor], floor=True),
        Contestant("pier", find_pier, "bench/http_pier", http_pier, **backend("epoll")),
        Contestant("pier-uring", find_pier, "bench/http_pier", http_pier, **backend("io_uring")),
        *(Contestant(name, find_packaged, "peers/http_packaged.py", packaged(name), target=name)
          for name in ("nginx", "h2o", "lighttpd")),
        Contestant("hyper", build_hyper, "peers/http_hyper", alone, target="http_hyper"),
        Contestant("go", build_go, "peers/http.go", alone, target="http_go", env=go_procs(1)),
        Contestant("python", build_python, "peers/http_python.py", alone_python),
    ]


HTTP, HTTP_CLOSE = http_servers(), http_servers("--close")

SIZE = [Contestant("libpier.so", find_library, "libpier.so", alone)]


def build_load():
    return build_c("load", "load.c")


def build_http_load():
    return build_c("http_load", "http_load.c")


def build_tls_load():
    return build_tls("tls_load", "tls_load.c")


def versions():
    """What the header of a report names, peer by peer."""
    def package(name):
        return output_of(["dpkg-query", "-W", "-f=${Version}", name])
    status = ["git", "--no-optional-locks", "-C", ROOT, "status", "--porcelain", "--untracked-files=no"]
    changed = " and changes" if output_of(status, "") else ""
    tokio = [os.path.basename(p) for p in sorted(glob.glob(os.path.join(REGISTRY, "tokio-1.*")))]
    return {
        "pier": output_of([os.path.join(build_dir, "cli", "pier"), "--version"], "not built"),
        "commit": output_of(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], "none") + changed,
        "cc": output_of(["cc", "--version"]),
        "liburing": package("liburing-dev"),
        "libuv": package("libuv1-dev"),
        "libevent": package("libevent-dev"),
        "glib": package("libglib2.0-0"),
        "libunistring": package("libunistring2"),
        "go": output_of(["go", "version"]),
        "tokio": (tokio or ["absent"])[-1],
        "rustc": output_of([RUSTC, "--version"]),
        "python": output_of([PYTHON, "--version"]),
        "openssl": output_of(["openssl", "version"]),
        "nginx": package("nginx"),
        "uvloop": output_of([PYTHON, "-c", "import uvloop; print(uvloop.__version__)"], "absent"),
    }
