# SPDX-License-Identifier: MIT
"""The targets of Pier's speed and memory, each judged from the figures of a run: target, measured, verdict.

Ratios are of best rounds; a median that misses where the best round does not is said. A target whose workload or
contestant did not run is `not measured`, never `ok`.
"""
BACKENDS = {"pier": "epoll", "pier-uring": "io_uring"}

TICKS_ENOUGH = 1000  # user and system time are told apart by ticks only

# Of another machine (2 vCPU AMD EPYC, November 2026), where all of these were measured side by side: their packages
# are not in Debian 12.
ELSEWHERE = {"yield": {"neco": 15.9, "libdill": 19}, "spawn_join": {"neco": 54, "libdill": 45},
             "chan_buffered": {"neco": 75, "libdill": 37}}


def figures(works, workload, name):
    return works.get(workload, {}).get("figures", {}).get(name)


def verdict(best, median, limit):
    if best > limit:
        return "**missed**"
    return "ok" if median <= limit else "ok, median missed"


def missing(target):
    return [target, "–", "not measured"]


def marks(f):
    return ", noisy" if f.get("noisy") else ""


def ratio_row(target, f, against, key, limit):
    if not f or against not in f:
        return missing(target)
    r = f[against][key]
    floor = f" of {f['floor']}" if against == "ratio_own" else ""
    return [target, f"{r['best']:.3f} ×{floor} (median {r['median']:.3f}{marks(f)})",
            verdict(r["best"], r["median"], limit)]


def limit_row(target, value, limit, text):
    return [target, text, "ok" if value <= limit else "**missed**"]


# ---- echo ----

def is_peer(name):
    return not name.startswith(("bare", "pier"))


def peers_row(works, workload, title, name):
    target = f"{title}, {BACKENDS[name]}: CPU below every peer's"
    f = figures(works, workload, name)
    peers = {n: p for n, p in works.get(workload, {}).get("figures", {}).items() if is_peer(n)}
    if not f or not peers:
        return missing(target)
    own, best = f["cpu_ns_op"], min(peers, key=lambda n: peers[n]["cpu_ns_op"]["best"])
    least = {w: min(p["cpu_ns_op"][w] for p in peers.values()) for w in ("best", "median")}
    text = (f"{own['best']:,.0f} ns; {best} {least['best']:,.0f} "
            f"(medians {own['median']:,.0f}, {least['median']:,.0f}{marks(f)})")
    return [target, text, verdict(own["best"] / least["best"], own["median"] / least["median"], 1)]


def user_row(works, workload, title, name):
    target = f"{title}, {BACKENDS[name]}: user space ≤ 200 ns"
    f = figures(works, workload, name)
    if not f:
        return missing(target)
    user = f["user_ns_op"]
    floor = figures(works, workload, f.get("floor", ""))
    text = f"{user['pooled']:,.0f} ±{user['pooled_error']:,.0f} ns"
    if floor:
        text += f" ({f['floor']} {floor['user_ns_op']['pooled']:,.0f})"
    if f["ticks"] < TICKS_ENOUGH:
        return [target, text, f"too few ticks ({f['ticks']:.0f})"]
    return limit_row(target, user["pooled"], 200, text)


def echo_rows(works):
    rows = []
    for workload, title, limit in (("echo64x50", "64 B × 50", 1.02), ("echo64x1000", "64 B × 1,000", 1.04)):
        for name, backend in BACKENDS.items():
            f = figures(works, workload, name)
            rows.append(ratio_row(f"{title}, {backend}: CPU ≤ {limit} × the better bare loop", f, "ratio_better",
                                  "cpu_ns_op", limit))
            rows.append(peers_row(works, workload, title, name))
            rows.append(user_row(works, workload, title, name))
            rows.append(ratio_row(f"{title}, {backend}: p99 ≤ 1.2 × its bare loop", f, "ratio_own", "p99_ns", 1.2))
    for name, backend in BACKENDS.items():
        rows.append(ratio_row(f"64 B × 1, {backend}: median latency ≤ 1.03 × its bare loop",
                              figures(works, "echo64x1", name), "ratio_own", "p50_ns", 1.03))
    for name, backend in BACKENDS.items():
        rows.append(ratio_row(f"64 KiB × 8, {backend}: CPU ≤ 1.03 × the better bare loop",
                              figures(works, "echo64KiBx8", name), "ratio_better", "cpu_ns_op", 1.03))
    rows.append(own_buffers_row(works))
    return rows


def own_buffers_row(works):
    """What of the 64 KiB echo is the price of a buffer per connection, which every program that keeps what it read pays."""
    target = "64 KiB × 8, the bare epoll loop with a buffer per connection: CPU beside that with one for all"
    f = figures(works, "echo64KiBx8", "bare-epoll-own")
    row = ratio_row(target, f, "ratio", "cpu_ns_op", 0)
    return row if row[2] == "not measured" else [*row[:2], "stated"]


def tls_rows(works):
    rows = []
    for workload, title, other, limit in (("tlsfull", "full TLS handshake", "bare-libssl", 1.1),
                                          ("tlsfull", "full TLS handshake", "nginx", 0.9),
                                          ("tlsresumed", "resumed TLS handshake", "bare-libssl", 1.1),
                                          ("tlsresumed", "resumed TLS handshake", "nginx", 0.9),
                                          ("tlsbulk", "TLS bulk", "nginx", 0.5)):
        for name, which in BACKENDS.items():
            target = f"{title}, {which}: CPU ≤ {limit:g} × {other}"
            f, against = figures(works, workload, name), figures(works, workload, other)
            if not f or not against:
                rows.append(missing(target))
                continue
            best, median = (f["cpu_ns_op"][w] / against["cpu_ns_op"][w] for w in ("best", "median"))
            rows.append([target, f"{best:.3f} × (median {median:.3f})", verdict(best, median, limit)])
    for name, which in BACKENDS.items():
        target = f"idle TLS connection, {which}: memory below nginx's"
        f, nginx = figures(works, "tlsidle", name), figures(works, "tlsidle", "nginx")
        rows.append(limit_row(target, f["bytes"]["median"], nginx["bytes"]["median"],
                              f"{f['bytes']['median']:,.0f} bytes; nginx {nginx['bytes']['median']:,.0f}")
                    if f and nginx else missing(target))
    return rows


HTTP_TARGETS = (  # workload, title, against whom, how many times
    ("http64", "HTTP hello", "own floor", 1.06), ("http64", "HTTP hello", "hyper", 0.95),
    ("http64", "HTTP hello", "nginx", 0.78), ("http64", "HTTP hello", "go", 0.42),
    ("http64p16", "HTTP hello × 16", "hyper", 0.65), ("httpclose", "HTTP, a connection per request", "nginx", 1.0))


def http_rows(works):
    rows = []
    for workload, title, other, limit in HTTP_TARGETS:
        for name, which in BACKENDS.items():
            against = {"epoll": "bare-epoll", "io_uring": "bare-uring"}[which] if other == "own floor" else other
            target = f"{title}, {which}: CPU ≤ {limit:g} × {against}"
            f, them = figures(works, workload, name), figures(works, workload, against)
            if not f or not them:
                rows.append(missing(target))
                continue
            best, median = (f["cpu_ns_op"][w] / them["cpu_ns_op"][w] for w in ("best", "median"))
            rows.append([target, f"{best:.3f} × (median {median:.3f})", verdict(best, median, limit)])
    f, bare = figures(works, "httpclose", "pier-uring"), figures(works, "httpclose", "bare-uring")
    target = "HTTP, a connection per request, io_uring: CPU ≤ 1.05 × bare-uring"
    rows.append(limit_row(target, f["cpu_ns_op"]["best"] / bare["cpu_ns_op"]["best"], 1.05,
                          f"{f['cpu_ns_op']['best'] / bare['cpu_ns_op']['best']:.3f} ×") if f and bare else missing(target))
    for name, which in BACKENDS.items():
        f = figures(works, "http64p16", name)
        target = f"HTTP hello × 16, {which}: CPU ≤ 420 ns"
        rows.append(limit_row(target, f["cpu_ns_op"]["best"], 420, f"{f['cpu_ns_op']['best']:,.0f} ns") if f
                    else missing(target))
        f = figures(works, "httpidle", name)
        target = f"kept HTTP connection after a request, {which}: ≤ 600 bytes"
        rows.append(limit_row(target, f["bytes"]["median"], 600, f"{f['bytes']['median']:,.0f} bytes") if f
                    else missing(target))
    return rows


def model_rows(works):
    rows = [ratio_row(f"64 B × 50, {model}: CPU ≤ 1.05 × their bare loop", figures(works, "models", f"pier-{model}"),
                      "ratio_own", "cpu_ns_op", 1.05) for model in ("threads", "processes")]
    prefork = ratio_row("64 B × 50, prefork: CPU beside the bare epoll loop", figures(works, "models", "pier-prefork"),
                        "ratio_own", "cpu_ns_op", 0)
    return [*rows, prefork if prefork[2] == "not measured" else [*prefork[:2], "stated"]]


def udp_rows(works):
    rows = []
    for name, floor, limit in (("pier-batch", "bare-recvmmsg", 1.03), ("pier-segment", "bare-segment", 1.03),
                               ("pier", "bare-recvmmsg", 1.25), ("pier-batch", "libuv", 1.0), ("pier-segment", "libuv", 1.0)):
        target = f"UDP, 32 in flight, {name}: CPU ≤ {limit:g} × {floor}"
        f, other = figures(works, "udp64f32", name), figures(works, "udp64f32", floor)
        if not f or not other:
            rows.append(missing(target))
            continue
        best, median = (f["cpu_ns_op"][w] / other["cpu_ns_op"][w] for w in ("best", "median"))
        rows.append([target, f"{best:.3f} × (median {median:.3f})", verdict(best, median, limit)])
    return rows


def relay_rows(works):
    return [ratio_row(f"`pier_copy`, {size}, {backend}: CPU ≤ the bare splice loop's",
                      figures(works, workload, name), "ratio", "cpu_ns_op", 1.0)
            for workload, size in (("relay4KiBx50", "4 KiB × 50"), ("relay64KiBx8", "64 KiB × 8"),
                                   ("relay1MiBx2", "1 MiB × 2"))
            for name, backend in BACKENDS.items()]


def worker_rows(works):
    rows = []
    for name, backend in BACKENDS.items():
        target = f"two workers on two cores, {backend}: CPU ≤ 1.1 × one worker's"
        floor = {"pier": "bare-epoll", "pier-uring": "bare-uring"}[name]
        one, two, bare_one, bare_two = (figures(works, "workers", f"{who}-{count}")
                                        for who in (name, floor) for count in (1, 2))
        if not one or not two:
            rows.append(missing(target))
            continue
        best, median = (two["cpu_ns_op"][w] / one["cpu_ns_op"][w] for w in ("best", "median"))
        text = f"{best:.3f} × (median {median:.3f}{marks(two)})"
        if bare_one and bare_two:
            text += f"; {floor} {bare_two['cpu_ns_op']['best'] / bare_one['cpu_ns_op']['best']:.3f} ×"
        rows.append([target, text, verdict(best, median, 1.1)])
    for name in ("epoll-2", "epoll-4", "io_uring-2", "io_uring-4"):
        backend, count = name.split("-")
        target = f"{count} workers, {backend}: connections within 25 % of the mean"
        f = figures(works, "balance", f"pier-{name}")
        rows.append(limit_row(target, f["deviation"]["worst"], 0.25, f"{f['deviation']['worst']:.1%} in the worst round")
                    if f else missing(target))
    return rows


# ---- tasks ----

def micro_rows(works):
    rows = []
    for bench, title, limit in (("yield", "yield", 13), ("spawn_join", "spawn and join", 40),
                                ("chan_buffered", "channel message", 35)):
        f, go = figures(works, "micro", "pier"), figures(works, "micro", "go")
        if not f or bench not in f:
            rows.append(missing(f"{title} ≤ {limit} ns"))
            continue
        ns = f[bench]
        rows.append([f"{title} ≤ {limit} ns", f"{ns['best']:.1f} ns (median {ns['median']:.1f})",
                     verdict(ns["best"], ns["median"], limit)])
        others = dict(ELSEWHERE[bench], **({"Go": go[bench]["best"]} if go and bench in go else {}))
        text = ", ".join(f"{name} {value:.0f}" for name, value in others.items())
        rows.append(limit_row(f"{title} below libdill, neco (measured elsewhere) and Go", ns["best"],
                              min(others.values()), f"{ns['best']:.1f} ns; {text}"))
    for family in ("IPv4", "IPv6"):
        target = f"a firewall's answer about an {family} address, a million networks: ≤ 100 ns"
        f = (figures(works, "micro", "pier") or {}).get(f"firewall_{family.lower()}")
        rows.append(limit_row(target, f["best"], 100, f"{f['best']:.0f} ns (median {f['median']:.0f})")
                    if f else missing(target))
    for bench, of_floor, title in (("mutex_uncontended", "mutex_uncontended", "mutex, free"),
                                   ("mutex_threads", "mutex_threads", "mutex, 2 threads at once"),
                                   ("mutex_4_threads", "mutex_4_threads", "mutex, 4 threads at once"),
                                   ("chan_threads", "chan_threads", "channel between threads"),
                                   ("chan_loops", "chan_threads", "channel between two loops' tasks"),
                                   ("ping_threads", "ping_threads", "channel between threads, to and fro")):
        target = f"{title}: below pthread mutex and condition variable"
        own, floor = figures(works, "micro", "pier"), figures(works, "micro", "pthread")
        if not own or not floor or bench not in own or of_floor not in floor:
            rows.append(missing(target))
            continue
        own, floor = own[bench], floor[of_floor]
        text = (f"{own['best']:,.0f} ns; pthread {floor['best']:,.0f} "
                f"(medians {own['median']:,.0f}, {floor['median']:,.0f})")
        rows.append([target, text, verdict(own["best"] / floor["best"], own["median"] / floor["median"], 1)])
    return rows


def utf8_rows(works):
    """One row for all texts: the one where somebody else comes nearest."""
    target = "`pier_utf8_valid`: below every other validator, whatever the text"
    table = works.get("utf8", {}).get("figures", {})
    others = {n: f for n, f in table.items() if n != "pier"}
    if "pier" not in table or not others:
        return [missing(target)]

    def ratio(text, which):
        return table["pier"][text][which] / min(f[text][which] for f in others.values() if text in f)
    worst = max(table["pier"], key=lambda text: ratio(text, "best"))
    rival = min((n for n in others if worst in others[n]), key=lambda n: others[n][worst]["best"])
    median = max(ratio(text, "median") for text in table["pier"])
    return [[target, f"{ratio(worst, 'best'):.2f} × {rival} at worst, {worst} (medians {median:.2f})",
             verdict(ratio(worst, "best"), median, 1)]]


def http_client_rows(works):
    target = "HTTP client, a request over a pool: ≤ 0.5 × libcurl"
    own, curl = figures(works, "httpclient", "pier"), figures(works, "httpclient", "libcurl")
    if not own or not curl:
        return [missing(target)]
    own, curl = own["http_get"], curl["http_get"]
    best, median = own["best"] / curl["best"], own["median"] / curl["median"]
    return [[target, f"{best:.2f} × ({own['best']:,.0f} ns; medians {median:.2f})", verdict(best, median, 0.5)]]


def memory_rows(works):
    rows = []
    for name, backend in BACKENDS.items():
        target = f"idle connection, {backend}: ≤ 4.6 KiB resident"
        f = figures(works, "idle", name)
        rows.append(limit_row(target, f["talked_bytes"]["median"], 4.6 * 1024,
                              f"{f['talked_bytes']['median'] / 1024:.2f} KiB") if f else missing(target))
    f = figures(works, "crowd", "pier")
    if not f:
        return rows + [missing("100,000 tasks ≤ 500 MiB"), missing("100,000 tasks: spawn and join ≤ 1 s")]
    count = f["count"]["best"]
    mib = (f["rss_kib"]["median"] + f["tables_kib"]["median"]) / 1024
    seconds = (f["spawn_ns"]["best"] + f["join_ns"]["best"]) / 1e9
    rows.append(limit_row(f"{count:,} tasks: resident and page tables ≤ 500 MiB", mib, 500, f"{mib:.0f} MiB"))
    rows.append(limit_row(f"{count:,} tasks: spawn and join of all ≤ 1 s", seconds, 1, f"{seconds:.2f} s"))
    return rows


def start_rows(works):
    rows = []
    f = figures(works, "startup", "pier serve")
    target = "start of `pier serve` to listening ≤ 20 ms"
    rows.append(limit_row(target, f["ms"]["best"], 20, f"{f['ms']['best']:.1f} ms (median {f['ms']['median']:.1f})")
                if f else missing(target))
    f = figures(works, "size", "libpier.so")
    rows.append(["stripped `libpier.so`", f"{f['bytes']['best'] / 1024:.0f} KiB" if f else "–",
                 "stated" if f else "not measured"])
    return rows


def judge(works):
    """Rows of (target, measured, verdict)."""
    return [row for part in (echo_rows, udp_rows, tls_rows, http_rows, model_rows, relay_rows, worker_rows, micro_rows, utf8_rows, http_client_rows, memory_rows,
                               start_rows)
            for row in part(works)]
