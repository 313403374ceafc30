# SPDX-License-Identifier: MIT
"""From the rounds of bench/run to figures, and from figures to markdown: the tables that it prints, that results.md
holds, and that stand between the markers of docs/performance.md and README.md.

Nothing here measures. `bench/run --from results.json` makes all of it again from a run that is over.
"""
import pathlib
import re
import statistics

import targets

BUSY_ENOUGH = 0.90  # below, the client was the limit
QUIET_ENOUGH = 0.03  # above, others had too much of the server's cores


# ---- from rounds to figures ----

def best_and_median(rounds, key):
    values = [r[key] for r in rounds if key in r]
    return {"best": min(values), "median": statistics.median(values)}


def summarize_echo(rounds):
    """The best round is the one with the least CPU per operation; user and sys of `best` are of that round."""
    best = min(rounds, key=lambda r: r["cpu_ns_op"])
    ticks = sum(r["ticks"] for r in rounds)
    user = sum(r["ticks"] * r["user_share"] for r in rounds) / ticks if ticks else 0
    figures = {key: {"best": best[key], "median": statistics.median(r[key] for r in rounds)}
               for key in ("cpu_ns_op", "user_ns_op", "sys_ns_op")}
    cpu = figures["cpu_ns_op"]["median"]
    figures["ticks"] = ticks
    figures["user_ns_op"]["pooled"] = user * cpu
    figures["user_ns_op"]["pooled_error"] = cpu * (user * (1 - user) / ticks) ** 0.5 if ticks else 0
    figures["ops_per_s"] = {"best": max(r["ops_per_s"] for r in rounds),
                            "median": statistics.median(r["ops_per_s"] for r in rounds)}
    for key in ("mean_ns", "p50_ns", "p99_ns", "p999_ns"):
        figures[key] = best_and_median(rounds, key)
    for key in ("busy", "foreign", "steal", "load_busy", "rss_kib"):
        figures[key] = statistics.median(r[key] for r in rounds)
    return figures


def add_ratios(table, floors, own_floor, cores):
    """Ratios to the first of the bare loops, to the better of them and to the one that each contestant names as its
    own; and the marks."""
    keys = ("cpu_ns_op", "mean_ns", "p50_ns", "p99_ns")

    def ratios(figures, loops):
        return {key: {w: figures[key][w] / min(table[f][key][w] for f in loops) for w in ("best", "median")}
                for key in keys}
    for name, figures in table.items():
        if floors:
            figures["ratio"] = ratios(figures, floors[:1])
            figures["ratio_better"] = ratios(figures, floors)
        if own_floor.get(name) in table:
            figures["floor"] = own_floor[name]
            figures["ratio_own"] = ratios(figures, [own_floor[name]])
        free = max(0.01, cores - figures["foreign"] - figures["steal"])
        figures["client_limited"] = figures["busy"] / free < BUSY_ENOUGH
        figures["noisy"] = figures["foreign"] + figures["steal"] > QUIET_ENOUGH * cores


def figure_echo(work, rounds):
    table = {name: summarize_echo(r) for name, r in rounds.items()}
    floors = [name for name in work["floors"] if name in table]
    add_ratios(table, floors, work["own_floor"], 2 if work["both_cores"] else 1)
    return table


def figure_plain(work, rounds):
    """Best and median of each number that the rounds have."""
    return {name: {key: best_and_median(r, key) for key in r[0] if not isinstance(r[0][key], (list, dict, str))}
            for name, r in rounds.items()}


def figure_startup(work, rounds):
    times = {name: [ms for one in r for ms in one["all_ms"]] for name, r in rounds.items()}
    return {name: {"ms": {"best": min(t), "median": statistics.median(t)}} for name, t in times.items()}


def figure_balance(work, rounds):
    """The worst of the rounds: a balance that is only sometimes one is none."""
    table = {}
    for name, r in rounds.items():
        worst = max(r, key=lambda one: one["deviation"])
        table[name] = {"deviation": {"worst": worst["deviation"],
                                     "median": statistics.median(one["deviation"] for one in r)},
                       "counts": worst["counts"]}
    return table


FIGURES = {"echo": figure_echo, "relay": figure_echo, "udp": figure_echo, "startup": figure_startup,
           "balance": figure_balance}


def figure(work, rounds):
    return FIGURES.get(work["kind"], figure_plain)(work, rounds) if rounds else {}


# ---- markdown ----

def markdown(head, rows, left=1):
    """A table whose columns also line up as plain text; the first `left` columns are words."""
    head, rows = [str(cell) for cell in head], [[str(cell) for cell in row] for row in rows]
    widths = [max(3, *(len(row[i]) for row in [head, *rows])) for i in range(len(head))]

    def line(cells):
        done = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
        return "| " + " | ".join(done) + " |"
    rule = ["-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return [line(head), line(rule), *map(line, rows)]


def table_echo(work):
    table = work["figures"]
    floors = [name for name in work["floors"] if name in table]
    head = ["", "ops/s", "CPU best", "CPU median", "user", "× best", "× median", "×× best", "p50 µs", "p99 µs", "× p50",
            "× p99", "RSS MiB", "busy %", "load %", ""]
    rows = []
    for name, f in sorted(table.items(), key=lambda item: item[1]["cpu_ns_op"]["best"]):
        def times(key, which, ratio="ratio"):
            return f"{f[ratio][key][which]:.2f}" if floors else "–"
        marks = ("c" if f["client_limited"] else "") + ("n" if f["noisy"] else "")
        rows.append([name, f"{f['ops_per_s']['best']:,.0f}", f"{f['cpu_ns_op']['best']:,.0f}",
                     f"{f['cpu_ns_op']['median']:,.0f}",
                     f"{f['user_ns_op']['pooled']:,.0f} ±{f['user_ns_op']['pooled_error']:,.0f}",
                     times("cpu_ns_op", "best"), times("cpu_ns_op", "median"),
                     times("cpu_ns_op", "best", "ratio_better"),
                     f"{f['p50_ns']['median'] / 1e3:,.1f}", f"{f['p99_ns']['median'] / 1e3:,.1f}",
                     times("p50_ns", "median"), times("p99_ns", "median"), f"{f['rss_kib'] / 1024:.1f}",
                     f"{f['busy'] * 100:.0f}", f"{f['load_busy'] * 100:.0f}", marks])
    lines = markdown(head, rows)
    notes = [f"CPU and user: ns of the server per operation. ×: times {floors[0]}; ××: times the better of "
             f"{' and '.join(floors)}." if floors else "CPU and user: ns of the server per operation."]
    if any(f["client_limited"] for f in table.values()):
        notes.append(f"c: used less than {BUSY_ENOUGH:.0%} of what its core had free, so its client was the limit.")
    if any(f["noisy"] for f in table.values()):
        notes.append(f"n: others or the hypervisor had over {QUIET_ENOUGH:.0%} of its core: repeat in quiet.")
    return [*lines, "", " ".join(notes)]


def table_idle(work):
    rows = [[name, *(f"{f[key]['median']:,.0f}" for key in ("silent_bytes", "talked_bytes", "tables_bytes")),
             f"{f['base_rss_kib']['median'] / 1024:.1f}"]
            for name, f in sorted(work["figures"].items(), key=lambda item: item[1]["talked_bytes"]["median"])]
    return markdown(["resident bytes per connection", "silent", "after a message", "page tables", "RSS MiB without"],
                    rows)


def table_startup(work):
    rows = [[name, f"{f['ms']['best']:.1f}", f"{f['ms']['median']:.1f}"]
            for name, f in sorted(work["figures"].items(), key=lambda item: item[1]["ms"]["best"])]
    return markdown(["ms", "best", "median"], rows)


def table_columns(work):
    """A row for each benchmark, a column for each contestant."""
    table = work["figures"]
    benches = list(dict.fromkeys(bench for f in table.values() for bench in f))

    def cell(f, bench):
        return f"{f[bench]['best']:,.1f} / {f[bench]['median']:,.1f}" if bench in f else "–"
    rows = [[bench, *(cell(f, bench) for f in table.values())] for bench in benches]
    return markdown([f"{work.get('unit') or 'ns'}, best / median", *table], rows)


def table_flight(work):
    floor = next((work["figures"][n]["cpu_ns_op"] for n in work["floors"] if n in work["figures"]), None)
    rows = []
    for name, f in sorted(work["figures"].items(), key=lambda item: item[1]["cpu_ns_op"]["best"]):
        cpu = f["cpu_ns_op"]
        ratios = [f"{cpu[w] / floor[w]:.2f}" if floor else "–" for w in ("best", "median")]
        rows.append([name, f"{cpu['best']:,.0f}", f"{cpu['median']:,.0f}", *ratios, f"{f['share']['median'] * 100:.0f}",
                     f"{f['lost']['median']:,.0f}"])
    return markdown(["", "CPU best", "CPU median", "× best", "× median", "busy %", "lost"], rows)


def table_tls(work):
    floor = next((work["figures"][n]["cpu_ns_op"] for n in work["floors"] if n in work["figures"]), None)
    rows = []
    for name, f in sorted(work["figures"].items(), key=lambda item: item[1]["cpu_ns_op"]["best"]):
        cpu = f["cpu_ns_op"]
        ratios = [f"{cpu[w] / floor[w]:.2f}" if floor else "–" for w in ("best", "median")]
        rows.append([name, f"{cpu['best']:,.0f}", f"{cpu['median']:,.0f}", *ratios, f"{f['share']['median'] * 100:.0f}"])
    return markdown(["", "CPU best", "CPU median", "× best", "× median", "busy %"], rows)


def table_tlsidle(work):
    rows = [[name, f"{f['bytes']['median']:,.0f}", f"{f['base_rss_kib']['median'] / 1024:.1f}"]
            for name, f in sorted(work["figures"].items(), key=lambda item: item[1]["bytes"]["median"])]
    return markdown(["", "resident bytes per connection", "RSS MiB without"], rows)


def table_pool(work):
    rows = []
    for name, f in work["figures"].items():
        cells = [f"{f[key]['best']:,.{digits}f} / {f[key]['median']:,.{digits}f}" if key in f else "–"
                 for key, digits in (("pool_tiny", 0), ("pool_tiny / ideal", 1), ("pool_long / ideal", 2))]
        rows.append([name, *cells])
    return markdown(["best / median", "tiny: ns an input", "tiny: × ideal", "long: × ideal"], rows)


def table_crowd(work):
    rows = [[name, f"{f['count']['best']:,}", f"{f['spawn_ns']['best'] / 1e6:,.0f}", f"{f['join_ns']['best'] / 1e6:,.0f}",
             f"{f['rss_kib']['median'] / 1024:,.0f}", f"{f['tables_kib']['median'] / 1024:,.0f}"]
            for name, f in work["figures"].items()]
    return markdown(["", "tasks", "spawn ms", "wake and join ms", "resident MiB", "page tables MiB"], rows)


def table_balance(work):
    rows = [[name, f"{f['deviation']['worst']:.1%}", f"{f['deviation']['median']:.1%}",
             " ".join(f"{n:,}" for n in f["counts"])] for name, f in work["figures"].items()]
    return markdown(["largest deviation from the mean", "worst round", "median", "connections per worker, worst round"],
                    rows)


def table_size(work):
    rows = [[name, f"{f['bytes']['best']:,}", f"{f['text']['best']:,}", f"{f['data']['best']:,}"]
            for name, f in work["figures"].items()]
    return markdown(["stripped", "bytes of the file", "code and constants", "data"], rows)


TABLES = {"echo": table_echo, "relay": table_echo, "udp": table_echo, "idle": table_idle, "startup": table_startup,
          "crowd": table_crowd, "pool": table_pool, "flight": table_flight, "tls": table_tls,
          "tlsidle": table_tlsidle, "http": table_tls, "httpidle": table_tlsidle, "balance": table_balance, "size": table_size}


def table(work):
    """The lines of a workload's table, and below it who is not in it and why."""
    lines = TABLES.get(work["kind"], table_columns)(work) if work["figures"] else ["Nothing was measured."]
    missing = [f"{name} is absent: {why}." for name, why in work["absent"].items()]
    missing += [f"One round of {name} failed: {why}." for name, why in work["stumbled"].items()
                if name not in work["failed"]]
    missing += [f"{name} FAILED: {why}." for name, why in work["failed"].items()]
    return [*lines, *(["", " ".join(missing)] if missing else [])]


def machine(header):
    skip = ("versions", "command", "notes", "partial")
    rows = [[key, value] for key, value in header.items() if key not in skip and value != ""]
    rows += [[key, value] for key, value in header["versions"].items()]
    return markdown(["", ""], rows, left=2)


def count(rounds):
    return "one round" if rounds == 1 else f"{rounds} rounds"


def when(header):
    return (f"`{header['command']}`, {header['when'][:10]}, {count(header['rounds'])} of {header['seconds']:g} s, "
            f"commit {header['versions']['commit']}. {' '.join(header['notes'])}").rstrip()


def target_rows(results):
    """All targets; of a run that was asked for a part only, those that it measured."""
    rows = targets.judge(results["workloads"])
    shown = [row for row in rows if not results["header"]["partial"] or row[2] != "not measured"]
    lines = markdown(["target", "measured", ""], shown, left=3)
    rest = len(rows) - len(shown)
    if not shown:
        return ["This run judges no target."]
    return [*lines, *(["", f"{rest} more targets: not measured in this run."] if rest else [])]


# ---- the short tables of README ----

README_ECHO = ["echo64x50", "echo64x1000", "echo64KiBx8"]
README_NAMES = {"bare-epoll": "bare epoll loop", "bare-uring": "bare io_uring loop", "pier": "**Pier on epoll**",
                "pier-uring": "**Pier on io_uring**", "pier-threads": "Pier, threads",
                "bare-thread": "a thread per connection, bare", "asyncio": "asyncio, protocols",
                "asyncio-streams": "asyncio, streams", "go": "Go"}


def readme_echo(results):
    works = [(name, results["workloads"][name]) for name in README_ECHO if name in results["workloads"]]
    if not works:
        return ["Nothing was measured."]
    first = works[0][1]["figures"]
    rows = []
    for name in sorted(first, key=lambda name: first[name]["cpu_ns_op"]["best"]):
        cells = [README_NAMES.get(name, name)]
        for _, work in works:
            f = work["figures"].get(name)
            if not f or "ratio" not in f:
                cells.append("–")
            elif name == work["floors"][0]:
                cells.append(f"{f['cpu_ns_op']['best']:,.0f} ns")
            else:
                r = f["ratio"]["cpu_ns_op"]
                cells.append(f"{r['best']:.2f} / {r['median']:.2f}")
        rows.append(cells)
    return markdown(["server CPU per echo", *(work["summary"].replace("TCP echo, ", "") for _, work in works)], rows)


README_MICRO = {"yield": "yield to another task", "spawn_join": "spawn a task and join it",
                "chan_buffered": "message through a channel of 64"}


def readme_micro(results):
    work = results["workloads"].get("micro")
    if not work or not work["figures"]:
        return ["Nothing was measured."]
    names = [n for n in ("pier", "go", "tokio", "asyncio") if n in work["figures"]]
    rows = [[text, *(f"{work['figures'][n][bench]['best']:,.0f}" for n in names)]
            for bench, text in README_MICRO.items() if all(bench in work["figures"][n] for n in names)]
    return markdown(["nanoseconds, best", *({"pier": "Pier", "go": "Go"}.get(n, n) for n in names)], rows)


def readme_rest(results):
    """Memory, start and size in a sentence each, then the run that all of it comes from."""
    def value(workload, name, key, which):
        return results["workloads"].get(workload, {}).get("figures", {}).get(name, {}).get(key, {}).get(which)
    parts = []
    idle = {n: value("idle", n, "talked_bytes", "median") for n in ("pier", "libuv", "tokio", "go")}
    if idle["pier"] is not None:
        others = ", ".join(f"{'Go' if n == 'go' else n} {v:,.0f}" for n, v in idle.items() if n != "pier" and v is not None)
        parts.append(f"An idle connection in a handler with a small frame costs {idle['pier']:,.0f} bytes of resident memory"
                     f"{f' ({others})' if others else ''}: a stack's first page.")
    start = value("startup", "pier serve", "ms", "best")
    if start is not None:
        parts.append(f"`pier serve` listens {start:.1f} ms after it is started.")
    size = value("size", "libpier.so", "bytes", "best")
    if size is not None:
        parts.append(f"The stripped library has {size / 1024:.0f} KiB.")
    h = results["header"]
    parts.append(f"{h['processors']}, Linux {h['kernel']}; {when(h)}")
    return [" ".join(parts)]


# ---- documents ----

def sections(results):
    """What can stand between markers: name -> lines."""
    found = {"when": [when(results["header"])], "machine": machine(results["header"]),
             "targets": target_rows(results), "readme-echo": readme_echo(results),
             "readme-micro": readme_micro(results), "readme-rest": readme_rest(results)}
    for name, work in results["workloads"].items():
        found[name] = [f"**{name}**: {work['summary']}. {count(work['rounds_done'])}.", "", *table(work)]
    return found


def document(results):
    """The whole run as one markdown text."""
    parts = sections(results)
    lines = ["# Figures", "", *parts["when"], "", *parts["machine"]]
    for name in results["workloads"]:
        lines += ["", f"## {name}", "", *parts[name]]
    return "\n".join([*lines, "", "## Targets", "", *parts["targets"]]) + "\n"


MARKED = re.compile(r"(<!-- bench: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.S)


def write_docs(results, paths):
    """Replaces what stands between the markers of each file; returns the markers for which this run has nothing."""
    parts, unknown = sections(results), []

    def fill(found):
        if found["name"] not in parts:
            unknown.append(found["name"])
            return found[0]
        return found[1] + "\n".join(parts[found["name"]]) + "\n" + found[3]
    for path in map(pathlib.Path, paths):
        path.write_text(MARKED.sub(fill, path.read_text()))
    return unknown
